//! The path of a delete: authorize → before-trigger → commit → answer.

use tidegate_event::TriggerKind;
use tidegate_parse_protocol::{Changes, ClpOperation, ErrorCode};
use tidegate_storage::{Action, Write};

use crate::commit::{Kind, Prepared, Then};
use crate::effect::Asked;
use crate::error::refuse;
use crate::{Answer, Caller, Error, WritePath};

impl WritePath {
    pub(crate) async fn delete(
        &self,
        caller: &Caller,
        class: &str,
        id: &str,
    ) -> Result<Answer, Error> {
        if let Some(answer) = self.repeated(caller, &Asked::delete(class, id)).await? {
            return Ok(answer);
        }
        let prepared = self.prepare_delete(caller, class, id).await?;
        self.commit_one(caller, prepared).await
    }

    pub(crate) async fn prepare_delete(
        &self,
        caller: &Caller,
        class: &str,
        id: &str,
    ) -> Result<Prepared, Error> {
        let granted = self.authorize(caller, class, ClpOperation::Delete).await?;
        let schema = self.existing_class(class)?;
        if class == "_User" && !caller.master && caller.user_id() != Some(id) {
            let message = format!("Insufficient auth to delete user {id}.");
            return Err(refuse(ErrorCode::SESSION_MISSING, message));
        }
        let has_trigger = self
            .code()
            .is_some_and(|code| code.triggers().has(TriggerKind::BeforeDelete, class));
        let mut context = caller.context.clone();
        if has_trigger || granted.only.is_some() {
            let object = self.writable_object(&schema, id, &granted).await?;
            if has_trigger {
                context = self.before_delete(caller, class, &object).await?;
            }
        }
        let write = Write {
            class: schema,
            object_id: id.to_owned(),
            action: Action::Delete,
            access: granted.access,
            message: None,
        };
        let then = match class {
            "_User" => Then::EndSessions {
                user_id: id.to_owned(),
                except: None,
            },
            _ => Then::Nothing,
        };
        Ok(Prepared {
            kind: Kind::Delete,
            write,
            beside: Vec::new(),
            ops: Changes::default(),
            context,
            answer_fields: Vec::new(),
            session_token: None,
            then,
            effects: caller.recorded().cloned(),
        })
    }
}
