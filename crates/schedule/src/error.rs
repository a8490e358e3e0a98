//! What is wrong with a schedule as written, and what to write instead.

/// One option that cannot be accepted. Printed as `field: what is wrong and how to mend it`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Error {
    /// The option as the author wrote it: `cron`, `weekly.at`, or `schedule` for the whole.
    pub field: String,
    /// What is wrong, with the remedy.
    pub problem: String,
}

impl Error {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Error {
            field: field.into(),
            problem: problem.into(),
        }
    }
}
