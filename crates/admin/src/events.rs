//! Events: looking at them, following what they led to, delivering them again.

use jiff::Timestamp;
use serde::Serialize;
use tidegate_event::{ChangeEvent, Trigger, TriggerSet};
use tidegate_event_log::LogEntry;
use tidegate_event_log::inspect::{EventLine, Wanted};
use tidegate_event_log::operation::Specification;
use tidegate_event_log::replay::{Replay, ReplayPlan};
use tidegate_event_log::trace::Trace;

use crate::operations::{Started, check_rate};
use crate::parse::{self, Named};
use crate::{Admin, Error};

/// Which events are listed; each part as a person wrote it.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    pub class: Option<String>,
    pub trigger: Option<String>,
    /// `done`, `retry`, `dead`, `held` or `moved`.
    pub status: Option<String>,
    pub since: Option<String>,
    pub until: Option<String>,
    /// Only what stands before this offset.
    pub before: Option<u64>,
    pub limit: u32,
}

/// Which events are replayed, and how fast; each part as a person wrote it.
#[derive(Clone, Debug, Default)]
pub struct ReplayRequest {
    /// Event ids, log offsets, or `CLASS/OBJECTID` for an object's latest event.
    pub events: Vec<String>,
    pub class: Option<String>,
    pub triggers: Vec<String>,
    pub since: Option<String>,
    pub until: Option<String>,
    pub from_lsn: Option<String>,
    pub to_lsn: Option<String>,
    /// `insert`, `update`, `delete`.
    pub changes: Vec<String>,
    /// Dead letters alone.
    pub dead: bool,
    /// The whole log, when nothing else is said.
    pub all: bool,
    pub rate: Option<u32>,
}

/// One entry of the log, whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownEvent {
    #[serde(flatten)]
    pub line: EventLine,
    pub event: ChangeEvent,
}

const STATUSES: [&str; 5] = ["done", "retry", "dead", "held", "moved"];

impl Admin {
    /// The latest events, the last first.
    pub async fn list_events(&self, filter: &EventFilter) -> Result<Vec<EventLine>, Error> {
        let now = Timestamp::now();
        let triggers = self.triggers().await?;
        if let Some(status) = filter.status.as_deref()
            && !STATUSES.contains(&status)
        {
            let problem = format!("{status:?} is none of {}", STATUSES.join(", "));
            return Err(Error::invalid("--status", problem));
        }
        if let Some(name) = &filter.trigger {
            self.known_trigger(name, &triggers).await?;
        }
        let wanted = Wanted {
            table: match &filter.class {
                Some(class) => Some(self.table(class).await?),
                None => None,
            },
            key: None,
            trigger: filter.trigger.clone(),
            status: filter.status.clone(),
            since: time_of("--since", &filter.since, now)?,
            until: time_of("--until", &filter.until, now)?,
            before: filter.before,
        };
        Ok(self
            .log
            .list_events(&wanted, &triggers, filter.limit)
            .await?)
    }

    /// Every entry of one event, the first first.
    pub async fn show_event(&self, event: &str) -> Result<Vec<ShownEvent>, Error> {
        let triggers = self.triggers().await?;
        let entries = self.entries(event).await?;
        let lines = self.log.lines(entries.clone(), &triggers).await?;
        let shown = lines.into_iter().zip(entries);
        Ok(shown
            .map(|(line, entry)| ShownEvent {
                line,
                event: entry.event,
            })
            .collect())
    }

    /// The chain that an event belongs to, from its root.
    pub async fn trace_event(&self, event: &str) -> Result<Trace, Error> {
        let triggers = self.triggers().await?;
        let entries = self.entries(event).await?;
        let trace = self.log.trace(entries[0].event.id, &triggers).await?;
        trace.ok_or_else(|| Error::not_found("event", event, []))
    }

    /// What a replay would deliver, without doing it.
    pub async fn plan_replay(&self, request: &ReplayRequest) -> Result<ReplayPlan, Error> {
        let triggers = self.triggers().await?;
        let replay = self.replay_of(request, &triggers).await?;
        Ok(self.log.plan_replay(&replay, &triggers).await?)
    }

