//! The host calls of isolates: read, done, answered.
//!
//! Nested runs: a host call can itself start a run (a save has its beforeSave). Such a run must never queue behind the
//! runs that wait for it, or all of them wait for ever; [`is_within_call`] lets the pool tell.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fetch;
use crate::host::is_unsafe;
use crate::{Cause, Host, JobAnswer, JobCall, ParseErrorJson, RestCall};

/// The most calls that one run may have unanswered. `Promise.all` over a few thousand saves is ordinary code.
pub(crate) const MAX_OPEN_PER_RUN: usize = 10_000;

/// The most bytes of unanswered calls of one isolate.
pub(crate) const MAX_OPEN_BYTES: usize = 128 * 1024 * 1024;

/// The longest call of a job about itself: a step's result of 256 KiB, and its name.
const MAX_JOB_CALL_BYTES: usize = 260 * 1024;

/// The longest name of a step, in bytes: the runtime allows 200 characters.
const MAX_STEP_NAME_BYTES: usize = 800;

tokio::task_local! {
    static WITHIN_CALL: ();
}

/// True in what a [`Host`] does to answer a call, and in what it awaits; not in tasks that it spawns.
pub(crate) fn is_within_call() -> bool {
    WITHIN_CALL.try_with(|_| ()).is_ok()
}

/// A host call as an isolate sends it: every kind's fields in one, because a tagged enum would parse twice.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CallJson {
    kind: String,
    #[serde(default)]
    method: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    body: Value,
    #[serde(default)]
    use_master_key: bool,
    session_token: Option<String>,
    installation_id: Option<String>,
    context: Option<Value>,
    #[serde(default)]
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    redirect: Option<String>,
    #[serde(default)]
    call: u32,
    step: Option<String>,
    #[serde(default)]
    op: String,
    text: Option<String>,
    done: Option<f64>,
    total: Option<f64>,
    message: Option<String>,
    name: Option<String>,
    #[serde(default)]
    value: Value,
    until_ms: Option<i64>,
}

/// A host call, understood.
#[derive(Debug)]
pub(crate) enum Call {
    Rest(RestCall),
    Fetch(fetch::Request),
    Job(JobCall),
    /// Ends the fetch with this call id.
    Abort(u32),
}

impl Call {
    /// `position`: the how-manieth call of its run.
    pub(crate) fn parse(json: &str, position: u32) -> Result<Call, String> {
        let call: CallJson =
            serde_json::from_str(json).map_err(|error| format!("malformed host call: {error}"))?;
        let names = [&call.step, &call.name].into_iter().flatten();
        if names
            .into_iter()
            .any(|name| name.len() > MAX_STEP_NAME_BYTES)
        {
            return Err("malformed host call: a step's name is too long".into());
        }
        match call.kind.as_str() {
            "rest" => Ok(Call::Rest(RestCall {
                position,
                write_position: None,
                step: call.step,
                method: call.method,
                path: call.path,
                body: call.body,
                use_master_key: call.use_master_key,
                session_token: call.session_token,
                installation_id: call.installation_id,
                context: call.context,
            })),
            "fetch" => Ok(Call::Fetch(fetch::Request {
                method: call.method,
                url: call.url,
                headers: call.headers,
                body: call.body.as_str().map(str::to_owned),
                redirect: call.redirect,
                idempotency_key: None,
                step: call.step,
            })),
            "job" if json.len() > MAX_JOB_CALL_BYTES => Err(format!(
                "the call is too large: {} bytes of at most {MAX_JOB_CALL_BYTES}",
                json.len()
            )),
            "job" => call.into_job().map(Call::Job),
            "abort" => Ok(Call::Abort(call.call)),
            kind => Err(format!("unknown host call {kind:?}")),
        }
    }
}

