//! The statements that make tables and columns, in Parse Server's layout.

use tidegate_parse_protocol::{ClassSchema, Field, FieldType};

use crate::column::ColumnType;
use crate::schema::unlisted_fields;
use crate::sql::{identifier, join_table};

/// Everything a class needs that is not there yet: table, join tables, indexes.
pub(crate) fn create_class(class: &ClassSchema) -> Vec<String> {
    let mut statements = vec![create_table(class)];
    let relations = class
        .fields
        .iter()
        .filter(|(_, field)| matches!(field.field_type, FieldType::Relation { .. }));
    statements.extend(relations.flat_map(|(name, _)| create_join_table(&class.name, name)));
    statements.extend(indexes(&class.name).iter().map(|index| (*index).to_owned()));
    statements
}

/// A column, or the join table of a relation.
pub(crate) fn add_field(class: &str, name: &str, field: &Field) -> Vec<String> {
    match ColumnType::of(field) {
        Some(column) => {
            let (table, name) = (identifier(class), identifier(name));
            vec![format!(
                "ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {name} {}",
                column.sql_type()
            )]
        }
        None => create_join_table(class, name),
    }
}

/// Makes every change of the table reach the WAL whole.
pub(crate) fn replica_identity_full(class: &str) -> String {
    format!("ALTER TABLE {} REPLICA IDENTITY FULL", identifier(class))
}

pub(crate) fn publish(publication: &str, class: &str) -> String {
    format!(
        "ALTER PUBLICATION {} ADD TABLE {}",
        identifier(publication),
        identifier(class)
    )
}

fn create_table(class: &ClassSchema) -> String {
    let unlisted = unlisted_fields(&class.name)
        .iter()
        .map(|(name, field_type)| (*name, Field::new(field_type.clone())));
    let listed = class
        .fields
        .iter()
        .map(|(name, field)| (name.as_str(), field.clone()));
    let mut fields: Vec<(&str, Field)> = listed.chain(unlisted).collect();
    fields.sort_by_key(|(name, _)| rank(name));
    let columns = fields.iter().filter_map(|(name, field)| {
        let key = if *name == "objectId" {
            " PRIMARY KEY"
        } else {
            ""
        };
        Some(format!(
            "{} {}{key}",
            identifier(name),
            ColumnType::of(field)?.sql_type()
        ))
    });
    let columns: Vec<String> = columns.collect();
    format!(
        "CREATE TABLE IF NOT EXISTS {} ({})",
        identifier(&class.name),
        columns.join(", ")
    )
}

/// The default columns first and the access lists last, as people expect them in psql; the rest by name.
fn rank(name: &str) -> u8 {
    match name {
        "objectId" => 0,
        "createdAt" => 1,
        "updatedAt" => 2,
        "_rperm" | "_wperm" => 5,
        name if name.starts_with('_') => 4,
        _ => 3,
    }
}

/// Parse Server's table, whose key finds the owners of a member, and an index that finds the members of an owner.
fn create_join_table(class: &str, field: &str) -> Vec<String> {
    let table = join_table(class, field);
    let key = "\"relatedId\" varchar(120), \"owningId\" varchar(120), PRIMARY KEY (\"relatedId\", \"owningId\")";
    vec![
        format!("CREATE TABLE IF NOT EXISTS {table} ({key})"),
        // Without a name Postgres finds one that fits: the table's may fill all 63 bytes already.
        format!("CREATE INDEX ON {table} (\"owningId\")"),
    ]
}

/// The indexes that Parse Server makes at its start, and one that it lacks: every request looks up a session token.
fn indexes(class: &str) -> &'static [&'static str] {
    match class {
        "_User" => &[
            r#"CREATE UNIQUE INDEX IF NOT EXISTS "_User_unique_username" ON "_User" ("username")"#,
            r#"CREATE UNIQUE INDEX IF NOT EXISTS "_User_unique_email" ON "_User" ("email")"#,
            r#"CREATE INDEX IF NOT EXISTS "case_insensitive_username" ON "_User" (lower("username") varchar_pattern_ops)"#,
            r#"CREATE INDEX IF NOT EXISTS "case_insensitive_email" ON "_User" (lower("email") varchar_pattern_ops)"#,
            r#"CREATE INDEX IF NOT EXISTS "_email_verify_token" ON "_User" ("_email_verify_token")"#,
            r#"CREATE INDEX IF NOT EXISTS "_perishable_token" ON "_User" ("_perishable_token")"#,
            r#"CREATE UNIQUE INDEX IF NOT EXISTS "_User_unique_authData_anonymous_id"
                ON "_User" (("authData"->'anonymous'->>'id')) WHERE "authData"->'anonymous'->>'id' IS NOT NULL"#,
        ],
        "_Role" => {
            &[r#"CREATE UNIQUE INDEX IF NOT EXISTS "_Role_unique_name" ON "_Role" ("name")"#]
        }
        "_Session" => &[
            r#"CREATE INDEX IF NOT EXISTS "_Session_sessionToken" ON "_Session" ("sessionToken")"#,
        ],
        "_Idempotency" => &[
            r#"CREATE UNIQUE INDEX IF NOT EXISTS "_Idempotency_unique_reqId" ON "_Idempotency" ("reqId")"#,
            r#"CREATE INDEX IF NOT EXISTS "ttl" ON "_Idempotency" ("expire")"#,
        ],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_class_has_the_layout_of_parse_server() {
        let mut class = ClassSchema::new("Order");
        class
            .fields
            .insert("total".into(), Field::new(FieldType::Number));
        class.fields.insert(
            "owner".into(),
            Field::new(FieldType::Pointer {
                target: "_User".into(),
            }),
        );
        class.fields.insert(
            "items".into(),
            Field::new(FieldType::Relation {
                target: "Item".into(),
            }),
        );
        assert_eq!(
            create_class(&class),
            [
                "CREATE TABLE IF NOT EXISTS \"Order\" (\"objectId\" text PRIMARY KEY, \
                 \"createdAt\" timestamp with time zone, \"updatedAt\" timestamp with time zone, \"owner\" text, \
                 \"total\" double precision, \"_rperm\" text[], \"_wperm\" text[])",
                "CREATE TABLE IF NOT EXISTS \"_Join:items:Order\" (\"relatedId\" varchar(120), \
                 \"owningId\" varchar(120), PRIMARY KEY (\"relatedId\", \"owningId\"))",
                "CREATE INDEX ON \"_Join:items:Order\" (\"owningId\")",
            ]
        );
    }
}
