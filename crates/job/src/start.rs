//! What one start of a job asks for.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fields::Fields;
use crate::options::{backoff, retries, timeout};
use crate::{Backoff, Invalid, RunId};

/// Bytes of the JSON text of params: what a request may carry anyway.
pub const MAX_PARAMS_BYTES: usize = 1_048_576;

pub const MAX_PRIORITY: i16 = 100;

/// Characters of a concurrency key or an idempotency key.
pub const MAX_KEY_CHARS: usize = 500;

/// Runs that one run can wait for.
pub const MAX_AFTER: usize = 1000;

/// Longest delay: a hundred years, so that every time can be stored.
pub const MAX_DELAY_MS: i64 = 100 * 366 * 24 * 60 * 60 * 1000;

/// 9999-12-31: Postgres and JavaScript both know it.
const MAX_TIME_MS: i64 = 253_402_214_400_000;

/// What becomes of those that need a run which does not succeed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// They are skipped.
    #[default]
    Stop,
    /// They go on as if it had succeeded, with the result null.
    Continue,
}

impl OnFailure {
    pub(crate) const CHOICES: &[(&str, OnFailure)] =
        &[("stop", OnFailure::Stop), ("continue", OnFailure::Continue)];

    pub fn as_str(self) -> &'static str {
        match self {
            OnFailure::Stop => "stop",
            OnFailure::Continue => "continue",
        }
    }
}

/// The options of `Parse.Cloud.startJob(name, params, options)`. `None`: what the job says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StartOptions {
    /// Milliseconds since 1970; None: at once.
    #[serde(rename = "runAt", skip_serializing_if = "Option::is_none")]
    pub run_at_ms: Option<i64>,
    /// Milliseconds from now; not together with `run_at_ms`.
    #[serde(rename = "delay", skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    #[serde(rename = "timeout", skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// From -100 to 100, higher first; None: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<String>,
    /// A second start of the same job with the same key makes nothing and answers the first one's run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Runs that must end before this one begins; sorted, each once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<RunId>,
    /// When one of `after` does not succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
}

const KNOWN: &[&str] = &[
    "runAt",
    "delay",
    "retries",
    "backoff",
    "timeout",
    "priority",
    "concurrencyKey",
    "idempotencyKey",
    "after",
    "onFailure",
];

impl StartOptions {
    /// Reads what a caller sent; null is the same as nothing.
    pub fn parse(value: &Value) -> Result<StartOptions, Invalid> {
        match value {
            Value::Null => Ok(StartOptions::default()),
            value => StartOptions::parse_known("the start options", value, KNOWN),
        }
    }

    /// As [`StartOptions::parse`], with only the fields `known`.
    pub(crate) fn parse_known(
        what: &str,
        value: &Value,
        known: &[&str],
    ) -> Result<StartOptions, Invalid> {
        let fields = Fields::new(what, value, known)?;
        let run_at_ms = time(&fields, "runAt")?;
        let delay_ms = fields.whole("delay", 0, MAX_DELAY_MS)?;
        if run_at_ms.is_some() && delay_ms.is_some() {
            return Err(Invalid(format!(
                "{what} have both runAt and delay; leave one out"
            )));
        }
        let priority = fields.whole("priority", (-MAX_PRIORITY).into(), MAX_PRIORITY.into())?;
        Ok(StartOptions {
            run_at_ms,
            delay_ms: delay_ms.map(|delay| delay as u64),
            retries: retries(&fields)?,
            backoff: backoff(&fields)?,
            timeout_ms: timeout(&fields)?,
            priority: priority.map(|priority| priority as i16),
            concurrency_key: fields.text("concurrencyKey", MAX_KEY_CHARS)?,
            idempotency_key: fields.text("idempotencyKey", MAX_KEY_CHARS)?,
            after: fields.run_ids("after", MAX_AFTER)?,
            on_failure: fields.choice("onFailure", OnFailure::CHOICES)?,
        })
    }

    /// These options, with what they leave open filled from `defaults`; times, keys of idempotency and `after` are
    /// this one's own.
    pub fn or(&self, defaults: &StartOptions) -> StartOptions {
        StartOptions {
            retries: self.retries.or(defaults.retries),
            backoff: self.backoff.or(defaults.backoff),
            timeout_ms: self.timeout_ms.or(defaults.timeout_ms),
            priority: self.priority.or(defaults.priority),
            concurrency_key: self
                .concurrency_key
                .clone()
                .or_else(|| defaults.concurrency_key.clone()),
            ..self.clone()
        }
    }
}

/// Milliseconds, an ISO text, or Parse's `{ "__type": "Date", "iso": … }`.
fn time(fields: &Fields<'_>, name: &str) -> Result<Option<i64>, Invalid> {
    let Some(value) = fields.get(name) else {
        return Ok(None);
    };
    let is_date = value.get("__type").is_some_and(|kind| kind == "Date");
    let text = match is_date {
        true => value.get("iso").and_then(Value::as_str),
        false => value.as_str(),
    };
    let parsed = text.and_then(|text| text.parse::<Timestamp>().ok());
    let number = value.as_f64().map(|number| number as i64);
    let at = parsed.map(Timestamp::as_millisecond).or(number);
    match at.filter(|at| (0..=MAX_TIME_MS).contains(at)) {
        Some(at) => Ok(Some(at)),
        None => Err(fields.wrong(
            name,
            "a time: ISO with zone (\"2027-03-27T09:00:00Z\") or milliseconds since 1970",
        )),
    }
}

