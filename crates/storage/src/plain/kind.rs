//! A column's type, as far as it decides how a value is shown.

use std::collections::HashMap;

use tokio_postgres::types::{self, Oid, Type};

/// How a value is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A number within JavaScript's safe ones, else a text.
    Integer,
    Float,
    Numeric,
    Boolean,
    /// With or without time and time zone.
    Timestamp,
    Json,
    Bytes,
    Array {
        element: Box<Kind>,
        /// Comma; `box` has a semicolon.
        delimiter: char,
    },
    /// As Postgres prints it.
    Text,
}

/// Domains and arrays that are not built in, by oid.
#[derive(Debug, Default)]
pub(crate) struct Types(pub(crate) HashMap<Oid, UserType>);

#[derive(Clone, Copy, Debug)]
pub(crate) enum UserType {
    Domain { base: Oid },
    Array { element: Oid, delimiter: char },
}

/// Domains over domains over arrays…; types cannot contain themselves, a changing catalog might seem to.
const MAX_DEPTH: usize = 32;

impl Types {
    pub(crate) fn kind(&self, oid: Oid) -> Kind {
        self.kind_within(oid, MAX_DEPTH)
    }

    fn kind_within(&self, oid: Oid, depth: usize) -> Kind {
        let Some(depth) = depth.checked_sub(1) else {
            return Kind::Text;
        };
        let array = |element, delimiter| Kind::Array {
            element: Box::new(self.kind_within(element, depth)),
            delimiter,
        };
        match (Type::from_oid(oid), self.0.get(&oid)) {
            (Some(built_in), _) => match built_in.kind() {
                types::Kind::Array(element) if *element == Type::BOX => array(element.oid(), ';'),
                types::Kind::Array(element) => array(element.oid(), ','),
                _ => scalar(&built_in),
            },
            (None, Some(UserType::Domain { base })) => self.kind_within(*base, depth),
            (None, Some(UserType::Array { element, delimiter })) => array(*element, *delimiter),
            (None, None) => Kind::Text,
        }
    }
}

fn scalar(built_in: &Type) -> Kind {
    match *built_in {
        Type::INT2 | Type::INT4 | Type::INT8 | Type::OID => Kind::Integer,
        Type::FLOAT4 | Type::FLOAT8 => Kind::Float,
        Type::NUMERIC => Kind::Numeric,
        Type::BOOL => Kind::Boolean,
        Type::TIMESTAMPTZ | Type::TIMESTAMP | Type::DATE => Kind::Timestamp,
        Type::JSON | Type::JSONB => Kind::Json,
        Type::BYTEA => Kind::Bytes,
        _ => Kind::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_and_arrays_are_seen_through() {
        let (domain, domain_of_array, array_of_domain) = (90_001, 90_002, 90_003);
        let types = Types(HashMap::from([
            (
                domain,
                UserType::Domain {
                    base: Type::INT4.oid(),
                },
            ),
            (
                domain_of_array,
                UserType::Domain {
                    base: Type::INT4_ARRAY.oid(),
                },
            ),
            (
                array_of_domain,
                UserType::Array {
                    element: domain,
                    delimiter: ',',
                },
            ),
            (90_004, UserType::Domain { base: 90_004 }),
        ]));
        let array = |element, delimiter| Kind::Array {
            element: Box::new(element),
            delimiter,
        };
        assert_eq!(types.kind(domain), Kind::Integer);
        assert_eq!(types.kind(domain_of_array), array(Kind::Integer, ','));
        assert_eq!(types.kind(array_of_domain), array(Kind::Integer, ','));
        assert_eq!(types.kind(Type::BOX_ARRAY.oid()), array(Kind::Text, ';'));
        assert_eq!(types.kind(90_004), Kind::Text);
        assert_eq!(types.kind(99_999), Kind::Text, "an enum, or gone");
    }
}
