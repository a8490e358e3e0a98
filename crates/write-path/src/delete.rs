//! The path of a delete: authorize → before-trigger → commit → answer.

use tidegate_event::TriggerKind;
use tidegate_parse_protocol::present::Present;
use tidegate_parse_protocol::{Access, Acl, Changes, ClpOperation, ErrorCode, Filter, present};
use tidegate_storage::{Action, Secrets, Write};

use crate::commit::{Kind, Prepared, Then};
use crate::error::{not_found, refuse};
use crate::session::first;
use crate::{Answer, Caller, Error, WritePath};

impl WritePath {
    pub(crate) async fn delete(
        &self,
        caller: &Caller,
        class: &str,
        id: &str,
    ) -> Result<Answer, Error> {
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
            let only = granted.only.clone().unwrap_or_else(Filter::all);
            let query = first(Filter::equal("objectId", id).and(only));
            let found = self
                .storage
                .find(&schema, &query, &Access::Master, Secrets::Hidden)
                .await?;
            let object = found.into_iter().next().ok_or_else(not_found)?;
            let acl = present::acl_of(&object);
            if !acl
                .as_ref()
                .is_none_or(|acl| Acl::allows_write(acl, &granted.access))
            {
                return Err(not_found());
            }
            if has_trigger {
                let object = Present::new(&schema, &Access::Master).show(object);
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
        })
    }
}
