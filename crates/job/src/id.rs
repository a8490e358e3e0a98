//! The names of runs and workflows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The text names nothing of this kind.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the id of a {kind} such as {example}")]
pub struct ParseIdError {
    text: String,
    kind: &'static str,
    example: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $letter:literal, $kind:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($letter, "{:09}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let digits = text.strip_prefix($letter).unwrap_or(text);
                let number = digits.bytes().all(|byte| byte.is_ascii_digit());
                // Postgres counts in signed numbers.
                let id = digits.parse().ok().filter(|id| number && *id <= i64::MAX as u64);
                id.map($name).ok_or_else(|| ParseIdError {
                    text: text.chars().take(40).collect(),
                    kind: $kind,
                    example: $example,
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = match serde_json::Value::deserialize(deserializer)? {
                    serde_json::Value::String(text) => text,
                    other => other.to_string(),
                };
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// Names one run for ever. Written `R` and the number with at least nine digits: `R000012345`. That is also the
    /// `objectId` of its `_JobStatus` row. Read with the letter or without, leading zeros or none.
    RunId, "R", "run", "R000012345"
);

id!(
    /// Names one run of a whole workflow; written as a [`RunId`] is, with `W`.
    WorkflowId, "W", "workflow", "W000000012"
);

impl RunId {
    /// Under which the run's writes are kept in the effect ledger: `run:R000012345`.
    pub fn cause(self) -> String {
        format!("run:{self}")
    }

    /// The run that a key of the effect ledger belongs to.
    pub fn from_cause(cause: &str) -> Option<RunId> {
        cause.strip_prefix("run:")?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written_and_as_people_type_them() {
        assert_eq!(RunId(12345).to_string(), "R000012345");
        assert_eq!(WorkflowId(12).to_string(), "W000000012");
        assert_eq!(RunId(12_345_678_901).to_string(), "R12345678901");
        for text in ["R000012345", "R12345", "12345", "000012345"] {
            assert_eq!(text.parse(), Ok(RunId(12345)), "{text}");
        }
        let all = [
            "",
            "R",
            "W12",
            "R-1",
            "+1",
            "R1.5",
            "x7Gk2",
            "9223372036854775808",
        ];
        for text in all {
            assert!(text.parse::<RunId>().is_err(), "{text}");
        }
        let error = "W12".parse::<RunId>().unwrap_err().to_string();
        assert_eq!(error, r#""W12" is not the id of a run such as R000012345"#);
    }

    #[test]
    fn json_takes_text_and_number() {
        assert_eq!(serde_json::to_string(&RunId(7)).unwrap(), r#""R000000007""#);
        assert_eq!(serde_json::from_str::<RunId>("7").unwrap(), RunId(7));
        assert_eq!(serde_json::from_str::<RunId>(r#""R7""#).unwrap(), RunId(7));
        assert!(serde_json::from_str::<RunId>("7.5").is_err());
        assert!(serde_json::from_str::<RunId>("null").is_err());
    }

    #[test]
    fn the_cause_of_a_run_leads_back_to_it() {
        assert_eq!(RunId(7).cause(), "run:R000000007");
        assert_eq!(RunId::from_cause("run:R000000007"), Some(RunId(7)));
        assert_eq!(RunId::from_cause("1-0.16B37D48-0:afterSave:Order"), None);
    }
}
