//! The parameters beside `where`.

use serde_json::Value;

use super::{DEFAULT_LIMIT, Filter, Order, Query, ReadOptions};
use crate::{Object, ParseError};

/// Every read has these (`RestQuery`'s `AlwaysSelectedKeys`).
const ALWAYS_SELECTED: [&str; 4] = ["objectId", "createdAt", "updatedAt", "ACL"];

/// Hints for MongoDB; accepted and without effect here.
const IGNORED: &[&str] = &[
    "readPreference",
    "includeReadPreference",
    "subqueryReadPreference",
    "hint",
    "comment",
];

pub(super) fn query(params: &Object) -> Result<Query, ParseError> {
    for key in params.keys() {
        check_parameter(key)?;
    }
    Ok(Query {
        filter: where_of(params.get("where"))?,
        order: order(params)?,
        limit: Some(whole_number(params, "limit")?.unwrap_or(DEFAULT_LIMIT)),
        skip: whole_number(params, "skip")?.unwrap_or(0),
        count: flag(params, "count"),
        redirect_class_name_for_key: text(params, "redirectClassNameForKey"),
        read: read_options(params),
    })
}

pub(super) fn read_options_of_get(params: &Object) -> Result<ReadOptions, ParseError> {
    let allowed = |key: &str| {
        matches!(key, "keys" | "include" | "excludeKeys")
            || (IGNORED.contains(&key) && key.ends_with("Preference"))
    };
    match params.keys().find(|key| !allowed(key)) {
        Some(_) => Err(ParseError::invalid_query("Improper encode of parameter")),
        None => Ok(read_options(params)),
    }
}

fn check_parameter(key: &str) -> Result<(), ParseError> {
    match key {
        "where"
        | "order"
        | "limit"
        | "skip"
        | "count"
        | "keys"
        | "excludeKeys"
        | "include"
        | "includeAll"
        | "redirectClassNameForKey" => Ok(()),
        _ if IGNORED.contains(&key) => Ok(()),
        "explain" => Err(ParseError::invalid_query(format!(
            "{key} is not supported yet."
        ))),
        _ => Err(ParseError::invalid_query(format!(
            "Invalid parameter for query: {key}"
        ))),
    }
}

fn where_of(value: Option<&Value>) -> Result<Filter, ParseError> {
    let parsed;
    let value = match value {
        Some(Value::String(text)) if !text.is_empty() => {
            parsed = serde_json::from_str::<Value>(text)
                .map_err(|_| ParseError::invalid_json("where is not valid JSON"))?;
            Some(&parsed)
        }
        other => other,
    };
    match value {
        None | Some(Value::Null) => Ok(Filter::all()),
        Some(Value::String(text)) if text.is_empty() => Ok(Filter::all()),
        Some(Value::Object(conditions)) => Filter::from_rest(conditions),
        Some(_) => Err(ParseError::invalid_json("where must be a JSON object")),
    }
}

fn order(params: &Object) -> Result<Vec<Order>, ParseError> {
    let mut orders: Vec<Order> = Vec::new();
    for part in list(params, "order") {
        let (descending, key) = match part.strip_prefix('-') {
            Some(key) => (true, key),
            None => (false, part.as_str()),
        };
        let order = Order {
            path: order_path(key)?,
            descending,
        };
        if !orders.iter().any(|earlier| earlier.path == order.path) {
            orders.push(order);
        }
    }
    Ok(orders)
}

fn order_path(key: &str) -> Result<Vec<String>, ParseError> {
    let key = match key {
        "_created_at" => "createdAt",
        "_updated_at" => "updatedAt",
        "$score" => {
            return Err(ParseError::invalid_query(
                "order by $score is not supported yet.",
            ));
        }
        key => key,
    };
    let path: Vec<String> = key.split('.').map(str::to_owned).collect();
    if key.starts_with("authData.") {
        return Err(ParseError::invalid_key(format!("Cannot sort by {key}")));
    }
    if !crate::name::is_valid_field_name(&path[0]) || path.iter().any(String::is_empty) {
        return Err(ParseError::invalid_key(format!(
            "Invalid field name: {key}."
        )));
    }
    Ok(path)
}

fn read_options(params: &Object) -> ReadOptions {
    let keys = params
        .get("keys")
        .filter(|keys| !keys.is_null())
        .map(|_| list(params, "keys"));
    let exclude_keys = list(params, "excludeKeys");
    let mut include = list(params, "include");
    // A key inside an included object asks for the object too.
    let nested = keys
        .iter()
        .flatten()
        .chain(&exclude_keys)
        .filter_map(|key| key.rsplit_once('.'));
    include.extend(nested.map(|(object, _)| object.to_owned()));
    ReadOptions {
        keys: keys.map(|keys| unique(keys.into_iter().chain(ALWAYS_SELECTED.map(str::to_owned)))),
        exclude_keys: unique(
            exclude_keys
                .into_iter()
                .filter(|key| !ALWAYS_SELECTED.contains(&key.as_str())),
        ),
        include_all: flag(params, "includeAll") || include.iter().any(|path| path == "*"),
        include: include_paths(&include),
    }
}

/// `["a.b"]` ─▶ `[["a"], ["a", "b"]]`: every prefix once, shorter ones first.
fn include_paths(include: &[String]) -> Vec<Vec<String>> {
    let mut paths: Vec<Vec<String>> = Vec::new();
    for path in include.iter().filter(|path| *path != "*") {
        let parts: Vec<String> = path.split('.').map(str::to_owned).collect();
        for end in 1..=parts.len() {
            if !paths.contains(&parts[..end].to_vec()) {
                paths.push(parts[..end].to_vec());
            }
        }
    }
    paths.sort_by_key(Vec::len);
    paths
}

/// A comma-separated text, or an array of texts, itself perhaps as JSON text.
fn list(params: &Object, key: &str) -> Vec<String> {
    match params.get(key) {
        Some(Value::String(text)) => match serde_json::from_str::<Vec<String>>(text) {
            Ok(items) => items.iter().flat_map(|item| split(item)).collect(),
            Err(_) => split(text),
        },
        Some(Value::Array(items)) => items
            .iter()
            .filter_map(Value::as_str)
            .flat_map(split)
            .collect(),
        _ => Vec::new(),
    }
}

fn split(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

fn unique(items: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

fn whole_number(params: &Object, key: &str) -> Result<Option<u64>, ParseError> {
    let number = match params.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.is_empty() => return Ok(None),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(other) => other.as_f64(),
    };
    let is_whole =
        |number: &f64| *number >= 0.0 && number.fract() == 0.0 && *number <= i64::MAX as f64;
    let number = number.filter(is_whole);
    number
        .map(|number| Some(number as u64))
        .ok_or_else(|| ParseError::invalid_query(format!("Invalid {key}")))
}

fn text(params: &Object, key: &str) -> Option<String> {
    let text = params.get(key)?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// True for what JavaScript takes for true, but not for `"0"` and `"false"` of a query string.
fn flag(params: &Object, key: &str) -> bool {
    match params.get(key) {
        None | Some(Value::Null) => false,
        Some(Value::Bool(flag)) => *flag,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::String(text)) => !matches!(text.as_str(), "" | "0" | "false"),
        Some(_) => true,
    }
}
