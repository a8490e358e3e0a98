//! One column's value on its way out of Postgres, from the binary form of a query or the text form of the WAL.
//!
//! ```text
//! query row (binary) ─┐
//!                     ├─▶ Cell ─▶ REST JSON
//! WAL row (text) ─────┘
//! ```
//!
//! Both forms meet here, so a handler's object from the WAL equals the one that a query gives.

mod binary;
mod rest;
mod text;

use serde_json::Value;

pub(crate) use rest::to_rest;
pub(crate) use text::{from_text, parse_timestamp};

use crate::param::Point;

/// A value as Postgres has it, before the field's type gives it meaning.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Text(String),
    Number(f64),
    Boolean(bool),
    /// Microseconds since 1970; `None` for `infinity` and what lies beyond.
    Timestamp(Option<i64>),
    Json(Value),
    Texts(Vec<String>),
    Point(Point),
    Polygon(Vec<Point>),
    /// JSON that no reader here can hold, such as the number 1e1000; shown as `null`.
    Unreadable,
}

/// JSON text from a `jsonb` column.
///
/// SQL can store numbers and nesting that are beyond a JSON reader's limits; one such value must not make its whole
/// table unreadable.
fn json(text: &[u8]) -> Cell {
    serde_json::from_slice(text).map_or(Cell::Unreadable, Cell::Json)
}
