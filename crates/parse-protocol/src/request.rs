//! One Parse REST call, whoever sends it: HTTP, the SDK inside an isolate, an item of a batch.
//!
//! ```text
//! "PUT", "classes/Order/abc", {"total":3} ─▶ Request::Update { class: "Order", id: "abc", changes }
//! ```

mod batch;
mod hooks;
mod jobs;
mod login;
mod route;

use std::fmt;

use serde_json::Value;

pub use batch::{BatchItem, MAX_BATCH_REQUESTS};
pub use hooks::HookCall;
pub use jobs::{JobCall, ScheduleForm};

use crate::{Changes, Object, ParseError, Query, ReadOptions, Secret};

/// What a call asks for.
#[derive(Clone, PartialEq)]
pub enum Request {
    /// `objectId` stays among the changes when the client named one: [`Changes::take_object_id`].
    Create {
        class: String,
        changes: Changes,
    },
    Get {
        class: String,
        id: String,
        options: ReadOptions,
    },
    Find {
        class: String,
        query: Query,
    },
    Update {
        class: String,
        id: String,
        changes: Changes,
    },
    Delete {
        class: String,
        id: String,
    },
    /// A create in `_User`, by whichever route.
    SignUp {
        changes: Changes,
    },
    LogIn {
        username: Option<String>,
        email: Option<String>,
        password: Secret,
    },
    LogOut,
    /// `users/me`.
    CurrentUser,
    /// `sessions/me`.
    CurrentSession,
    CallFunction {
        name: String,
        params: Object,
    },
    Batch {
        requests: Vec<BatchItem>,
        transaction: bool,
    },
    Hook(HookCall),
    Job(JobCall),
    Health,
    ServerInfo,
    /// `known`: a route that Parse Server has and this server does not answer yet. Otherwise there is no such route.
    Unsupported {
        method: String,
        path: String,
        known: bool,
    },
}

impl Request {
    /// Reads one call.
    ///
    /// `path`: below the mount, still percent-encoded, with or without a leading slash: `classes/Order/abc`.
    /// `body`: the JSON body, `null` for none; of a GET its query parameters, as texts or JSON.
    /// Credentials and `_method` must be taken out before.
    ///
    /// # Errors
    /// 103 for a class name that is not allowed, 107 for a body of the wrong shape, and what the parts say.
    pub fn parse(method: &str, path: &str, body: &Value) -> Result<Request, ParseError> {
        route::parse(method, path, body)
    }

    /// A short name for logs and metrics: `create`, `find`, `callFunction`.
    pub fn kind(&self) -> &'static str {
        match self {
            Request::Create { .. } => "create",
            Request::Get { .. } => "get",
            Request::Find { .. } => "find",
            Request::Update { .. } => "update",
            Request::Delete { .. } => "delete",
            Request::SignUp { .. } => "signUp",
            Request::LogIn { .. } => "logIn",
            Request::LogOut => "logOut",
            Request::CurrentUser => "currentUser",
            Request::CurrentSession => "currentSession",
            Request::CallFunction { .. } => "callFunction",
            Request::Batch { .. } => "batch",
            Request::Hook(_) => "hook",
            Request::Job(_) => "job",
            Request::Health => "health",
            Request::ServerInfo => "serverInfo",
            Request::Unsupported { .. } => "unsupported",
        }
    }

    /// The class that the call reads or writes.
    pub fn class(&self) -> Option<&str> {
        match self {
            Request::Create { class, .. }
            | Request::Get { class, .. }
            | Request::Find { class, .. }
            | Request::Update { class, .. }
            | Request::Delete { class, .. } => Some(class),
            Request::SignUp { .. } | Request::CurrentUser => Some("_User"),
            Request::CurrentSession => Some("_Session"),
            _ => None,
        }
    }
}

/// What is asked of which class or function, without any value: parameters can be secrets.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Request::Get { class, id, .. }
            | Request::Update { class, id, .. }
            | Request::Delete { class, id } => {
                write!(f, " {class}/{id}")
            }
            Request::Create { class, changes } => write!(f, " {class} {changes:?}"),
            Request::Find { class, .. } => write!(f, " {class}"),
            Request::CallFunction { name, .. } => write!(f, " {name}"),
            Request::Batch { requests, .. } => write!(f, " {requests:?}"),
            Request::Unsupported { method, path, .. } => write!(f, " {method} {path}"),
            _ => Ok(()),
        }
    }
}

/// Takes `_method` out of a POST's body: the method that the call stands for. Browsers and the JS SDK send all so.
pub fn take_method_override(body: &mut Object) -> Option<String> {
    match body.remove("_method")? {
        Value::String(method) if !method.is_empty() => Some(method.to_ascii_uppercase()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_post_can_stand_for_another_method() {
        for (body, expected) in [
            (json!({"_method": "get", "a": 1}), Some("GET")),
            (json!({"_method": "PUT"}), Some("PUT")),
            (json!({"_method": ""}), None),
            (json!({"_method": 5}), None),
            (json!({}), None),
        ] {
            let mut fields = body.as_object().unwrap().clone();
            assert_eq!(
                take_method_override(&mut fields).as_deref(),
                expected,
                "{body}"
            );
            assert!(!fields.contains_key("_method"));
        }
    }

    #[test]
    fn values_reach_the_call_but_not_its_debug_form() {
        let body = json!({"username": "u", "email": "e@x", "password": "hunter2"});
        let login = Request::parse("POST", "login", &body).unwrap();
        let expected = Request::LogIn {
            username: Some("u".to_owned()),
            email: Some("e@x".to_owned()),
            password: Secret::new("hunter2"),
        };
        assert_eq!(login, expected);
        let batch = json!({"requests": [{"method": "POST", "path": "/login", "body": body}]});
        for request in [login, Request::parse("POST", "batch", &batch).unwrap()] {
            assert!(!format!("{request:?}").contains("hunter2"));
        }
    }

    #[test]
    fn an_update_keeps_the_id_of_its_path() {
        let update =
            Request::parse("PUT", "classes/A/x", &json!({"objectId": "y", "a": 1})).unwrap();
        let Request::Update { class, id, changes } = update else {
            panic!("not an update")
        };
        assert_eq!((class.as_str(), id.as_str()), ("A", "x"));
        assert_eq!(Value::Object(changes.to_rest()), json!({"a": 1}));
    }

    #[test]
    fn batches_are_bounded() {
        let batch =
            |count: usize| json!({"requests": vec![json!({"path": "/parse/classes/A"}); count]});
        assert!(Request::parse("POST", "batch", &batch(MAX_BATCH_REQUESTS)).is_ok());
        let error = Request::parse("POST", "batch", &batch(MAX_BATCH_REQUESTS + 1)).unwrap_err();
        assert_eq!(
            error.message,
            "Batch request contains 51 sub-requests, which exceeds the limit of 50."
        );
    }

    #[test]
    fn routes_of_parse_server_are_told_from_nonsense() {
        for (path, is_known) in [
            ("schemas/A", true),
            ("cloud_code/x", true),
            ("nonsense", false),
            ("users/a/b", false),
        ] {
            match Request::parse("GET", path, &Value::Null) {
                Ok(Request::Unsupported { known, .. }) => assert_eq!(known, is_known, "{path}"),
                other => panic!("{path}: {other:?}"),
            }
        }
    }
}
