//! Conditions on `jsonb`: Array and Object fields, and what is inside them.

use serde_json::Value;
use tidegate_parse_protocol::{Constraint, FieldType, date};

use super::{any, every, not, ordering, regex};
use crate::param::Param;
use crate::sql::{Binds, identifier, literal};

/// A `jsonb` expression.
pub(super) struct Json {
    sql: String,
    kind: Kind,
}

enum Kind {
    /// A whole column of this kind of field.
    Array,
    Object,
    /// A place inside a column, which may hold anything; the same place as text.
    Inside {
        text: String,
        is_auth_data: bool,
    },
}

impl Json {
    pub(super) fn column(sql: String, field_type: &FieldType) -> Json {
        let kind = if *field_type == FieldType::Array {
            Kind::Array
        } else {
            Kind::Object
        };
        Json { sql, kind }
    }

    /// The value at `keys` inside a column. A key of digits is an element of an array, or a key of an object.
    pub(super) fn inside(column: &str, keys: &[String], binds: &mut Binds) -> Json {
        let is_auth_data = column == "authData";
        let column = identifier(column);
        if keys
            .iter()
            .any(|key| key.bytes().all(|byte| byte.is_ascii_digit()))
        {
            let keys = binds.bind(Param::Texts(keys.to_vec()));
            let kind = Kind::Inside {
                text: format!("({column} #>> {keys})"),
                is_auth_data,
            };
            return Json {
                sql: format!("({column} #> {keys})"),
                kind,
            };
        }
        let quoted: Vec<String> = keys.iter().map(|key| literal(key)).collect();
        let (last, before) = quoted.split_last().expect("callers pass at least one key");
        let parent = before
            .iter()
            .fold(column, |parent, key| format!("{parent}->{key}"));
        let kind = Kind::Inside {
            text: format!("({parent}->>{last})"),
            is_auth_data,
        };
        Json {
            sql: format!("({parent}->{last})"),
            kind,
        }
    }

    pub(super) fn into_sql(self) -> String {
        self.sql
    }

    pub(super) fn condition(&self, constraint: &Constraint, binds: &mut Binds) -> String {
        match constraint {
            Constraint::Equal(value) => self.equal(value, binds),
            Constraint::NotEqual(value) => not(&self.equal(value, binds)),
            Constraint::In(values) => self.is_in(values, binds),
            Constraint::NotIn(values) => not(&self.is_in(values, binds)),
            Constraint::All(values) => self.holds_all(values, binds),
            Constraint::Exists(true) => not(&self.is_missing()),
            Constraint::Exists(false) => self.is_missing(),
            Constraint::Regex { pattern, options } => self.matches(pattern, options, binds),
            _ => self.compare(constraint, binds),
        }
    }

    fn is_missing(&self) -> String {
        match self.kind {
            Kind::Array | Kind::Object => format!("{} IS NULL", self.sql),
            Kind::Inside { .. } => format!("COALESCE({}, 'null'::jsonb) = 'null'::jsonb", self.sql),
        }
    }

    fn equal(&self, value: &Value, binds: &mut Binds) -> String {
        match (&self.kind, value) {
            (_, Value::Null) => self.is_missing(),
            (Kind::Array, Value::Array(_)) | (Kind::Object, _) => self.is_same(value, binds),
            (Kind::Array, value) => self.holds(value, binds),
            // This text is the expression of the unique index on each provider's user id.
            (
                Kind::Inside {
                    text,
                    is_auth_data: true,
                },
                Value::String(wanted),
            ) => {
                format!("{text} = {}", binds.text(wanted))
            }
            (Kind::Inside { .. }, value) => {
                any(vec![self.is_same(value, binds), self.holds(value, binds)])
            }
        }
    }

    fn is_same(&self, value: &Value, binds: &mut Binds) -> String {
        format!("{} = {}", self.sql, binds.bind(Param::json(value)))
    }

    /// It is an array with this element.
    fn holds(&self, value: &Value, binds: &mut Binds) -> String {
        if is_atom(value) {
            return format!(
                "{} @> {}",
                self.sql,
                binds.bind(Param::Json(format!("[{value}]")))
            );
        }
        // `@>` would also take an element that has more keys than the wanted one.
        let value = binds.bind(Param::json(value));
        self.any_element(&format!("_e = {value}"))
    }

    /// It is an array with an element `_e` of which this holds. No field's name begins so, but those of the server.
    fn any_element(&self, condition: &str) -> String {
        format!(
            "EXISTS (SELECT 1 FROM jsonb_array_elements({}) _e WHERE {condition})",
            self.as_array()
        )
    }

