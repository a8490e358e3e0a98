//! Reading the answers of XREAD, XRANGE and XREVRANGE.
//!
//! redis-rs has types for them, but those build a hash map per entry; here the payload is moved,
//! not copied.

use bytes::Bytes;
use redis::Value;

use crate::delivery::{Delivery, EntryId, Limit};
use crate::push::{LIMIT_FIELD, ORDERED_KEY_FIELD, PAYLOAD_FIELD, UNORDERED_KEY_FIELD};
use crate::runs::RUN_FIELD;

/// The streams in an answer of XREAD: key, and raw entries. No stream has news: Nil.
pub(crate) fn streams(answer: Value) -> Vec<(String, Vec<Value>)> {
    let Value::Array(streams) = answer else {
        return Vec::new();
    };
    streams.into_iter().filter_map(stream).collect()
}

fn stream(value: Value) -> Option<(String, Vec<Value>)> {
    let [key, entries] = pair(value)?;
    Some((text(key)?, array(entries)?))
}

/// The entries in an answer of XRANGE or XREVRANGE.
pub(crate) fn entries(answer: Value) -> Vec<Value> {
    array(answer).unwrap_or_default()
}

/// The id of an entry.
pub(crate) fn entry_id(entry: &Value) -> Option<EntryId> {
    let Value::Array(parts) = entry else {
        return None;
    };
    match parts.first()? {
        Value::BulkString(id) => std::str::from_utf8(id).ok()?.parse().ok(),
        _ => None,
    }
}

/// The delivery in an entry; `None` if no push of ours wrote it.
pub(crate) fn delivery(entry: Value) -> Option<Delivery> {
    let id = entry_id(&entry)?;
    let [_, fields] = pair(entry)?;
    let mut fields = array(fields)?;
    let limit = match fields.len() {
        6 => {
            let [limit_field, limit] = fields.split_off(4).try_into().ok()?;
            (bytes(limit_field)? == LIMIT_FIELD).then_some(())?;
            Some(Limit::from_text(&text(limit)?)?)
        }
        _ => None,
    };
    let [key_field, order_key, payload_field, payload] = fields.try_into().ok()?;
    let key_field = bytes(key_field)?;
    let is_ours = key_field == ORDERED_KEY_FIELD || key_field == UNORDERED_KEY_FIELD;
    (is_ours && bytes(payload_field)? == PAYLOAD_FIELD).then_some(())?;
    Some(Delivery {
        log_offset: id.log_offset,
        position: id.position,
        order_key: text(order_key)?,
        unordered: key_field == UNORDERED_KEY_FIELD,
        limit,
        payload: Bytes::from(bytes(payload)?),
    })
}

/// An entry of a stream of runs: its id there, and the run; no run if no push of ours wrote it.
pub(crate) fn run(entry: Value) -> Option<(String, Option<u64>)> {
    let [id, fields] = pair(entry)?;
    let run = array(fields).and_then(|fields| {
        let [field, run] = fields.try_into().ok()?;
        (bytes(field)? == RUN_FIELD).then_some(())?;
        text(run)?.parse().ok()
    });
    Some((text(id)?, run))
}

fn pair(value: Value) -> Option<[Value; 2]> {
    array(value)?.try_into().ok()
}

fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

fn text(value: Value) -> Option<String> {
    String::from_utf8(bytes(value)?).ok()
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn entry(id: &str, fields: &[&str]) -> Value {
        let fields = fields.iter().map(|field| string(field)).collect();
        Value::Array(vec![string(id), Value::Array(fields)])
    }

    #[test]
    fn what_push_writes_is_read_back() {
        let ordered = delivery(entry("7-2", &["k", "Order:a", "p", "{}"])).unwrap();
        assert_eq!((ordered.log_offset, ordered.position), (7, 2));
        assert_eq!((&*ordered.order_key, ordered.unordered), ("Order:a", false));
        assert_eq!(&ordered.payload[..], b"{}");
        let limited = ["k", "Order:a", "p", "{}", "l", "2,,,afterSave:Order"];
        let limited = delivery(entry("7-4", &limited)).unwrap();
        assert_eq!(limited.limit.unwrap().concurrency, Some(2));
        assert!(
            delivery(entry("7-3", &["u", "Order:a", "p", ""]))
                .unwrap()
                .unordered
        );
    }

    #[test]
    fn what_somebody_else_wrote_is_no_delivery() {
        let foreign = [
            entry("7", &["k", "a", "p", ""]),
            entry("7-70000", &["k", "a", "p", ""]),
            entry("7-0", &["x", "a", "p", ""]),
            entry("7-0", &["k", "a", "q", ""]),
            entry("7-0", &["k", "a"]),
            entry("7-0", &["k", "a", "p", "", "x", "2,,,g"]),
            string("7-0"),
            Value::Nil,
        ];
        for entry in foreign {
            assert_eq!(delivery(entry), None);
        }
    }

    #[test]
    fn the_run_of_an_entry_is_a_number_in_our_field() {
        let ours = entry("7-1", &["r", "18446744073709551615"]);
        assert_eq!(run(ours), Some(("7-1".into(), Some(u64::MAX))));
        let foreign: [&[&str]; 5] = [&["r", "-1"], &["r", "x"], &["x", "1"], &["r"], &[]];
        for fields in foreign {
            assert_eq!(run(entry("7-1", fields)), Some(("7-1".into(), None)));
        }
        assert_eq!(run(Value::Nil), None);
    }

    #[test]
    fn streams_come_with_their_keys() {
        let stream = |key, entries| Value::Array(vec![string(key), Value::Array(entries)]);
        let answer = Value::Array(vec![
            stream("a", vec![entry("1-0", &[])]),
            stream("b", vec![]),
        ]);
        let read = streams(answer);
        assert_eq!(read.len(), 2);
        assert_eq!((&*read[0].0, read[0].1.len()), ("a", 1));
        assert!(streams(Value::Nil).is_empty());
    }
}
