//! What a find asks for.
//!
//! ```text
//! {"where":{"score":{"$gt":3}},"order":"-score","limit":10,"include":"author"} ─▶ Query ─▶ SQL (storage)
//! ```

mod access;
mod filter;
mod options;
mod project;

use serde_json::Value;

use crate::{Object, ParseError, Pointer};

/// How many objects a find returns that names no `limit`.
pub const DEFAULT_LIMIT: u64 = 100;

/// A whole find.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    pub filter: Filter,
    pub order: Vec<Order>,
    /// `None`: all. `Some(0)`: none, usually with `count`.
    pub limit: Option<u64>,
    pub skip: u64,
    /// Also wants the number of all that match, whatever `limit` and `skip` say.
    pub count: bool,
    /// A Relation field of the class that was asked: the objects wanted are of the class it holds. An SDK that has not
    /// seen the field's value does not know which.
    pub redirect_class_name_for_key: Option<String>,
    pub read: ReadOptions,
}

/// Which fields of an object are wanted, and which pointers are followed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadOptions {
    /// `None`: all. Else these, with `objectId`, `createdAt`, `updatedAt` and `ACL` among them; `a.b` reaches into an
    /// included object or an Object field.
    pub keys: Option<Vec<String>>,
    pub exclude_keys: Vec<String>,
    /// Paths of pointers to follow; a path comes after its prefix, so they can be followed in this order.
    pub include: Vec<Vec<String>>,
    /// Follow every pointer at the top.
    pub include_all: bool,
}

/// One sort key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// A field, dotted into an Object field.
    pub path: Vec<String>,
    pub descending: bool,
}

/// Which objects match.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// Empty: every object.
    And(Vec<Filter>),
    /// Empty: no object.
    Or(Vec<Filter>),
    /// Objects that match none of them.
    Nor(Vec<Filter>),
    /// `path`: a field, then keys inside it: `["address", "city"]`.
    Field {
        path: Vec<String>,
        constraint: Constraint,
    },
    /// Members of the relation `key` of `object`.
    RelatedTo { object: Pointer, key: String },
}

/// What one field must be. Values are in REST form.
#[derive(Clone, Debug, PartialEq)]
pub enum Constraint {
    /// Equality with `null` means that the field has no value. A scalar equals an Array field that holds it.
    Equal(Value),
    /// Everything that [`Constraint::Equal`] does not match: a missing field is not equal to a value.
    NotEqual(Value),
    Less(Value),
    LessOrEqual(Value),
    Greater(Value),
    GreaterOrEqual(Value),
    In(Vec<Value>),
    NotIn(Vec<Value>),
    /// The Array field holds all of them.
    All(Vec<Value>),
    Exists(bool),
    /// `options`: of `imxs`. The SDKs quote literal text as `\Q…\E`.
    Regex {
        pattern: String,
        options: String,
    },
}

impl Query {
    /// Every object, in no order, without a limit.
    pub fn all() -> Query {
        Query {
            filter: Filter::all(),
            order: Vec::new(),
            limit: None,
            skip: 0,
            count: false,
            redirect_class_name_for_key: None,
            read: ReadOptions::default(),
        }
    }

    /// Every object that matches `filter`.
    pub fn filtered(filter: Filter) -> Query {
        Query {
            filter,
            ..Query::all()
        }
    }

    /// Reads the parameters of a find, as a JSON body has them or as texts of a query string.
    ///
    /// # Errors
    /// 102 for an unknown parameter, constraint, `limit` or `skip`; 105 for a key that names no field; 107 for a
    /// `where` that is no JSON object, or a constraint without its array.
    pub fn from_rest(params: &Object) -> Result<Query, ParseError> {
        options::query(params)
    }
}

impl ReadOptions {
    /// Reads the parameters of a get by id.
    ///
    /// # Errors
    /// 102 for a parameter that a get does not have.
    pub fn from_rest(params: &Object) -> Result<ReadOptions, ParseError> {
        options::read_options_of_get(params)
    }
}

impl Filter {
    pub fn all() -> Filter {
        Filter::And(Vec::new())
    }

    pub fn none() -> Filter {
        Filter::Or(Vec::new())
    }

    /// `field` has this value.
    pub fn equal(field: impl Into<String>, value: impl Into<Value>) -> Filter {
        Filter::Field {
            path: vec![field.into()],
            constraint: Constraint::Equal(value.into()),
        }
    }

    /// Objects that match both.
    pub fn and(self, other: Filter) -> Filter {
        match self {
            Filter::And(mut filters) => {
                filters.push(other);
                Filter::And(filters)
            }
            first => Filter::And(vec![first, other]),
        }
    }

    /// Reads a `where`.
    ///
    /// # Errors
    /// As [`Query::from_rest`].
    pub fn from_rest(conditions: &Object) -> Result<Filter, ParseError> {
        filter::from_rest(conditions)
    }
}