    /// Postgres refuses to take elements from what is no array.
    fn as_array(&self) -> String {
        format!(
            "CASE jsonb_typeof({0}) WHEN 'array' THEN {0} ELSE '[]'::jsonb END",
            self.sql
        )
    }

    fn is_in(&self, values: &[Value], binds: &mut Binds) -> String {
        let mut conditions = Vec::new();
        if values.iter().any(Value::is_null) {
            conditions.push(self.is_missing());
        }
        let values: Vec<&Value> = values.iter().filter(|value| !value.is_null()).collect();
        let texts = || {
            values
                .iter()
                .map(|value| value.as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>()
        };
        conditions.push(match (&self.kind, texts()) {
            (_, Some(texts)) if texts.is_empty() => "FALSE".to_owned(),
            (Kind::Array, Some(texts)) => {
                format!("{} ?| {}", self.sql, binds.bind(Param::Texts(texts)))
            }
            (
                Kind::Inside {
                    text,
                    is_auth_data: true,
                },
                Some(texts),
            ) => {
                format!("{text} = ANY({})", binds.bind(Param::Texts(texts)))
            }
            _ => {
                let list = Value::Array(values.into_iter().cloned().collect());
                self.is_any_of(&binds.bind(Param::json(&list)))
            }
        });
        any(conditions)
    }

    fn is_any_of(&self, list: &str) -> String {
        let same_or_held = match self.kind {
            Kind::Array => format!("_v IN (SELECT jsonb_array_elements({}))", self.as_array()),
            Kind::Object => format!("{} = _v", self.sql),
            Kind::Inside { .. } => {
                format!(
                    "{} = _v OR _v IN (SELECT jsonb_array_elements({}))",
                    self.sql,
                    self.as_array()
                )
            }
        };
        format!("EXISTS (SELECT 1 FROM jsonb_array_elements({list}) _v WHERE {same_or_held})")
    }

    fn holds_all(&self, values: &[Value], binds: &mut Binds) -> String {
        if !values.is_empty() && values.iter().all(is_atom) {
            let list = binds.bind(Param::json(&Value::Array(values.to_vec())));
            return format!("{} @> {list}", self.sql);
        }
        every(
            values
                .iter()
                .map(|value| self.equal(value, binds))
                .collect(),
        )
    }

    fn compare(&self, constraint: &Constraint, binds: &mut Binds) -> String {
        let Some((operator, value)) = ordering(constraint) else {
            return "FALSE".to_owned();
        };
        match self.kind {
            Kind::Object => "FALSE".to_owned(),
            Kind::Array => match compare_one("_e", operator, value, binds) {
                Some(condition) => self.any_element(&condition),
                None => "FALSE".to_owned(),
            },
            Kind::Inside { .. } => {
                compare_one(&self.sql, operator, value, binds).unwrap_or_else(|| "FALSE".to_owned())
            }
        }
    }

    fn matches(&self, pattern: &str, options: &str, binds: &mut Binds) -> String {
        match &self.kind {
            Kind::Object => "FALSE".to_owned(),
            Kind::Array => {
                let condition = regex::condition("_e", pattern, options, binds);
                format!(
                    "EXISTS (SELECT 1 FROM jsonb_array_elements_text({}) _e WHERE {condition})",
                    self.as_array()
                )
            }
            Kind::Inside { text, .. } => regex::condition(text, pattern, options, binds),
        }
    }
}

/// One JSON value against a value of its own type; `None` for types without an order.
fn compare_one(sql: &str, operator: &str, value: &Value, binds: &mut Binds) -> Option<String> {
    let json_type = match value {
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        // ISO texts of one form order as the dates do.
        Value::Object(_) => {
            let iso = binds.text(date::iso_of(value)?);
            return Some(format!(
                "({sql}->>'__type' = 'Date' AND {sql}->>'iso' {operator} {iso})"
            ));
        }
        Value::Null | Value::Array(_) => return None,
    };
    let value = binds.bind(Param::json(value));
    Some(format!(
        "(jsonb_typeof({sql}) = '{json_type}' AND {sql} {operator} {value})"
    ))
}

/// True for what `@>` compares as a whole: scalars, and pointers and dates, which have no optional keys.
fn is_atom(value: &Value) -> bool {
    match value {
        Value::Array(_) => false,
        Value::Object(fields) => matches!(
            fields.get("__type").and_then(Value::as_str),
            Some("Pointer" | "Date")
        ),
        _ => true,
    }
}
