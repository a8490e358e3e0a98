//! What `tidegate jobs run` takes.

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value, json};
use tidegate_admin::{Error, duration_ms};

use crate::cli::UsageError;

#[derive(Debug, Args)]
pub struct RunArguments {
    /// The job
    pub name: String,
    /// It is a workflow
    #[arg(long)]
    pub workflow: bool,
    /// A JSON object, or @FILE that holds one
    #[arg(long, value_name = "JSON")]
    params: Option<String>,
    /// Begin after this time, such as 5m
    #[arg(long, value_name = "DURATION")]
    delay: Option<String>,
    /// Begin then: 2026-11-25T10:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "delay")]
    run_at: Option<String>,
    /// From -100 to 100, higher first; without it 0
    #[arg(long, allow_hyphen_values = true)]
    priority: Option<i64>,
    /// Concurrency key: runs of a job with the same one run one at a time, unless the job says otherwise
    #[arg(long)]
    key: Option<String>,
    /// A second run with the same one is not made
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Begin when this run has ended; repeatable
    #[arg(long, value_name = "RUN")]
    after: Vec<String>,
    /// What to do when one of these does not succeed: stop or continue; without it stop
    #[arg(long, value_name = "POLICY")]
    on_failure: Option<String>,
    /// How often to try again; without it as the job says
    #[arg(long)]
    retries: Option<u64>,
    /// How long an attempt may take, such as 10m; without it as the job says
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// Wait for its end, and show progress and log meanwhile
    #[arg(long)]
    pub follow: bool,
}

impl RunArguments {
    /// A JSON value; null: none are given.
    pub fn params(&self) -> Result<Value> {
        params(self.params.as_deref())
    }

    /// As `Parse.Cloud.startJob` takes them.
    pub fn options(&self) -> Result<Value, Error> {
        let mut options = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            options.extend(value.map(|value| (name.to_owned(), value)));
        };
        let text = |value: &Option<String>| value.clone().map(Value::from);
        let duration = |argument, value: &Option<String>| {
            let value = value.as_deref();
            let read = value.map(|text| duration_ms(argument, text)).transpose();
            read.map(|milliseconds| milliseconds.map(Value::from))
        };
        put("delay", duration("--delay", &self.delay)?);
        put("timeout", duration("--timeout", &self.timeout)?);
        put("runAt", text(&self.run_at));
        put("priority", self.priority.map(Value::from));
        put("concurrencyKey", text(&self.key));
        put("idempotencyKey", text(&self.idempotency_key));
        put("onFailure", text(&self.on_failure));
        put("retries", self.retries.map(Value::from));
        let after = &self.after;
        put("after", (!after.is_empty()).then(|| json!(after)));
        Ok(options.into())
    }
}

/// A JSON value, or `@FILE` that holds one; null: nothing is given.
pub fn params(text: Option<&str>) -> Result<Value> {
    let Some(text) = text else {
        return Ok(Value::Null);
    };
    let read = match text.strip_prefix('@') {
        None => text.to_owned(),
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| UsageError(format!("--params: cannot read {path}: {error}")))?,
    };
    let value = serde_json::from_str(&read).map_err(|error| Error::Invalid {
        problem: format!("--params: this is not JSON: {error}"),
    })?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArguments,
    }

    fn run_arguments(words: &[&str]) -> RunArguments {
        Line::parse_from([&["x", "report"], words].concat()).run
    }

    #[test]
    fn options_are_those_of_start_job() {
        let words = "--delay 5m --timeout 1h30m --priority -5 --key k --idempotency-key i --after R1 --after R2 \
                     --on-failure continue --retries 0";
        let words: Vec<&str> = words.split_whitespace().collect();
        let expected = json!({
            "delay": 300_000, "timeout": 5_400_000, "priority": -5, "concurrencyKey": "k", "idempotencyKey": "i",
            "after": ["R1", "R2"], "onFailure": "continue", "retries": 0,
        });
        assert_eq!(run_arguments(&words).options().unwrap(), expected);
        assert_eq!(run_arguments(&[]).options().unwrap(), json!({}));
        let error = run_arguments(&["--delay", "5"])
            .options()
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("--delay: \"5\""), "{error}");
    }

    #[test]
    fn params_come_from_the_line_or_a_file() {
        assert_eq!(params(None).unwrap(), Value::Null);
        assert_eq!(params(Some(r#"{"a":1}"#)).unwrap(), json!({ "a": 1 }));
        let file = std::env::temp_dir().join(format!("tidegate-params-{}", std::process::id()));
        std::fs::write(&file, r#"{"b":2}"#).unwrap();
        let at_file = format!("@{}", file.display());
        assert_eq!(params(Some(&at_file)).unwrap(), json!({ "b": 2 }));
        std::fs::remove_file(&file).unwrap();
        let missing = params(Some(&at_file)).unwrap_err();
        assert!(missing.is::<UsageError>(), "{missing}");
        let wrong = params(Some("{a:1}")).unwrap_err().to_string();
        assert!(wrong.starts_with("--params: this is not JSON"), "{wrong}");
    }
}
