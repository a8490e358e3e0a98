//! The path of a save: authorize → before-trigger → validate → commit → answer.

use serde_json::{Value, json};
use tidegate_parse_protocol::{Changes, ClpOperation, FieldOp, Object, name};
use tidegate_storage::{Action, Write};

use crate::authorize::Granted;
use crate::commit::{Kind, Prepared};
use crate::effect::Asked;
use crate::session::now_ms;
use crate::{Answer, Caller, Error, WritePath};

/// A create (`id` is None) or an update.
pub(crate) struct Save {
    pub class: String,
    pub id: Option<String>,
    pub changes: Changes,
}

impl WritePath {
    pub(crate) async fn save(&self, caller: &Caller, save: Save) -> Result<Answer, Error> {
        if let Some(answer) = self.repeated(caller, &Asked::save(&save)).await? {
            return Ok(answer);
        }
        let prepared = self.prepare_save(caller, save).await?;
        self.commit_one(caller, prepared).await
    }

    /// Everything of a save that comes before its commit.
    pub(crate) async fn prepare_save(
        &self,
        caller: &Caller,
        save: Save,
    ) -> Result<Prepared, Error> {
        let operation = if save.id.is_some() {
            ClpOperation::Update
        } else {
            ClpOperation::Create
        };
        let granted = self.authorize(caller, &save.class, operation).await?;
        let original = self.original(&granted, &save).await?;
        let decided = self.before_save(caller, &save, original.as_ref()).await?;
        let decided_acl = decided.changes.get("ACL").is_some();
        let valid = self
            .validate(caller, &granted, &save, decided.changes)
            .await?;
        let kind = if save.id.is_some() {
            Kind::Update
        } else {
            Kind::Create
        };
        let mut answer_fields = fields_to_answer(&save.changes, &valid.changes, kind);
        // A new user's own ACL is not news to anybody, a trigger's is.
        answer_fields.retain(|field| field != "ACL" || decided_acl);
        let changes = valid.changes.clone();
        let action = match kind {
            Kind::Create => Action::Insert {
                changes,
                created_at_ms: now_ms(),
            },
            _ => Action::Update {
                changes,
                updated_at_ms: now_ms(),
            },
        };
        let write = Write {
            class: valid.class,
            object_id: valid.object_id,
            action,
            access: granted.access,
            message: None,
        };
        Ok(Prepared {
            kind,
            write,
            beside: valid.beside,
            ops: valid.changes,
            context: decided.context,
            answer_fields,
            session_token: valid.session_token,
            then: valid.then,
            effects: caller.recorded().cloned(),
        })
    }

    /// The object before an update, when something needs it: a trigger, or a permission that goes by its fields.
    async fn original(&self, granted: &Granted, save: &Save) -> Result<Option<Object>, Error> {
        let Some(id) = &save.id else { return Ok(None) };
        let has_trigger = self.has_before_save(&save.class);
        if !has_trigger && granted.only.is_none() {
            return Ok(None);
        }
        let class = self.existing_class(&save.class)?;
        Ok(Some(self.writable_object(&class, id, granted).await?))
    }
}

/// The fields whose value the client cannot know: set by a trigger or a default, or computed from what was there.
fn fields_to_answer(asked: &Changes, done: &Changes, kind: Kind) -> Vec<String> {
    let computed = |op: &FieldOp| !matches!(op, FieldOp::Set(_) | FieldOp::Delete);
    let untold = |field: &str, op: &FieldOp| {
        asked.get(field) != Some(op) || (computed(op) && kind == Kind::Update)
    };
    let shown = |field: &str| !field.starts_with('_') && field != "password";
    done.iter()
        .filter(|(field, op)| shown(field) && untold(field, op))
        .map(|(field, _)| field.split('.').next().unwrap_or(field).to_owned())
        .collect()
}

/// The body of a save's answer: what Parse always tells, and `fields`.
pub(crate) fn answer_body(kind: Kind, row: &Object, fields: &[String]) -> Value {
    let always: &[&str] = match kind {
        Kind::Create => &["objectId", "createdAt"],
        Kind::Update => &["updatedAt"],
        Kind::Delete => &[],
    };
    let mut body = Object::new();
    for field in always
        .iter()
        .copied()
        .chain(fields.iter().map(String::as_str))
    {
        match row.get(field) {
            Some(value) => body.insert(field.to_owned(), value.clone()),
            // The trigger took the value away: the SDK must forget it too.
            None if kind == Kind::Update => {
                body.insert(field.to_owned(), json!({"__op": "Delete"}))
            }
            None => None,
        };
    }
    Value::Object(body)
}

/// The objectId of a create: the client's, if it may choose, or a new one.
pub(crate) fn object_id_of_create(
    changes: &mut Changes,
    may_choose: bool,
) -> Result<String, Error> {
    Ok(changes
        .take_object_id(may_choose)?
        .unwrap_or_else(name::new_object_id))
}
