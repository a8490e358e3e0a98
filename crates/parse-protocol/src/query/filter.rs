//! `where` from its wire form.

use serde_json::Value;

use super::{Constraint, Filter};
use crate::{Object, ParseError, Pointer, value};

/// Constraints of Parse that this server does not answer yet; refused by name, so that nobody gets a wrong answer.
const NOT_YET: &[&str] = &[
    "$inQuery",
    "$notInQuery",
    "$select",
    "$dontSelect",
    "$containedBy",
    "$text",
    "$nearSphere",
    "$maxDistance",
    "$maxDistanceInRadians",
    "$maxDistanceInMiles",
    "$maxDistanceInKilometers",
    "$within",
    "$geoWithin",
    "$geoIntersects",
    "$not",
];

pub(super) fn from_rest(conditions: &Object) -> Result<Filter, ParseError> {
    for (key, condition) in conditions {
        value::check_key("where", key, condition)?;
        value::check("where", condition)?;
    }
    all_of(conditions)
}

fn all_of(conditions: &Object) -> Result<Filter, ParseError> {
    let mut filters = Vec::with_capacity(conditions.len());
    for (key, condition) in conditions {
        condition_of(key, condition, &mut filters)?;
    }
    Ok(match filters.len() {
        1 => filters.remove(0),
        _ => Filter::And(filters),
    })
}

fn condition_of(key: &str, condition: &Value, filters: &mut Vec<Filter>) -> Result<(), ParseError> {
    match key {
        "$and" => filters.push(Filter::And(alternatives(key, condition)?)),
        "$or" => filters.push(Filter::Or(alternatives(key, condition)?)),
        "$nor" => filters.push(Filter::Nor(alternatives(key, condition)?)),
        "$relatedTo" => filters.push(related_to(condition)?),
        "ACL" => return Err(ParseError::invalid_query("Cannot query on ACL.")),
        _ => field(key, condition, filters)?,
    }
    Ok(())
}

fn alternatives(key: &str, condition: &Value) -> Result<Vec<Filter>, ParseError> {
    let bad =
        |how: &str| ParseError::invalid_query(format!("Bad {key} format - use an array {how}."));
    let items = condition.as_array().ok_or_else(|| bad("value"))?;
    if items.is_empty() && key != "$and" {
        return Err(bad("of at least 1 value"));
    }
    items
        .iter()
        .map(|item| all_of(item.as_object().ok_or_else(|| bad("of objects"))?))
        .collect()
}

fn related_to(condition: &Value) -> Result<Filter, ParseError> {
    let object = condition.get("object").and_then(Pointer::of);
    let key = condition.get("key").and_then(Value::as_str);
    match (object, key) {
        (Some(object), Some(key)) => Ok(Filter::RelatedTo {
            object,
            key: key.to_owned(),
        }),
        _ => Err(ParseError::invalid_query(
            "improper usage of $relatedTo: it needs an object and a key",
        )),
    }
}

fn field(key: &str, condition: &Value, filters: &mut Vec<Filter>) -> Result<(), ParseError> {
    let path = path_of(key)?;
    let mut push = |constraint| {
        filters.push(Filter::Field {
            path: path.clone(),
            constraint,
        })
    };
    let Some(fields) = condition
        .as_object()
        .filter(|fields| fields.keys().any(|key| is_operator(key)))
    else {
        push(Constraint::Equal(condition.clone()));
        return Ok(());
    };
    // Beside operators, the plain keys are a value that the field must equal too (`RestQuery.replaceEquality`).
    let plain: Object = fields
        .iter()
        .filter(|(key, _)| !is_operator(key))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    if !plain.is_empty() {
        push(Constraint::Equal(Value::Object(plain)));
    }
    for (operator, argument) in fields.iter().filter(|(key, _)| is_operator(key)) {
        if let Some(constraint) = constraint(operator, argument, fields)? {
            push(constraint);
        }
    }
    Ok(())
}

fn is_operator(key: &str) -> bool {
    key.starts_with('$')
}

/// `None` for a key that only qualifies another one.
fn constraint(
    operator: &str,
    argument: &Value,
    all: &Object,
) -> Result<Option<Constraint>, ParseError> {
    let value = || argument.clone();
    let list = || array(operator, argument);
    Ok(Some(match operator {
        "$eq" => Constraint::Equal(value()),
        "$ne" => Constraint::NotEqual(value()),
        "$lt" => Constraint::Less(value()),
        "$lte" => Constraint::LessOrEqual(value()),
        "$gt" => Constraint::Greater(value()),
        "$gte" => Constraint::GreaterOrEqual(value()),
        "$in" => Constraint::In(list()?),
        "$nin" => Constraint::NotIn(list()?),
        "$all" => Constraint::All(without_regex(list()?)?),
        "$exists" => Constraint::Exists(exists(argument)?),
        "$regex" => regex(argument, all.get("$options"))?,
        "$options" if all.contains_key("$regex") => return Ok(None),
        _ if NOT_YET.contains(&operator) => {
            return Err(ParseError::invalid_query(format!(
                "{operator} is not supported yet."
            )));
        }
        _ => {
            return Err(ParseError::invalid_query(format!(
                "bad constraint: {operator}"
            )));
        }
    }))
}

fn array(operator: &str, argument: &Value) -> Result<Vec<Value>, ParseError> {
    argument
        .as_array()
        .cloned()
        .ok_or_else(|| ParseError::invalid_json(format!("bad {operator} value")))
}

fn without_regex(values: Vec<Value>) -> Result<Vec<Value>, ParseError> {
    if values.iter().any(|value| value.get("$regex").is_some()) {
        return Err(ParseError::invalid_query(
            "$regex inside $all is not supported yet.",
        ));
    }
    Ok(values)
}

fn exists(argument: &Value) -> Result<bool, ParseError> {
    argument
        .as_bool()
        .ok_or_else(|| ParseError::invalid_json("bad $exists value"))
}

fn regex(argument: &Value, options: Option<&Value>) -> Result<Constraint, ParseError> {
    let pattern = argument
        .as_str()
        .ok_or_else(|| ParseError::invalid_json("bad $regex value"))?
        .to_owned();
    let options = match options {
        None | Some(Value::Null) => "",
        Some(Value::String(options)) if options.chars().all(|c| "imxs".contains(c)) => options,
        Some(other) => {
            let shown = other.as_str().unwrap_or("not a string");
            return Err(ParseError::invalid_query(format!(
                "Bad $options value for query: {shown}"
            )));
        }
    };
    Ok(Constraint::Regex {
        pattern,
        options: options.to_owned(),
    })
}

/// A field name, possibly internal (`_rperm`: see `Query::check_access`), then keys inside it.
fn path_of(key: &str) -> Result<Vec<String>, ParseError> {
    let path: Vec<String> = key.split('.').map(str::to_owned).collect();
    let is_name = |root: &str| {
        root.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && root.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    if !is_name(&path[0]) || path.iter().any(String::is_empty) {
        return Err(ParseError::invalid_key(format!("Invalid key name: {key}")));
    }
    Ok(path)
}
