//! What a worker runs: one after-trigger for one event.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tidegate_cloud_code::{Cause, Handler, Outcome, Run};
use tidegate_event::report::chain;
use tidegate_event::{ChangeEvent, Delivery, Row, Source, TriggerKind};
use tidegate_parse_protocol::Access;
use tidegate_parse_protocol::present::Present;

use crate::before_trigger::KILL_GRACE;
use crate::{Error, WritePath};

impl WritePath {
    /// Runs the trigger of `delivery`. Nothing is open in Postgres meanwhile.
    ///
    /// `attempt`: from 1.
    pub async fn run_after_trigger(
        &self,
        delivery: &Delivery,
        attempt: u32,
        timeout: Duration,
    ) -> Outcome {
        let Some(code) = self.code() else {
            return Outcome::Crashed {
                reason: "no cloud code is loaded".into(),
            };
        };
        let request = match self.after_request(delivery, attempt).await {
            Ok(request) => request,
            Err(error) => {
                return Outcome::Crashed {
                    reason: chain(&error),
                };
            }
        };
        let run = Run {
            handler: Handler::Trigger(delivery.trigger.clone()),
            request: Value::Object(request),
            soft_deadline: timeout,
            hard_deadline: timeout + KILL_GRACE,
            cause: Arc::new(cause_of(delivery)),
        };
        code.run(run).await
    }

    async fn after_request(
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
            ("className", json!(delivery.trigger.class)),
            ("object", self.object(event, object).await?),
            ("original", self.object(event, original).await?),
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
        Ok(fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect())
    }

    /// A row as the REST API shows its object to the master key; null for none.
    async fn object(&self, event: &ChangeEvent, row: Option<&Row>) -> Result<Value, Error> {
        let Some(row) = row else {
            return Ok(Value::Null);
        };
        let class = match event.class() {
            Some(table) => self.storage.class_of_row(table, row).await?,
            None => None,
        };
        Ok(Value::Object(match class {
            Some(class) => {
                let object = self.storage.row_to_object(&class, row)?;
                Present::new(&class, &Access::Master).show(object)
            }
            None => self
                .storage
                .plain_row_to_object(&event.schema, &event.table, row),
        }))
    }
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
