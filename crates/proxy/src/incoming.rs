//! Reads one HTTP request: body, query, credentials, headers for cloud code.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use tidegate_event::WaitToken;
use tidegate_parse_protocol::{
    Credentials, ErrorCode, Object, ParseError, Secret, take_method_override,
};

use crate::error::Refusal;
use crate::respond::{TOKEN_HEADER, WAIT_TIMEOUT_HEADER};

/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Most tokens that one request may name; a batch's answer has no more than 50.
const MAX_TOKENS: usize = 200;

/// One Parse call, as HTTP carried it.
pub(crate) struct Incoming {
    pub method: String,
    pub body: Value,
    pub credentials: Credentials,
}

pub(crate) async fn read(
    parts: &Parts,
    body: Body,
    max_body_bytes: usize,
) -> Result<Incoming, Refusal> {
    let reading = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, max_body_bytes));
    let bytes = reading
        .await
        .map_err(|_| Refusal::BodyUnreadable)?
        .map_err(|error| {
            use std::error::Error;
            let too_large = error
                .source()
                .is_some_and(|source| source.to_string().contains("length limit"));
            if too_large {
                Refusal::BodyTooLarge {
                    max_bytes: max_body_bytes,
                }
            } else {
                Refusal::BodyUnreadable
            }
        })?;
    let mut body = json_object(&bytes)?;
    let mut method = parts.method.to_string();
    if parts.method == Method::POST {
        method = take_method_override(&mut body).unwrap_or(method);
    }
    let from_body = Credentials::take_from_body(&mut body)?;
    let credentials = from_headers(&parts.headers)?.or(from_body);
    // Query parameters win over the body's, as in Parse Server; what is written comes from the body alone.
    let takes_query = method == "GET"
        || parts
            .uri
            .path()
            .trim_start_matches('/')
            .starts_with("functions/");
    let query = parts.uri.query().filter(|_| takes_query);
    for (name, value) in query_parameters(query.unwrap_or_default()) {
        body.insert(name, Value::String(value));
    }
    Ok(Incoming {
        method,
        body: Value::Object(body),
        credentials,
    })
}

/// A body is JSON whatever its content type says: browsers send `text/plain` to save a round trip.
fn json_object(bytes: &[u8]) -> Result<Object, Refusal> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Object::new());
    }
    let invalid = |message: String| ParseError::new(ErrorCode::INVALID_JSON, message);
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(invalid("the body must be a JSON object".into()).into()),
        Err(error) => Err(invalid(format!("the body is not JSON: {error}")).into()),
    }
}

pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Credentials, Refusal> {
    let text = |name: &str| {
        let value = headers.get(name)?.to_str().ok()?;
        (!value.is_empty()).then(|| value.to_owned())
    };
    let secret = |name: &str| text(name).map(Secret::new);
    let mut credentials = Credentials {
        application_id: text("x-parse-application-id"),
        rest_key: secret("x-parse-rest-api-key"),
        javascript_key: secret("x-parse-javascript-key"),
        client_key: secret("x-parse-client-key"),
        windows_key: secret("x-parse-windows-key"),
        master_key: secret("x-parse-master-key"),
        maintenance_key: secret("x-parse-maintenance-key"),
        session_token: secret("x-parse-session-token"),
        installation_id: text("x-parse-installation-id"),
        client_version: text("x-parse-client-version"),
        request_id: text("x-parse-request-id"),
        context: None,
    };
    if let Some(context) = text("x-parse-cloud-context") {
        let invalid = || ParseError::new(ErrorCode::INVALID_JSON, "Invalid object for context.");
        credentials.context = Some(serde_json::from_str(&context).map_err(|_| invalid())?);
    }
    basic_authentication(headers, &mut credentials);
    Ok(credentials)
}

/// Which earlier writes' after-triggers the request waits for, and for how long at most; None: for the usual time.
///
/// # Errors
/// 107: a header is not what an answer of this server carries.
pub(crate) fn wait_tokens(
    headers: &HeaderMap,
) -> Result<(Vec<WaitToken>, Option<Duration>), Refusal> {
    let invalid = |message: String| ParseError::new(ErrorCode::INVALID_JSON, message);
    let mut tokens = Vec::new();
    for value in headers.get_all(&TOKEN_HEADER) {
        let value = value.to_str().unwrap_or("?");
        for text in value.split(',').map(str::trim) {
            let token = text.parse::<WaitToken>();
            tokens.push(token.map_err(|error| invalid(format!("X-Tidegate-Token: {error}")))?);
        }
    }
    if tokens.len() > MAX_TOKENS {
        let message = format!("X-Tidegate-Token: at most {MAX_TOKENS} tokens in a request");
        return Err(invalid(message).into());
    }
    let at_most = headers.get(&WAIT_TIMEOUT_HEADER).map(|value| {
        let milliseconds = value.to_str().ok().and_then(|text| text.parse().ok());
        let message = "X-Tidegate-Wait-Timeout-Ms must be a number of milliseconds";
        milliseconds.ok_or_else(|| invalid(message.into()))
    });
    let at_most = at_most.transpose()?.map(Duration::from_millis);
    Ok((tokens, at_most))
}