impl CallJson {
    fn into_job(self) -> Result<JobCall, String> {
        let missing = |what: &str| format!("malformed host call: {} without {what}", self.op);
        match self.op.as_str() {
            "message" => Ok(JobCall::Message(self.text.ok_or_else(|| missing("text"))?)),
            "progress" => Ok(JobCall::Progress {
                done: self.done.ok_or_else(|| missing("done"))?,
                total: self.total,
                message: self.message,
            }),
            "step" => Ok(JobCall::Step {
                name: self.name.ok_or_else(|| missing("name"))?,
                value: self.value,
            }),
            "sleep" => Ok(JobCall::Sleep {
                until_ms: self.until_ms.ok_or_else(|| missing("untilMs"))?,
                name: self.name.ok_or_else(|| missing("name"))?,
            }),
            op => Err(format!("unknown host call of a job {op:?}")),
        }
    }
}

/// An answer as an isolate gets it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub ok: bool,
    pub json: String,
}

impl Answer {
    fn of<T: Serialize, E: Serialize>(result: &Result<T, E>) -> Answer {
        let (ok, json) = match result {
            Ok(answer) => (true, serde_json::to_string(answer)),
            Err(error) => (false, serde_json::to_string(error)),
        };
        match json {
            Ok(json) => Answer { ok, json },
            Err(error) => Answer::refusal(&format!("the answer cannot be encoded: {error}")),
        }
    }

    /// A call that is not done at all.
    pub(crate) fn refusal(why: &str) -> Answer {
        let refusal = serde_json::json!({"code": 1, "message": why, "name": "Error"});
        Answer {
            ok: false,
            json: refusal.to_string(),
        }
    }

    /// That a job's word was taken, or why not.
    pub(crate) fn to_job(result: Result<(), ParseErrorJson>) -> Answer {
        Answer::of(&result)
    }

    pub(crate) fn aborted() -> Answer {
        Answer::of::<(), _>(&Err(fetch::Failure::aborted()))
    }
}

/// Has the host answer a Parse REST call.
pub(crate) async fn rest(host: &Arc<dyn Host>, cause: &Arc<Cause>, call: RestCall) -> Answer {
    let answer: Result<_, ParseErrorJson> = WITHIN_CALL
        .scope((), async { host.call(cause, call).await })
        .await;
    Answer::of(&answer)
}

/// Has the host answer what a job says about itself.
pub(crate) async fn job(
    host: &Arc<dyn Host>,
    cause: &Arc<Cause>,
    call: JobCall,
) -> Result<JobAnswer, ParseErrorJson> {
    WITHIN_CALL
        .scope((), async { host.job(cause, call).await })
        .await
}

/// Makes an HTTP request.
pub(crate) async fn fetch(fetcher: &fetch::Fetcher, request: fetch::Request) -> Answer {
    Answer::of(&fetcher.fetch(request).await)
}

/// How many writes and outbound requests a run has made. Reads are not counted: they may differ between attempts, and
/// what is counted names a write to the next attempt. Each step of a job is counted by itself, because the next attempt
/// may skip it.
#[derive(Debug, Default)]
pub(crate) struct Made {
    outside: Counts,
    steps: HashMap<String, Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    writes: u32,
    requests: u32,
}

impl Made {
    /// Numbers a call, in the order in which the run makes them.
    pub(crate) fn number(&mut self, cause: &Cause, call: &mut Call) {
        match call {
            Call::Rest(rest) if rest.is_write() => {
                let counts = self.counts(rest.step.as_deref());
                counts.writes += 1;
                rest.write_position = Some(counts.writes);
            }
            Call::Fetch(request) if is_unsafe(&request.method) => {
                let counts = self.counts(request.step.as_deref());
                counts.requests += 1;
                request.idempotency_key = cause.effects.as_ref().map(|scope| match &request.step {
                    Some(step) => scope.step(step).idempotency_key(counts.requests),
                    None => scope.idempotency_key(counts.requests),
                });
            }
            _ => {}
        }
    }

