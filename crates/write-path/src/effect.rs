//! The effect ledger: a write that an earlier attempt of the same handler made is not made again.
//!
//! ```text
//! a handler's nth write ─▶ made by an earlier attempt? ─▶ yes: its recorded answer
//!                                                      └▶ no:  row and record in one transaction ─▶ answer
//! ```
//!
//! What counts as the same write is its place among the attempt's writes, its class and kind, and the object of an
//! update or delete; values may differ, as a time does. Another write in its place is an error and never a guess, with one
//! exception: an update of the very object that the recorded write created is that write. Handlers that look first
//! whether their object is there begin so.
//!
//! Not recorded: sessions that cloud code opens or ends by logging in or out; what is not a write.

use std::sync::Arc;

use serde_json::{Map, Value};
use tidegate_cloud_code::Cause;
use tidegate_event::{Delivery, Effect, EffectKind, EffectScope, Redelivery};
use tidegate_event_log::effect::{RECORD, parameters};
use tidegate_parse_protocol::{ClpOperation, ErrorCode, Object, Request};
use tidegate_storage::Companion;

use crate::commit::{After, Kind, location_of};
use crate::error::refuse;
use crate::save::Save;
use crate::{Answer, Caller, Error, WritePath, metric_names};

/// A write as it is asked for, as far as attempts must agree on it.
pub(crate) struct Asked<'a> {
    pub kind: Kind,
    pub class: &'a str,
    /// None for a create.
    pub id: Option<&'a str>,
    /// What a password's change or a user's end does besides. It is done after the commit and recorded nowhere.
    ends_sessions: bool,
}

impl<'a> Asked<'a> {
    pub fn save(save: &'a Save) -> Asked<'a> {
        let is_update = save.id.is_some();
        Asked {
            kind: if is_update {
                Kind::Update
            } else {
                Kind::Create
            },
            class: &save.class,
            id: save.id.as_deref(),
            ends_sessions: is_update
                && save.class == "_User"
                && save.changes.get("password").is_some(),
        }
    }

    pub fn delete(class: &'a str, id: &'a str) -> Asked<'a> {
        Asked {
            kind: Kind::Delete,
            class,
            id: Some(id),
            ends_sessions: class == "_User",
        }
    }

    /// True when `effect` is this write.
    fn is(&self, effect: &Effect) -> bool {
        let same_object = self.id.is_none_or(|id| id == effect.object_id);
        let same_kind = match (effect.kind, self.kind.into()) {
            (EffectKind::Create, EffectKind::Update) => true,
            (recorded, asked) => recorded == asked,
        };
        effect.class == self.class && same_kind && same_object
    }

    fn describe(&self) -> String {
        let kind: EffectKind = self.kind.into();
        match self.id {
            Some(id) => format!("{kind} of {} {id}", self.class),
            None => format!("{kind} of {}", self.class),
        }
    }
}

impl WritePath {
    /// Where a delivery's writes are recorded. `may_repeat`: an earlier attempt may have written something; what it wrote
    /// is then read at once. Without it a repeat is still found, when its record meets the earlier one.
    pub(crate) async fn effect_scope(
        &self,
        delivery: &Delivery,
        may_repeat: bool,
    ) -> Result<EffectScope, Error> {
        let is_recorded = !self.triggers.load().policy(&delivery.trigger).unrecorded;
        let goes_on = |redelivery: &Redelivery| !redelivery.afresh;
        let may_repeat = may_repeat || delivery.redelivery.as_ref().is_some_and(goes_on);
        let cause = delivery.effect_key();
        let earlier = match is_recorded && may_repeat {
            true => self.log.effects_of(&cause).await?,
            false => Default::default(),
        };
        Ok(EffectScope {
            cause: cause.into(),
            log_offset: Some(delivery.log_offset),
            path: String::new(),
            is_recorded,
            earlier: Arc::new(earlier),
        })
    }

