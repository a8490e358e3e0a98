//! After-triggers: what stands in their way, and running them over existing rows.

use std::collections::BTreeMap;

use serde::Serialize;
use tidegate_event::{TriggerKind, TriggerSet};
use tidegate_event_log::backfill::{Backfill, DEFAULT_CHUNK_ROWS, MAX_CHUNK_ROWS};
use tidegate_event_log::operation::Specification;

use crate::events::registered;
use crate::operations::{Started, check_rate};
use crate::{Admin, Error};

/// One after-trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TriggerLine {
    /// As `afterSave:Order`.
    pub trigger: String,
    /// False: the current release does not have it, but deliveries of it are unfinished, or it is paused.
    pub is_registered: bool,
    pub is_paused: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_by: Option<String>,
    /// Deliveries that wait in the log.
    pub held: u64,
    /// Deliveries whose last attempt failed and that are tried again.
    pub retrying: u64,
    pub dead: u64,
}

/// Which rows a trigger is run over, and how fast; each part as a person wrote it.
#[derive(Clone, Debug, Default)]
pub struct BackfillRequest {
    /// A class, or `schema.table`.
    pub class: String,
    /// Empty: all after-save triggers of the class.
    pub triggers: Vec<String>,
    pub chunk_rows: Option<u32>,
    pub rate: Option<u32>,
}

/// What a backfill would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackfillPlan {
    pub class: String,
    pub triggers: Vec<String>,
    /// Exact up to a hundred thousand; Postgres's estimate above.
    pub rows: u64,
    pub chunk_rows: u32,
}

impl Admin {
    /// Every after-trigger that is registered, paused, or has unfinished deliveries, by name.
    pub async fn list_triggers(&self) -> Result<Vec<TriggerLine>, Error> {
        let mut lines = BTreeMap::new();
        for trigger in self.triggers().await?.iter() {
            let line = TriggerLine {
                trigger: trigger.to_string(),
                is_registered: true,
                is_paused: false,
                paused_by: None,
                held: 0,
                retrying: 0,
                dead: 0,
            };
            lines.insert(line.trigger.clone(), line);
        }
        for state in self.log.trigger_states().await? {
            let line = TriggerLine {
                is_registered: lines.contains_key(&state.trigger),
                is_paused: state.is_paused,
                paused_by: state.paused_by,
                held: state.held,
                retrying: state.retrying,
                dead: state.dead,
                trigger: state.trigger,
            };
            lines.insert(line.trigger.clone(), line);
        }
        Ok(lines.into_values().collect())
    }

    /// Pauses a trigger: its deliveries wait in the log. `by`: who asks, as others are shown it.
    pub async fn pause_trigger(&self, name: &str, by: &str) -> Result<TriggerLine, Error> {
        self.known_trigger(name, &self.triggers().await?).await?;
        self.log.pause_trigger(name, by).await?;
        self.trigger(name).await
    }

    /// Lets it go on, first with what waits, in order.
    pub async fn resume_trigger(&self, name: &str) -> Result<TriggerLine, Error> {
        self.known_trigger(name, &self.triggers().await?).await?;
        self.log.resume_trigger(name).await?;
        self.trigger(name).await
    }

    async fn trigger(&self, name: &str) -> Result<TriggerLine, Error> {
        let found = self.list_triggers().await?.into_iter();
        let mut found = found.filter(|line| line.trigger == name);
        found
            .next()
            .ok_or_else(|| Error::not_found("after-trigger", name, []))
    }

    /// Refuses a name that is neither registered nor has anything unfinished.
    pub(crate) async fn known_trigger(
        &self,
        name: &str,
        triggers: &TriggerSet,
    ) -> Result<(), Error> {
        if triggers.iter().any(|trigger| trigger.to_string() == name) {
            return Ok(());
        }
        let lines = self.list_triggers().await?;
        match lines.iter().any(|line| line.trigger == name) {
            true => Ok(()),
            false => {
                let known = lines.into_iter().map(|line| line.trigger);
                Err(Error::not_found("after-trigger", name, known))
            }
        }
    }

    /// What a backfill would do, without doing it.
    pub async fn plan_backfill(&self, request: &BackfillRequest) -> Result<BackfillPlan, Error> {
        let (backfill, rows) = self.backfill_of(request).await?;
        Ok(BackfillPlan {
            class: request.class.clone(),
            triggers: backfill.triggers,
            rows,
            chunk_rows: backfill.chunk_rows,
        })
    }