/// `Authorization: Basic`: user is the application id, password the master key or `javascript-key=…`.
fn basic_authentication(headers: &HeaderMap, credentials: &mut Credentials) -> Option<()> {
    let value = headers.get("authorization")?.to_str().ok()?;
    let encoded = value
        .strip_prefix("Basic ")
        .or_else(|| value.strip_prefix("basic "))?;
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (application_id, password) = decoded.split_once(':')?;
    if credentials.application_id.is_none() {
        credentials.application_id = Some(application_id.to_owned());
    }
    match password.strip_prefix("javascript-key=") {
        Some(key) => credentials.javascript_key = Some(Secret::new(key)),
        None if !password.is_empty() => credentials.master_key = Some(Secret::new(password)),
        None => {}
    }
    Some(())
}

pub(crate) fn query_parameters(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// What cloud code sees as `request.headers`: all but those that carry a key, a token or a cookie.
pub(crate) fn headers_for_cloud_code(headers: &HeaderMap) -> BTreeMap<String, String> {
    const SECRET: [&str; 10] = [
        "authorization",
        "cookie",
        "proxy-authorization",
        "x-parse-client-key",
        "x-parse-javascript-key",
        "x-parse-maintenance-key",
        "x-parse-master-key",
        "x-parse-rest-api-key",
        "x-parse-session-token",
        "x-parse-windows-key",
    ];
    let shown = headers
        .iter()
        .filter(|(name, _)| !SECRET.contains(&name.as_str()));
    shown
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_parameters_are_decoded() {
        let parameters = query_parameters("where=%7B%22a%22%3A+1%7D&limit=5&&count");
        let expected = [("where", "{\"a\": 1}"), ("limit", "5"), ("count", "")];
        assert_eq!(
            parameters,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn wait_tokens_may_come_in_one_header_or_in_several() {
        let token = WaitToken {
            xid: 1,
            lsn: tidegate_event::Lsn(2),
            deliveries: 3,
        };
        let mut headers = HeaderMap::new();
        assert_eq!(wait_tokens(&headers).unwrap(), (Vec::new(), None));
        let two = format!("{token}, {token}");
        headers.append("x-tidegate-token", two.parse().unwrap());
        headers.append("x-tidegate-token", token.to_string().parse().unwrap());
        headers.append("x-tidegate-wait-timeout-ms", "70".parse().unwrap());
        let expected = (vec![token; 3], Some(Duration::from_millis(70)));
        assert_eq!(wait_tokens(&headers).unwrap(), expected);
        for (name, bad) in [
            ("x-tidegate-token", "1234"),
            ("x-tidegate-token", ""),
            ("x-tidegate-wait-timeout-ms", "2s"),
            ("x-tidegate-wait-timeout-ms", "-1"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, bad.parse().unwrap());
            assert!(wait_tokens(&headers).is_err(), "{name}: {bad}");
        }
        headers.clear();
        let many = vec![token.to_string(); MAX_TOKENS + 1].join(",");
        headers.insert("x-tidegate-token", many.parse().unwrap());
        assert!(wait_tokens(&headers).is_err());
    }

    #[test]
    fn keys_tokens_and_cookies_are_not_shown_to_cloud_code() {
        let mut headers = HeaderMap::new();
        for name in [
            "x-parse-master-key",
            "x-parse-session-token",
            "authorization",
            "cookie",
        ] {
            headers.insert(name, "secret".parse().unwrap());
        }
        headers.insert("user-agent", "curl".parse().unwrap());
        let shown = headers_for_cloud_code(&headers);
        assert_eq!(
            shown,
            BTreeMap::from([("user-agent".to_owned(), "curl".to_owned())])
        );
    }

    #[test]
    fn basic_authentication_names_the_application_and_one_key() {
        let credentials = |text: &str| {
            let mut headers = HeaderMap::new();
            let value = format!("Basic {}", STANDARD.encode(text));
            headers.insert("authorization", value.parse().unwrap());
            from_headers(&headers).unwrap()
        };
        let master = credentials("app:secret");
        assert_eq!(master.application_id.as_deref(), Some("app"));
        assert_eq!(master.master_key.unwrap().expose(), "secret");
        let javascript = credentials("app:javascript-key=js");
        assert!(javascript.master_key.is_none());
        assert_eq!(javascript.javascript_key.unwrap().expose(), "js");
    }
}
