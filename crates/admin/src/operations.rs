//! Replays and backfills under way.

use serde::Serialize;
use tidegate_event_log::operation::{Command, Operation, State};

use crate::{Admin, Error};

/// What was begun, and whether anybody works on it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    #[serde(flatten)]
    pub operation: Operation,
    /// False: no process leads dispatch at the moment; it begins when one does.
    pub is_worked_on: bool,
}

impl Admin {
    /// The latest `limit` operations, the newest first.
    pub async fn operations(&self, limit: u32) -> Result<Vec<Operation>, Error> {
        Ok(self.log.operations(false, limit).await?)
    }

    pub async fn operation(&self, id: u64) -> Result<Operation, Error> {
        let found = self.log.operation(id).await?;
        found.ok_or_else(|| Error::not_found("operation", id.to_string(), []))
    }

    /// Pauses, resumes or cancels, and returns the operation as it is then. What a cancelled one has put into the log
    /// is delivered.
    pub async fn command_operation(&self, id: u64, command: Command) -> Result<Operation, Error> {
        if let Some(changed) = self.log.command_operation(id, command).await? {
            return Ok(changed);
        }
        let found = self.operation(id).await?;
        let reached = match command {
            Command::Pause => State::Paused,
            Command::Resume => State::Running,
            Command::Cancel => State::Cancelled,
        };
        // Asked twice is done once.
        if found.state == reached {
            return Ok(found);
        }
        let (command, state) = (command.as_str(), found.state.as_str());
        Err(Error::Conflict {
            problem: format!("operation {id} is {state}: there is nothing to {command}"),
        })
    }

    /// `rate`: events a second; None: no limit.
    pub async fn set_operation_rate(&self, id: u64, rate: Option<u32>) -> Result<Operation, Error> {
        check_rate(rate)?;
        let changed = self.log.set_operation_rate(id, rate).await?;
        changed.ok_or_else(|| Error::not_found("operation", id.to_string(), []))
    }

    pub(crate) async fn started(&self, operation: Operation) -> Result<Started, Error> {
        Ok(Started {
            operation,
            is_worked_on: self.log.is_dispatch_led().await?,
        })
    }
}

pub(crate) fn check_rate(rate: Option<u32>) -> Result<(), Error> {
    match rate {
        Some(rate) if rate == 0 || rate > 1_000_000 => Err(Error::invalid(
            "--rate",
            "must be 1 to 1000000 events a second; `operations pause` stops an operation",
        )),
        _ => Ok(()),
    }
}
