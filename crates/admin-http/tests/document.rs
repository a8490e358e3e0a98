//! The OpenAPI document is well formed, and says what there is: no more, no less.

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::Value;

use crate::fixture::{json_of, stage};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

#[tokio::test]
async fn every_method_of_the_document_is_there_and_no_other() {
    let stage = stage().await;
    for (path, item) in stage.document["paths"].as_object().unwrap() {
        let real = path.replace("{job}", "x").replace("{schedule}", "x");
        let real = real.replace("{run}", "1").replace("{workflow}", "1");
        for name in METHODS {
            let method = Method::from_bytes(name.to_uppercase().as_bytes()).unwrap();
            let reply = json_of(stage.send(method, &real, None).await).await;
            let is_declared = item.get(name).is_some();
            assert_eq!(
                reply.status != 405,
                is_declared,
                "{name} {path}: {}",
                reply.body
            );
            let said = reply.body["error"].as_str().unwrap_or_default();
            assert!(
                !said.contains("there is nothing at this path"),
                "{name} {path}"
            );
        }
    }
}

#[tokio::test]
async fn the_document_is_well_formed() {
    let stage = stage().await;
    let document = &stage.document;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["servers"][0]["url"], "/tidegate/v1");
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let named: BTreeSet<&str> = path.split(['{', '}']).skip(1).step_by(2).collect();
        let declared = item["parameters"].as_array().unwrap().iter();
        let declared: BTreeSet<&str> = declared
            .map(|one| {
                assert_eq!(
                    (&one["in"], &one["required"]),
                    (&"path".into(), &true.into())
                );
                one["name"].as_str().unwrap()
            })
            .collect();
        assert_eq!(named, declared, "{path}");
        for (method, operation) in item.as_object().unwrap() {
            if method == "parameters" {
                continue;
            }
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id), "{id} is there twice");
            assert!(operation["summary"].is_string(), "{id}");
            let responses = operation["responses"].as_object().unwrap();
            let is_good = |status: &String| status.starts_with('2');
            assert!(
                responses.keys().any(is_good) && responses.contains_key("403"),
                "{id}"
            );
        }
    }
    assert!(ids.len() > 25, "{ids:?}");
}

#[tokio::test]
async fn every_reference_leads_somewhere_and_every_schema_is_used() {
    let stage = stage().await;
    let mut references = BTreeSet::new();
    collect(&stage.document, &mut references);
    for reference in &references {
        let pointer = reference.trim_start_matches('#');
        assert!(stage.document.pointer(pointer).is_some(), "{reference}");
    }
    for name in stage.document["components"]["schemas"]
        .as_object()
        .unwrap()
        .keys()
    {
        let reference = format!("#/components/schemas/{name}");
        assert!(references.contains(&reference), "nothing needs {name}");
    }
}

fn collect(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            references.extend(object.get("$ref").map(|to| to.as_str().unwrap().to_owned()));
            object.values().for_each(|value| collect(value, references));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}