    /// The answer that an earlier attempt got for this write; None when it is to be made.
    ///
    /// # Errors
    /// 141 when the earlier attempt made another write in its place; 119 and the like when the caller may not.
    pub(crate) async fn repeated(
        &self,
        caller: &Caller,
        asked: &Asked<'_>,
    ) -> Result<Option<Answer>, Error> {
        let Some(scope) = caller.recorded() else {
            return Ok(None);
        };
        let Some(effect) = scope.earlier.get(&scope.path) else {
            return Ok(None);
        };
        let operation = match asked.kind {
            Kind::Create => ClpOperation::Create,
            Kind::Update => ClpOperation::Update,
            Kind::Delete => ClpOperation::Delete,
        };
        self.authorize(caller, asked.class, operation).await?;
        let answer = recorded_answer(asked, effect, &scope.path)?;
        metrics::counter!(metric_names::WRITES_REPEATED).increment(1);
        if let (true, Some(user_id)) = (asked.ends_sessions, asked.id) {
            let keep = caller.session.as_deref().map(|session| session.id.as_str());
            self.end_sessions(user_id, keep).await?;
        }
        Ok(Some(answer))
    }

    /// The answers to a transaction that an earlier attempt committed; None when it is to be made.
    pub(crate) async fn repeated_transaction(
        &self,
        items: &[(Caller, Request)],
    ) -> Result<Option<Vec<Answer>>, Error> {
        let mut answers = Vec::new();
        for (caller, request) in items {
            let (class, id, changes) = match request {
                Request::Create { class, changes } => (class, None, Some(changes)),
                Request::Update { class, id, changes } => (class, Some(id), Some(changes)),
                Request::Delete { class, id } => (class, Some(id), None),
                _ => return Ok(None),
            };
            let save = changes.map(|changes| Save {
                class: class.clone(),
                id: id.cloned(),
                changes: changes.clone(),
            });
            let asked = match (&save, id) {
                (None, Some(id)) => Asked::delete(class, id),
                (Some(save), _) => Asked::save(save),
                (None, None) => return Ok(None),
            };
            answers.extend(self.repeated(caller, &asked).await?);
        }
        match answers.len() {
            0 => Ok(None),
            all if all == items.len() => Ok(Some(answers)),
            some => {
                let message = format!(
                    "{some} of the {} writes of this transaction were made by an earlier attempt: {ADVICE}",
                    items.len()
                );
                Err(refuse(ErrorCode::SCRIPT_FAILED, message))
            }
        }
    }

    /// The answers to writes that a concurrent attempt has just made, and this one therefore has not.
    pub(crate) async fn recorded_meanwhile(&self, after: &[After]) -> Result<Vec<Answer>, Error> {
        let mut answers = Vec::new();
        for one in after {
            let Some(scope) = &one.effects else { continue };
            let recorded = self.log.effects_of(&scope.cause).await?;
            let effect = recorded.get(&scope.path).ok_or_else(|| Error::Internal {
                what: format!("effect {} of {} is gone", scope.path, scope.cause),
            })?;
            let asked = Asked {
                kind: one.kind,
                class: &one.class.name,
                id: (one.kind != Kind::Create).then_some(&one.object_id),
                ends_sessions: false,
            };
            answers.push(recorded_answer(&asked, effect, &scope.path)?);
        }
        Ok(answers)
    }
}

impl Caller {
    /// Where this caller's write is recorded, if it is.
    pub(crate) fn recorded(&self) -> Option<&EffectScope> {
        let scope = self.cause.effects.as_ref();
        scope.filter(|scope| scope.is_recorded && !scope.path.is_empty())
    }

    /// The caller of the `n`th item (from 1) of this caller's batch.
    pub(crate) fn of_item(&self, n: usize) -> Caller {
        let mut caller = self.clone();
        caller.request_key = self.request_key.as_ref().map(|key| format!("{key}.{n}"));
        if let Some(scope) = &self.cause.effects {
            caller.cause = Arc::new(Cause {
                effects: Some(scope.item(n)),
                ..Cause::clone(&self.cause)
            });
        }
        caller
    }
}

