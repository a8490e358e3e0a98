//! Where a run stands.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The state of a run.
///
/// ```text
/// waiting ─▶ pending ◀──────────────┐ retry, hand back, lost worker
///               │ ▲                 │
///               ▼ │                 │
///            blocked  queued ─▶ running ─▶ succeeded · failed · cancelled
///                        ▲         │
///                        └ sleeping ◀┘         waiting ─▶ skipped
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// For other runs.
    Waiting,
    /// Until it is due: new, or tried again.
    Pending,
    /// Until the time that `request.sleep` named.
    Sleeping,
    /// As many of its job, or of its key, run as may.
    Blocked,
    /// Its id is in the queue.
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
    /// A run that it needed did not succeed.
    Skipped,
}

/// The text is not a state.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a state; it is one of {}", RunState::ALL.map(RunState::as_str).join(", "))]
pub struct ParseStateError {
    text: String,
}

impl RunState {
    /// In the order of a run's life.
    pub const ALL: [RunState; 10] = [
        RunState::Waiting,
        RunState::Pending,
        RunState::Sleeping,
        RunState::Blocked,
        RunState::Queued,
        RunState::Running,
        RunState::Succeeded,
        RunState::Failed,
        RunState::Cancelled,
        RunState::Skipped,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            RunState::Waiting => "waiting",
            RunState::Pending => "pending",
            RunState::Sleeping => "sleeping",
            RunState::Blocked => "blocked",
            RunState::Queued => "queued",
            RunState::Running => "running",
            RunState::Succeeded => "succeeded",
            RunState::Failed => "failed",
            RunState::Cancelled => "cancelled",
            RunState::Skipped => "skipped",
        }
    }

    /// Nothing more happens to it unless a human asks for it.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            RunState::Succeeded | RunState::Failed | RunState::Cancelled | RunState::Skipped
        )
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for RunState {
    type Err = ParseStateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = RunState::ALL
            .into_iter()
            .find(|state| state.as_str() == text);
        found.ok_or_else(|| ParseStateError {
            text: text.chars().take(40).collect(),
        })
    }
}

/// Where a workflow stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkflowState {
    Running,
    /// A node has failed; what had succeeded is being undone.
    Compensating,
    Succeeded,
    Failed,
    Cancelled,
}

impl WorkflowState {
    pub fn as_str(self) -> &'static str {
        match self {
            WorkflowState::Running => "running",
            WorkflowState::Compensating => "compensating",
            WorkflowState::Succeeded => "succeeded",
            WorkflowState::Failed => "failed",
            WorkflowState::Cancelled => "cancelled",
        }
    }

    pub fn is_final(self) -> bool {
        !matches!(self, WorkflowState::Running | WorkflowState::Compensating)
    }
}

/// Which of the three streams a run goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Band {
    High,
    Normal,
    Low,
}

impl Band {
    /// In the order in which workers read them.
    pub const ALL: [Band; 3] = [Band::High, Band::Normal, Band::Low];

    pub fn of(priority: i16) -> Band {
        match priority {
            1.. => Band::High,
            0 => Band::Normal,
            ..0 => Band::Low,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Band::High => "high",
            Band::Normal => "normal",
            Band::Low => "low",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_read_as_it_is_written() {
        for state in RunState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
            assert_eq!(
                serde_json::to_string(&state).unwrap(),
                format!("\"{state}\"")
            );
        }
        let finals = RunState::ALL.into_iter().filter(|state| state.is_final());
        assert_eq!(finals.count(), 4);
        let error = "done".parse::<RunState>().unwrap_err().to_string();
        assert!(error.contains("one of waiting, pending"), "{error}");
    }

    #[test]
    fn a_priority_has_one_band() {
        let bands = [100, 1, 0, -1, -100].map(Band::of);
        assert_eq!(
            bands,
            [Band::High, Band::High, Band::Normal, Band::Low, Band::Low]
        );
    }
}