    fn counts(&mut self, step: Option<&str>) -> &mut Counts {
        match step {
            None => &mut self.outside,
            Some(step) => self.steps.entry(step.to_owned()).or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_event::EffectScope;

    use super::*;

    #[test]
    fn only_what_changes_something_is_counted() {
        let scope = EffectScope {
            cause: "e:afterSave:A".into(),
            log_offset: None,
            path: "2".into(),
            is_recorded: true,
            earlier: Arc::default(),
        };
        let cause = Cause {
            effects: Some(scope),
            ..Cause::default()
        };
        let mut made = Made::default();
        let mut number = |json: &str| {
            let mut call = Call::parse(json, 0).unwrap();
            made.number(&cause, &mut call);
            match call {
                Call::Rest(rest) => rest.write_position.map(|n| n.to_string()),
                Call::Fetch(request) => request.idempotency_key,
                Call::Job(_) | Call::Abort(_) => None,
            }
        };
        let calls = [
            (r#"{"kind":"rest","method":"GET","path":"classes/A"}"#, None),
            (
                r#"{"kind":"rest","method":"POST","path":"classes/A"}"#,
                Some("1"),
            ),
            (
                r#"{"kind":"rest","method":"POST","path":"classes/A","body":{"_method":"GET"}}"#,
                None,
            ),
            (r#"{"kind":"fetch","method":"get","url":"x"}"#, None),
            (
                r#"{"kind":"fetch","method":"POST","url":"x"}"#,
                Some("e:afterSave:A:2/1"),
            ),
            (
                r#"{"kind":"rest","method":"GET","path":"a","body":{"_method":"PUT"}}"#,
                Some("2"),
            ),
            (
                r#"{"kind":"fetch","method":"PUT","url":"x"}"#,
                Some("e:afterSave:A:2/2"),
            ),
            (
                r#"{"kind":"rest","method":"POST","path":"a","step":"s"}"#,
                Some("1"),
            ),
            (
                r#"{"kind":"fetch","method":"POST","url":"x","step":"s"}"#,
                Some("e:afterSave:A:2[s]/1"),
            ),
            (
                r#"{"kind":"rest","method":"POST","path":"a","step":"t"}"#,
                Some("1"),
            ),
            (
                r#"{"kind":"rest","method":"POST","path":"a","step":"s"}"#,
                Some("2"),
            ),
            (r#"{"kind":"job","op":"message","text":"m"}"#, None),
            (r#"{"kind":"rest","method":"POST","path":"a"}"#, Some("3")),
        ];
        for (json, expected) in calls {
            assert_eq!(number(json).as_deref(), expected, "{json}");
        }
    }

    #[test]
    fn what_a_job_says_is_read_and_nonsense_is_refused() {
        let read = |json: &str| match Call::parse(json, 0) {
            Ok(Call::Job(call)) => Ok(call),
            Ok(other) => panic!("{other:?}"),
            Err(why) => Err(why),
        };
        let progress = JobCall::Progress {
            done: 1.5,
            total: Some(3.0),
            message: None,
        };
        let said = r#"{"kind":"job","op":"progress","done":1.5,"total":3}"#;
        assert_eq!(read(said), Ok(progress));
        let step = JobCall::Step {
            name: "a".into(),
            value: serde_json::json!([null]),
        };
        let said = r#"{"kind":"job","op":"step","name":"a","value":[null]}"#;
        assert_eq!(read(said), Ok(step));
        let sleep = JobCall::Sleep {
            name: "sleep 1".into(),
            until_ms: 8_640_000_000_000_000,
        };
        let said = r#"{"kind":"job","op":"sleep","name":"sleep 1","untilMs":8640000000000000}"#;
        assert_eq!(read(said), Ok(sleep));
        let long = "x".repeat(MAX_JOB_CALL_BYTES);
        for (json, why) in [
            (
                r#"{"kind":"job","op":"sleep","name":"a"}"#,
                "without untilMs",
            ),
            (r#"{"kind":"job","op":"step"}"#, "without name"),
            (r#"{"kind":"job","op":"message","text":1}"#, "malformed"),
            (r#"{"kind":"job"}"#, "unknown"),
            (
                &format!(r#"{{"kind":"job","op":"message","text":"{long}"}}"#),
                "too large",
            ),
            (
                &format!(r#"{{"kind":"rest","step":"{}"}}"#, &long[..900]),
                "too long",
            ),
        ] {
            assert!(read(json).unwrap_err().contains(why), "{why}");
        }
    }
}
