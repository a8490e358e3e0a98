//! How a job is to be run: what its author chose.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fields::{Fields, is_plain};
use crate::{Backoff, Invalid};

/// Repeats of a run that says nothing: enough for a deployment or a short outage of something it calls.
pub const DEFAULT_RETRIES: u32 = 3;

/// With full backoff these are days; more is a schedule.
pub const MAX_RETRIES: u32 = 1000;

/// Longest backoff.
pub const MAX_BACKOFF_MS: u64 = 24 * 60 * 60 * 1000;

/// Longest time limit that can be written; the server's `job_timeout` is what holds.
pub const MAX_TIMEOUT_MS: u64 = 24 * 60 * 60 * 1000;

/// Highest limit that can be written.
pub const MAX_CONCURRENCY: u32 = 100_000;

/// Runs at once with the same concurrency key when the job says nothing.
pub const DEFAULT_KEY_CONCURRENCY: u32 = 1;

/// Characters of a job's, workflow's, node's, schedule's or step's name.
pub const MAX_NAME_CHARS: usize = 200;

const MAX_DESCRIPTION_CHARS: usize = 1000;

/// The options of `Parse.Cloud.job(name, options, handler)`. `None`: the default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    #[serde(rename = "timeout", skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Most runs of this job at once, in all processes together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Most runs of this job at once that have the same concurrency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_concurrency: Option<u32>,
    /// The name of the param whose value is a run's concurrency key, unless its start says another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A job that a release registers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobDefinition {
    pub name: String,
    #[serde(default)]
    pub options: JobOptions,
}

impl JobOptions {
    /// Reads what the author wrote; `what` names it in errors ("the options of job \"report\"").
    pub fn parse(what: &str, value: &Value) -> Result<JobOptions, Invalid> {
        let known = [
            "retries",
            "backoff",
            "timeout",
            "concurrency",
            "keyConcurrency",
            "concurrencyKey",
            "description",
        ];
        let fields = Fields::new(what, value, &known)?;
        let limit = |name| {
            let limit = fields.whole(name, 1, i64::from(MAX_CONCURRENCY));
            limit.map(|limit| limit.map(|limit| limit as u32))
        };
        Ok(JobOptions {
            retries: retries(&fields)?,
            backoff: backoff(&fields)?,
            timeout_ms: timeout(&fields)?,
            concurrency: limit("concurrency")?,
            key_concurrency: limit("keyConcurrency")?,
            concurrency_key: fields.text("concurrencyKey", MAX_NAME_CHARS)?,
            description: fields.text("description", MAX_DESCRIPTION_CHARS)?,
        })
    }
}

pub(crate) fn retries(fields: &Fields<'_>) -> Result<Option<u32>, Invalid> {
    let retries = fields.whole("retries", 0, i64::from(MAX_RETRIES))?;
    Ok(retries.map(|retries| retries as u32))
}

pub(crate) fn timeout(fields: &Fields<'_>) -> Result<Option<u64>, Invalid> {
    let timeout = fields.whole("timeout", 1, MAX_TIMEOUT_MS as i64)?;
    Ok(timeout.map(|timeout| timeout as u64))
}

/// `{ initial, factor, max }`, each optional.
pub(crate) fn backoff(fields: &Fields<'_>) -> Result<Option<Backoff>, Invalid> {
    let Some(value) = fields.get("backoff") else {
        return Ok(None);
    };
    let inner = Fields::new("backoff", value, &["initial", "factor", "max"])?;
    let default = Backoff::default();
    let milliseconds = |name| inner.whole(name, 0, MAX_BACKOFF_MS as i64);
    let initial_ms = milliseconds("initial")?.map_or(default.initial_ms, |ms| ms as u64);
    let max_ms = milliseconds("max")?.map_or(default.max_ms.max(initial_ms), |ms| ms as u64);
    let factor = match inner.get("factor") {
        None => default.factor,
        Some(value) => value
            .as_f64()
            .filter(|factor| (1.0..=100.0).contains(factor))
            .ok_or_else(|| inner.wrong("factor", "a number from 1 to 100"))?,
    };
    if max_ms < initial_ms {
        return Err(Invalid(format!(
            "max of backoff ({max_ms} ms) must not be less than initial ({initial_ms} ms)"
        )));
    }
    Ok(Some(Backoff {
        initial_ms,
        factor,
        max_ms,
    }))
}

/// Checks the name of a job, workflow, node, schedule or step; `what` is which of these.
pub fn check_name(what: &str, name: &str) -> Result<(), Invalid> {
    if is_plain(name, MAX_NAME_CHARS) {
        return Ok(());
    }
    let shown: String = name.chars().take(40).collect();
    Err(Invalid(format!(
        "the name of a {what} must have 1 to {MAX_NAME_CHARS} characters without control characters, not {shown:?}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_jobs_options_are_read_and_written_back() {
        let value = json!({ "retries": 5, "backoff": { "initial": 20 }, "timeout": 60000, "concurrency": 2,
                            "keyConcurrency": 3, "description": "daily" });
        let options = JobOptions::parse("the options", &value).unwrap();
        assert_eq!(options.timeout_ms, Some(60_000));
        let backoff = options.backoff.unwrap();
        assert_eq!(
            (backoff.initial_ms, backoff.factor, backoff.max_ms),
            (20, 2.0, 300_000)
        );
        let stored = serde_json::to_value(&options).unwrap();
        assert_eq!(stored["keyConcurrency"], 3);
        assert_eq!(
            serde_json::from_value::<JobOptions>(stored).unwrap(),
            options
        );
    }

    #[test]
    fn a_limit_of_none_at_all_is_refused() {
        for field in ["concurrency", "keyConcurrency"] {
            let found =
                JobOptions::parse("the options of job \"a\"", &json!({ field: 0 })).unwrap_err();
            let expected = format!(
                "{field} of the options of job \"a\" must be a whole number from 1 to 100000, not 0"
            );
            assert_eq!(found.to_string(), expected);
        }
        let found = JobOptions::parse("the options", &json!({ "concurency": 1 })).unwrap_err();
        assert!(found.to_string().ends_with("did you mean \"concurrency\"?"));
    }

    #[test]
    fn names_are_texts_that_people_can_read() {
        check_name("job", "täglicher Bericht").unwrap();
        for name in ["", "a\nb", &"x".repeat(201)] {
            assert!(check_name("job", name).is_err(), "{name:?}");
        }
    }
}
