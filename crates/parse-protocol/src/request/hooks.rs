//! Parse's `hooks` routes: functions and triggers that are HTTP endpoints.

use serde_json::Value;

use super::Request;
use crate::{ErrorCode, Object, ParseError};

/// What is asked of the hooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookCall {
    ListTriggers,
    GetTrigger {
        class: String,
        trigger: String,
    },
    CreateTrigger {
        class: String,
        trigger: String,
        url: String,
    },
    UpdateTrigger {
        class: String,
        trigger: String,
        url: String,
    },
    DeleteTrigger {
        class: String,
        trigger: String,
    },
    ListFunctions,
    /// Anything else that is asked of functions.
    Function,
}

/// The call of a path below `hooks`; None when there is no such route.
pub(super) fn parse(
    method: &str,
    segments: &[&str],
    body: &Object,
) -> Result<Option<Request>, ParseError> {
    let (is_delete, url) = (
        body.get("__op") == Some(&"Delete".into()),
        text(body, "url"),
    );
    let call = match (method, segments) {
        ("GET", ["functions"]) => HookCall::ListFunctions,
        (_, ["functions"] | ["functions", _]) => HookCall::Function,
        ("GET", ["triggers"]) => HookCall::ListTriggers,
        ("POST", ["triggers"]) => HookCall::CreateTrigger {
            class: text(body, "className").ok_or_else(invalid)?,
            trigger: text(body, "triggerName").ok_or_else(invalid)?,
            url: url.ok_or_else(invalid)?,
        },
        (_, ["triggers", class, trigger]) => {
            let (class, trigger) = ((*class).to_owned(), (*trigger).to_owned());
            match method {
                "GET" => HookCall::GetTrigger { class, trigger },
                "DELETE" => HookCall::DeleteTrigger { class, trigger },
                "PUT" if is_delete => HookCall::DeleteTrigger { class, trigger },
                "PUT" => HookCall::UpdateTrigger {
                    class,
                    trigger,
                    url: url.ok_or_else(invalid)?,
                },
                _ => return Ok(None),
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(Request::Hook(call)))
}

fn text(body: &Object, name: &str) -> Option<String> {
    let text = body.get(name).and_then(Value::as_str)?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// Text as Parse Server has it (`HooksController.js`).
fn invalid() -> ParseError {
    ParseError::new(ErrorCode::WEBHOOK, "invalid hook declaration")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hooks_are_declared_whole() {
        let url = json!({"className": "Order", "triggerName": "afterSave", "url": "http://x/"});
        let Ok(Request::Hook(call)) = Request::parse("POST", "hooks/triggers", &url) else {
            panic!("a whole declaration is refused");
        };
        assert!(matches!(call, HookCall::CreateTrigger { class, .. } if class == "Order"));
        for left_out in ["className", "triggerName", "url"] {
            let mut part = url.clone();
            part.as_object_mut().unwrap().remove(left_out);
            let error = Request::parse("POST", "hooks/triggers", &part).unwrap_err();
            assert_eq!(
                (error.code, &*error.message),
                (ErrorCode::WEBHOOK, "invalid hook declaration")
            );
        }
        let delete = json!({"__op": "Delete"});
        let delete = Request::parse("PUT", "hooks/triggers/Order/afterSave", &delete).unwrap();
        assert!(matches!(
            delete,
            Request::Hook(HookCall::DeleteTrigger { .. })
        ));
        let other = Request::parse("PATCH", "hooks/triggers/Order/afterSave", &json!({})).unwrap();
        assert!(matches!(other, Request::Unsupported { known: true, .. }));
    }
}
