//! One transaction: rows, and the request context that their after-triggers will see.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use tidegate_event::context::MAX_CONTEXT_BYTES;
use tidegate_event::{
    EffectKind, EffectScope, Lsn, ReplyTo, RequestContext, TriggerKind, WaitToken, failpoint,
};
use tidegate_parse_protocol::present::Present;
use tidegate_parse_protocol::{Access, Changes, ClassSchema, ErrorCode, Object, ParseError};
use tidegate_storage::{Committed, Write};

use crate::answer::Waited;
use crate::error::{not_found, refuse};
use crate::save::answer_body;
use crate::wait::Ticket;
use crate::{Answer, Caller, Error, Wait, WritePath, effect};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Create,
    Update,
    Delete,
}

/// A write that has passed everything but its commit.
pub(crate) struct Prepared {
    pub kind: Kind,
    pub write: Write,
    /// Written in the same transaction: a new user's session.
    pub beside: Vec<Write>,
    /// The op log for the after-trigger; holds no internal field when it is put into the WAL.
    pub ops: Changes,
    pub context: Map<String, Value>,
    pub answer_fields: Vec<String>,
    pub session_token: Option<String>,
    pub then: Then,
    /// Where the write is recorded, if it is.
    pub effects: Option<EffectScope>,
}

/// What follows a commit.
#[derive(Debug, Default)]
pub(crate) enum Then {
    #[default]
    Nothing,
    /// A new password ends the other sessions.
    EndSessions {
        user_id: String,
        except: Option<String>,
    },
}

impl WritePath {
    pub(crate) async fn commit_one(
        &self,
        caller: &Caller,
        prepared: Prepared,
    ) -> Result<Answer, Error> {
        let mut answers = self.commit(caller, vec![prepared]).await?;
        Ok(answers.remove(0))
    }

    /// Commits all or nothing, and waits for the after-triggers if the caller does.
    pub(crate) async fn commit(
        &self,
        caller: &Caller,
        prepared: Vec<Prepared>,
    ) -> Result<Vec<Answer>, Error> {
        self.check_depth(&caller.cause)?;
        let fired: usize = prepared.iter().map(|one| self.fires(one)).sum();
        let waits = caller.wait == Wait::AfterTriggers && fired > 0;
        let ticket = waits.then(|| self.waiters.expect(fired));
        let (writes, after) = self.writes(caller, prepared, ticket.as_ref())?;
        let committed = match self.commit_in_current_schema(writes, &after).await {
            Ok(committed) => committed,
            Err(tidegate_storage::Error::Conflict) => return self.recorded_meanwhile(&after).await,
            Err(error) => return Err(error.into()),
        };
        let token = (fired > 0).then_some(WaitToken {
            xid: committed.xid,
            lsn: Lsn(committed.lsn),
            deliveries: fired as u32,
        });
        let answers = self.answers(after, committed.rows).await?;
        let waited = match ticket {
            Some(ticket) => ticket.wait(self.config.wait_timeout).await,
            None => Waited::No,
        };
        if waited == Waited::TimedOut {
            metrics::counter!(crate::metric_names::WAITS_TIMED_OUT).increment(1);
        }
        Ok(answers
            .into_iter()
            .map(|answer| Answer {
                waited,
                tokens: token.into_iter().collect(),
                ..answer
            })
            .collect())
    }

    /// Another process may have changed a table since its class was looked up; then the first try wrote nothing.
    async fn commit_in_current_schema(
        &self,
        mut writes: Vec<Write>,
        after: &[After],
    ) -> Result<Committed, tidegate_storage::Error> {
        match self.commit_and_record(writes.clone(), after).await {
            Err(tidegate_storage::Error::StaleSchema) => {
                let schema = self.storage.schema();
                for write in &mut writes {
                    let class = schema.class(&write.class.name);
                    write.class = class.ok_or_else(ParseError::object_not_found)?;
                }
                self.commit_and_record(writes, after).await
            }
            committed => committed,
        }
    }

    /// One round trip for a write that nobody records, two for one that belongs to an attempt.
    async fn commit_and_record(
        &self,
        writes: Vec<Write>,
        after: &[After],
    ) -> Result<Committed, tidegate_storage::Error> {
        if after.iter().all(|one| one.effects.is_none()) {
            return self.storage.commit(writes).await;
        }
        let record = |rows: &[Option<Object>]| {
            let record = |one: &After| effect::companion(one, &one.body(one.row(rows)?));
            after.iter().filter_map(record).collect()
        };
        let committed = self.storage.commit_with(writes, record).await?;
        failpoint::pass(failpoint::WORKER_WROTE);
        Ok(committed)
    }

    fn fires(&self, prepared: &Prepared) -> usize {
        let kind = match prepared.kind {
            Kind::Create | Kind::Update => TriggerKind::AfterSave,
            Kind::Delete => TriggerKind::AfterDelete,
        };
        self.after_triggers(&prepared.write.class.name, kind)
    }

    /// The statements of the transaction, and what is left to do with each prepared write's row.
    fn writes(
        &self,
        caller: &Caller,
        prepared: Vec<Prepared>,
        ticket: Option<&Ticket>,
    ) -> Result<(Vec<Write>, Vec<After>), Error> {
        // A message describes every row up to the next one: with one in the transaction, each row needs its own.
        let with_context = prepared
            .iter()
            .any(|one| self.is_captured(&one.write.class.name));
        let mut writes = Vec::new();
        let mut after = Vec::new();
        for mut one in prepared {
            if with_context {
                let message = self.context_message(caller, &mut one, ticket)?;
                for beside in &mut one.beside {
                    beside.message = Some(message.clone());
                }
                one.write.message = Some(message);
            }
            after.push(After {
                kind: one.kind,
                class: Arc::clone(&one.write.class),
                object_id: one.write.object_id.clone(),
                row_index: writes.len(),
                answer_fields: one.answer_fields,
                session_token: one.session_token,
                then: one.then,
                effects: one.effects,
            });
            writes.push(one.write);
            writes.extend(one.beside);
        }
        Ok((writes, after))
    }

