//! Operations of an update as SQL expressions over the row's own columns: atomic whoever else writes.
//!
//! `a.b` and `a.c` change one column, so all operations on a column are first gathered into one [`Change`].

use std::collections::BTreeMap;

use tidegate_parse_protocol::{ClassSchema, ErrorCode, Field, FieldOp, FieldType, ParseError};

use crate::Error;
use crate::column::{ColumnType, refuse_nul, stored_param};
use crate::param::Param;
use crate::sql::{Binds, identifier};

/// A function takes at most 100 arguments in Postgres; more keys than this many pairs are merged in several steps.
const MAX_PAIRS_PER_OBJECT: usize = 50;

/// What one write does to one column, or to one place inside it.
#[derive(Default)]
struct Change<'a> {
    op: Option<&'a FieldOp>,
    inside: BTreeMap<&'a str, Change<'a>>,
}

impl Change<'_> {
    fn only_clears(&self) -> bool {
        let clears = match self.op {
            None | Some(FieldOp::Delete) => true,
            Some(FieldOp::Set(value)) => value.is_null(),
            Some(_) => false,
        };
        clears && self.inside.values().all(Change::only_clears)
    }
}

/// `column = expression` for every column that the operations change. Relations change none.
///
/// # Errors
/// [`Error::StaleSchema`]: a field is not in the class. [`Error::Refused`] with 111: an operation or value does not fit
/// the field's type.
pub(super) fn assignments<'a>(
    class: &ClassSchema,
    operations: impl Iterator<Item = (&'a str, &'a FieldOp)>,
    binds: &mut Binds,
) -> Result<Vec<(String, String)>, Error> {
    let mut columns = Change::default();
    for (path, op) in operations.filter(|(_, op)| !matches!(op, FieldOp::Relation { .. })) {
        path.split('.')
            .fold(&mut columns, |at, key| at.inside.entry(key).or_default())
            .op = Some(op);
    }
    let mut assignments = Vec::with_capacity(columns.inside.len());
    for (name, change) in &columns.inside {
        let Some(field) = class.fields.get(*name) else {
            // What nobody has ever set has no column, and is clear already.
            if change.only_clears() {
                continue;
            }
            return Err(Error::StaleSchema);
        };
        if ColumnType::of(field).is_some() {
            assignments.push((
                (*name).to_owned(),
                Target { class, name, field }.value(change, binds)?,
            ));
        }
    }
    Ok(assignments)
}

struct Target<'a> {
    class: &'a ClassSchema,
    name: &'a str,
    field: &'a Field,
}

