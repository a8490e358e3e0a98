//! What a worker runs: one after-trigger for one event.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tidegate_cloud_code::{Cause, Handler, Outcome, Ran, Run};
use tidegate_event::report::chain;
use tidegate_event::{ChangeEvent, Delivery, Row, Source, TriggerKind};
use tidegate_parse_protocol::present::Present;
use tidegate_parse_protocol::{Access, ClassSchema, ErrorCode};

use crate::before_trigger::KILL_GRACE;
use crate::{Error, WritePath, after_fields};

impl WritePath {
    /// Runs the trigger of `delivery`. Nothing is open in Postgres meanwhile.
    ///
    /// `attempt`: from 1. `may_repeat`: an earlier attempt may have written something, whether or not it was counted.
    pub async fn run_after_trigger(
        &self,
        delivery: &Delivery,
        attempt: u32,
        may_repeat: bool,
        timeout: Duration,
    ) -> Ran {
        let Some(code) = self.code() else {
            return failed("no cloud code is loaded".into());
        };
        let request = match self.after_request(delivery, attempt).await {
            Ok(request) => request,
            Err(error) => return failed(chain(&error)),
        };
        let effects = match self.effect_scope(delivery, may_repeat).await {
            Ok(effects) => effects,
            Err(error) => return failed(chain(&error)),
        };
        let run = Run {
            handler: Handler::Trigger(delivery.trigger.clone()),
            request: Value::Object(request),
            soft_deadline: timeout,
            hard_deadline: timeout + KILL_GRACE,
            cause: Arc::new(Cause {
                effects: Some(effects),
                ..cause_of(delivery)
            }),
            control: None,
        };
        code.run_logged(run).await
    }

    /// Parse's request object for the trigger of `delivery`, as JSON.
    ///
    /// # Errors
    /// The database cannot be asked for the user or the class.
    pub async fn after_request(
        &self,
        delivery: &Delivery,
        attempt: u32,
    ) -> Result<Map<String, Value>, Error> {
        let event = &delivery.event;
        let context = &event.context;
        let (object, original) = match delivery.trigger.kind {
            TriggerKind::AfterDelete => (event.old.as_ref(), None),
            _ => (event.new.as_ref(), event.old.as_ref()),
        };
        let class = match object.or(original) {
            Some(row) => self.class_of(event, row).await?,
            None => None,
        };
        let user = match &context.user {
            Some(user_id) => self
                .user_by_id(user_id)
                .await?
                .map_or(Value::Null, |mut user| {
                    user.insert("className".into(), "_User".into());
                    Value::Object(user)
                }),
            None => Value::Null,
        };
        let headers = context
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone().into()));
        let fields = [
            ("triggerName", json!(delivery.trigger.kind.as_str())),
            ("className", json!(class_name(event, class.as_deref()))),
            (
                "object",
                self.object(event, class.as_deref(), object).await?,
            ),
            (
                "original",
                self.object(event, class.as_deref(), original).await?,
            ),
            ("ops", Value::Object(context.ops.clone())),
            ("user", user),
            ("master", json!(context.master)),
            ("installationId", json!(context.installation_id)),
            ("ip", json!(context.ip)),
            ("headers", Value::Object(headers.collect())),
            ("context", Value::Object(context.context.clone())),
            ("requestId", json!(context.request_id)),
            ("source", json!(context.source)),
            ("eventId", json!(event.id)),
            ("attempt", json!(attempt)),
        ];
        let mut request: Map<String, Value> = fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        after_fields::put(delivery, &mut request);
        Ok(request)
    }

    async fn class_of(
        &self,
        event: &ChangeEvent,
        row: &Row,
    ) -> Result<Option<Arc<ClassSchema>>, Error> {
        Ok(match event.class() {
            Some(table) => self.storage.class_of_row(table, row).await?,
            None => None,
        })
    }

    /// A row as the REST API shows its object to the master key; null for none.
    async fn object(
        &self,
        event: &ChangeEvent,
        class: Option<&ClassSchema>,
        row: Option<&Row>,
    ) -> Result<Value, Error> {
        let Some(row) = row else {
            return Ok(Value::Null);
        };
        // A column whose type was changed by SQL is no field's any more: then the row is shown as any table's.
        let of_class = class.and_then(|class| {
            let object = self.storage.row_to_object(class, row).ok()?;
            Some(Present::new(class, &Access::Master).show(object))
        });
        if let Some(object) = of_class {
            return Ok(Value::Object(object));
        }
        let (schema, table) = (&event.schema, &event.table);
        let mut object = self.storage.plain_row_to_object(schema, table, row).await?;
        after_fields::name_by_key(event, &mut object);
        Ok(Value::Object(object))
    }
}

/// What `request.object.className` is. The dot in the name of a table that is no class tells the runtime that such an
/// object cannot be saved.
fn class_name(event: &ChangeEvent, class: Option<&ClassSchema>) -> String {
    match class {
        Some(_) => event.table.clone(),
        None => format!("{}.{}", event.schema, event.table),
    }
}

/// A run that was not begun. No process ended, so that this is no crash.
fn failed(message: String) -> Ran {
    Outcome::Threw {
        code: ErrorCode::INTERNAL.0,
        message,
        stack: None,
        is_parse_error: false,
        retry_after_ms: None,
        no_retry: false,
    }
    .into()
}

/// What the trigger's own writes will name as their cause.
fn cause_of(delivery: &Delivery) -> Cause {
    let context = &delivery.event.context;
    let mut chain = context.chain.clone();
    chain.push(format!("{} {}", delivery.trigger, delivery.event.id));
    Cause {
        request_id: context
            .request_id
            .clone()
            .unwrap_or_else(|| delivery.event.id.to_string()),
        source: Source::Trigger,
        parent: Some(delivery.event.id),
        depth: context.depth + 1,
        chain,
        installation_id: context.installation_id.clone(),
        ip: context.ip.clone(),
        headers: context.headers.clone(),
        trace_id: context.trace_id.clone(),
        ..Cause::default()
    }
}
