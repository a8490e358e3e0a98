//! Parse queries as SQL: the one place where a condition becomes SQL text.
//!
//! ```text
//! Query + class + access ─▶ Statement { text with $1…, parameters }
//! ```
//!
//! Invariants:
//! - No value becomes text; names go through [`crate::sql`].
//! - One shape of query is one SQL text, whatever its values and however many a `$in` lists: prepared statements
//!   are found again.
//! - A value of another type than the field's equals nothing and is ordered with nothing. It is never an SQL error.
//! - A condition may be NULL in SQL; whatever negates it says `IS NOT TRUE`, so a missing field is not equal to a value.
//!
//! Semantics: `PostgresStorageAdapter.buildWhereClause`, and MongoDB's where that adapter only answers with an error.

mod json;
mod regex;
mod scalar;

#[cfg(test)]
mod tests;

use tidegate_parse_protocol::{
    Access, ClassSchema, Constraint, FieldType, Filter, Order, Pointer, Query, ReadOptions,
};

use self::json::Json;
use crate::column::ColumnType;
use crate::param::Param;
use crate::schema::Schema;
use crate::secret::{Secrets, is_shown};
use crate::sql::{Binds, Statement, identifier, join_table};

/// A column of a result: its field's name and type.
pub(crate) type Column<'a> = (&'a str, &'a FieldType);

/// The statement that finds objects, and the columns that it returns in order.
pub(crate) fn select<'a>(
    schema: &Schema,
    class: &'a ClassSchema,
    query: &Query,
    access: &Access,
    secrets: Secrets,
) -> (Statement, Vec<Column<'a>>) {
    let columns = columns(class, Some(&query.read), secrets);
    let mut translator = Translator::new(schema, class);
    let mut text = format!(
        "SELECT {} FROM {}",
        column_list(&columns),
        identifier(&class.name)
    );
    text += &translator.condition(&query.filter, access);
    text += &translator.order(&query.order);
    if let Some(limit) = query.limit {
        text += &format!(" LIMIT {}", translator.count(limit));
    }
    if query.skip > 0 {
        text += &format!(" OFFSET {}", translator.count(query.skip));
    }
    (translator.statement(text), columns)
}

/// The statement that counts objects; exact, unlike Parse Server's estimate for an empty filter.
pub(crate) fn count(
    schema: &Schema,
    class: &ClassSchema,
    filter: &Filter,
    access: &Access,
) -> Statement {
    let mut translator = Translator::new(schema, class);
    let condition = translator.condition(filter, access);
    translator.statement(format!(
        "SELECT count(*) FROM {}{condition}",
        identifier(&class.name)
    ))
}

/// The columns of a class that a caller wants and may have. `read`: `None` for all.
pub(crate) fn columns<'a>(
    class: &'a ClassSchema,
    read: Option<&ReadOptions>,
    secrets: Secrets,
) -> Vec<Column<'a>> {
    let fields = class
        .fields
        .iter()
        .filter(|(_, field)| ColumnType::of(field).is_some());
    let shown =
        fields.filter(|(name, _)| is_shown(&class.name, name, secrets) && is_wanted(name, read));
    shown
        .map(|(name, field)| (name.as_str(), &field.field_type))
        .collect()
}

/// `"a","b"`; a class always has a column, or the list would be empty.
pub(crate) fn column_list(columns: &[Column<'_>]) -> String {
    match columns {
        [] => "NULL".to_owned(),
        columns => columns
            .iter()
            .map(|(name, _)| identifier(name))
            .collect::<Vec<_>>()
            .join(","),
    }
}

/// True for a field among the `keys` (those inside an Object or an included object count for it) and not excluded.
pub(crate) fn is_wanted(name: &str, read: Option<&ReadOptions>) -> bool {
    let Some(read) = read else { return true };
    if matches!(
        name,
        "objectId" | "createdAt" | "updatedAt" | "_rperm" | "_wperm"
    ) {
        return true;
    }
    let is_within = |key: &String| key.split('.').next() == Some(name);
    let is_key = read
        .keys
        .as_ref()
        .is_none_or(|keys| keys.iter().any(is_within));
    is_key && !read.exclude_keys.iter().any(|key| key == name)
}

/// `"_rperm" IS NULL OR …`: the rows that a caller may read (`_rperm`) or write (`_wperm`); `None`: all.
///
/// A class without the column has no access lists: its rows are for the master key alone.
pub(crate) fn access_condition(
    class: &ClassSchema,
    column: &str,
    access: &Access,
    binds: &mut Binds,
) -> Option<String> {
    let Access::Principals(principals) = access else {
        return None;
    };
    if !class.fields.contains_key(column) {
        return Some("FALSE".to_owned());
    }
    let (column, principals) = (
        identifier(column),
        binds.bind(Param::Texts(principals.clone())),
    );
    Some(format!("({column} IS NULL OR {column} && {principals})"))
}

struct Translator<'a> {
    schema: &'a Schema,
    class: &'a ClassSchema,
    binds: Binds,
}

