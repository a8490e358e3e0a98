//! One run on its way through the pool: queued, given to an isolate, perhaps moved to another, answered once.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::clock::{nanos, now_ns};
use crate::frame::Level;
use crate::tape::Tape;
use crate::{Cause, Control, Handler, Run, calls, logs};

/// How often a run may be begun again because its isolate died.
const MAX_REPEATS: u8 = 3;

/// How often a run may be taken from an isolate that is stuck in another's code: it may be stuck for a good reason, and
/// beginning again costs.
const MAX_DISPLACEMENTS: u8 = 3;

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
    /// That isolate may serve the next such run, if this one leaves nothing behind.
    pub leaves_isolate: bool,
    pub control: Option<Control>,
    /// Runs on behalf of a run that waits for it.
    pub nested: bool,
    /// What it has asked so far.
    pub tape: Tape,
    /// How many lines it has printed; a repetition prints them again, and they are not shown again.
    pub shown_lines: u32,
    /// The last of them.
    pub logs: logs::Kept,
    /// Who hears them at once.
    live: Option<logs::Live>,
    /// How often it may still be begun again, for either reason.
    repeats: u8,
    displacements: u8,
    reply: Option<oneshot::Sender<(Reply, Option<String>)>>,
}

/// What the caller is told.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The outcome's JSON as the isolate sent it.
    Outcome(String),
    OutOfMemory,
    TimedOut,
    Crashed(String),
    Killed,
    Suspended(i64),
}

/// Which isolate a run gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// One that others use too.
    Shared,
    /// One that nobody else uses while it runs.
    Alone,
    /// One that nobody else ever used or uses.
    Fresh,
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
        place: Place,
    ) -> (Job, oneshot::Receiver<(Reply, Option<String>)>) {
        let (reply, replied) = oneshot::channel();
        let now = now_ns();
        let soft_deadline_ns = now.saturating_add(nanos(run.soft_deadline));
        // Whether a job is tried again is decided where its attempts are counted, and nowhere else.
        let may_begin_again = !matches!(run.handler, Handler::Job(_));
        let control = run.control.clone();
        let live = control.as_ref().and_then(|control| control.logs.clone());
        let hard_deadline_ns = now.saturating_add(nanos(run.hard_deadline));
        let details = Details {
            handler: run.handler.clone(),
            handler_json: serde_json::to_string(&run.handler).expect("a handler is JSON"),
            request,
            cause: run.cause.clone(),
            soft_deadline_ns,
            hard_deadline_ns: hard_deadline_ns.max(soft_deadline_ns.saturating_add(MIN_GRACE_NS)),
            exclusive: place != Place::Shared,
            leaves_isolate: place == Place::Alone,
            control,
            nested: calls::is_within_call(),
            tape: Tape::default(),
            shown_lines: 0,
            logs: logs::Kept::default(),
            live: live.map(logs::Live::new),
            repeats: if may_begin_again { MAX_REPEATS } else { 0 },
            displacements: if may_begin_again {
                MAX_DISPLACEMENTS
            } else {
                0
            },
            reply: Some(reply),
        };
        (Job(Box::new(details)), replied)
    }

    /// Answers the caller, and gives it what the run has printed. Only the first answer counts.
    pub(crate) fn answer(&mut self, reply: Reply) {
        self.live = None;
        if let Some(caller) = self.reply.take() {
            let _ = caller.send((reply, self.logs.take())); // A caller that is gone wants no answer.
        }
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.reply.is_none()
    }

    /// Shows a line that it printed, to whoever wants to see it.
    pub(crate) fn print(&mut self, level: Level, text: &str) {
        if !self.is_answered() {
            self.logs.push(level, text);
        }
        if let Some(live) = &mut self.live {
            live.send(level, text);
        }
    }

    pub(crate) fn is_to_be_killed(&self) -> bool {
        (self.control.as_ref()).is_some_and(|control| control.kill.is_cancelled())
    }

    pub(crate) fn is_to_be_aborted(&self) -> bool {
        (self.control.as_ref()).is_some_and(|control| control.abort.is_cancelled())
    }

    /// Asks to take it from an isolate that is busy with another's code; granted a few times.
    pub(crate) fn may_be_displaced(&mut self) -> bool {
        let may = !self.is_answered() && self.tape.is_whole() && self.displacements > 0;
        self.displacements -= u8::from(may);
        may
    }

    /// Asks to begin it again after its isolate died; granted a few times. If its own code was running it may be at
    /// fault: then it gets one more chance, alone.
    pub(crate) fn may_begin_again(&mut self, was_computing: bool) -> bool {
        let may = self.tape.is_whole() && self.repeats > 0;
        self.repeats = if was_computing {
            0
        } else {
            self.repeats.saturating_sub(1)
        };
        self.exclusive |= was_computing;
        may
    }

    /// The run to be begun again elsewhere.
    pub(crate) fn rewound(mut self) -> Job {
        self.tape.rewind();
        self
    }
}
