//! What JavaScript may ask of the server: the one door out of an isolate.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidegate_event::{EffectScope, EventId, Source};

/// Answers the Parse REST calls that cloud code makes. The write path implements it.
///
/// Invariant of every implementation: a call is authorised by what it carries (`use_master_key`, `session_token`) and
/// nothing else. The isolate that sends it runs user code and is not trusted.
pub trait Host: Send + Sync + 'static {
    /// Answers one call made by a run with this `cause`.
    ///
    /// Calls of one run may be answered concurrently; [`RestCall::position`] tells their order. A call goes on when
    /// the run that made it is over: a transaction must not be dropped between COMMIT and its answer.
    fn call(
        &self,
        cause: &Arc<Cause>,
        call: RestCall,
    ) -> BoxFuture<'static, Result<RestAnswer, ParseErrorJson>>;

    /// Answers what a job says about itself; only runs of [`crate::Handler::Job`] get here.
    ///
    /// As with [`Host::call`] answers may overtake each other, and a call goes on when its run is over: what it stores
    /// must be fenced by [`Cause::run`].
    fn job(
        &self,
        cause: &Arc<Cause>,
        call: JobCall,
    ) -> BoxFuture<'static, Result<JobAnswer, ParseErrorJson>>;
}

/// What a job says about itself. Every field is what user code chose to send.
#[derive(Clone, Debug, PartialEq)]
pub enum JobCall {
    /// `request.message(text)`.
    Message(String),
    /// `request.progress(done, total, message)`: at most four a second, and the last one. Numbers are finite.
    Progress {
        done: f64,
        total: Option<f64>,
        message: Option<String>,
    },
    /// A step has ended with this value, at most 256 KiB of JSON: to be remembered before it is answered.
    Step { name: String, value: Value },
    /// The job wants to go on at this time; milliseconds since 1970.
    Sleep { name: String, until_ms: i64 },
}

/// The answer to a [`JobCall`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobAnswer {
    Done,
    /// To [`JobCall::Sleep`]: the run ends here with [`crate::Outcome::Suspended`], and nothing of it goes on.
    Suspend {
        until_ms: i64,
    },
}

/// Which attempt of which job run this is. The number of a claim, `fence`, tells an attempt that lost its lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunScope {
    pub id: u64,
    pub fence: u64,
    pub worker: Arc<str>,
}

/// Why a run happens. Opaque to JavaScript and handed back with each of its calls.
#[derive(Clone, Debug, Default)]
pub struct Cause {
    pub request_id: String,
    pub source: Source,
    /// The event whose trigger this is.
    pub parent: Option<EventId>,
    /// 0 for a request from outside, one more with each trigger in between.
    pub depth: u32,
    /// The triggers in between, the first first (see [`tidegate_event::RequestContext::chain`]).
    pub chain: Vec<String>,
    /// How many runs wait for this one: a function that calls a function, a before-trigger that saves.
    pub nesting: u32,
    /// Where its writes are recorded; None when nobody will make them again.
    pub effects: Option<EffectScope>,
    /// The job run that makes this run's calls, also those of handlers within them.
    pub run: Option<RunScope>,
    pub context: Map<String, Value>,
    pub ip: Option<String>,
    pub headers: BTreeMap<String, String>,
    pub installation_id: Option<String>,
    pub trace_id: Option<String>,
}

/// One Parse REST call from cloud code. Every field is what user code chose to send.
#[derive(Clone, Debug)]
pub struct RestCall {
    /// The how-manieth call of its run this is, from 0: the same code makes the same calls in the same order.
    pub position: u32,
    /// The how-manieth write of its run or, where there is one, of its step this is, from 1; None for a read. Attempts
    /// may read differently.
    pub write_position: Option<u32>,
    /// The step of a job that makes the call; see [`EffectScope::step`].
    pub step: Option<String>,
    pub method: String,
    /// Relative to the mount: `classes/Order/abc`.
    pub path: String,
    pub body: Value,
    pub use_master_key: bool,
    pub session_token: Option<String>,
    pub installation_id: Option<String>,
    pub context: Option<Value>,
}

impl RestCall {
    /// True unless it only asks: `_method` in a body stands for the method.
    pub(crate) fn is_write(&self) -> bool {
        let stands_for = self.body.get("_method").and_then(Value::as_str);
        let method = stands_for.filter(|method| !method.is_empty());
        is_unsafe(method.unwrap_or(&self.method))
    }
}

/// True for methods that change something where they go.
pub(crate) fn is_unsafe(method: &str) -> bool {
    !["GET", "HEAD", "OPTIONS"]
        .iter()
        .any(|safe| method.eq_ignore_ascii_case(safe))
}

/// The answer to a [`RestCall`].
#[derive(Clone, Debug, Serialize)]
pub struct RestAnswer {
    pub status: u16,
    pub body: Value,
    pub headers: Vec<(String, String)>,
}

/// A Parse error as cloud code sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ParseErrorJson {
    pub code: u16,
    pub message: String,
}
