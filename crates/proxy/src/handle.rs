//! One request, from its head to its answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Request};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use metrics::histogram;
use tidegate_cloud_code::Cause;
use tidegate_event::Source;
use tidegate_event::report::chain;
use tidegate_parse_protocol::{Credentials, Secret};
use tidegate_write_path::{Caller, Wait, Waited};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::error::Refusal;
use crate::respond::{REQUEST_ID_HEADER, WAIT_HEADER};
use crate::{Api, Ops, events, incoming, metric_names, ops, respond};

pub(crate) fn router(
    api: Option<Api>,
    ops: Ops,
    extra: Router,
    shutdown: &CancellationToken,
) -> Router {
    let router = ops::router(ops).merge(extra);
    let Some(api) = api else { return router };
    let mount = api.config.mount.clone();
    let events = events::router(
        api.config.keys.clone(),
        api.log.clone(),
        api.config.event_stream_clients,
        shutdown.clone(),
    );
    let router = router.merge(events);
    let parse = Router::new()
        .fallback(handle)
        .layer(middleware::from_fn(respond::cors))
        .with_state(Arc::new(api));
    match mount.as_str() {
        "" | "/" => router.fallback_service(parse),
        mount => router.nest(mount, parse),
    }
}

async fn handle(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let request_id = request_id(&parts.headers);
    let begun = Instant::now();
    let span = tracing::info_span!("request", request.id = request_id);
    let mut kind = "unreadable";
    let answered = answer(&api, &parts, body, &request_id, &mut kind)
        .instrument(span.clone())
        .await;
    let mut response = answered.unwrap_or_else(|refusal| span.in_scope(|| refuse(refusal)));
    let status = response.status().as_u16();
    histogram!(metric_names::REQUEST_SECONDS, "kind" => kind, "status" => status.to_string())
        .record(begun.elapsed().as_secs_f64());
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID_HEADER, value);
    }
    response
}

async fn answer(
    api: &Api,
    parts: &Parts,
    body: Body,
    request_id: &str,
    kind: &mut &'static str,
) -> Result<Response, Refusal> {
    let incoming = incoming::read(parts, body, api.config.max_body_bytes).await?;
    let master = api.config.keys.check(&incoming.credentials)?;
    // Axum has taken the mount off the path.
    let request = tidegate_parse_protocol::Request::parse(
        &incoming.method,
        parts.uri.path(),
        &incoming.body,
    )?;
    *kind = request.kind();
    let awaited = await_tokens(api, &parts.headers).await?;
    let session = match &incoming.credentials.session_token {
        Some(token) if needs_session(&request) => Some(session(api, token).await?),
        _ => None,
    };
    let caller = Caller {
        master,
        session,
        cause: Arc::new(cause(parts, &incoming.credentials, request_id)),
        context: incoming.credentials.context.unwrap_or_default(),
        wait: wait(&parts.headers, api.config.wait_for_after_triggers),
        request_key: incoming.credentials.request_id,
    };
    let mut answer = api.write_path.execute(&caller, request).await?;
    answer.waited = answer.waited.max(awaited);
    Ok(respond::respond(
        answer,
        &public_url(parts, &api.config.mount),
    ))
}

/// Lets the after-triggers of the writes that the request names have their first attempt before it is executed.
async fn await_tokens(api: &Api, headers: &HeaderMap) -> Result<Waited, Refusal> {
    let (tokens, at_most) = incoming::wait_tokens(headers)?;
    if tokens.is_empty() {
        return Ok(Waited::No);
    }
    Ok(api.write_path.wait_for_tokens(&tokens, at_most).await?)
}

/// `/login` ignores a session token, valid or not.
fn needs_session(request: &tidegate_parse_protocol::Request) -> bool {
    !matches!(request, tidegate_parse_protocol::Request::LogIn { .. })
}

async fn session(
    api: &Api,
    token: &Secret,
) -> Result<Arc<tidegate_write_path::caller::Session>, Refusal> {
    Ok(api.write_path.session(token.expose()).await?)
}

fn cause(parts: &Parts, credentials: &Credentials, request_id: &str) -> Cause {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    Cause {
        request_id: request_id.to_owned(),
        source: Source::Api,
        parent: None,
        depth: 0,
        installation_id: credentials.installation_id.clone(),
        ip: peer.map(|ConnectInfo(address)| address.ip().to_string()),
        headers: incoming::headers_for_cloud_code(&parts.headers),
        trace_id: None,
        ..Cause::default()
    }
}

fn wait(headers: &HeaderMap, default: bool) -> Wait {
    let asked = headers
        .get(&WAIT_HEADER)
        .and_then(|value| value.to_str().ok());
    match asked {
        Some("none") => Wait::None,
        Some("after") => Wait::AfterTriggers,
        _ if default => Wait::AfterTriggers,
        _ => Wait::None,
    }
}

/// The client's own id, when it is one that can be logged; else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers
        .get(&REQUEST_ID_HEADER)
        .and_then(|value| value.to_str().ok());
    let is_plain = |id: &&str| {
        (1..=64).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    match given.filter(is_plain) {
        Some(id) => id.to_owned(),
        None => format!("{:016x}", rand::random::<u64>()),
    }
}

fn public_url(parts: &Parts, mount: &str) -> String {
    let host = parts
        .headers
        .get("host")
        .and_then(|value| value.to_str().ok())
        .unwrap_or("localhost");
    format!("http://{host}{mount}")
}

/// Logs what is this server's fault, once, with its cause; the client is told less.
fn refuse(refusal: Refusal) -> Response {
    if let Refusal::Request(error) = &refusal
        && error.is_servers_fault()
    {
        tracing::error!(error = chain(error), "a request failed");
    }
    refusal.into_response()
}
