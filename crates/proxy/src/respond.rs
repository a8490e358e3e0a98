//! Writes the answer: status, headers, CORS.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tidegate_write_path::{Answer, Waited};

/// `done` or `timeout`: whether the request's after-triggers had run when the answer was given.
pub(crate) const WAIT_HEADER: HeaderName = HeaderName::from_static("x-tidegate-wait");
/// In an answer: names its writes. In a request: wait for the after-triggers of these writes first.
pub(crate) const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-tidegate-token");
pub(crate) const WAIT_TIMEOUT_HEADER: HeaderName =
    HeaderName::from_static("x-tidegate-wait-timeout-ms");
pub(crate) const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

const ALLOWED_HEADERS: &str = "X-Parse-Master-Key, X-Parse-REST-API-Key, X-Parse-Javascript-Key, \
    X-Parse-Application-Id, X-Parse-Client-Version, X-Parse-Session-Token, X-Requested-With, \
    X-Parse-Revocable-Session, X-Parse-Request-Id, X-Parse-Installation-Id, X-Parse-Cloud-Context, \
    X-Tidegate-Wait, X-Tidegate-Token, X-Tidegate-Wait-Timeout-Ms, Content-Type, Pragma, Cache-Control";
const EXPOSED_HEADERS: &str = "X-Parse-Job-Status-Id, X-Parse-Push-Status-Id, X-Request-Id, X-Tidegate-Wait, X-Tidegate-Token, \
    X-Tidegate-Workflow-Id";

pub(crate) fn respond(answer: Answer, public_url: &str) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut headers = HeaderMap::new();
    if let Some(location) = answer.location
        && let Ok(value) = HeaderValue::from_str(&format!("{public_url}/{location}"))
    {
        headers.insert(header::LOCATION, value);
    }
    for (name, value) in &answer.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    match answer.waited {
        Waited::No => {}
        Waited::Done => drop(headers.insert(WAIT_HEADER, HeaderValue::from_static("done"))),
        Waited::TimedOut => drop(headers.insert(WAIT_HEADER, HeaderValue::from_static("timeout"))),
    }
    let tokens: Vec<String> = answer.tokens.iter().map(ToString::to_string).collect();
    if !tokens.is_empty()
        && let Ok(value) = HeaderValue::from_str(&tokens.join(","))
    {
        headers.insert(TOKEN_HEADER, value);
    }
    (status, headers, axum::Json(answer.body)).into_response()
}

/// Lets browsers of any origin in, as Parse Server does: rights go by keys and tokens, not by origin.
pub(crate) async fn cors(request: Request, next: Next) -> Response {
    let mut response = match *request.method() {
        Method::OPTIONS => StatusCode::OK.into_response(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        "GET,PUT,POST,DELETE,OPTIONS",
    );
    set(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
    set(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_has_made_is_in_headers_that_browsers_may_read() {
        for name in ["X-Parse-Job-Status-Id", "X-Tidegate-Workflow-Id"] {
            let response = respond(Answer::named(name, "R000000007"), "http://localhost/parse");
            assert_eq!(response.headers()[name], "R000000007");
            assert!(EXPOSED_HEADERS.split(", ").any(|exposed| exposed == name));
        }
    }
}
