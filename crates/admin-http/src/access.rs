//! Who may ask: whoever has the master key, nobody else.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::refusal::Refusal;

pub(crate) type Check = Arc<dyn Fn(&HeaderMap) -> bool + Send + Sync>;

/// Lets a request through, or refuses it before anything of its body is read.
pub(crate) async fn check(State(check): State<Check>, request: Request, next: Next) -> Response {
    match check(request.headers()) {
        true => next.run(request).await,
        false => Refusal::NoMasterKey.into_response(),
    }
}
