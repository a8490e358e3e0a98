//! `[[sinks]]` of `tidegate.toml`.

use std::collections::BTreeSet;

use anyhow::Result;
use tidegate_event::{Filter, Operation};
use tidegate_event_log::sink::Begin;
use tidegate_fan_out::{SinkConfig, Target};

use crate::cli::UsageError;

const FIELDS: [&str; 9] = [
    "name",
    "kind",
    "url",
    "stream",
    "subject",
    "max_len",
    "classes",
    "operations",
    "from",
];
const DEFAULT_SUBJECT: &str = "tidegate.{schema}.{table}.{operation}";

/// # Errors
/// A [`UsageError`] that names the sink, the field, and what it should be.
pub(super) fn sinks(tables: &[toml::Table]) -> Result<Vec<SinkConfig>> {
    let mut sinks: Vec<SinkConfig> = Vec::new();
    for (place, table) in (1..).zip(tables) {
        let label = match table.get("name").and_then(toml::Value::as_str) {
            Some(name) => format!("[[sinks]] {name}"),
            None => format!("[[sinks]] number {place}"),
        };
        let refuse = |problem: String| UsageError(format!("{label}: {problem}"));
        let sink = sink(table).map_err(refuse)?;
        for other in &sinks {
            if other.name == sink.name {
                return Err(refuse("name is that of another sink: each has its own".into()).into());
            }
            if other.target.collides_with(&sink.target) {
                let name = &other.name;
                let problem = format!("stream is that of sink {name} too: each needs its own");
                return Err(refuse(problem).into());
            }
        }
        sinks.push(sink);
    }
    Ok(sinks)
}

fn sink(table: &toml::Table) -> Result<SinkConfig, String> {
    let fields = Fields(table);
    fields.check_names()?;
    Ok(SinkConfig {
        name: fields.name()?,
        target: fields.target()?,
        filter: Filter {
            classes: fields.list("classes")?.into_iter().collect(),
            operations: fields.operations()?,
            ..Filter::default()
        },
        from: match fields.text("from")? {
            None | Some("now") => Begin::Now,
            Some("start") => Begin::Start,
            Some(_) => return Err("from must be \"now\" or \"start\"".into()),
        },
    })
}

struct Fields<'a>(&'a toml::Table);