impl<'a> Translator<'a> {
    fn new(schema: &'a Schema, class: &'a ClassSchema) -> Self {
        Translator {
            schema,
            class,
            binds: Binds::default(),
        }
    }

    fn statement(self, text: String) -> Statement {
        Statement {
            text,
            params: self.binds.0,
        }
    }

    fn count(&mut self, number: u64) -> String {
        self.binds
            .bind(Param::Integer(i64::try_from(number).unwrap_or(i64::MAX)))
    }

    /// ` WHERE …`, or nothing.
    fn condition(&mut self, filter: &Filter, access: &Access) -> String {
        let filter = Some(self.filter(filter)).filter(|filter| filter != "TRUE");
        let access = access_condition(self.class, "_rperm", access, &mut self.binds);
        let conditions: Vec<String> = filter.into_iter().chain(access).collect();
        if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        }
    }

    /// Always an expression that `AND` can follow.
    fn filter(&mut self, filter: &Filter) -> String {
        match filter {
            Filter::And(filters) => self.all_of(filters, " AND ", "TRUE"),
            Filter::Or(filters) => self.all_of(filters, " OR ", "FALSE"),
            Filter::Nor(filters) => not(&self.all_of(filters, " OR ", "FALSE")),
            Filter::Field { path, constraint } => self.field(path, constraint),
            Filter::RelatedTo { object, key } => self.related_to(object, key),
        }
    }

    fn all_of(&mut self, filters: &[Filter], operator: &str, of_none: &str) -> String {
        match filters {
            [] => of_none.to_owned(),
            [only] => self.filter(only),
            filters => {
                let parts: Vec<String> = filters.iter().map(|filter| self.filter(filter)).collect();
                format!("({})", parts.join(operator))
            }
        }
    }

    fn field(&mut self, path: &[String], constraint: &Constraint) -> String {
        let Some((name, keys)) = path.split_first() else {
            return "FALSE".to_owned();
        };
        let Some(field) = self.class.fields.get(name) else {
            return of_missing_field(constraint);
        };
        if let FieldType::Relation { target } = &field.field_type {
            return self.relation(name, target, constraint);
        }
        let column = identifier(name);
        match (ColumnType::of(field), keys) {
            (Some(ColumnType::Json), keys) => {
                let json = if keys.is_empty() {
                    Json::column(column, &field.field_type)
                } else {
                    Json::inside(name, keys, &mut self.binds)
                };
                json.condition(constraint, &mut self.binds)
            }
            (Some(_), []) => scalar::condition(&column, field, constraint, &mut self.binds),
            // Only JSON has an inside.
            _ => of_missing_field(constraint),
        }
    }

    /// A condition on a relation field is one on its members.
    fn relation(&mut self, name: &str, target: &str, constraint: &Constraint) -> String {
        let member = |value| {
            Pointer::of(value)
                .filter(|pointer| pointer.class == target)
                .map(|pointer| pointer.id)
        };
        match constraint {
            Constraint::Equal(value) => self.owners_of(name, member(value).into_iter().collect()),
            Constraint::NotEqual(value) => {
                not(&self.owners_of(name, member(value).into_iter().collect()))
            }
            Constraint::In(values) => {
                self.owners_of(name, values.iter().filter_map(member).collect())
            }
            Constraint::NotIn(values) => {
                not(&self.owners_of(name, values.iter().filter_map(member).collect()))
            }
            Constraint::Exists(wanted) => if *wanted { "TRUE" } else { "FALSE" }.to_owned(),
            _ => "FALSE".to_owned(),
        }
    }

    /// Objects of this class whose relation `name` has one of these members.
    fn owners_of(&mut self, name: &str, members: Vec<String>) -> String {
        let (table, members) = (
            join_table(&self.class.name, name),
            self.binds.bind(Param::Texts(members)),
        );
        format!(
            "\"objectId\" IN (SELECT \"owningId\" FROM {table} WHERE \"relatedId\" = ANY({members}))"
        )
    }

    /// Members of the relation `key` of `owner`; none when there is no such relation, or it holds another class.
    fn related_to(&mut self, owner: &Pointer, key: &str) -> String {
        let owning_class = self.schema.class(&owner.class);
        let field_type = owning_class
            .as_ref()
            .and_then(|class| class.field_type(key));
        match field_type {
            Some(FieldType::Relation { target }) if *target == self.class.name => {
                let (table, owner) = (join_table(&owner.class, key), self.binds.text(&owner.id));
                format!(
                    "\"objectId\" IN (SELECT \"relatedId\" FROM {table} WHERE \"owningId\" = {owner})"
                )
            }
            _ => "FALSE".to_owned(),
        }
    }

    /// ` ORDER BY …`, or nothing. A key that names no column orders nothing: it is NULL in every row.
    fn order(&mut self, orders: &[Order]) -> String {
        let keys: Vec<String> = orders
            .iter()
            .filter_map(|order| self.order_key(order))
            .collect();
        if keys.is_empty() {
            String::new()
        } else {
            format!(" ORDER BY {}", keys.join(","))
        }
    }

    fn order_key(&mut self, order: &Order) -> Option<String> {
        let (name, keys) = order.path.split_first()?;
        let column = ColumnType::of(self.class.fields.get(name)?)?;
        let key = match (column, keys) {
            // Postgres has no order for these two.
            (ColumnType::Point | ColumnType::Polygon, _) => return None,
            (_, []) => identifier(name),
            (ColumnType::Json, keys) => Json::inside(name, keys, &mut self.binds).into_sql(),
            _ => return None,
        };
        Some(if order.descending { key + " DESC" } else { key })
    }
}

