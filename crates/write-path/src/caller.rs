//! Who asks, with which rights, and what set them off.

use std::sync::Arc;

use serde_json::{Map, Value};
use tidegate_cloud_code::Cause;
use tidegate_parse_protocol::Object;

/// The sender of one request.
#[derive(Clone, Debug)]
pub struct Caller {
    pub master: bool,
    pub session: Option<Arc<Session>>,
    /// Where the request came from, and which event or call led to it.
    pub cause: Arc<Cause>,
    /// Parse's `context`, for the triggers.
    pub context: Map<String, Value>,
    pub wait: Wait,
    /// `X-Parse-Request-Id`: the client sends the same again with a request that it repeats.
    pub request_key: Option<String>,
}

/// Whether a write waits for its after-triggers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Answer when they have run, or when the time is up.
    AfterTriggers,
    /// Answer at commit.
    None,
}

/// A valid session and its user.
#[derive(Debug)]
pub struct Session {
    pub id: String,
    pub token: String,
    pub user_id: String,
    /// The user as themselves sees it: no internal field, no token.
    pub user: Object,
}

impl Caller {
    pub fn user_id(&self) -> Option<&str> {
        self.session
            .as_deref()
            .map(|session| session.user_id.as_str())
    }

    /// `request.user` as cloud code gets it: with the session token, so that it can act as the user.
    pub(crate) fn user_json(&self) -> Value {
        let Some(session) = &self.session else {
            return Value::Null;
        };
        let mut user = session.user.clone();
        user.insert("className".into(), "_User".into());
        user.insert("sessionToken".into(), session.token.clone().into());
        Value::Object(user)
    }

    /// The fields that every request object of cloud code has.
    pub(crate) fn request_json(&self) -> Map<String, Value> {
        let cause = &self.cause;
        let mut request = Map::new();
        request.insert("user".into(), self.user_json());
        request.insert("master".into(), self.master.into());
        request.insert(
            "installationId".into(),
            cause.installation_id.clone().into(),
        );
        request.insert("ip".into(), cause.ip.clone().into());
        let headers = cause
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone().into()));
        request.insert("headers".into(), Value::Object(headers.collect()));
        request.insert("context".into(), Value::Object(self.context.clone()));
        request.insert("requestId".into(), cause.request_id.clone().into());
        request
    }
}
