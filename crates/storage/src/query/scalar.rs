//! Conditions on a column of one plain type.

use serde_json::Value;
use tidegate_parse_protocol::{Constraint, Field};

use super::{any, every, not, ordering, regex};
use crate::column::{ColumnType, param};
use crate::param::Param;
use crate::sql::Binds;

/// `column`: quoted.
pub(super) fn condition(
    column: &str,
    field: &Field,
    constraint: &Constraint,
    binds: &mut Binds,
) -> String {
    let subject = Subject { column, field };
    match constraint {
        Constraint::Equal(value) => subject.equal(value, binds),
        Constraint::NotEqual(value) => not(&subject.equal(value, binds)),
        Constraint::In(values) => subject.is_in(values, binds),
        Constraint::NotIn(values) => not(&subject.is_in(values, binds)),
        Constraint::All(values) => every(
            values
                .iter()
                .map(|value| subject.equal(value, binds))
                .collect(),
        ),
        Constraint::Exists(true) => format!("{column} IS NOT NULL"),
        Constraint::Exists(false) => format!("{column} IS NULL"),
        Constraint::Regex { pattern, options } => match ColumnType::of(field) {
            Some(ColumnType::Text) => regex::condition(column, pattern, options, binds),
            _ => "FALSE".to_owned(),
        },
        _ => subject.compare(constraint, binds),
    }
}

struct Subject<'a> {
    column: &'a str,
    field: &'a Field,
}

impl Subject<'_> {
    fn param(&self, value: &Value) -> Option<Param> {
        param(&self.field.field_type, self.field.contents_string, value)
    }

    fn equal(&self, value: &Value, binds: &mut Binds) -> String {
        let column = self.column;
        if value.is_null() {
            return format!("{column} IS NULL");
        }
        if let (Some(ColumnType::TextArray), Value::String(element)) =
            (ColumnType::of(self.field), value)
        {
            return format!("{} = ANY({column})", binds.text(element));
        }
        match self.param(value) {
            None => "FALSE".to_owned(),
            // Geometric types have no `=` that means the same figure.
            Some(param @ (Param::Point(_) | Param::Polygon(_))) => {
                format!("{column} ~= {}", binds.bind(param))
            }
            Some(param) => format!("{column} = {}", binds.bind(param)),
        }
    }

    fn is_in(&self, values: &[Value], binds: &mut Binds) -> String {
        let mut conditions = Vec::new();
        if values.iter().any(Value::is_null) {
            conditions.push(format!("{} IS NULL", self.column));
        }
        let values: Vec<&Value> = values.iter().filter(|value| !value.is_null()).collect();
        match (ColumnType::of(self.field), self.list(&values)) {
            (Some(ColumnType::TextArray), _) => {
                let texts = values
                    .iter()
                    .filter_map(|value| value.as_str().map(str::to_owned))
                    .collect();
                conditions.push(format!(
                    "{} && {}",
                    self.column,
                    binds.bind(Param::Texts(texts))
                ));
            }
            (_, Some(list)) => {
                conditions.push(format!("{} = ANY({})", self.column, binds.bind(list)))
            }
            (_, None) => conditions.extend(values.iter().map(|value| self.equal(value, binds))),
        }
        any(conditions)
    }

    /// Those of the values that fit the column, as one array parameter; `None` for types that are compared one by one.
    fn list(&self, values: &[&Value]) -> Option<Param> {
        let params = values.iter().filter_map(|value| self.param(value));
        Some(match ColumnType::of(self.field)? {
            ColumnType::Text => Param::Texts(params.filter_map(Param::into_text).collect()),
            ColumnType::Number => Param::Numbers(params.filter_map(Param::into_number).collect()),
            ColumnType::Boolean => {
                Param::Booleans(params.filter_map(Param::into_boolean).collect())
            }
            ColumnType::Timestamp => {
                Param::Timestamps(params.filter_map(Param::into_timestamp).collect())
            }
            ColumnType::Json | ColumnType::TextArray | ColumnType::Point | ColumnType::Polygon => {
                return None;
            }
        })
    }

    fn compare(&self, constraint: &Constraint, binds: &mut Binds) -> String {
        let has_order = matches!(
            ColumnType::of(self.field),
            Some(
                ColumnType::Text | ColumnType::Number | ColumnType::Boolean | ColumnType::Timestamp
            )
        );
        let Some((operator, value)) = ordering(constraint).filter(|_| has_order) else {
            return "FALSE".to_owned();
        };
        match self.param(value) {
            None => "FALSE".to_owned(),
            Some(param) => format!("{} {operator} {}", self.column, binds.bind(param)),
        }
    }
}