/// What holds of a field that no object has.
fn of_missing_field(constraint: &Constraint) -> String {
    let holds = match constraint {
        Constraint::Equal(value) => value.is_null(),
        Constraint::NotEqual(value) => !value.is_null(),
        Constraint::In(values) => values.iter().any(serde_json::Value::is_null),
        Constraint::NotIn(values) => !values.iter().any(serde_json::Value::is_null),
        Constraint::Exists(wanted) => !wanted,
        _ => false,
    };
    if holds { "TRUE" } else { "FALSE" }.to_owned()
}

/// The opposite of a condition, where NULL counts as false.
fn not(condition: &str) -> String {
    format!("({condition}) IS NOT TRUE")
}

/// `(a OR b)`; `FALSE` for none.
fn any(conditions: Vec<String>) -> String {
    match conditions.as_slice() {
        [] => "FALSE".to_owned(),
        [only] => only.clone(),
        many => format!("({})", many.join(" OR ")),
    }
}

/// `(a AND b)`; `FALSE` for none: to hold all of nothing matches nobody, as in MongoDB.
fn every(conditions: Vec<String>) -> String {
    match conditions.as_slice() {
        [] => "FALSE".to_owned(),
        [only] => only.clone(),
        many => format!("({})", many.join(" AND ")),
    }
}

/// The SQL operator of an ordering constraint, and what it compares with.
fn ordering(constraint: &Constraint) -> Option<(&'static str, &serde_json::Value)> {
    Some(match constraint {
        Constraint::Less(value) => ("<", value),
        Constraint::LessOrEqual(value) => ("<=", value),
        Constraint::Greater(value) => (">", value),
        Constraint::GreaterOrEqual(value) => (">=", value),
        _ => return None,
    })
}
