//! Names and parameters of SQL text.
//!
//! Invariant: nothing that a client sends becomes SQL text except through [`identifier`] and [`literal`]; values are
//! always parameters.

use crate::param::Param;

/// A quoted identifier: the one way in which a class or field name gets into SQL.
pub(crate) fn identifier(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len() + 2);
    quoted.push('"');
    for c in name.chars() {
        match c {
            '"' => quoted.push_str("\"\""),
            // Postgres has no way to write NUL; U+FFFD makes it a name that does not exist instead of a cut one.
            '\0' => quoted.push('\u{fffd}'),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A quoted text literal, for keys inside a `jsonb` column whose expression must equal that of an index.
///
/// With a backslash it is written as `E'…'`, so that it means the same whatever `standard_conforming_strings` says.
pub(crate) fn literal(text: &str) -> String {
    let escaped = text.replace('\0', "\u{fffd}").replace('\'', "''");
    if escaped.contains('\\') {
        format!("E'{}'", escaped.replace('\\', "\\\\"))
    } else {
        format!("'{escaped}'")
    }
}

/// The table of a relation field, quoted, as Parse Server names it.
pub(crate) fn join_table(class: &str, field: &str) -> String {
    identifier(&join_table_name(class, field))
}

pub(crate) fn join_table_name(class: &str, field: &str) -> String {
    format!("_Join:{field}:{class}")
}

/// The parameters of one statement, in the order of their numbers.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Binds(pub(crate) Vec<Param>);

impl Binds {
    /// Adds a parameter and returns how the SQL text refers to it: `$1::text`.
    ///
    /// The type is always written: the server then infers nothing, and one text has one meaning.
    pub(crate) fn bind(&mut self, param: Param) -> String {
        let cast = param.sql_type();
        self.0.push(param);
        format!("${}::{cast}", self.0.len())
    }

    pub(crate) fn text(&mut self, text: impl Into<String>) -> String {
        self.bind(Param::Text(text.into()))
    }
}

/// One SQL statement, ready to be prepared and run.
#[derive(Debug, PartialEq)]
pub(crate) struct Statement {
    pub(crate) text: String,
    pub(crate) params: Vec<Param>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_quotes() {
        assert_eq!(identifier("Order"), "\"Order\"");
        assert_eq!(
            identifier("a\"; drop table x --"),
            "\"a\"\"; drop table x --\""
        );
        assert_eq!(identifier("a\0b"), "\"a\u{fffd}b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\' or 1"), "E'a\\\\'' or 1'");
    }

    #[test]
    fn parameters_are_numbered_and_typed() {
        let mut binds = Binds::default();
        assert_eq!(binds.text("x"), "$1::text");
        assert_eq!(binds.bind(Param::Number(1.0)), "$2::double precision");
        assert_eq!(binds.0, [Param::Text("x".into()), Param::Number(1.0)]);
    }
}
