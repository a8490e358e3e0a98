//! Between what Postgres stores and what callers hold.

use std::time::SystemTime;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tidegate_job::RunId;

use crate::Error;

/// Characters of an error or a message that are kept: one of megabytes helps nobody.
const MAX_TEXT_CHARS: usize = 16 * 1024;

/// Postgres text holds no NUL.
pub(crate) fn storable(text: &str) -> String {
    text.chars()
        .filter(|c| *c != '\0')
        .take(MAX_TEXT_CHARS)
        .collect()
}

pub(crate) fn to_postgres(at: Timestamp) -> SystemTime {
    at.into()
}

pub(crate) fn from_postgres(at: SystemTime) -> Timestamp {
    Timestamp::try_from(at)
        .expect("Postgres stores no time that jiff does not know, but for the infinities")
}

pub(crate) fn bigints(ids: &[RunId]) -> Vec<i64> {
    ids.iter().map(|RunId(id)| *id as i64).collect()
}

pub(crate) fn run_id(id: i64) -> RunId {
    RunId(id as u64)
}

/// Reads stored JSON; `what` names it in the error.
pub(crate) fn json<T: DeserializeOwned>(
    what: impl FnOnce() -> String,
    text: &str,
) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|source| Error::Decode {
        what: what(),
        source,
    })
}