    /// Begins a replay.
    pub async fn replay(&self, request: &ReplayRequest) -> Result<Started, Error> {
        let triggers = self.triggers().await?;
        let replay = self.replay_of(request, &triggers).await?;
        let total = self.log.count_replay(&replay, &triggers).await?;
        let specification = Specification::Replay(replay);
        let operation = self
            .log
            .create_operation(&specification, request.rate, Some(total))
            .await?;
        self.started(operation).await
    }

    async fn replay_of(
        &self,
        request: &ReplayRequest,
        triggers: &TriggerSet,
    ) -> Result<Replay, Error> {
        check_rate(request.rate)?;
        refuse_everything(request)?;
        let now = Timestamp::now();
        for name in &request.triggers {
            registered(name, triggers)?;
        }
        if let Some(class) = &request.class {
            self.table(class).await?;
        }
        let mut replay = Replay {
            class: request.class.clone(),
            triggers: request.triggers.clone(),
            since: time_of("--since", &request.since, now)?,
            until: time_of("--until", &request.until, now)?,
            from_lsn: lsn_of("--from-lsn", &request.from_lsn)?,
            to_lsn: lsn_of("--to-lsn", &request.to_lsn)?,
            changes: (request.changes.iter())
                .map(|text| parse::change(text))
                .collect::<Result<_, _>>()?,
            dead: request.dead,
            end: self.log.last_offset().await?,
            ..Replay::default()
        };
        for event in &request.events {
            replay.ids.push(self.entries(event).await?[0].event.id);
        }
        if replay.targets(triggers).is_empty() {
            let names = triggers.iter().map(ToString::to_string);
            let names: Vec<String> = names.collect();
            return Err(Error::invalid(
                "--class, --trigger, --change",
                format!(
                    "no after-trigger of the current release is meant; it has {}",
                    if names.is_empty() {
                        "none".to_owned()
                    } else {
                        names.join(", ")
                    }
                ),
            ));
        }
        Ok(replay)
    }

    /// Every entry of the event that is named; at least one.
    async fn entries(&self, event: &str) -> Result<Vec<LogEntry>, Error> {
        let missing = || Error::not_found("event", event, []);
        let id = match parse::event(event)? {
            Named::Id(id) => id,
            Named::Offset(offset) => {
                let entry = self.log.entry_at(offset).await?;
                entry.ok_or_else(missing)?.event.id
            }
            Named::Object { class, key } => {
                let wanted = Wanted {
                    table: Some(self.table(&class).await?),
                    key: Some(key),
                    ..Wanted::default()
                };
                let found = self
                    .log
                    .list_events(&wanted, &TriggerSet::default(), 1)
                    .await?;
                found.first().ok_or_else(missing)?.id
            }
        };
        let entries = self.log.entries_of(&[id]).await?;
        if entries.is_empty() {
            return Err(missing());
        }
        Ok(entries)
    }
}

/// A registered after-trigger.
pub(crate) fn registered(name: &str, triggers: &TriggerSet) -> Result<Trigger, Error> {
    let known = || triggers.iter().map(ToString::to_string);
    let found = triggers.iter().find(|trigger| trigger.to_string() == name);
    found
        .cloned()
        .ok_or_else(|| Error::not_found("after-trigger", name, known()))
}

fn refuse_everything(request: &ReplayRequest) -> Result<(), Error> {
    let says_which = !request.events.is_empty()
        || !request.triggers.is_empty()
        || !request.changes.is_empty()
        || request.dead
        || [
            &request.class,
            &request.since,
            &request.until,
            &request.from_lsn,
            &request.to_lsn,
        ]
        .iter()
        .any(|part| part.is_some());
    match says_which || request.all {
        true => Ok(()),
        false => Err(Error::invalid(
            "ID",
            "say which events: ids, --class, --trigger, --dead, --since, --until, --from-lsn, --to-lsn, --change, \
             or --all for the whole log",
        )),
    }
}

fn time_of(
    argument: &'static str,
    text: &Option<String>,
    now: Timestamp,
) -> Result<Option<String>, Error> {
    let text = text.as_deref();
    text.map(|text| parse::time(argument, text, now))
        .transpose()
}

fn lsn_of(
    argument: &'static str,
    text: &Option<String>,
) -> Result<Option<tidegate_event::Lsn>, Error> {
    let text = text.as_deref();
    text.map(|text| parse::lsn(argument, text)).transpose()
}
