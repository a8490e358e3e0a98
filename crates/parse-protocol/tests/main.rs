//! Behaviour as data: every file in `cases/` is a list of cases, and adding one needs no Rust.
//!
//! An expected error names its code and, where the text matters, its text: `{"code":111,"error":"…"}`.

mod render;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegate_parse_protocol::{
    Access, Acl, Changes, ClassLevelPermissions, ClassSchema, ClpOperation, Credentials, FieldType,
    Object, ParseError, Permission, Present, Query, ReadOptions, Request, clp,
};

/// Runs every case of a file and reports all that differ, not just the first.
fn check(cases: &str, run: impl Fn(&Value) -> Result<Value, ParseError>) {
    let cases: Vec<Value> = serde_json::from_str(cases).expect("a file of cases is a JSON list");
    let mut failures = String::new();
    for (index, case) in cases.iter().enumerate() {
        let got = match run(case) {
            Ok(value) => json!({"ok": value}),
            Err(error) => json!({"err": error}),
        };
        let expected = match (case.get("ok"), case.get("err")) {
            (Some(value), None) => json!({"ok": value}),
            (None, Some(error)) => json!({"err": error}),
            _ => panic!("case {index} must expect either ok or err"),
        };
        if !matches(&expected, &got) {
            failures +=
                &format!("\ncase {index}: {case}\n  expected {expected}\n  got      {got}\n");
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

fn matches(expected: &Value, got: &Value) -> bool {
    match (expected.get("err"), got.get("err")) {
        (Some(expected), Some(got)) => {
            expected["code"] == got["code"]
                && expected
                    .get("error")
                    .is_none_or(|text| *text == got["error"])
        }
        _ => expected == got,
    }
}

fn object(value: &Value) -> Object {
    value.as_object().cloned().unwrap_or_default()
}

/// `"master"`, or the principals of a caller.
fn access(value: &Value) -> Access {
    match value {
        Value::Array(principals) => Access::Principals(
            principals
                .iter()
                .map(|who| who.as_str().expect("principals are texts").to_owned())
                .collect(),
        ),
        _ => Access::Master,
    }
}

/// `{"name":…,"fields":{"n":"Number","p":"Pointer<_User>"},"clp":{…}}`, or the stored form of a field.
fn class(value: &Value) -> ClassSchema {
    let fields: Object = object(&value["fields"])
        .iter()
        .map(|(name, field)| (name.clone(), stored_field(field)))
        .collect();
    let stored = json!({"className": value["name"], "fields": fields, "classLevelPermissions": value["clp"]});
    ClassSchema::from_stored(&stored).expect("a case's class has a name")
}

fn stored_field(field: &Value) -> Value {
    let Some(text) = field.as_str() else {
        return field.clone();
    };
    match text.split_once('<') {
        None => json!({"type": text}),
        Some((kind, target)) => json!({"type": kind, "targetClass": target.trim_end_matches('>')}),
    }
}

fn operation(name: &Value) -> ClpOperation {
    use ClpOperation::*;
    let all = [Get, Find, Count, Create, Update, Delete, AddField];
    all.into_iter()
        .find(|operation| name == operation.as_str())
        .expect("a known operation")
}

fn types(types: BTreeMap<String, FieldType>) -> Value {
    types
        .into_iter()
        .map(|(name, field_type)| (name, Value::from(field_type.to_string())))
        .collect::<Object>()
        .into()
}

#[test]
fn a_body_is_read_as_operations() {
    check(include_str!("cases/changes.json"), |case| {
        let changes = Changes::from_rest(&object(&case["body"]))?;
        let again = Changes::from_rest(&changes.to_rest())?;
        assert!(again == changes, "the wire form does not read back: {case}");
        Ok(changes.to_rest().into())
    });
}

#[test]
fn operations_change_an_object() {
    check(include_str!("cases/apply.json"), |case| {
        let changes = Changes::from_rest(&object(&case["changes"]))?;
        changes.apply(&object(&case["base"])).map(Value::Object)
    });
}

#[test]
fn a_write_must_fit_its_class() {
    check(include_str!("cases/write.json"), |case| {
        let (class, is_create) = (class(&case["class"]), case["create"] == true);
        let mut changes = Changes::from_rest(&object(&case["body"]))?;
        let missing = class.check_write(&changes, is_create)?;
        class.fill_defaults(&mut changes, is_create)?;
        Ok(json!({"missing": types(missing), "body": changes.to_rest()}))
    });
}

#[test]
fn class_level_permissions_decide() {
    check(include_str!("cases/permissions.json"), |case| {
        let permissions = ClassLevelPermissions::from_value(&case["clp"]).unwrap();
        let permission = permissions.allows(operation(&case["operation"]), &access(&case["as"]));
        Ok(match permission {
            Permission::OnlyPointerFields(fields) => json!(fields),
            other => {
                other.into_result()?;
                json!("allowed")
            }
        })
    });
}

#[test]
fn some_classes_are_the_servers_own() {
    check(include_str!("cases/closed-classes.json"), |case| {
        let class = case["class"].as_str().unwrap();
        clp::check_class(operation(&case["operation"]), class, &access(&case["as"]))
            .map(|()| json!(true))
    });
}

#[test]
fn callers_see_what_they_may() {
    check(include_str!("cases/present.json"), |case| {
        let (class, access) = (class(&case["class"]), access(&case["as"]));
        Ok(Present::new(&class, &access)
            .show(object(&case["stored"]))
            .into())
    });
}

#[test]
fn acls_go_both_ways() {
    check(include_str!("cases/acl.json"), |case| {
        let acl = Acl::from_rest(&case["acl"])?;
        let (rperm, wperm) = acl.permissions();
        let from_columns = Acl::from_permissions(Some(&rperm), Some(&wperm)).unwrap();
        let who = access(&case["as"]);
        assert_eq!(from_columns.allows_read(&who), acl.allows_read(&who));
        Ok(json!({
            "rperm": rperm, "wperm": wperm, "rest": from_columns.to_rest(),
            "read": acl.allows_read(&who), "write": acl.allows_write(&who),
        }))
    });
}

#[test]
fn finds_are_read() {
    check(include_str!("cases/query.json"), |case| {
        Query::from_rest(&object(&case["params"])).map(render::query)
    });
}

#[test]
fn queries_must_not_reveal_what_is_hidden() {
    check(include_str!("cases/query-access.json"), |case| {
        let (class, access) = (class(&case["class"]), access(&case["as"]));
        let query = Query::from_rest(&object(&case["params"]))?;
        let present = Present::new(&class, &access);
        query
            .check_access(&class.name, &access, present.protected_fields())
            .map(|()| json!(true))
    });
}

#[test]
fn keys_choose_what_is_returned() {
    check(include_str!("cases/project.json"), |case| {
        let mut object = object(&case["object"]);
        ReadOptions::from_rest(&self::object(&case["params"]))?.project(&mut object);
        Ok(object.into())
    });
}

#[test]
fn routes_are_calls() {
    check(include_str!("cases/requests.json"), |case| {
        let (method, path) = (
            case["method"].as_str().unwrap(),
            case["path"].as_str().unwrap(),
        );
        let request = Request::parse(method, path, &case["body"])?;
        Ok(json!(format!("{request:?}")))
    });
}

#[test]
fn batches_are_routed_below_a_mount() {
    check(include_str!("cases/batch.json"), |case| {
        let Request::Batch {
            requests,
            transaction,
        } = Request::parse("POST", "batch", &case["body"])?
        else {
            panic!("not a batch: {case}");
        };
        let routed = requests.iter().map(|item| {
            Ok(format!(
                "{} {}",
                item.method,
                item.route(&["/parse", "/p/v1/"])?
            ))
        });
        Ok(
            json!({"transaction": transaction, "requests": routed.collect::<Result<Vec<_>, ParseError>>()?}),
        )
    });
}

#[test]
fn credentials_leave_the_body() {
    check(include_str!("cases/credentials.json"), |case| {
        let mut body = object(&case["body"]);
        let credentials = Credentials::take_from_body(&mut body)?;
        Ok(json!({"body": body, "credentials": render::credentials(credentials)}))
    });
}

#[test]
fn nothing_panics_on_any_value() {
    let odd = include_str!("cases/odd-values.json");
    let odd: Vec<Value> = serde_json::from_str(odd).unwrap();
    for value in &odd {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", ""] {
            for path in [
                "",
                "/",
                "classes",
                "classes/A",
                "classes/A/b",
                "classes/%/%zz",
                "login",
                "batch",
                "functions/f",
            ] {
                let _ = Request::parse(method, path, value);
                let _ = Request::parse(
                    method,
                    path,
                    &json!({"where": value, "a": value, "ACL": value, "requests": value}),
                );
            }
        }
        for base in &odd {
            let changes =
                Changes::from_rest(&object(&json!({"a": value, "b.c.0": value, "ACL": value})));
            let _ =
                changes.and_then(|changes| changes.apply(&object(&json!({"a": base, "b": base}))));
        }
        let _ = ClassSchema::from_stored(value);
        let _ = ClassSchema::from_stored(
            &json!({"className": "A", "fields": {"a": value}, "classLevelPermissions": value}),
        );
        let _ = Credentials::take_from_body(&mut object(
            &json!({"_context": value, "_SessionToken": value}),
        ));
    }
}
