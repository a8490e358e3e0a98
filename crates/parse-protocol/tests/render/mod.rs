//! Queries and credentials as JSON, to compare them with the cases.

use serde_json::{Value, json};
use tidegate_parse_protocol::{
    Constraint, Credentials, Filter, Object, Order, Query, ReadOptions, Secret,
};

/// Without what is as if nothing had been asked.
pub fn query(query: Query) -> Value {
    let mut shown = Object::new();
    let mut put = |key: &str, value: Value, default: Value| {
        if value != default {
            shown.insert(key.to_owned(), value);
        }
    };
    put("filter", filter(&query.filter), json!({"and": []}));
    put("order", query.order.iter().map(order).collect(), json!([]));
    put("limit", json!(query.limit), json!(100));
    put("skip", json!(query.skip), json!(0));
    put("count", json!(query.count), json!(false));
    put(
        "redirectClassNameForKey",
        json!(query.redirect_class_name_for_key),
        Value::Null,
    );
    let ReadOptions {
        keys,
        exclude_keys,
        include,
        include_all,
    } = query.read;
    put("keys", json!(keys), Value::Null);
    put("excludeKeys", json!(exclude_keys), json!([]));
    put(
        "include",
        include.iter().map(|path| path.join(".")).collect(),
        json!([]),
    );
    put("includeAll", json!(include_all), json!(false));
    Value::Object(shown)
}

pub fn credentials(credentials: Credentials) -> Value {
    assert!(
        !format!("{credentials:?}").contains("secret"),
        "a secret shows in Debug"
    );
    let secret = |secret: &Option<Secret>| json!(secret.as_ref().map(Secret::expose));
    let mut shown = Object::new();
    for (name, value) in [
        ("applicationId", json!(credentials.application_id)),
        ("javascriptKey", secret(&credentials.javascript_key)),
        ("masterKey", secret(&credentials.master_key)),
        ("sessionToken", secret(&credentials.session_token)),
        ("installationId", json!(credentials.installation_id)),
        ("clientVersion", json!(credentials.client_version)),
        ("context", json!(credentials.context)),
    ] {
        if !value.is_null() {
            shown.insert(name.to_owned(), value);
        }
    }
    Value::Object(shown)
}

fn order(order: &Order) -> String {
    let sign = if order.descending { "-" } else { "" };
    format!("{sign}{}", order.path.join("."))
}

fn filter(filter: &Filter) -> Value {
    let all = |filters: &[Filter]| -> Value { filters.iter().map(self::filter).collect() };
    match filter {
        Filter::And(filters) => json!({"and": all(filters)}),
        Filter::Or(filters) => json!({"or": all(filters)}),
        Filter::Nor(filters) => json!({"nor": all(filters)}),
        Filter::Field { path, constraint } => json!([path.join("/"), constraint_of(constraint)]),
        Filter::RelatedTo { object, key } => json!({"relatedTo": object.to_value(), "key": key}),
    }
}

fn constraint_of(constraint: &Constraint) -> Value {
    match constraint {
        Constraint::Equal(value) => json!({"eq": value}),
        Constraint::NotEqual(value) => json!({"ne": value}),
        Constraint::Less(value) => json!({"lt": value}),
        Constraint::LessOrEqual(value) => json!({"lte": value}),
        Constraint::Greater(value) => json!({"gt": value}),
        Constraint::GreaterOrEqual(value) => json!({"gte": value}),
        Constraint::In(values) => json!({"in": values}),
        Constraint::NotIn(values) => json!({"nin": values}),
        Constraint::All(values) => json!({"all": values}),
        Constraint::Exists(exists) => json!({"exists": exists}),
        Constraint::Regex { pattern, options } => json!({"regex": pattern, "options": options}),
    }
}