impl<'a> Fields<'a> {
    fn check_names(&self) -> Result<(), String> {
        match self.0.keys().find(|name| !FIELDS.contains(&name.as_str())) {
            Some(name) => Err(format!(
                "there is no field {name}; there are {}",
                FIELDS.join(", ")
            )),
            None => Ok(()),
        }
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, String> {
        match self.0.get(name) {
            None => Ok(None),
            Some(toml::Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("{name} must be a text in quotes")),
        }
    }

    fn required(&self, name: &str) -> Result<&'a str, String> {
        self.text(name)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| format!("{name} is missing"))
    }

    fn list(&self, name: &str) -> Result<Vec<String>, String> {
        let expected = || format!("{name} must be a list of texts, such as [\"Order\"]");
        let Some(value) = self.0.get(name) else {
            return Ok(Vec::new());
        };
        let items = value.as_array().ok_or_else(expected)?;
        let text = |item: &toml::Value| item.as_str().map(str::to_owned).ok_or_else(expected);
        items.iter().map(text).collect()
    }

    fn name(&self) -> Result<String, String> {
        let name = self.required("name")?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        match name.len() <= 64 && name.bytes().all(is_plain) {
            true => Ok(name.to_owned()),
            false => Err("name must be at most 64 letters, digits, -, _ or .".into()),
        }
    }

    fn operations(&self) -> Result<BTreeSet<Operation>, String> {
        let operation = |name: String| match name.as_str() {
            "insert" => Ok(Operation::Insert),
            "update" => Ok(Operation::Update),
            "delete" => Ok(Operation::Delete),
            "truncate" => Ok(Operation::Truncate),
            _ => Err("operations must be of insert, update, delete, truncate".to_owned()),
        };
        self.list("operations")?
            .into_iter()
            .map(operation)
            .collect()
    }

    fn target(&self) -> Result<Target, String> {
        let url = self.required("url")?;
        let target = match self.required("kind")? {
            "redis-streams" => {
                self.has_none_of(&["subject"], "redis-streams")?;
                Target::redis_streams(url, self.required("stream")?, self.max_len()?)
            }
            "nats" => {
                self.has_none_of(&["stream", "max_len"], "nats")?;
                Target::nats(url, self.text("subject")?.unwrap_or(DEFAULT_SUBJECT))
            }
            _ => return Err("kind must be \"redis-streams\" or \"nats\"".into()),
        };
        target.map_err(|error| error.to_string())
    }

    fn has_none_of(&self, names: &[&str], kind: &str) -> Result<(), String> {
        match names.iter().find(|name| self.0.contains_key(**name)) {
            Some(name) => Err(format!(
                "{name} is not a field of kind {kind}: leave it out"
            )),
            None => Ok(()),
        }
    }

    fn max_len(&self) -> Result<Option<u64>, String> {
        let Some(value) = self.0.get("max_len") else {
            return Ok(None);
        };
        let length = value
            .as_integer()
            .and_then(|length| u64::try_from(length).ok());
        match length.filter(|length| *length > 0) {
            Some(length) => Ok(Some(length)),
            None => Err("max_len must be a whole number from 1".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<SinkConfig>> {
        let table: toml::Table = text.parse().unwrap();
        let items = table["sinks"].as_array().unwrap().iter();
        let tables: Vec<toml::Table> = items.map(|item| item.as_table().unwrap().clone()).collect();
        sinks(&tables)
    }

    #[test]
    fn a_sink_says_where_to_and_what() {
        let read = read(
            "[[sinks]]\nname = 'search'\nkind = 'redis-streams'\nurl = 'redis://localhost'\nstream = 's'\n\
             max_len = 10\nclasses = ['Order']\noperations = ['insert']\nfrom = 'start'\n\
             [[sinks]]\nname = 'bus'\nkind = 'nats'\nurl = 'nats://user:hunter2@localhost'\n",
        )
        .unwrap();
        assert_eq!(read[0].filter.classes, BTreeSet::from(["Order".to_owned()]));
        assert_eq!((read[0].from, read[1].from), (Begin::Start, Begin::Now));
        assert_eq!(
            read[1].target,
            Target::nats("nats://user:hunter2@localhost", DEFAULT_SUBJECT).unwrap()
        );
        assert!(!format!("{read:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let redis = "name = 'a'\nkind = 'redis-streams'\nurl = 'redis://h'\nstream = 's'\n";
        let nats = "name = 'a'\nkind = 'nats'\nurl = 'nats://h'\n";
        for (text, named) in [
            ("kind = 'nats'\n".to_owned(), "number 1: name is missing"),
            ("name = 'a b'\n".into(), "name must be"),
            ("name = 'a'\nurl = 'x'\n".into(), "a: kind is missing"),
            (
                "name = 'a'\nurl = 'x'\nkind = 'kafka'\n".into(),
                "kind must be",
            ),
            (
                "name = 'a'\nkind = 'redis-streams'\nurl = 'http://h'\nstream = 's'\n".into(),
                "url must be",
            ),
            (
                "name = 'a'\nkind = 'nats'\nurl = 'nats://a:b:c'\n".into(),
                "url must be",
            ),
            (format!("{redis}max_len = 0\n"), "max_len must be"),
            (
                format!("{redis}subject = 'a'\n"),
                "subject is not a field of kind redis-streams",
            ),
            (
                format!("{redis}classes = 'Order'\n"),
                "classes must be a list",
            ),
            (
                format!("{redis}operations = ['upsert']\n"),
                "operations must be",
            ),
            (format!("{redis}from = 'end'\n"), "from must be"),
            (format!("{redis}steam = 'end'\n"), "there is no field steam"),
            (format!("{nats}subject = 'a.*'\n"), "subject \"a.*\""),
            (
                format!("{redis}[[sinks]]\n{nats}"),
                "name is that of another sink",
            ),
            (
                format!("{redis}[[sinks]]\n{}", redis.replace("'a'", "'b'")),
                "b: stream is that of sink a too",
            ),
        ] {
            let refusal = read(&format!("[[sinks]]\n{text}")).unwrap_err().to_string();
            assert!(refusal.contains(named), "{refusal}");
        }
    }
}
