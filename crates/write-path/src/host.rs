//! Cloud code's way in: what the Parse SDK inside an isolate asks of the server.

use std::sync::{Arc, Weak};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use tidegate_cloud_code::{Cause, Host, JobAnswer, JobCall, ParseErrorJson, RestAnswer, RestCall};
use tidegate_event::report::chain;
use tidegate_event::{EffectScope, Source};
use tidegate_parse_protocol::{Credentials, ErrorCode, Request, take_method_override};

use crate::error::refuse;
use crate::{Caller, Error, Wait, WritePath};

/// How many handlers may wait for one another, each in a call of the one before.
const MAX_NESTING: u32 = 16;

/// Weak, because the write path owns the code that calls it.
struct Door(Weak<WritePath>);

impl WritePath {
    /// What cloud code of this process calls.
    pub fn host(self: &Arc<Self>) -> Arc<dyn Host> {
        Arc::new(Door(Arc::downgrade(self)))
    }

    async fn answer_call(&self, cause: Arc<Cause>, call: RestCall) -> Result<RestAnswer, Error> {
        if cause.nesting >= MAX_NESTING {
            let message = format!(
                "{MAX_NESTING} handlers wait for one another: does a function call itself, or a beforeSave save its own class?"
            );
            return Err(refuse(ErrorCode::SCRIPT_FAILED, message));
        }
        let cause = Arc::new(Cause {
            nesting: cause.nesting + 1,
            effects: effects_of(&cause, &call),
            ..Cause::clone(&cause)
        });
        let mut body = call.body;
        let mut method = call.method;
        if let Value::Object(body) = &mut body {
            method = take_method_override(body).unwrap_or(method);
            // Rights come from the call's own options; what a body claims beside them counts for nothing.
            Credentials::take_from_body(body)?;
        }
        let path = call
            .path
            .strip_prefix(&self.config.mount)
            .unwrap_or(&call.path);
        let request = Request::parse(&method, path, &body)?;
        let session = match (&call.session_token, call.use_master_key) {
            (Some(token), false) => Some(self.session(token).await?),
            _ => None,
        };
        let context = match call.context {
            Some(Value::Object(context)) => context,
            _ => Map::new(),
        };
        // An after-trigger that waited for after-triggers would hold its object's lane against itself.
        let wait = match cause.source {
            Source::Trigger | Source::Job | Source::Backfill | Source::Recovered => Wait::None,
            Source::Api | Source::Sql => Wait::AfterTriggers,
        };
        let caller = Caller {
            master: call.use_master_key,
            session,
            cause,
            context,
            wait,
            request_key: None,
        };
        let answer = Box::pin(self.execute(&caller, request)).await?;
        Ok(RestAnswer {
            status: answer.status,
            body: answer.body,
            headers: answer.headers.into_iter().map(owned).collect(),
        })
    }
}

fn owned((name, value): (&'static str, String)) -> (String, String) {
    (name.to_owned(), value)
}

/// Where the call's writes are recorded: those of a read nowhere, for it may be another in the next attempt. A step of a
/// job counts its own writes: an attempt that skips it finds its later ones where they were.
fn effects_of(cause: &Cause, call: &RestCall) -> Option<EffectScope> {
    let scope = cause.effects.as_ref()?;
    let n = call.write_position?;
    Some(match &call.step {
        Some(step) => scope.step(step).write(n),
        None => scope.write(n),
    })
}

/// What a call ended with, for cloud code; this server's faults go into the log.
fn told(error: &Error) -> ParseErrorJson {
    if error.is_servers_fault() {
        tracing::error!(error = chain(error), "a call from cloud code failed");
    }
    let error = error.to_parse();
    ParseErrorJson {
        code: error.code.0,
        message: error.message,
    }
}

fn shutting_down() -> ParseErrorJson {
    ParseErrorJson {
        code: 1,
        message: "the server is shutting down".into(),
    }
}

impl Host for Door {
    fn call(
        &self,
        cause: &Arc<Cause>,
        call: RestCall,
    ) -> BoxFuture<'static, Result<RestAnswer, ParseErrorJson>> {
        let write_path = self.0.upgrade();
        let cause = Arc::clone(cause);
        async move {
            let write_path = write_path.ok_or_else(shutting_down)?;
            let answered = write_path.answer_call(cause, call).await;
            answered.map_err(|error| told(&error))
        }
        .boxed()
    }

    fn job(
        &self,
        cause: &Arc<Cause>,
        call: JobCall,
    ) -> BoxFuture<'static, Result<JobAnswer, ParseErrorJson>> {
        let write_path = self.0.upgrade();
        let cause = Arc::clone(cause);
        async move {
            let write_path = write_path.ok_or_else(shutting_down)?;
            let answered = write_path.answer_job(&cause, call).await;
            answered.map_err(|error| told(&error))
        }
        .boxed()
    }
}
