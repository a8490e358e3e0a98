//! Host calls of an isolate: checked, recorded, done in tasks of their own, answered.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;

use super::{Child, OpenCall, State};
use crate::calls::{self, Answer, Call, MAX_OPEN_BYTES, MAX_OPEN_PER_RUN};
use crate::frame::{MAX_FRAME_BYTES, ToIsolate};
use crate::job::Reply;
use crate::tape::{Asked, Place, Step};
use crate::{Handler, JobAnswer};

/// The answer to a write that a repeated run makes in another's place.
const ASTRAY: &str = "this request was begun again after its process was stopped, and then wrote something else than \
                      before; it is given up so that nothing is done twice";

const NO_JOB: &str = "only jobs have steps, sleep, progress and messages";

const HOST_PANICKED: &str = "the server failed while it answered this call";

impl Child {
    /// Does a call, or answers why not. One of a run that is not here is passed over: its isolate knows better.
    pub(super) fn call(self: &Arc<Self>, run: u32, call: u32, json: &str) {
        let mut state = self.state();
        let open_bytes = state.open_call_bytes;
        let Some(pending) = state.pending.get_mut(&run) else {
            return;
        };
        let position = pending.calls;
        pending.calls += 1;
        let parsed = match Call::parse(json, position) {
            Ok(Call::Abort(fetch)) => return self.abort(&mut state, run, fetch),
            Ok(mut parsed) => {
                pending.made.number(&pending.job.cause, &mut parsed);
                parsed
            }
            Err(why) => return self.put_answer(&mut state, call, Answer::refusal(&why)),
        };
        if pending.open_calls.len() >= MAX_OPEN_PER_RUN || open_bytes + json.len() > MAX_OPEN_BYTES
        {
            let refusal = Answer::refusal("too many calls are waiting for their answers");
            return self.put_answer(&mut state, call, refusal);
        }
        let is_job = matches!(pending.job.handler, Handler::Job(_));
        if matches!(parsed, Call::Job(_)) && !is_job {
            return self.put_answer(&mut state, call, Answer::refusal(NO_JOB));
        }
        let place = Place {
            child: Arc::downgrade(self),
            run,
            call,
        };
        let (asked, answer) = match pending.job.tape.ask(&parsed, json) {
            Step::Again(asked) => {
                let answer = asked.attach(place);
                (asked, answer)
            }
            Step::New(asked) => {
                let attached = asked.attach(place);
                self.spawn(pending, run, parsed, asked.clone());
                (asked, attached)
            }
            Step::Astray => return self.put_answer(&mut state, call, Answer::refusal(ASTRAY)),
        };
        match answer {
            Some(answer) => self.put_answer(&mut state, call, answer),
            None => {
                pending.open_calls.insert(
                    call,
                    OpenCall {
                        bytes: json.len(),
                        asked,
                    },
                );
                state.open_call_bytes += json.len();
            }
        }
    }

    fn spawn(self: &Arc<Self>, pending: &super::Pending, run: u32, call: Call, asked: Arc<Asked>) {
        let services = self.services.clone();
        let cause = pending.job.cause.clone();
        match call {
            Call::Rest(rest) => {
                tokio::spawn(async move {
                    let answer = calls::rest(&services.host, &cause, rest);
                    // A host that panics must not leave its caller waiting for the deadline.
                    let answer = AssertUnwindSafe(answer).catch_unwind().await;
                    let failed = |_| Answer::refusal(HOST_PANICKED);
                    asked.answered(answer.unwrap_or_else(failed));
                });
            }
            Call::Fetch(request) => {
                tokio::spawn(async move {
                    tokio::select! {
                        answer = calls::fetch(&services.fetcher, request) => asked.answered(answer),
                        () = asked.abort.cancelled() => {}
                    }
                });
            }
            Call::Job(job) => {
                let child = Arc::downgrade(self);
                tokio::spawn(async move {
                    let answer = AssertUnwindSafe(calls::job(&services.host, &cause, job));
                    let answer = match answer.catch_unwind().await {
                        Ok(Ok(JobAnswer::Suspend { until_ms })) => {
                            let child = child.upgrade();
                            if child.is_some_and(|child| child.suspend(run, until_ms)) {
                                return;
                            }
                            Answer::to_job(Ok(()))
                        }
                        Ok(answer) => Answer::to_job(answer.map(|_| ())),
                        Err(_) => Answer::refusal(HOST_PANICKED),
                    };
                    asked.answered(answer);
                });
            }
            Call::Abort(_) => unreachable!("it is answered before anything is recorded"),
        }
    }

    /// Ends a run that sleeps; false if it is over without that: it did not wait for its sleep.
    fn suspend(&self, run: u32, until_ms: i64) -> bool {
        let mut state = self.state();
        let is_over = (state.pending.get(&run)).is_none_or(|pending| pending.outcome.is_some());
        if !is_over {
            self.give_up(&mut state, run, Reply::Suspended(until_ms));
        }
        !is_over
    }

    fn abort(&self, state: &mut State, run: u32, fetch: u32) {
        let Some(pending) = state.pending.get_mut(&run) else {
            return;
        };
        if let Some(open) = pending.open_calls.remove(&fetch) {
            open.asked.abort.cancel();
            state.open_call_bytes -= open.bytes;
            self.put_answer(state, fetch, Answer::aborted());
        }
    }

    /// Brings an answer to a run that waits for it here.
    pub(crate) fn deliver(&self, run: u32, call: u32, answer: Answer) {
        let mut state = self.state();
        let Some(pending) = state.pending.get_mut(&run) else {
            return;
        };
        let Some(open) = pending.open_calls.remove(&call) else {
            return;
        };
        state.open_call_bytes -= open.bytes;
        self.put_answer(&mut state, call, answer);
    }

    fn put_answer(&self, state: &mut State, call: u32, mut answer: Answer) {
        if answer.json.len() > MAX_FRAME_BYTES - 64 {
            answer = Answer::refusal("the answer is too large");
        }
        ToIsolate::Answer {
            call,
            ok: answer.ok,
            json: &answer.json,
        }
        .put(&mut state.out);
        self.wake.notify_one();
    }
}
