//! One statement parameter, in Postgres's binary form.

use std::error::Error as StdError;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// Microseconds from Postgres's epoch (2000-01-01) back to 1970-01-01.
pub(crate) const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// A point of the plane as Postgres has it: for a GeoPoint `x` is the longitude and `y` the latitude.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
}

/// A parameter's value; the variant decides its SQL type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Param {
    Text(String),
    Texts(Vec<String>),
    Number(f64),
    Numbers(Vec<f64>),
    Integer(i64),
    Boolean(bool),
    Booleans(Vec<bool>),
    /// Milliseconds since 1970.
    Timestamp(i64),
    Timestamps(Vec<i64>),
    /// JSON text.
    Json(String),
    Point(Point),
    Polygon(Vec<Point>),
}

impl Param {
    pub(crate) fn json(value: &serde_json::Value) -> Param {
        Param::Json(value.to_string())
    }

    pub(crate) fn sql_type(&self) -> &'static str {
        match self {
            Param::Text(_) => "text",
            Param::Texts(_) => "text[]",
            Param::Number(_) => "double precision",
            Param::Numbers(_) => "double precision[]",
            Param::Integer(_) => "bigint",
            Param::Boolean(_) => "boolean",
            Param::Booleans(_) => "boolean[]",
            Param::Timestamp(_) => "timestamptz",
            Param::Timestamps(_) => "timestamptz[]",
            Param::Json(_) => "jsonb",
            Param::Point(_) => "point",
            Param::Polygon(_) => "polygon",
        }
    }
}

impl ToSql for Param {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self {
            Param::Text(text) => return text.to_sql(ty, out),
            Param::Texts(texts) => return texts.to_sql(ty, out),
            Param::Number(number) => out.put_f64(*number),
            Param::Numbers(numbers) => return numbers.to_sql(ty, out),
            Param::Integer(number) => out.put_i64(*number),
            Param::Boolean(truth) => out.put_u8(u8::from(*truth)),
            Param::Booleans(truths) => return truths.to_sql(ty, out),
            Param::Timestamp(unix_ms) => return Timestamp(*unix_ms).to_sql(ty, out),
            Param::Timestamps(times) => {
                return times
                    .iter()
                    .map(|unix_ms| Timestamp(*unix_ms))
                    .collect::<Vec<_>>()
                    .to_sql(ty, out);
            }
            Param::Json(text) => {
                out.put_u8(JSONB_VERSION);
                out.put_slice(text.as_bytes());
            }
            Param::Point(point) => point.put(out),
            Param::Polygon(points) => {
                out.put_i32(i32::try_from(points.len())?);
                points.iter().for_each(|point| point.put(out));
            }
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        // Every parameter is written with its cast, so the server's type is the one of `sql_type`.
        true
    }

    to_sql_checked!();
}

/// The first byte of `jsonb` in binary form.
pub(crate) const JSONB_VERSION: u8 = 1;

impl Point {
    fn put(self, out: &mut BytesMut) {
        out.put_f64(self.x);
        out.put_f64(self.y);
    }
}

/// Milliseconds since 1970 as `timestamptz`.
#[derive(Debug)]
struct Timestamp(i64);

impl ToSql for Timestamp {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        // ISO texts reach from year -9999 to 9999: no overflow; what Postgres cannot hold (before 4714 BC) it refuses.
        out.put_i64(
            self.0
                .saturating_mul(1000)
                .saturating_sub(POSTGRES_EPOCH_US),
        );
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

/// The value inside, when it is of that kind: for lists of one type.
impl Param {
    pub(crate) fn into_text(self) -> Option<String> {
        if let Param::Text(text) = self {
            Some(text)
        } else {
            None
        }
    }

    pub(crate) fn into_number(self) -> Option<f64> {
        if let Param::Number(number) = self {
            Some(number)
        } else {
            None
        }
    }

    pub(crate) fn into_boolean(self) -> Option<bool> {
        if let Param::Boolean(truth) = self {
            Some(truth)
        } else {
            None
        }
    }

    pub(crate) fn into_timestamp(self) -> Option<i64> {
        if let Param::Timestamp(unix_ms) = self {
            Some(unix_ms)
        } else {
            None
        }
    }
}
