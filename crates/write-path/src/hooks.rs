//! Parse's webhooks as people set them through the API. They are kept in `_Hooks`; every process sees a change within
//! a second.

use serde_json::{Value, json};
use tidegate_event::TriggerKind;
use tidegate_parse_protocol::{ErrorCode, HookCall};
use tidegate_storage::Hook;

use crate::error::refuse;
use crate::{Answer, Caller, Error, WritePath};

impl WritePath {
    /// Answers a call of the `hooks` routes; the texts of errors as Parse Server has them (`HooksController.js`).
    pub(crate) async fn hook(&self, caller: &Caller, call: HookCall) -> Result<Answer, Error> {
        if !caller.master {
            return Err(Error::MasterKeyRequired);
        }
        match call {
            HookCall::ListFunctions => Ok(Answer::ok(json!([]))),
            HookCall::Function => Err(refuse(ErrorCode::WEBHOOK, ONLY_AFTER_TRIGGERS)),
            HookCall::ListTriggers => {
                let hooks = self.hooks().await?;
                Ok(Answer::ok(hooks.iter().map(shown).collect()))
            }
            HookCall::GetTrigger { class, trigger } => {
                let hook = self.find_hook(&class, &trigger).await?;
                Ok(Answer::ok(shown(&hook.ok_or_else(|| unknown(&class))?)))
            }
            HookCall::CreateTrigger {
                class,
                trigger,
                url,
            } => {
                if self.find_hook(&class, &trigger).await?.is_some() {
                    let message = format!("class {class} already has trigger {trigger}");
                    return Err(refuse(ErrorCode::WEBHOOK, message));
                }
                self.put_hook(class, trigger, url).await
            }
            HookCall::UpdateTrigger {
                class,
                trigger,
                url,
            } => {
                let known = self.find_hook(&class, &trigger).await?;
                known.ok_or_else(|| unknown(&class))?;
                self.put_hook(class, trigger, url).await
            }
            HookCall::DeleteTrigger { class, trigger } => {
                let known = self.find_hook(&class, &trigger).await?;
                known.ok_or_else(|| unknown(&class))?;
                let deleted = self.storage.delete_hook(&class, &trigger).await;
                deleted.map_err(|source| Error::Storage { source })?;
                Ok(Answer::empty())
            }
        }
    }

    async fn put_hook(&self, class: String, trigger: String, url: String) -> Result<Answer, Error> {
        let kind = serde_json::from_value::<TriggerKind>(trigger.clone().into()).ok();
        if !kind.is_some_and(TriggerKind::is_after_commit) {
            return Err(refuse(ErrorCode::WEBHOOK, ONLY_AFTER_TRIGGERS));
        }
        if !tidegate_cloud_code::post::is_http(&url) {
            let message = "url must be an http or https URL";
            return Err(refuse(ErrorCode::WEBHOOK, message));
        }
        let hook = Hook {
            class,
            trigger,
            url,
        };
        let put = self.storage.put_hook(&hook).await;
        put.map_err(|source| Error::Storage { source })?;
        Ok(Answer::ok(shown(&hook)))
    }

    async fn find_hook(&self, class: &str, trigger: &str) -> Result<Option<Hook>, Error> {
        let hooks = self.hooks().await?;
        let is_it = |hook: &Hook| (&*hook.class, &*hook.trigger) == (class, trigger);
        Ok(hooks.into_iter().find(is_it))
    }

    async fn hooks(&self) -> Result<Vec<Hook>, Error> {
        let hooks = self.storage.hooks().await;
        hooks.map_err(|source| Error::Storage { source })
    }
}

const ONLY_AFTER_TRIGGERS: &str =
    "this version of Tidegate calls webhooks for afterSave and afterDelete only";

fn shown(hook: &Hook) -> Value {
    json!({"className": hook.class, "triggerName": hook.trigger, "url": hook.url})
}

fn unknown(class: &str) -> Error {
    refuse(ErrorCode::WEBHOOK, format!("class {class} does not exist"))
}
