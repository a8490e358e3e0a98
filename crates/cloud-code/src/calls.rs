//! The host calls of isolates: read, done, answered.
//!
//! Nested runs: a host call can itself start a run (a save has its beforeSave). Such a run must never queue behind the
//! runs that wait for it, or all of them wait for ever; [`is_within_call`] lets the pool tell.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fetch;
use crate::host::is_unsafe;
use crate::{Cause, Host, ParseErrorJson, RestCall};

/// The most calls that one run may have unanswered. `Promise.all` over a few thousand saves is ordinary code.
pub(crate) const MAX_OPEN_PER_RUN: usize = 10_000;

/// The most bytes of unanswered calls of one isolate.
pub(crate) const MAX_OPEN_BYTES: usize = 128 * 1024 * 1024;

tokio::task_local! {
    static WITHIN_CALL: ();
}

/// True in what a [`Host`] does to answer a call, and in what it awaits; not in tasks that it spawns.
pub(crate) fn is_within_call() -> bool {
    WITHIN_CALL.try_with(|_| ()).is_ok()
}

/// A host call as an isolate sends it: every kind's fields in one, because a tagged enum would parse twice.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CallJson {
    kind: String,
    #[serde(default)]
    method: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    body: Value,
    #[serde(default)]
    use_master_key: bool,
    session_token: Option<String>,
    installation_id: Option<String>,
    context: Option<Value>,
    #[serde(default)]
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    redirect: Option<String>,
    #[serde(default)]
    call: u32,
}

/// A host call, understood.
#[derive(Debug)]
pub(crate) enum Call {
    Rest(RestCall),
    Fetch(fetch::Request),
    /// Ends the fetch with this call id.
    Abort(u32),
}

impl Call {
    /// `position`: the how-manieth call of its run.
    pub(crate) fn parse(json: &str, position: u32) -> Result<Call, String> {
        let call: CallJson =
            serde_json::from_str(json).map_err(|error| format!("malformed host call: {error}"))?;
        match call.kind.as_str() {
            "rest" => Ok(Call::Rest(RestCall {
                position,
                write_position: None,
                method: call.method,
                path: call.path,
                body: call.body,
                use_master_key: call.use_master_key,
                session_token: call.session_token,
                installation_id: call.installation_id,
                context: call.context,
            })),
            "fetch" => Ok(Call::Fetch(fetch::Request {
                method: call.method,
                url: call.url,
                headers: call.headers,
                body: call.body.as_str().map(str::to_owned),
                redirect: call.redirect,
                idempotency_key: None,
            })),
            "abort" => Ok(Call::Abort(call.call)),
            kind => Err(format!("unknown host call {kind:?}")),
        }
    }
}

/// An answer as an isolate gets it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub ok: bool,
    pub json: String,
}

impl Answer {
    fn of<T: Serialize, E: Serialize>(result: &Result<T, E>) -> Answer {
        let (ok, json) = match result {
            Ok(answer) => (true, serde_json::to_string(answer)),
            Err(error) => (false, serde_json::to_string(error)),
        };
        match json {
            Ok(json) => Answer { ok, json },
            Err(error) => Answer::refusal(&format!("the answer cannot be encoded: {error}")),
        }
    }

    /// A call that is not done at all.
    pub(crate) fn refusal(why: &str) -> Answer {
        let refusal = serde_json::json!({"code": 1, "message": why, "name": "Error"});
        Answer {
            ok: false,
            json: refusal.to_string(),
        }
    }

    pub(crate) fn aborted() -> Answer {
        Answer::of::<(), _>(&Err(fetch::Failure::aborted()))
    }
}

/// Has the host answer a Parse REST call.
pub(crate) async fn rest(host: &Arc<dyn Host>, cause: &Arc<Cause>, call: RestCall) -> Answer {
    let answer: Result<_, ParseErrorJson> = WITHIN_CALL
        .scope((), async { host.call(cause, call).await })
        .await;
    Answer::of(&answer)
}

/// Makes an HTTP request.
pub(crate) async fn fetch(fetcher: &fetch::Fetcher, request: fetch::Request) -> Answer {
    Answer::of(&fetcher.fetch(request).await)
}

/// How many writes and outbound requests a run has made. Reads are not counted: they may differ between attempts, and
/// what is counted names a write to the next attempt.
#[derive(Debug, Default)]
pub(crate) struct Made {
    writes: u32,
    requests: u32,
}

impl Made {
    /// Numbers a call, in the order in which the run makes them.
    pub(crate) fn number(&mut self, cause: &Cause, call: &mut Call) {
        match call {
            Call::Rest(rest) if rest.is_write() => {
                self.writes += 1;
                rest.write_position = Some(self.writes);
            }
            Call::Fetch(request) if is_unsafe(&request.method) => {
                self.requests += 1;
                let scope = cause.effects.as_ref();
                request.idempotency_key = scope.map(|scope| scope.idempotency_key(self.requests));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_event::EffectScope;

    use super::*;

    #[test]
    fn only_what_changes_something_is_counted() {
        let scope = EffectScope {
            cause: "e:afterSave:A".into(),
            log_offset: None,
            path: "2".into(),
            is_recorded: true,
            earlier: Arc::default(),
        };
        let cause = Cause {
            effects: Some(scope),
            ..Cause::default()
        };
        let mut made = Made::default();
        let mut number = |json: &str| {
            let mut call = Call::parse(json, 0).unwrap();
            made.number(&cause, &mut call);
            match call {
                Call::Rest(rest) => rest.write_position.map(|n| n.to_string()),
                Call::Fetch(request) => request.idempotency_key,
                Call::Abort(_) => None,
            }
        };
        let calls = [
            (r#"{"kind":"rest","method":"GET","path":"classes/A"}"#, None),
            (
                r#"{"kind":"rest","method":"POST","path":"classes/A"}"#,
                Some("1"),
            ),
            (
                r#"{"kind":"rest","method":"POST","path":"classes/A","body":{"_method":"GET"}}"#,
                None,
            ),
            (r#"{"kind":"fetch","method":"get","url":"x"}"#, None),
            (
                r#"{"kind":"fetch","method":"POST","url":"x"}"#,
                Some("e:afterSave:A:2/1"),
            ),
            (
                r#"{"kind":"rest","method":"GET","path":"a","body":{"_method":"PUT"}}"#,
                Some("2"),
            ),
            (
                r#"{"kind":"fetch","method":"PUT","url":"x"}"#,
                Some("e:afterSave:A:2/2"),
            ),
        ];
        for (json, expected) in calls {
            assert_eq!(number(json).as_deref(), expected, "{json}");
        }
    }
}
