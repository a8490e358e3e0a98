//! Host calls of an isolate: checked, done in tasks of their own, answered.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;

use super::{Child, State};
use crate::calls::{self, Answer, Call, MAX_OPEN_BYTES, MAX_OPEN_PER_RUN};
use crate::frame::{MAX_FRAME_BYTES, ToIsolate};

/// What a call's task must give back when it is done.
struct Opened {
    run: u32,
    call: u32,
    bytes: usize,
}

impl Child {
    /// Does a call, or answers why not. One of a run that is over is passed over: the isolate knows better.
    pub(super) fn call(self: &Arc<Self>, run: u32, call: u32, json: &str) {
        let mut state = self.state();
        let open_bytes = state.open_call_bytes;
        let Some(pending) = state.pending.get_mut(&run) else {
            return;
        };
        let position = pending.calls;
        pending.calls += 1;
        if pending.open_calls >= MAX_OPEN_PER_RUN || open_bytes + json.len() > MAX_OPEN_BYTES {
            let refusal = Answer::refusal("too many calls are waiting for their answers");
            return self.put_answer(&mut state, call, refusal);
        }
        let opened = Opened {
            run,
            call,
            bytes: json.len(),
        };
        match Call::parse(json, position) {
            Ok(Call::Abort(fetch)) => return self.abort(&mut state, run, fetch),
            Ok(Call::Rest(rest)) => {
                let (child, cause) = (self.clone(), pending.job.cause.clone());
                tokio::spawn(async move {
                    let answer = calls::rest(&child.services.host, &cause, rest);
                    child.answer(opened, answer).await;
                });
            }
            Ok(Call::Fetch(mut request)) => {
                let job = &pending.job;
                request.idempotency_key =
                    calls::idempotency_key(&job.cause, &job.handler, position);
                let child = self.clone();
                let task = tokio::spawn(async move {
                    let answer = calls::fetch(&child.services.fetcher, request);
                    child.answer(opened, answer).await;
                });
                pending.fetches.insert(call, task.abort_handle());
            }
            Err(why) => return self.put_answer(&mut state, call, Answer::refusal(&why)),
        }
        pending.open_calls += 1;
        state.open_call_bytes += json.len();
    }

    fn abort(&self, state: &mut State, run: u32, fetch: u32) {
        let Some(pending) = state.pending.get_mut(&run) else {
            return;
        };
        if let Some(task) = pending.fetches.remove(&fetch) {
            task.abort();
            pending.open_calls -= 1;
            self.put_answer(state, fetch, Answer::aborted());
        }
    }

    async fn answer(&self, opened: Opened, answer: impl Future<Output = Answer>) {
        // A host that panics must not leave its caller waiting for the deadline.
        let answer = AssertUnwindSafe(answer).catch_unwind().await;
        let failed = |_| Answer::refusal("the server failed while it answered this call");
        let answer = answer.unwrap_or_else(failed);
        let mut state = self.state();
        state.open_call_bytes = state.open_call_bytes.saturating_sub(opened.bytes);
        let Some(pending) = state.pending.get_mut(&opened.run) else {
            return;
        };
        pending.open_calls = pending.open_calls.saturating_sub(1);
        pending.fetches.remove(&opened.call);
        self.put_answer(&mut state, opened.call, answer);
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
