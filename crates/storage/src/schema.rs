//! What this process knows about classes and tables: a snapshot, replaced as a whole.

mod load;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tidegate_parse_protocol::{ClassSchema, FieldType};

use crate::plain::PlainTable;

pub(crate) use load::load;

/// All classes at one moment. Get a fresh one with [`crate::Storage::schema`] for every request.
#[derive(Debug, Default)]
pub struct Schema {
    classes: HashMap<String, Arc<ClassSchema>>,
    /// Every column of every class's table, those that are no field among them.
    columns: HashMap<String, HashSet<String>>,
    /// Published tables that are no class, by schema and name.
    plain_tables: HashMap<(String, String), PlainTable>,
    publication: Publication,
}

/// What the publication that capture follows holds.
#[derive(Debug, Default)]
pub(crate) struct Publication {
    pub(crate) exists: bool,
    /// Tables of the classes' schema that are in it, and whether with REPLICA IDENTITY FULL.
    pub(crate) captured: HashMap<String, bool>,
}

impl Schema {
    /// A class by its name; `None` when nobody has used it yet.
    pub fn class(&self, name: &str) -> Option<Arc<ClassSchema>> {
        self.classes.get(name).cloned()
    }

    /// All classes, in no order.
    pub fn classes(&self) -> impl Iterator<Item = &Arc<ClassSchema>> {
        self.classes.values()
    }

    /// True when every change of the class is published.
    pub fn is_captured(&self, class: &str) -> bool {
        self.publication.captured.contains_key(class)
    }

    /// True when that is so with the whole row before the change.
    pub fn is_captured_whole(&self, class: &str) -> bool {
        self.publication.captured.get(class) == Some(&true)
    }

    /// True when the publication exists that classes join.
    pub fn has_publication(&self) -> bool {
        self.publication.exists
    }

    /// True for a column of a table in the classes' schema, be it a field or not.
    pub(crate) fn has_column(&self, class: &str, column: &str) -> bool {
        self.columns
            .get(class)
            .is_some_and(|columns| columns.contains(column))
    }

    pub(crate) fn plain_table(&self, schema: &str, table: &str) -> Option<&PlainTable> {
        self.plain_tables
            .get(&(schema.to_owned(), table.to_owned()))
    }

    /// The schema with these classes only; what a translator needs.
    #[cfg(test)]
    pub(crate) fn of_classes(classes: impl IntoIterator<Item = ClassSchema>) -> Schema {
        let classes = classes
            .into_iter()
            .map(|class| (class.name.clone(), Arc::new(class)));
        Schema {
            classes: classes.collect(),
            ..Schema::default()
        }
    }
}

/// The columns of `_User` that Parse Server makes with the table and never lists in `_SCHEMA` (`createTable`).
pub(crate) fn unlisted_fields(class: &str) -> &'static [(&'static str, FieldType)] {
    match class {
        "_User" => &[
            ("_email_verify_token_expires_at", FieldType::Date),
            ("_email_verify_token", FieldType::String),
            ("_account_lockout_expires_at", FieldType::Date),
            ("_failed_login_count", FieldType::Number),
            ("_perishable_token", FieldType::String),
            ("_perishable_token_expires_at", FieldType::Date),
            ("_password_changed_at", FieldType::Date),
            ("_password_history", FieldType::Array),
        ],
        _ => &[],
    }
}

/// The classes whose tables Parse Server makes at its start and never lists in `_SCHEMA`.
pub(crate) const VOLATILE_CLASSES: [&str; 8] = [
    "_Hooks",
    "_JobStatus",
    "_JobSchedule",
    "_PushStatus",
    "_GlobalConfig",
    "_GraphQLConfig",
    "_Audience",
    "_Idempotency",
];
