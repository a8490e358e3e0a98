//! The OpenAPI 3.1 document, made of the table of endpoints that the router is made of.

use serde_json::{Map, Value, json};

use crate::endpoint::{Endpoint, Parameter};
use crate::{MAX_BODY_BYTES, MOUNT, schemas};

pub(crate) const PATH: &str = "/openapi.json";

/// What the parameters in paths name.
const PATH_PARAMETERS: [(&str, &str); 4] = [
    ("job", "The name of a job"),
    ("run", "The id of a run, such as R000012345"),
    (
        "workflow",
        "The name of a registered workflow where one is started, else the id of one, such as W000000012",
    ),
    ("schedule", "The name of a schedule"),
];

pub(crate) fn document(endpoints: &[Endpoint]) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for endpoint in endpoints {
        let path = paths
            .entry(endpoint.path)
            .or_insert_with(|| json!({ "parameters": path_parameters(endpoint.path) }));
        path[endpoint.method.as_str().to_lowercase()] = operation(endpoint);
    }
    let itself = json!({
        "operationId": "getOpenapiJson",
        "summary": "This document",
        "responses": {
            "200": answer("An OpenAPI document", json!({ "type": "object" })),
            "403": { "$ref": "#/components/responses/Error" },
        },
    });
    paths.insert(PATH.to_owned(), json!({ "parameters": [], "get": itself }));
    let key = |name: &str| json!({ "type": "apiKey", "in": "header", "name": name });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate",
            "version": env!("CARGO_PKG_VERSION"),
            "description": format!(
                "Jobs, workflows and schedules, for operators. Needs the master key. Bodies are JSON objects of at most \
                 {MAX_BODY_BYTES} bytes. Times are ISO 8601 in UTC."
            ),
        },
        "servers": [{ "url": MOUNT }],
        "security": [{ "application": [], "masterKey": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "application": key("X-Parse-Application-Id"),
                "masterKey": key("X-Parse-Master-Key"),
            },
            "responses": { "Error": answer("What went wrong", reference("Error")) },
            "schemas": schemas::all(),
        },
    })
}

fn operation(endpoint: &Endpoint) -> Value {
    let mut responses = Map::new();
    for (status, schema) in &endpoint.answers {
        let mut said = answer(endpoint.summary, reference(schema));
        if endpoint.streams {
            // Of server-sent events no schema can be given.
            said["content"]["text/event-stream"] = json!({ "schema": { "type": "string" } });
        }
        responses.insert(status.to_string(), said);
    }
    for status in failures(endpoint) {
        responses.insert(
            status.to_owned(),
            json!({ "$ref": "#/components/responses/Error" }),
        );
    }
    let mut operation = json!({
        "operationId": operation_id(endpoint),
        "summary": endpoint.summary,
        "responses": responses,
    });
    if !endpoint.parameters.is_empty() {
        let parameters: Vec<Value> = endpoint.parameters.iter().map(parameter).collect();
        operation["parameters"] = parameters.into();
    }
    if let Some(schema) = endpoint.body {
        operation["requestBody"] =
            json!({ "content": { "application/json": { "schema": reference(schema) } } });
    }
    operation
}

/// Statuses of errors that can come.
fn failures(endpoint: &Endpoint) -> Vec<&'static str> {
    let mut failures = vec!["400", "403", "500", "503"];
    // A body may name what is not there.
    if endpoint.path.contains('{') || endpoint.body.is_some() || !endpoint.parameters.is_empty() {
        failures.push("404");
    }
    if endpoint.method != axum::http::Method::GET {
        failures.push("409");
    }
    if endpoint.body.is_some() {
        failures.push("413");
    }
    failures
}

/// `post /runs/{run}/cancel` is `postRunsRunCancel`.
fn operation_id(endpoint: &Endpoint) -> String {
    let mut id = endpoint.method.as_str().to_lowercase();
    let parts = endpoint.path.split(|c: char| !c.is_ascii_alphanumeric());
    for part in parts.filter(|part| !part.is_empty()) {
        let (first, rest) = part.split_at(1);
        id.push_str(&first.to_uppercase());
        id.push_str(rest);
    }
    id
}

fn path_parameters(path: &str) -> Vec<Value> {
    let named = |name: &str| path.contains(&format!("{{{name}}}"));
    let parameters = PATH_PARAMETERS.iter().filter(|(name, _)| named(name));
    parameters
        .map(|(name, description)| {
            json!({ "name": name, "in": "path", "required": true, "description": description, "schema": { "type": "string" } })
        })
        .collect()
}

fn parameter(parameter: &Parameter) -> Value {
    json!({
        "name": parameter.name,
        "in": "query",
        "description": parameter.description,
        "schema": parameter.schema,
    })
}

fn answer(description: &str, schema: Value) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}
