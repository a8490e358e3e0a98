//! What a client asks of the stream: where to begin, and which events.

use axum::http::HeaderMap;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StrDeserializer};
use tidegate_event::Filter;

use crate::incoming::query_parameters;

/// Why a client is not served.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NoMasterKey,
    Unauthorized,
    /// The request is wrong; the message says what it should be.
    Wrong {
        message: String,
    },
    /// Ask again later.
    Busy {
        message: String,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Begin {
    #[default]
    Now,
    Start,
    After {
        offset: u64,
    },
    Since {
        commit_time_us: i64,
    },
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ask {
    pub begin: Begin,
    pub filter: Filter,
    /// Also what stands in the log once more for a trigger's sake.
    pub redeliveries: bool,
}

const NAMES: &str = "after, since, from, class, operation, source, id, redeliveries";

impl Ask {
    /// A client that comes back asks for the same and says by `Last-Event-ID` what it has: that goes first.
    pub fn read(headers: &HeaderMap, query: Option<&str>) -> Result<Ask, Refusal> {
        let mut ask = Ask::default();
        for (name, value) in query_parameters(query.unwrap_or_default()) {
            let items = || {
                value
                    .split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty())
            };
            match name.as_str() {
                "from" => ask.begin = from(&value)?,
                "after" => ask.begin = after("after", &value)?,
                "since" => ask.begin = since(&value)?,
                "class" => ask.filter.classes.extend(items().map(str::to_owned)),
                "id" => ask.filter.ids.extend(items().map(str::to_owned)),
                "operation" => {
                    for item in items() {
                        let expected = "insert, update, delete or truncate";
                        ask.filter.operations.insert(named(&name, item, expected)?);
                    }
                }
                "source" => {
                    for item in items() {
                        let expected = "api, sql, trigger, job, backfill or recovered";
                        ask.filter.sources.insert(named(&name, item, expected)?);
                    }
                }
                "redeliveries" => ask.redeliveries = flag(&value)?,
                other => return Err(wrong(format!("there is no parameter {other}: {NAMES}"))),
            }
        }
        if let Some(last) = headers.get("last-event-id") {
            ask.begin = after("Last-Event-ID", last.to_str().unwrap_or_default())?;
        }
        Ok(ask)
    }
}

fn wrong(message: impl Into<String>) -> Refusal {
    let message = message.into();
    Refusal::Wrong { message }
}

fn from(value: &str) -> Result<Begin, Refusal> {
    match value {
        "now" => Ok(Begin::Now),
        "start" => Ok(Begin::Start),
        _ => Err(wrong("from must be now or start")),
    }
}

fn after(name: &str, value: &str) -> Result<Begin, Refusal> {
    // The log counts in Postgres's bigint.
    match value.trim().parse::<i64>() {
        Ok(offset @ 0..) => Ok(Begin::After {
            offset: offset as u64,
        }),
        _ => Err(wrong(format!(
            "{name} must be an offset of the log, such as 1234"
        ))),
    }
}

fn since(value: &str) -> Result<Begin, Refusal> {
    let time: jiff::Timestamp = value
        .parse()
        .map_err(|_| wrong("since must be a time such as 2026-01-31T12:00:00Z"))?;
    Ok(Begin::Since {
        commit_time_us: time.as_microsecond(),
    })
}

fn flag(value: &str) -> Result<bool, Refusal> {
    value
        .parse()
        .map_err(|_| wrong("redeliveries must be true or false"))
}

/// By the name that the stored form gives it.
fn named<'de, T: Deserialize<'de>>(
    parameter: &str,
    value: &'de str,
    expected: &str,
) -> Result<T, Refusal> {
    let deserializer: StrDeserializer<'de, ValueError> = value.into_deserializer();
    T::deserialize(deserializer).map_err(|_| wrong(format!("{parameter} must be {expected}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_event::{Operation, Source};

    fn ask(query: &str) -> Result<Ask, Refusal> {
        Ask::read(&HeaderMap::new(), Some(query))
    }

    #[test]
    fn filters_may_be_repeated_or_separated_by_commas() {
        let read =
            ask("class=Order,billing.invoices&class=Item&operation=insert,delete&source=api&id=a")
                .unwrap();
        let classes = ["Item", "Order", "billing.invoices"].map(str::to_owned);
        assert!(read.filter.classes.iter().eq(&classes));
        let operations = [Operation::Insert, Operation::Delete];
        assert!(read.filter.operations.iter().eq(&operations));
        assert!(read.filter.sources.iter().eq(&[Source::Api]));
        assert_eq!((read.begin, read.redeliveries), (Begin::Now, false));
    }

    #[test]
    fn what_the_client_has_goes_before_what_it_asked_for_first() {
        let mut headers = HeaderMap::new();
        headers.insert("last-event-id", "42".parse().unwrap());
        let read = Ask::read(&headers, Some("from=start")).unwrap();
        assert_eq!(read.begin, Begin::After { offset: 42 });
        let since = ask("since=1970-01-01T00:00:01%2B00:00").unwrap().begin;
        assert_eq!(
            since,
            Begin::Since {
                commit_time_us: 1_000_000
            }
        );
    }

    #[test]
    fn a_refusal_names_the_parameter() {
        for (query, named) in [
            ("after=-1", "after"),
            ("after=9223372036854775808", "after"),
            ("since=yesterday", "since"),
            ("from=end", "from"),
            ("operation=upsert", "operation"),
            ("source=psql", "source"),
            ("redeliveries=yes", "redeliveries"),
            ("klass=Order", "klass"),
        ] {
            match ask(query) {
                Err(Refusal::Wrong { message }) => assert!(message.contains(named), "{message}"),
                other => panic!("{query}: {other:?}"),
            }
        }
    }
}
