//! Which call a method and a path stand for.

use std::borrow::Cow;

use serde_json::Value;

use super::{Request, batch, hooks, jobs, login};
use crate::{Changes, ErrorCode, Object, ParseError, Query, ReadOptions, name, value};

/// First segments of the routes of Parse Server that this server does not answer yet.
const KNOWN: &[&str] = &[
    "aggregate",
    "apps",
    "challenge",
    "cloud_code",
    "config",
    "events",
    "files",
    "graphql-config",
    "hooks",
    "jobs",
    "loginAs",
    "purge",
    "push",
    "push_audiences",
    "requestPasswordReset",
    "schemas",
    "scriptlog",
    "security",
    "upgradeToRevocableSession",
    "validate_purchase",
    "verificationEmailRequest",
    "verifyPassword",
    "workflows",
];

/// Classes that are no system classes and that the master key may still read and write by `/classes/…`.
const INTERNAL_CLASSES: &[&str] = &["_Hooks", "_GlobalConfig", "_GraphQLConfig"];

pub(super) fn parse(method: &str, path: &str, body: &Value) -> Result<Request, ParseError> {
    let segments: Vec<Cow<'_, str>> = path
        .split('/')
        .filter(|part| !part.is_empty())
        .map(decode)
        .collect();
    let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    if segments.iter().any(|segment| segment.contains('\0')) {
        return Err(ParseError::invalid_json(
            "the path contains a NUL character",
        ));
    }
    match (method, segments.as_slice()) {
        ("GET", ["users", "me"]) => Ok(Request::CurrentUser),
        ("GET", ["sessions", "me"]) => Ok(Request::CurrentSession),
        ("POST" | "GET", ["login"]) => login::parse(fields(body)?.as_ref()),
        ("POST", ["logout"]) => Ok(Request::LogOut),
        ("POST", ["functions", name]) => call_function(name, body),
        ("POST", ["batch"]) => batch::parse(fields(body)?.as_ref()),
        ("GET", ["health"]) => Ok(Request::Health),
        ("GET", ["serverInfo"]) => Ok(Request::ServerInfo),
        (_, ["classes", class]) => collection(method, class, path, body),
        (_, ["classes", class, id]) => object(method, class, id, path, body),
        (_, [alias]) if class_of(alias).is_some() => {
            collection(method, class_of(alias).unwrap_or(alias), path, body)
        }
        (_, [alias, id]) if class_of(alias).is_some() => {
            object(method, class_of(alias).unwrap_or(alias), id, path, body)
        }
        (_, ["hooks", below @ ..]) => {
            let call = hooks::parse(method, below, fields(body)?.as_ref())?;
            Ok(call.unwrap_or_else(|| unsupported(method, path, &segments)))
        }
        (_, segments @ ["jobs" | "workflows" | "cloud_code", ..]) => {
            let call = jobs::parse(method, segments, fields(body)?.as_ref())?;
            Ok(call.unwrap_or_else(|| unsupported(method, path, segments)))
        }
        (_, segments) => Ok(unsupported(method, path, segments)),
    }
}

fn class_of(route: &str) -> Option<&'static str> {
    match route {
        "users" => Some("_User"),
        "sessions" => Some("_Session"),
        "roles" => Some("_Role"),
        "installations" => Some("_Installation"),
        _ => None,
    }
}

fn collection(method: &str, class: &str, path: &str, body: &Value) -> Result<Request, ParseError> {
    check_class(class)?;
    let class = class.to_owned();
    match method {
        "GET" => Ok(Request::Find {
            class,
            query: Query::from_rest(fields(body)?.as_ref())?,
        }),
        "POST" => create(class, fields(body)?.as_ref()),
        _ => Ok(unsupported(method, path, &[])),
    }
}

fn create(class: String, body: &Object) -> Result<Request, ParseError> {
    let changes = Changes::from_rest(body)?;
    if class != "_User" {
        return Ok(Request::Create { class, changes });
    }
    let id = changes
        .value("objectId")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if id.starts_with("role:") {
        return Err(ParseError::new(
            ErrorCode::OPERATION_FORBIDDEN,
            "Invalid object ID.",
        ));
    }
    Ok(Request::SignUp { changes })
}

fn object(
    method: &str,
    class: &str,
    id: &str,
    path: &str,
    body: &Value,
) -> Result<Request, ParseError> {
    check_class(class)?;
    let (class, id) = (class.to_owned(), id.to_owned());
    match method {
        "GET" => Ok(Request::Get {
            class,
            id,
            options: ReadOptions::from_rest(fields(body)?.as_ref())?,
        }),
        "PUT" => {
            let mut changes = Changes::from_rest(fields(body)?.as_ref())?;
            // The path says which object; SDKs that send the id along mean the same one.
            changes.remove("objectId");
            Ok(Request::Update { class, id, changes })
        }
        "DELETE" => Ok(Request::Delete { class, id }),
        _ => Ok(unsupported(method, path, &[])),
    }
}

fn call_function(name: &str, body: &Value) -> Result<Request, ParseError> {
    let params = fields(body)?.into_owned();
    for (key, param) in &params {
        value::check_key("params", key, param)?;
        value::check(key, param)?;
    }
    Ok(Request::CallFunction {
        name: name.to_owned(),
        params,
    })
}

fn check_class(class: &str) -> Result<(), ParseError> {
    if name::is_valid_class_name(class) || INTERNAL_CLASSES.contains(&class) {
        return Ok(());
    }
    Err(ParseError::new(
        ErrorCode::INVALID_CLASS_NAME,
        name::invalid_class_name_message(class),
    ))
}

fn unsupported(method: &str, path: &str, segments: &[&str]) -> Request {
    let known = segments.first().is_some_and(|first| KNOWN.contains(first));
    Request::Unsupported {
        method: method.to_owned(),
        path: path.to_owned(),
        known,
    }
}

fn fields(body: &Value) -> Result<Cow<'_, Object>, ParseError> {
    match body {
        Value::Null => Ok(Cow::Owned(Object::new())),
        Value::Object(fields) => Ok(Cow::Borrowed(fields)),
        _ => Err(ParseError::invalid_json("the body must be a JSON object")),
    }
}

/// Percent-decodes one segment; one that is not valid stays as it is.
fn decode(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail
            .get(..2)
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let code = digits
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match (first, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(segment), Cow::Owned)
}
