//! Protected fields: hidden by class-level permissions from all but some.

use serde_json::Value;

use crate::{Access, ClassSchema, Object, Pointer};

/// Fields that Parse Server protects by default: the address of a user is for the user and the master key.
const USER_DEFAULT: (&str, &str) = ("*", "email");

const USER_FIELD: &str = "userField:";

/// What is hidden from one caller: a field is hidden when every rule that speaks of the caller hides it.
#[derive(Clone, Debug, Default)]
pub(super) struct Protected {
    fields: Vec<String>,
    /// From which field an object must point to the caller, and what is hidden then.
    by_pointer: Vec<(String, Vec<String>)>,
}

impl Protected {
    /// Source: parse-server `DatabaseController.addProtectedFields`.
    pub(super) fn new(class: &ClassSchema, access: &Access) -> Protected {
        if access.is_master() {
            return Protected::default();
        }
        let rules = rules(class);
        let fields = rules
            .iter()
            .filter(|(who, _)| speaks_of(who, access))
            .map(|(_, fields)| fields.clone());
        let by_pointer = rules.iter().filter_map(|(who, fields)| {
            who.strip_prefix(USER_FIELD)
                .map(|pointer| (pointer.to_owned(), fields.clone()))
        });
        Protected {
            fields: fields.reduce(common).unwrap_or_default(),
            by_pointer: by_pointer.collect(),
        }
    }

    /// Whatever the object.
    pub(super) fn fields(&self) -> &[String] {
        &self.fields
    }

    /// In `object`: less, if it points to the caller.
    pub(super) fn of(&self, object: &Object, access: &Access) -> Vec<String> {
        let points_here = self
            .by_pointer
            .iter()
            .filter(|(field, _)| points_to(object.get(field), access));
        points_here.fold(self.fields.clone(), |hidden, (_, fields)| {
            common(hidden, fields.clone())
        })
    }
}

/// The class's own rules, and the default one for users.
fn rules(class: &ClassSchema) -> Vec<(String, Vec<String>)> {
    let own = class
        .class_level_permissions
        .iter()
        .flat_map(|permissions| permissions.protected_fields());
    let mut rules: Vec<(String, Vec<String>)> =
        own.map(|(who, fields)| (who.to_owned(), fields)).collect();
    if class.name == "_User" {
        let (everybody, email) = USER_DEFAULT;
        match rules.iter_mut().find(|(who, _)| who == everybody) {
            Some((_, fields)) => fields.push(email.to_owned()),
            None => rules.push((everybody.to_owned(), vec![email.to_owned()])),
        }
    }
    rules
}

fn speaks_of(who: &str, access: &Access) -> bool {
    match who {
        "*" => true,
        "authenticated" => access.user_id().is_some(),
        who if who.starts_with(USER_FIELD) => false,
        who => access.includes(who),
    }
}

fn common(mut a: Vec<String>, b: Vec<String>) -> Vec<String> {
    a.retain(|field| b.contains(field));
    a
}

fn points_to(value: Option<&Value>, access: &Access) -> bool {
    let Some(user) = access.user_id() else {
        return false;
    };
    let is_user = |value: &Value| Pointer::of(value).is_some_and(|pointer| pointer.id == user);
    match value {
        Some(Value::Array(items)) => items.iter().any(is_user),
        Some(value) => is_user(value),
        None => false,
    }
}
