//! After-triggers that are HTTP endpoints.
//!
//! ```text
//! delivery ─▶ Parse's request as JSON ─▶ sign ─▶ POST ─▶ 2xx: done │ else: failed, tried again as any trigger
//! ```
//!
//! The endpoint can tell who calls (signature), and that it has seen a delivery before (`Idempotency-Key`, the same in
//! each attempt).

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value};
use sha2::Sha256;
use tidegate_cloud_code::{Posted, Poster};
use tidegate_event::{Delivery, Policy, Trigger};
use tokio::sync::watch;

use crate::attempt::Attempt;

/// One endpoint.
#[derive(Clone, PartialEq)]
pub struct Webhook {
    pub url: String,
    /// What its deliveries are signed with; without one they are not.
    pub secret: Option<String>,
    pub policy: Policy,
}

impl fmt::Debug for Webhook {
    /// Leaves out the secret, and the URL, which may hold one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// Every endpoint, by the trigger that it is.
pub type Webhooks = BTreeMap<Trigger, Webhook>;

/// Makes the calls.
pub struct Sender {
    pub poster: Poster,
    /// Parse's `X-Parse-Webhook-Key`.
    pub key: Option<String>,
    pub webhooks: watch::Receiver<Webhooks>,
}

impl Sender {
    pub(crate) fn has(&self, trigger: &Trigger) -> bool {
        self.webhooks.borrow().contains_key(trigger)
    }

    /// Calls the endpoint with Parse's request object.
    pub(crate) async fn call(
        &self,
        delivery: &Delivery,
        request: Map<String, Value>,
        timeout: Duration,
    ) -> Attempt {
        let webhook = self.webhooks.borrow().get(&delivery.trigger).cloned();
        let Some(webhook) = webhook else {
            return Attempt::failed("the webhook was removed");
        };
        let body = body(request).to_string();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs());
        let headers = self.headers(delivery, &webhook, &body, now);
        let posting = self.poster.post(&webhook.url, headers, body.as_bytes());
        match tokio::time::timeout(timeout, posting).await {
            Ok(Ok(posted)) => judge(&posted),
            Ok(Err(error)) => Attempt::failed(format!("the endpoint was not reached: {error}")),
            Err(_) => Attempt::failed(format!(
                "the endpoint took longer than {} s",
                timeout.as_secs_f64()
            )),
        }
    }

    fn headers(
        &self,
        delivery: &Delivery,
        webhook: &Webhook,
        body: &str,
        now: u64,
    ) -> Vec<(String, String)> {
        let mut headers = vec![
            ("Content-Type", "application/json".to_owned()),
            ("X-Tidegate-Event-Id", delivery.event.id.to_string()),
            ("X-Tidegate-Timestamp", now.to_string()),
            ("Idempotency-Key", plain(&delivery.effect_key())),
        ];
        if let Some(key) = &self.key {
            headers.push(("X-Parse-Webhook-Key", key.clone()));
        }
        if let Some(secret) = &webhook.secret {
            let signature = format!("v1={}", signature(secret, now, body));
            headers.push(("X-Tidegate-Signature", signature));
        }
        let owned = |(name, value): (&str, String)| (name.to_owned(), value);
        headers.into_iter().map(owned).collect()
    }
}

/// Parse Server's body of a webhook call: the request object, each object with its class.
fn body(mut request: Map<String, Value>) -> Value {
    let class = request.remove("className").unwrap_or_default();
    // What handlers are shown as `dirty()`; endpoints have `original`.
    request.remove("ops");
    for field in ["object", "original"] {
        match request.get_mut(field) {
            Some(Value::Object(object)) => drop(object.insert("className".into(), class.clone())),
            _ => drop(request.remove(field)),
        }
    }
    Value::Object(request)
}

/// Hex of HMAC-SHA256 over `timestamp.body`.
fn signature(secret: &str, timestamp: u64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length will do");
    mac.update(format!("{timestamp}.").as_bytes());
    mac.update(body.as_bytes());
    let bytes = mac.finalize().into_bytes();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A header's value: what is not plain ASCII is percent-encoded.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'%' => plain.push(char::from(byte)),
            _ => plain.push_str(&format!("%{byte:02X}")),
        }
    }
    plain
}

fn judge(posted: &Posted) -> Attempt {
    let status = posted.status;
    if !(200..300).contains(&status) {
        let asks = matches!(status, 429 | 503);
        return Attempt {
            retry_after: posted.retry_after.filter(|_| asks),
            // Gone: the endpoint says that it never will be there again.
            gives_up: status == 410,
            ..Attempt::failed(format!("the endpoint answered {status}"))
        };
    }
    let body: Value = serde_json::from_slice(&posted.body).unwrap_or_default();
    match body.get("error") {
        None | Some(Value::Null) => Attempt::default(),
        Some(error) => {
            let text = error.as_str().or_else(|| error["error"].as_str());
            let text = text.map_or_else(|| error.to_string(), str::to_owned);
            Attempt::failed(format!("the endpoint answered an error: {text}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn posted(status: u16, body: &str) -> Posted {
        Posted {
            status,
            retry_after: Some(Duration::from_secs(7)),
            body: body.into(),
        }
    }

    #[test]
    fn an_answer_is_done_or_a_failed_attempt() {
        for body in ["", "thanks", r#"{"success":{}}"#, "[]", r#"{"error":null}"#] {
            assert_eq!(judge(&posted(200, body)), Attempt::default(), "{body}");
        }
        let failure = |status, body: &str| judge(&posted(status, body));
        for body in [
            r#"{"error":"sold out"}"#,
            r#"{"error":{"code":9,"error":"sold out"}}"#,
        ] {
            assert_eq!(
                failure(200, body),
                Attempt::failed("the endpoint answered an error: sold out")
            );
        }
        assert_eq!(
            failure(302, "").failure.unwrap(),
            "the endpoint answered 302"
        );
        assert_eq!(failure(500, "").retry_after, None);
        for status in [429, 503] {
            assert_eq!(
                failure(status, "").retry_after,
                Some(Duration::from_secs(7))
            );
        }
        assert!(failure(410, "").gives_up && !failure(404, "").gives_up);
    }

    #[test]
    fn the_signature_is_the_documented_one() {
        // From: printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac s3cret
        let expected = "1698a50bc74d1ff1db85c4e0a5297c2ad9fdba245d5737cdb789e4cc6e098940";
        assert_eq!(signature("s3cret", 1_700_000_000, r#"{"a":1}"#), expected);
    }

    #[test]
    fn a_key_fits_into_a_header() {
        assert_eq!(
            plain("1-0.A-0:afterSave:Größe@x"),
            "1-0.A-0:afterSave:Gr%C3%B6%C3%9Fe@x"
        );
    }

    #[test]
    fn objects_carry_their_class_and_what_is_not_there_is_left_out() {
        let request = json!({"className": "Order", "object": {"n": 1}, "original": null, "ops": {}, "attempt": 1});
        let Value::Object(request) = request else {
            unreachable!()
        };
        let expected = json!({"object": {"n": 1, "className": "Order"}, "attempt": 1});
        assert_eq!(body(request), expected);
    }
}