/// The record of a write that goes with it into its transaction. `body`: its answer, without secrets.
pub(crate) fn companion(one: &After, body: &Value) -> Option<Companion> {
    let effect = Effect {
        kind: one.kind.into(),
        class: one.class.name.clone(),
        object_id: one.object_id.clone(),
        answer: body.to_string(),
    };
    Some(Companion {
        text: RECORD,
        params: parameters(one.effects.as_ref()?, &effect),
    })
}

const ADVICE: &str = "a handler must make the same writes in the same order in each attempt, so that none is made twice; \
                      if it cannot, register it with { effects: 'off' }";

fn recorded_answer(asked: &Asked<'_>, effect: &Effect, path: &str) -> Result<Answer, Error> {
    if !asked.is(effect) {
        let message = format!(
            "write {path} of this attempt is {}, that of an earlier attempt was {} of {} {}: {ADVICE}",
            asked.describe(),
            effect.kind,
            effect.class,
            effect.object_id
        );
        return Err(refuse(ErrorCode::SCRIPT_FAILED, message));
    }
    let mut body: Object = serde_json::from_str(&effect.answer).map_err(|error| {
        let what = format!("the recorded answer of write {path} cannot be read: {error}");
        Error::Internal { what }
    })?;
    Ok(match (effect.kind, asked.kind) {
        (_, Kind::Create) => Answer::created(
            Value::Object(body),
            location_of(&effect.class, &effect.object_id),
        ),
        (EffectKind::Create, Kind::Update) => Answer::ok(Value::Object(as_update(&mut body))),
        _ => Answer::ok(Value::Object(body)),
    })
}

/// A create's answer as that of an update.
fn as_update(created: &mut Object) -> Object {
    created.remove("objectId");
    let created_at = created.remove("createdAt");
    let updated_at = created_at.map(|time| ("updatedAt".to_owned(), time));
    let mut body: Map<String, Value> = updated_at.into_iter().collect();
    body.append(created);
    body
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn effect(kind: EffectKind) -> Effect {
        Effect {
            kind,
            class: "Order".into(),
            object_id: "a1".into(),
            answer: json!({"objectId": "a1", "createdAt": "then", "n": 1}).to_string(),
        }
    }

    fn asked<'a>(kind: Kind, class: &'a str, id: Option<&'a str>) -> Asked<'a> {
        Asked {
            kind,
            class,
            id,
            ends_sessions: false,
        }
    }

    #[test]
    fn the_same_write_gets_the_recorded_answer() {
        let create = asked(Kind::Create, "Order", None);
        let answer = recorded_answer(&create, &effect(EffectKind::Create), "2").unwrap();
        assert_eq!(
            (answer.status, answer.location.as_deref()),
            (201, Some("classes/Order/a1"))
        );
        assert_eq!(
            answer.body,
            json!({"objectId": "a1", "createdAt": "then", "n": 1})
        );
        // It looked whether its object is there, and now it is.
        let update = asked(Kind::Update, "Order", Some("a1"));
        let answer = recorded_answer(&update, &effect(EffectKind::Create), "2").unwrap();
        assert_eq!(
            (answer.status, answer.body),
            (200, json!({"updatedAt": "then", "n": 1}))
        );
    }

    #[test]
    fn another_write_in_its_place_is_an_error_that_names_both() {
        let cases = [
            (EffectKind::Create, asked(Kind::Create, "Log", None)),
            (EffectKind::Update, asked(Kind::Create, "Order", None)),
            (EffectKind::Update, asked(Kind::Update, "Order", Some("b2"))),
            (EffectKind::Create, asked(Kind::Update, "Order", Some("b2"))),
            (EffectKind::Create, asked(Kind::Delete, "Order", Some("a1"))),
            (EffectKind::Delete, asked(Kind::Update, "Order", Some("a1"))),
        ];
        for (recorded, asked) in cases {
            let error = recorded_answer(&asked, &effect(recorded), "3").unwrap_err();
            let told = error.to_parse();
            assert_eq!(told.code, ErrorCode::SCRIPT_FAILED);
            let both = format!(
                "write 3 of this attempt is {}, that of an earlier attempt was {recorded} of Order a1: ",
                asked.describe()
            );
            assert!(told.message.starts_with(&both), "{}", told.message);
        }
    }
}