/// Checks params, and returns their JSON text; null is the same as `{}`.
///
/// # Errors
/// They are no object, too large, or hold the character NUL, which Postgres cannot store.
pub fn params_text(params: &Value) -> Result<String, Invalid> {
    let text = match params {
        Value::Null => "{}".to_owned(),
        Value::Object(_) => params.to_string(),
        other => {
            let kind = crate::fields::kind(other);
            return Err(Invalid(format!("params must be an object, not {kind}")));
        }
    };
    if text.len() > MAX_PARAMS_BYTES {
        return Err(Invalid(format!(
            "params have {} bytes of JSON, and the limit is {MAX_PARAMS_BYTES}: save the data and pass its id",
            text.len()
        )));
    }
    if holds_nul(&text) {
        return Err(Invalid(
            "params hold the character NUL (\\u0000), which Postgres cannot store: take it out"
                .to_owned(),
        ));
    }
    Ok(text)
}

/// True when the JSON text has an escaped NUL: `\u0000` after an even number of backslashes.
fn holds_nul(json: &str) -> bool {
    json.match_indices("\\u0000").any(|(at, _)| {
        let before = json[..at].bytes().rev().take_while(|byte| *byte == b'\\');
        before.count() % 2 == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn error(value: Value) -> String {
        StartOptions::parse(&value).unwrap_err().to_string()
    }

    #[test]
    fn everything_that_can_be_said_is_read_and_written_back() {
        let value = json!({
            "runAt": "2027-03-27T09:00:00+01:00", "retries": 0, "backoff": { "initial": 10, "factor": 3.0, "max": 90 },
            "timeout": 5000, "priority": -100, "concurrencyKey": "c", "idempotencyKey": "i",
            "after": ["R000000002", 1, "R2"], "onFailure": "continue",
        });
        let options = StartOptions::parse(&value).unwrap();
        assert_eq!(options.run_at_ms, Some(1_806_134_400_000));
        assert_eq!(options.after, [RunId(1), RunId(2)]);
        let stored = serde_json::to_value(&options).unwrap();
        assert_eq!(stored["runAt"], 1_806_134_400_000i64);
        assert_eq!(
            serde_json::from_value::<StartOptions>(stored).unwrap(),
            options
        );
        assert_eq!(
            StartOptions::parse(&json!(null)).unwrap(),
            StartOptions::default()
        );
        assert_eq!(
            StartOptions::parse(&json!({ "retries": null })).unwrap(),
            StartOptions::default()
        );
        let date = json!({ "runAt": { "__type": "Date", "iso": "2027-03-27T08:00:00.000Z" } });
        assert_eq!(
            StartOptions::parse(&date).unwrap().run_at_ms,
            Some(1_806_134_400_000)
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_right() {
        let wrong = [
            (
                json!([]),
                "the start options must be an object, not an array",
            ),
            (
                json!({ "retrys": 1 }),
                "the start options has an unknown field \"retrys\"; did you mean \"retries\"?",
            ),
            (
                json!({ "delay": -1 }),
                "delay of the start options must be a whole number from 0 to",
            ),
            (
                json!({ "delay": 1, "runAt": 1 }),
                "have both runAt and delay",
            ),
            (
                json!({ "runAt": "tomorrow" }),
                "runAt of the start options must be a time",
            ),
            (json!({ "runAt": "2027-03-27T09:00:00" }), "ISO with zone"),
            (json!({ "runAt": 1e300 }), "must be a time"),
            (json!({ "priority": 101 }), "from -100 to 100, not 101"),
            (json!({ "priority": 1.5 }), "must be a whole number"),
            (
                json!({ "retries": "3" }),
                "must be a whole number from 0 to 1000, not \"3\"",
            ),
            (
                json!({ "concurrencyKey": "" }),
                "a text of 1 to 500 characters",
            ),
            (
                json!({ "concurrencyKey": "a\tb" }),
                "without control characters",
            ),
            (json!({ "after": "R1" }), "an array of at most 1000 run ids"),
            (
                json!({ "after": ["x"] }),
                "an array of at most 1000 run ids",
            ),
            (
                json!({ "onFailure": "retry" }),
                "must be \"stop\" or \"continue\", not \"retry\"",
            ),
            (
                json!({ "backoff": { "factor": 0.5 } }),
                "factor of backoff must be a number from 1 to 100, not 0.5",
            ),
            (
                json!({ "backoff": { "initial": 100, "max": 10 } }),
                "must not be less than initial",
            ),
            (
                json!({ "backoff": 5 }),
                "backoff must be an object, not a number",
            ),
        ];
        for (value, expected) in wrong {
            let found = error(value.clone());
            assert!(found.contains(expected), "{value}: {found}");
        }
    }

    #[test]
    fn params_have_a_size_and_no_nul() {
        assert_eq!(params_text(&json!(null)).unwrap(), "{}");
        let largest = json!({ "a": "x".repeat(MAX_PARAMS_BYTES - 8) });
        assert_eq!(params_text(&largest).unwrap().len(), MAX_PARAMS_BYTES);
        let larger = json!({ "a": "x".repeat(MAX_PARAMS_BYTES - 7) });
        let found = params_text(&larger).unwrap_err().to_string();
        assert!(
            found.contains("1048577 bytes") && found.contains("limit is 1048576"),
            "{found}"
        );
        assert!(params_text(&json!("text")).is_err());
        assert!(params_text(&json!({ "a": "x\u{0}y" })).is_err());
        assert!(params_text(&json!({ "a\u{0}": 1 })).is_err());
        // A backslash before the letters is no NUL.
        assert!(params_text(&json!({ "a": "\\u0000" })).is_ok());
    }
}
