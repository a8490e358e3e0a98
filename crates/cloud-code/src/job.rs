//! One run on its way through the pool: queued, given to an isolate, perhaps moved to another, answered once.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::clock::{nanos, now_ns};
use crate::{Cause, Handler, Run, calls};

/// How often a run may be begun again because its isolate died.
const MAX_REPEATS: u8 = 3;

/// The least time between a run's soft and its hard deadline: an isolate needs some to obey the first.
const MIN_GRACE_NS: u64 = 50_000_000;

/// Boxed, because it goes from hand to hand.
pub(crate) struct Job(Box<Details>);

pub(crate) struct Details {
    pub handler: Handler,
    /// The handler as the runtime reads it.
    pub handler_json: String,
    pub request: String,
    pub cause: Arc<Cause>,
    pub soft_deadline_ns: u64,
    pub hard_deadline_ns: u64,
    /// Gets an isolate of its own.
    pub exclusive: bool,
    /// Runs on behalf of a run that waits for it.
    pub nested: bool,
    repeats: u8,
    reply: Option<oneshot::Sender<Reply>>,
}

/// What the caller is told.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The outcome's JSON as the isolate sent it.
    Outcome(String),
    OutOfMemory,
    TimedOut,
    Crashed(String),
}

impl Deref for Job {
    type Target = Details;

    fn deref(&self) -> &Details {
        &self.0
    }
}

impl DerefMut for Job {
    fn deref_mut(&mut self) -> &mut Details {
        &mut self.0
    }
}

impl Job {
    pub(crate) fn new(
        run: &Run,
        request: String,
        exclusive: bool,
    ) -> (Job, oneshot::Receiver<Reply>) {
        let (reply, replied) = oneshot::channel();
        let now = now_ns();
        let soft_deadline_ns = now.saturating_add(nanos(run.soft_deadline));
        let hard_deadline_ns = now.saturating_add(nanos(run.hard_deadline));
        let details = Details {
            handler: run.handler.clone(),
            handler_json: serde_json::to_string(&run.handler).expect("a handler is JSON"),
            request,
            cause: run.cause.clone(),
            soft_deadline_ns,
            hard_deadline_ns: hard_deadline_ns.max(soft_deadline_ns.saturating_add(MIN_GRACE_NS)),
            exclusive,
            nested: calls::is_within_call(),
            repeats: 0,
            reply: Some(reply),
        };
        (Job(Box::new(details)), replied)
    }

    /// Answers the caller. Only the first answer counts.
    pub(crate) fn answer(&mut self, reply: Reply) {
        if let Some(caller) = self.reply.take() {
            let _ = caller.send(reply); // A caller that is gone wants no answer.
        }
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.reply.is_none()
    }

    /// The run to be begun again, unless that has been tried too often.
    pub(crate) fn repeated(mut self) -> Option<Job> {
        self.repeats += 1;
        if self.repeats <= MAX_REPEATS {
            return Some(self);
        }
        self.answer(Reply::Crashed(format!(
            "the processes that ran it ended {} times",
            self.repeats
        )));
        None
    }
}