    /// The request context as the WAL carries it. Holds no secret: no token, no password, allowed headers only.
    fn context_message(
        &self,
        caller: &Caller,
        prepared: &mut Prepared,
        ticket: Option<&Ticket>,
    ) -> Result<String, Error> {
        let cause = &caller.cause;
        let mut ops = std::mem::take(&mut prepared.ops).to_rest();
        ops.retain(|field, _| !is_secret(&prepared.write.class.name, field));
        let context = RequestContext {
            source: cause.source,
            request_id: Some(cause.request_id.clone()),
            user: caller.user_id().map(str::to_owned),
            master: caller.master,
            installation_id: cause.installation_id.clone(),
            ip: cause.ip.clone(),
            headers: captured_headers(&cause.headers),
            context: std::mem::take(&mut prepared.context),
            ops,
            parent: cause.parent,
            depth: cause.depth,
            chain: cause.chain.clone(),
            trace_id: cause.trace_id.clone(),
            release: self.code().map(|code| code.id().to_owned()),
            reply_to: ticket.map(|ticket| ReplyTo {
                process: self.config.process.clone(),
                token: ticket.token,
            }),
        };
        let encode = |context: &RequestContext| {
            serde_json::to_string(context).map_err(|error| Error::Internal {
                what: error.to_string(),
            })
        };
        let message = encode(&context)?;
        if message.len() <= MAX_CONTEXT_BYTES {
            return Ok(message);
        }
        // The op log repeats what is in the row; the context is nowhere else.
        let message = encode(&RequestContext {
            ops: Map::new(),
            ..context
        })?;
        if message.len() > MAX_CONTEXT_BYTES {
            let message = format!(
                "context has over {MAX_CONTEXT_BYTES} bytes: keep it small, it goes with every write"
            );
            return Err(refuse(ErrorCode::OBJECT_TOO_LARGE, message));
        }
        Ok(message)
    }

    async fn answers(
        &self,
        after: Vec<After>,
        rows: Vec<Option<Object>>,
    ) -> Result<Vec<Answer>, Error> {
        let mut answers = Vec::new();
        for one in after {
            let mut body = one.body(one.row(&rows).ok_or_else(not_found)?);
            if let (Some(token), Value::Object(body)) = (one.session_token, &mut body) {
                body.insert("sessionToken".into(), token.into());
            }
            if let Then::EndSessions { user_id, except } = one.then {
                self.end_sessions(&user_id, except.as_deref()).await?;
            }
            answers.push(match one.kind {
                Kind::Create => Answer::created(body, location_of(&one.class.name, &one.object_id)),
                Kind::Update | Kind::Delete => Answer::ok(body),
            });
        }
        Ok(answers)
    }
}

/// What may not go into the WAL, by a field's name or path.
fn is_secret(class: &str, field: &str) -> bool {
    let root = field.split('.').next().unwrap_or(field);
    let of_providers = matches!(root, "authData" | "deviceToken" | "password");
    root.starts_with('_') || of_providers || tidegate_storage::is_secret(class, root)
}

/// Headers that go into the WAL and the event log: an allow-list, because a header may carry anything.
fn captured_headers(headers: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    const ALLOWED: [&str; 8] = [
        "accept-language",
        "content-type",
        "origin",
        "referer",
        "user-agent",
        "x-forwarded-for",
        "x-parse-client-version",
        "x-request-id",
    ];
    let allowed = headers
        .iter()
        .filter(|(name, _)| ALLOWED.contains(&name.as_str()));
    allowed
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// What is left to do when a write is committed.
pub(crate) struct After {
    pub kind: Kind,
    pub class: Arc<ClassSchema>,
    pub object_id: String,
    /// Where the write's row stands among the committed ones.
    row_index: usize,
    answer_fields: Vec<String>,
    session_token: Option<String>,
    then: Then,
    pub effects: Option<EffectScope>,
}

impl After {
    fn row<'a>(&self, rows: &'a [Option<Object>]) -> Option<&'a Object> {
        rows.get(self.row_index)?.as_ref()
    }

    /// What the write is answered with, but for a session's token.
    fn body(&self, row: &Object) -> Value {
        let shown = Present::new(&self.class, &Access::Master).show(row.clone());
        answer_body(self.kind, &shown, &self.answer_fields)
    }
}

/// The path of an object, below the mount.
pub(crate) fn location_of(class: &str, id: &str) -> String {
    match class {
        "_User" => format!("users/{id}"),
        "_Role" => format!("roles/{id}"),
        "_Session" => format!("sessions/{id}"),
        "_Installation" => format!("installations/{id}"),
        class => format!("classes/{class}/{id}"),
    }
}

impl From<Kind> for EffectKind {
    fn from(kind: Kind) -> EffectKind {
        match kind {
            Kind::Create => EffectKind::Create,
            Kind::Update => EffectKind::Update,
            Kind::Delete => EffectKind::Delete,
        }
    }
}

impl From<tidegate_storage::Error> for Error {
    fn from(source: tidegate_storage::Error) -> Self {
        let told = source.to_parse();
        match told.code {
            ErrorCode::INTERNAL | ErrorCode::CONNECTION_FAILED => Error::Storage { source },
            _ => Error::Parse(told),
        }
    }
}