impl Target<'_> {
    fn value(&self, change: &Change<'_>, binds: &mut Binds) -> Result<String, Error> {
        let column = identifier(self.name);
        let value = match change.op {
            None => column,
            Some(op) => self.after(&column, op, binds)?,
        };
        if change.inside.is_empty() {
            return Ok(value);
        }
        if self.field.field_type != FieldType::Object {
            return Err(self.misfit("set keys inside"));
        }
        self.merged(&value, &change.inside, binds)
    }

    /// A whole column after one operation.
    fn after(&self, column: &str, op: &FieldOp, binds: &mut Binds) -> Result<String, Error> {
        let is = |field_type: FieldType| {
            self.field.field_type == field_type && !self.field.contents_string
        };
        Ok(match op {
            FieldOp::Delete => "NULL".to_owned(),
            FieldOp::Set(value) if value.is_null() => "NULL".to_owned(),
            FieldOp::Set(value) => binds.bind(stored_param(
                &self.class.name,
                self.name,
                self.field,
                value,
            )?),
            FieldOp::Increment(amount) if is(FieldType::Number) => {
                format!(
                    "COALESCE({column},0) + {}",
                    binds.bind(Param::Number(*amount))
                )
            }
            FieldOp::Add(_) | FieldOp::AddUnique(_) | FieldOp::Remove(_)
                if is(FieldType::Array) =>
            {
                self.array_after(column, op, binds)?
            }
            op => return Err(self.misfit(op.name())),
        })
    }

    /// `object` with some of its keys changed. What is there and is no object is replaced by one.
    fn merged(
        &self,
        object: &str,
        inside: &BTreeMap<&str, Change<'_>>,
        binds: &mut Binds,
    ) -> Result<String, Error> {
        let mut merged = format!(
            "CASE jsonb_typeof({object}) WHEN 'object' THEN {object} ELSE '{{}}'::jsonb END"
        );
        let (deleted, kept): (Vec<_>, Vec<_>) =
            inside.iter().partition(|(_, change)| change.deletes());
        if !deleted.is_empty() {
            let keys = self.key_param(Param::Texts(
                deleted
                    .into_iter()
                    .map(|(key, _)| (*key).to_owned())
                    .collect(),
            ))?;
            merged = format!("({merged}) - {}", binds.bind(keys));
        }
        for pairs in kept.chunks(MAX_PAIRS_PER_OBJECT) {
            let mut arguments = Vec::with_capacity(pairs.len() * 2);
            for (key, change) in pairs {
                let key = binds.bind(self.key_param(Param::Text((**key).to_owned()))?);
                let value = self.inside_after(&format!("{object}->{key}"), change, binds)?;
                arguments.extend([key, value]);
            }
            merged = format!("({merged}) || jsonb_build_object({})", arguments.join(","));
        }
        Ok(format!("({merged})"))
    }

    fn key_param(&self, keys: Param) -> Result<Param, Error> {
        refuse_nul(self.name, &keys)?;
        Ok(keys)
    }

    /// A place inside a column after its change; `current` reads what the row has there.
    fn inside_after(
        &self,
        current: &str,
        change: &Change<'_>,
        binds: &mut Binds,
    ) -> Result<String, Error> {
        let value = match change.op {
            None => format!("({current})"),
            Some(FieldOp::Delete) => "'{}'::jsonb".to_owned(),
            Some(FieldOp::Set(value)) => {
                let json = Param::json(value);
                refuse_nul(self.name, &json)?;
                binds.bind(json)
            }
            Some(FieldOp::Increment(amount)) => {
                let amount = binds.bind(Param::Number(*amount));
                format!("to_jsonb(COALESCE(({current})::double precision,0) + {amount})")
            }
            Some(op) => self.array_after(&format!("({current})"), op, binds)?,
        };
        if change.inside.is_empty() {
            Ok(value)
        } else {
            self.merged(&value, &change.inside, binds)
        }
    }

    /// An array after an operation on its elements: their order is kept, and only AddUnique looks for equals.
    fn array_after(&self, current: &str, op: &FieldOp, binds: &mut Binds) -> Result<String, Error> {
        let array = format!(
            "(CASE jsonb_typeof({current}) WHEN 'array' THEN {current} ELSE '[]'::jsonb END)"
        );
        let (FieldOp::Add(values) | FieldOp::AddUnique(values) | FieldOp::Remove(values)) = op
        else {
            return Err(self.misfit(op.name()));
        };
        let values = Param::json(&values.as_slice().into());
        refuse_nul(self.name, &values)?;
        let values = binds.bind(values);
        let elements = |of: &str| {
            format!("jsonb_array_elements({of}) WITH ORDINALITY _element(_value,_place)")
        };
        Ok(match op {
            FieldOp::Add(_) => format!("{array} || {values}"),
            FieldOp::AddUnique(_) => format!(
                "{array} || COALESCE((SELECT jsonb_agg(_value ORDER BY _place) FROM \
                 (SELECT _value, min(_place) AS _place FROM {} GROUP BY _value) _new \
                 WHERE _value NOT IN (SELECT jsonb_array_elements({array}))),'[]'::jsonb)",
                elements(&values)
            ),
            _ => format!(
                "COALESCE((SELECT jsonb_agg(_value ORDER BY _place) FROM {} \
                 WHERE _value NOT IN (SELECT jsonb_array_elements({values}))),'[]'::jsonb)",
                elements(&array)
            ),
        })
    }

    fn misfit(&self, what: &str) -> Error {
        let message = format!(
            "cannot {what} {}.{}: it is of type {}",
            self.class.name, self.name, self.field.field_type
        );
        ParseError::new(ErrorCode::INCORRECT_TYPE, message).into()
    }
}

impl Change<'_> {
    /// True when the key goes away; `null` inside an object is no value, as for a field.
    fn deletes(&self) -> bool {
        let is_empty = match self.op {
            Some(FieldOp::Delete) => true,
            Some(FieldOp::Set(value)) => value.is_null(),
            _ => false,
        };
        is_empty && self.inside.is_empty()
    }
}
