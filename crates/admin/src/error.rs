//! What can go wrong, by what who asked can do about it.

use crate::near::nearest;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It names something that is not there; ask for something else.
    #[error("there is no {what} {name}{hint}")]
    NotFound {
        what: &'static str,
        name: String,
        /// Empty, or `; did you mean …?`
        hint: String,
    },
    /// What was asked cannot be done as it was asked.
    #[error("{problem}")]
    Invalid { problem: String },
    /// What was asked makes no sense in the state that things are in.
    #[error("{problem}")]
    Conflict { problem: String },
    /// Postgres cannot be reached; try again.
    #[error("Postgres cannot be reached")]
    Unavailable {
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the event log failed")]
    Log { source: tidegate_event_log::Error },
    #[error("the job log failed")]
    Jobs { source: tidegate_job_log::Error },
    #[error("the replication slot could not be asked")]
    Slot { source: tidegate_capture::Error },
}

impl Error {
    /// `argument`: as who asked knows it.
    pub(crate) fn invalid(argument: &str, problem: impl std::fmt::Display) -> Error {
        Error::Invalid {
            problem: format!("{argument}: {problem}"),
        }
    }

    /// For what is refused because of how things stand, not of how it was asked.
    pub(crate) fn by_state(error: tidegate_job_log::Error) -> Error {
        match error {
            tidegate_job_log::Error::Invalid { reason } => Error::Conflict { problem: reason },
            other => other.into(),
        }
    }

    /// With what was meant, if one of `known` is near.
    pub(crate) fn not_found(
        what: &'static str,
        name: impl Into<String>,
        known: impl IntoIterator<Item = String>,
    ) -> Error {
        let name = name.into();
        let known: Vec<String> = known.into_iter().collect();
        let near = nearest(&name, &known);
        let hint = match near.as_slice() {
            [] if known.is_empty() || known.len() > 8 => String::new(),
            [] => format!("; there is {}", known.join(", ")),
            near => format!("; did you mean {}?", near.join(" or ")),
        };
        Error::NotFound { what, name, hint }
    }
}

impl From<tidegate_event_log::Error> for Error {
    fn from(source: tidegate_event_log::Error) -> Self {
        if source.is_transient() {
            Error::Unavailable {
                source: source.into(),
            }
        } else {
            Error::Log { source }
        }
    }
}

impl From<tidegate_capture::Error> for Error {
    fn from(source: tidegate_capture::Error) -> Self {
        Error::Slot { source }
    }
}

impl From<tidegate_job_log::Error> for Error {
    fn from(source: tidegate_job_log::Error) -> Self {
        use tidegate_job_log::Error as Jobs;
        match source {
            Jobs::Unknown { kind, name, hint } => Error::NotFound {
                what: kind,
                name,
                hint,
            },
            Jobs::Invalid { reason } => Error::Invalid { problem: reason },
            Jobs::Unavailable { source } => Error::Unavailable { source },
            source => Error::Jobs { source },
        }
    }
}

impl From<tidegate_job::Invalid> for Error {
    fn from(tidegate_job::Invalid(problem): tidegate_job::Invalid) -> Self {
        Error::Invalid { problem }
    }
}

impl From<tidegate_schedule::Error> for Error {
    fn from(error: tidegate_schedule::Error) -> Self {
        Error::Invalid {
            problem: error.to_string(),
        }
    }
}
