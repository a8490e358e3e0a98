//! What a request is answered with, before it is put into HTTP.

use serde_json::{Value, json};
use tidegate_event::WaitToken;

/// The answer to one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    /// Path of a created object, below the mount: `classes/Order/Ab12`.
    pub location: Option<String>,
    /// What an answer says beside its body, by the header's name.
    pub headers: Vec<(&'static str, String)>,
    /// Whether the request's after-triggers had run when this was given.
    pub waited: Waited,
    /// What a later request can name to be answered after these writes' after-triggers.
    pub tokens: Vec<WaitToken>,
}

/// How waiting for after-triggers ended; of several waits, the greatest counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Waited {
    /// There was nothing to wait for, or nobody wanted to.
    #[default]
    No,
    /// Each after-trigger had its first attempt.
    Done,
    /// They will run; this answer did not wait any longer.
    TimedOut,
}

impl Answer {
    pub fn ok(body: Value) -> Answer {
        Answer {
            status: 200,
            body,
            location: None,
            headers: Vec::new(),
            waited: Waited::No,
            tokens: Vec::new(),
        }
    }

    pub fn created(body: Value, location: String) -> Answer {
        Answer {
            status: 201,
            body,
            location: Some(location),
            headers: Vec::new(),
            waited: Waited::No,
            tokens: Vec::new(),
        }
    }

    pub fn empty() -> Answer {
        Answer::ok(json!({}))
    }

    /// An empty answer that names what it has made.
    pub fn named(header: &'static str, id: impl ToString) -> Answer {
        Answer {
            headers: vec![(header, id.to_string())],
            ..Answer::empty()
        }
    }

    pub fn with_waited(self, waited: Waited) -> Answer {
        Answer { waited, ..self }
    }
}
