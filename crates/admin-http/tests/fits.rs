//! Whether a value is what a schema of the document says: as much of JSON Schema as the document uses, and no more.

use serde_json::Value;

/// What does not fit, with its place.
pub fn misfit(document: &Value, schema: &Value, value: &Value, place: &str) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.trim_start_matches('#');
        let schema = document.pointer(pointer);
        let schema = schema.unwrap_or_else(|| panic!("{reference} leads nowhere"));
        return misfit(document, schema, value, place);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let problems: Option<Vec<String>> = choices
            .iter()
            .map(|choice| misfit(document, choice, value, place))
            .collect();
        return problems.map(|problems| problems.join(" and "));
    }
    let kinds = match &schema["type"] {
        Value::String(kind) => vec![kind.as_str()],
        Value::Array(kinds) => kinds.iter().map(|kind| kind.as_str().unwrap()).collect(),
        _ => Vec::new(),
    };
    if !kinds.is_empty() && !kinds.iter().any(|kind| is_of(kind, value)) {
        return Some(format!("{place} is {value}, not {kinds:?}"));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return Some(format!("{place} is {value}, none of {words:?}"));
    }
    let number = value.as_f64().unwrap_or(0.0);
    if schema["minimum"]
        .as_f64()
        .is_some_and(|least| number < least)
    {
        return Some(format!("{place} is {value}, too little"));
    }
    match value {
        Value::Object(_) => object_misfit(document, schema, value, place),
        Value::Array(items) => items.iter().enumerate().find_map(|(at, item)| {
            misfit(document, &schema["items"], item, &format!("{place}[{at}]"))
        }),
        _ => None,
    }
}

fn object_misfit(document: &Value, schema: &Value, value: &Value, place: &str) -> Option<String> {
    let object = value.as_object().unwrap();
    let required = schema["required"].as_array().into_iter().flatten();
    let mut required = required.map(|name| name.as_str().unwrap());
    if let Some(missing) = required.find(|name| !object.contains_key(*name)) {
        return Some(format!("{place} has no {missing}: {value}"));
    }
    object.iter().find_map(|(name, value)| {
        let place = format!("{place}.{name}");
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => Some(format!("{place} is not in the schema")),
            (Value::Null, Value::Null) => None,
            (Value::Null, rest) => misfit(document, rest, value, &place),
            (property, _) => misfit(document, property, value, &place),
        }
    })
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{other} is no type"),
    }
}

#[test]
fn what_does_not_fit_is_found() {
    use serde_json::json;
    let document = json!({ "a": { "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"],
        "additionalProperties": false } });
    let schema = json!({ "type": "array", "items": { "$ref": "#/a" } });
    let fit = |value: Value| misfit(&document, &schema, &value, "it");
    assert_eq!(fit(json!([{ "n": 1 }])), None);
    assert!(
        fit(json!([{ "n": 1.5 }]))
            .unwrap()
            .starts_with("it[0].n is")
    );
    assert!(fit(json!([{}])).unwrap().contains("has no n"));
    assert!(
        fit(json!([{ "n": 1, "m": 1 }]))
            .unwrap()
            .contains("it[0].m")
    );
    assert!(fit(json!({})).is_some());
}