    /// Begins to run triggers over the existing rows of a class.
    pub async fn backfill(&self, request: &BackfillRequest) -> Result<Started, Error> {
        let (backfill, rows) = self.backfill_of(request).await?;
        let operation = self
            .log
            .create_operation(&Specification::Backfill(backfill), request.rate, Some(rows))
            .await?;
        self.started(operation).await
    }

    async fn backfill_of(&self, request: &BackfillRequest) -> Result<(Backfill, u64), Error> {
        check_rate(request.rate)?;
        let chunk_rows = request.chunk_rows.unwrap_or(DEFAULT_CHUNK_ROWS);
        if !(1..=MAX_CHUNK_ROWS).contains(&chunk_rows) {
            let problem = format!("must be 1 to {MAX_CHUNK_ROWS} rows");
            return Err(Error::invalid("--chunk", problem));
        }
        let (schema, table) = self.table(&request.class).await?;
        let registered_triggers = self.triggers().await?;
        let triggers = triggers_of(request, (&schema, &table), &registered_triggers)?;
        let rows = self.log.table_rows(&schema, &table).await?;
        let rows = rows.ok_or_else(|| Error::not_found("class", &request.class, []))?;
        if !rows.has_primary_key {
            let problem = format!(
                "table {schema}.{table} has no primary key, by which a backfill reads its rows: add one, for example \
                 `alter table \"{schema}\".\"{table}\" add column id bigint generated always as identity primary key`"
            );
            return Err(Error::invalid("CLASS", problem));
        }
        let backfill = Backfill {
            schema,
            table,
            triggers,
            chunk_rows,
            publication: self.capture.publication.clone(),
        };
        Ok((backfill, rows.rows))
    }
}

/// Names of the after-save triggers that a backfill is for.
fn triggers_of(
    request: &BackfillRequest,
    (schema, table): (&str, &str),
    triggers: &TriggerSet,
) -> Result<Vec<String>, Error> {
    let is_of_class =
        |class: &str| class.split_once('.').unwrap_or(("public", class)) == (schema, table);
    let own = triggers
        .iter()
        .filter(|trigger| trigger.kind == TriggerKind::AfterSave && is_of_class(&trigger.class));
    let own: Vec<String> = own.map(ToString::to_string).collect();
    if own.is_empty() {
        let class = &request.class;
        return Err(Error::invalid(
            "CLASS",
            format!("the current release has no after-save trigger of {class}"),
        ));
    }
    for name in &request.triggers {
        registered(name, triggers)?;
        if !own.contains(name) {
            let problem = format!(
                "{name} is not an after-save trigger of {}; there is {}",
                request.class,
                own.join(", ")
            );
            return Err(Error::invalid("--trigger", problem));
        }
    }
    match request.triggers.is_empty() {
        true => Ok(own),
        false => Ok(request.triggers.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_event::Trigger;

    #[test]
    fn a_backfill_is_for_the_after_save_triggers_of_its_class() {
        let names = [
            "afterSave:Order",
            "afterSave:public.Order",
            "afterSave:Order@erp",
            "afterDelete:Order",
            "afterSave:b.x",
        ];
        let triggers: TriggerSet = names
            .iter()
            .map(|name| name.parse::<Trigger>().unwrap())
            .collect();
        let of = |class: &str, named: &[&str]| {
            let (schema, table) = class.split_once('.').unwrap_or(("public", class));
            let request = BackfillRequest {
                class: class.into(),
                triggers: named.iter().map(|name| name.to_string()).collect(),
                ..BackfillRequest::default()
            };
            triggers_of(&request, (schema, table), &triggers)
        };
        assert_eq!(of("Order", &[]).unwrap().len(), 3);
        assert_eq!(
            of("Order", &["afterSave:Order"]).unwrap(),
            ["afterSave:Order"]
        );
        assert_eq!(of("b.x", &[]).unwrap(), ["afterSave:b.x"]);
        let not_found = of("Order", &["afterSave:Ordr"]).unwrap_err();
        assert!(
            not_found
                .to_string()
                .contains("did you mean afterSave:Order"),
            "{not_found}"
        );
        let invalid = of("Order", &["afterDelete:Order"]).unwrap_err();
        assert!(invalid.to_string().starts_with("--trigger: "), "{invalid}");
        assert!(
            of("Customer", &[])
                .unwrap_err()
                .to_string()
                .starts_with("CLASS: ")
        );
    }
}
