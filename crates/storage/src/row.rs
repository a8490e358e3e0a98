//! Rows as Parse objects in REST form.

use std::collections::BTreeMap;

use serde_json::json;
use tidegate_parse_protocol::{ClassSchema, FieldType, Object, ReadOptions};
use tokio_postgres::Row;

use crate::Error;
use crate::cell::{Cell, from_text, to_rest};
use crate::column::ColumnType;
use crate::query::{Column, is_wanted};
use crate::secret::is_secret;

/// An object from a query's row; `columns` in the row's order, which may go on after them.
pub(crate) fn from_query(
    class: &ClassSchema,
    columns: &[Column<'_>],
    read: Option<&ReadOptions>,
    row: &Row,
) -> Result<Object, Error> {
    let mut object = Object::new();
    for (at, (name, field_type)) in columns.iter().enumerate() {
        let cell: Cell = row
            .try_get(at)
            .map_err(|source| Error::Database { source })?;
        insert(&mut object, class, name, field_type, cell);
    }
    insert_relations(&mut object, class, read);
    Ok(object)
}

/// An object from what Postgres prints for each column. Columns that are not in `row`, secret or no fields are left out.
///
/// # Errors
/// [`Error::StaleSchema`]: a text is not one of its field's type.
pub(crate) fn from_texts(
    class: &ClassSchema,
    row: &BTreeMap<String, Option<String>>,
) -> Result<Object, Error> {
    let mut object = Object::new();
    for (name, text) in row {
        let (Some(field), Some(text)) = (class.fields.get(name), text) else {
            continue;
        };
        let Some(column) = ColumnType::of(field).filter(|_| !is_secret(&class.name, name)) else {
            continue;
        };
        let cell = from_text(column, text).ok_or(Error::StaleSchema)?;
        insert(&mut object, class, name, &field.field_type, cell);
    }
    insert_relations(&mut object, class, None);
    Ok(object)
}

fn insert(
    object: &mut Object,
    class: &ClassSchema,
    name: &str,
    field_type: &FieldType,
    cell: Cell,
) {
    if cell == Cell::Unreadable {
        tracing::warn!(
            parse.class = class.name,
            parse.field = name,
            "a stored JSON value is beyond what JSON readers hold"
        );
    }
    if let Some(value) = to_rest(name, field_type, cell) {
        object.insert(name.to_owned(), value);
    }
}

/// A relation is shown in every object, whether it has members or not.
fn insert_relations(object: &mut Object, class: &ClassSchema, read: Option<&ReadOptions>) {
    for (name, field) in &class.fields {
        if let FieldType::Relation { target } = &field.field_type
            && is_wanted(name, read)
        {
            object.insert(
                name.clone(),
                json!({"__type": "Relation", "className": target}),
            );
        }
    }
}
