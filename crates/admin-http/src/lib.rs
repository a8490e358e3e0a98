#![doc = include_str!("../README.md")]
//!
//! Layout: `endpoint` is one row of the table; `runs`, `jobs`, `workflows` and `schedules` are the rows and what they do;
//! `follow` streams a log. `ask` reads parameters and bodies, `refusal` writes errors, `access` asks for the key. `openapi`
//! makes the document, of `schemas`.

mod access;
mod ask;
mod endpoint;
mod follow;
mod jobs;
mod openapi;
mod refusal;
mod runs;
mod schedules;
mod schemas;
mod workflows;

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::middleware;
use axum::routing::get;
use tidegate_admin::Admin;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// What [`router`] makes, for who passes it on.
pub use axum::Router;

use access::Check;
use endpoint::Endpoint;
use refusal::Refusal;

/// Where everything of this crate stands.
pub const MOUNT: &str = "/tidegate/v1";

/// Largest body: params of 1 MiB, with room for how they are escaped.
pub const MAX_BODY_BYTES: usize = 2 * 1024 * 1024;

/// Most clients that follow logs at one time: each asks the database a few times a second.
pub const MAX_FOLLOWERS: usize = 32;

/// Who operators' requests are shown to be by, where that is recorded.
const BY: &str = "api";

/// What every handler has.
#[derive(Clone)]
struct Door {
    admin: Admin,
    followers: Arc<Semaphore>,
    shutdown: CancellationToken,
}

/// Everything under [`MOUNT`].
///
/// `is_master`: whether a request with these headers carries the application id and the master key. `shutdown`: ends what
/// clients follow.
pub fn router(
    admin: Admin,
    is_master: impl Fn(&HeaderMap) -> bool + Send + Sync + 'static,
    shutdown: CancellationToken,
) -> Router {
    let door = Door {
        admin,
        followers: Arc::new(Semaphore::new(MAX_FOLLOWERS)),
        shutdown,
    };
    let document = Arc::new(openapi::document(&endpoints()));
    let answer = move || {
        let document = Arc::clone(&document);
        async move { axum::Json((*document).clone()) }
    };
    let mut router: Router<Door> = Router::new().route(openapi::PATH, get(answer));
    for endpoint in endpoints() {
        let path = endpoint.path;
        router = router.route(path, endpoint.into_route());
    }
    let check: Check = Arc::new(is_master);
    let router = router
        .fallback(|| async { Refusal::NoRoute })
        .method_not_allowed_fallback(|| async { Refusal::NoMethod })
        .layer(middleware::from_fn_with_state(check, access::check))
        .with_state(door);
    Router::new().nest(MOUNT, router)
}

fn endpoints() -> Vec<Endpoint> {
    let mut all = jobs::endpoints();
    all.extend(runs::endpoints());
    all.extend(workflows::endpoints());
    all.extend(schedules::endpoints());
    all
}
