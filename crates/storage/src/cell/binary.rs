//! Cells from Postgres's binary form.

use std::error::Error as StdError;

use tokio_postgres::types::{FromSql, Type};

use super::{Cell, json};
use crate::param::{JSONB_VERSION, POSTGRES_EPOCH_US, Point};

const MICROSECONDS_PER_DAY: i64 = 86_400_000_000;

type DecodeError = Box<dyn StdError + Sync + Send>;

impl<'a> FromSql<'a> for Cell {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Cell, DecodeError> {
        Ok(match *ty {
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME => {
                Cell::Text(str::from_utf8(raw)?.to_owned())
            }
            Type::FLOAT8 => Cell::Number(f64::from_be_bytes(raw.try_into()?)),
            Type::FLOAT4 => Cell::Number(f32::from_be_bytes(raw.try_into()?).into()),
            Type::INT2 => Cell::Number(i16::from_be_bytes(raw.try_into()?).into()),
            Type::INT4 => Cell::Number(i32::from_be_bytes(raw.try_into()?).into()),
            Type::INT8 => Cell::Number(i64::from_be_bytes(raw.try_into()?) as f64),
            Type::BOOL => Cell::Boolean(raw == [1]),
            Type::TIMESTAMPTZ | Type::TIMESTAMP => {
                Cell::Timestamp(timestamp(i64::from_be_bytes(raw.try_into()?)))
            }
            Type::DATE => Cell::Timestamp(date(i32::from_be_bytes(raw.try_into()?))),
            Type::JSONB => json(
                raw.strip_prefix(&[JSONB_VERSION])
                    .ok_or("unknown version of binary jsonb")?,
            ),
            Type::JSON => json(raw),
            Type::TEXT_ARRAY | Type::VARCHAR_ARRAY => texts(ty, raw)?,
            Type::POINT => Cell::Point(point(raw)?),
            Type::POLYGON => polygon(raw)?,
            _ => {
                return Err(format!("columns of type {ty} cannot be read as a Parse field").into());
            }
        })
    }

    fn from_sql_null(_: &Type) -> Result<Cell, DecodeError> {
        Ok(Cell::Null)
    }

    fn accepts(_: &Type) -> bool {
        // `from_sql` names the type that it does not know; refusing here would name only this Rust type.
        true
    }
}

/// The outermost values are Postgres's `infinity` and `-infinity`.
fn timestamp(postgres_us: i64) -> Option<i64> {
    let is_finite = postgres_us != i64::MAX && postgres_us != i64::MIN;
    postgres_us
        .checked_add(POSTGRES_EPOCH_US)
        .filter(|_| is_finite)
}

fn date(postgres_days: i32) -> Option<i64> {
    let is_finite = postgres_days != i32::MAX && postgres_days != i32::MIN;
    timestamp(
        i64::from(postgres_days)
            .checked_mul(MICROSECONDS_PER_DAY)
            .filter(|_| is_finite)?,
    )
}

/// NULL elements have no meaning in the arrays that Parse stores so; they are left out.
fn texts(ty: &Type, raw: &[u8]) -> Result<Cell, DecodeError> {
    let texts: Vec<Option<String>> = FromSql::from_sql(ty, raw)?;
    Ok(Cell::Texts(texts.into_iter().flatten().collect()))
}

fn point(raw: &[u8]) -> Result<Point, DecodeError> {
    let (x, y) = raw.split_at_checked(8).ok_or("short point")?;
    Ok(Point {
        x: f64::from_be_bytes(x.try_into()?),
        y: f64::from_be_bytes(y.try_into()?),
    })
}

fn polygon(raw: &[u8]) -> Result<Cell, DecodeError> {
    let (_count, corners) = raw.split_at_checked(4).ok_or("short polygon")?;
    corners
        .chunks(16)
        .map(point)
        .collect::<Result<_, _>>()
        .map(Cell::Polygon)
}
