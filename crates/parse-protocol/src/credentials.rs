//! Who sends a call: keys, session and what else travels beside the body.

use serde_json::Value;

use crate::{Object, ParseError, Secret, value};

/// What a call says about its sender. `None`: not said. Nothing here is checked against anything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Credentials {
    pub application_id: Option<String>,
    pub rest_key: Option<Secret>,
    pub javascript_key: Option<Secret>,
    pub client_key: Option<Secret>,
    pub windows_key: Option<Secret>,
    pub master_key: Option<Secret>,
    pub maintenance_key: Option<Secret>,
    pub session_token: Option<Secret>,
    pub installation_id: Option<String>,
    /// `js8.6.2`: SDK and version.
    pub client_version: Option<String>,
    /// `X-Parse-Request-Id`: the same id twice is the same request.
    pub request_id: Option<String>,
    /// What the caller hands to the triggers.
    pub context: Option<Object>,
}

impl Credentials {
    /// Takes out of a JSON body what the JS SDK puts there instead of headers.
    ///
    /// Also drops `_RevocableSession`, `_ContentType` and `_noBody`, which ask for nothing here.
    ///
    /// # Errors
    /// 107 for a context that is no JSON object.
    pub fn take_from_body(body: &mut Object) -> Result<Credentials, ParseError> {
        for ignored in ["_RevocableSession", "_ContentType", "_noBody"] {
            body.remove(ignored);
        }
        let mut text = |key: &str| match body.remove(key)? {
            Value::String(text) if !text.is_empty() => Some(text),
            _ => None,
        };
        let mut credentials = Credentials {
            application_id: text("_ApplicationId"),
            rest_key: text("_RestAPIKey").map(Secret::new),
            javascript_key: text("_JavaScriptKey").map(Secret::new),
            client_key: text("_ClientKey").map(Secret::new),
            windows_key: text("_WindowsKey").map(Secret::new),
            master_key: text("_MasterKey").map(Secret::new),
            maintenance_key: text("_MaintenanceKey").map(Secret::new),
            session_token: text("_SessionToken").map(Secret::new),
            installation_id: text("_InstallationId"),
            client_version: text("_ClientVersion"),
            request_id: text("_RequestId"),
            context: None,
        };
        credentials.context = body.remove("_context").map(context).transpose()?.flatten();
        Ok(credentials)
    }

    /// What these say, and where they say nothing, what `other` says. The context is the exception: `other`'s goes first.
    ///
    /// Made for `headers.or(body)`.
    pub fn or(self, other: Credentials) -> Credentials {
        Credentials {
            application_id: self.application_id.or(other.application_id),
            rest_key: self.rest_key.or(other.rest_key),
            javascript_key: self.javascript_key.or(other.javascript_key),
            client_key: self.client_key.or(other.client_key),
            windows_key: self.windows_key.or(other.windows_key),
            master_key: self.master_key.or(other.master_key),
            maintenance_key: self.maintenance_key.or(other.maintenance_key),
            session_token: self.session_token.or(other.session_token),
            installation_id: self.installation_id.or(other.installation_id),
            client_version: self.client_version.or(other.client_version),
            request_id: self.request_id.or(other.request_id),
            context: other.context.or(self.context),
        }
    }
}

/// Reads a context as the header `X-Parse-Cloud-Context` has it.
///
/// # Errors
/// 107 when it is no JSON object.
pub fn parse_context(text: &str) -> Result<Object, ParseError> {
    match serde_json::from_str(text) {
        Ok(Value::Object(context)) => checked(context),
        _ => Err(invalid_context()),
    }
}

fn context(value: Value) -> Result<Option<Object>, ParseError> {
    match value {
        Value::Null => Ok(None),
        Value::Object(context) => checked(context).map(Some),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) => parse_context(&text).map(Some),
        _ => Err(invalid_context()),
    }
}

fn checked(context: Object) -> Result<Object, ParseError> {
    for (key, inner) in &context {
        value::check_key("context", key, inner)?;
        value::check("context", inner)?;
    }
    Ok(context)
}

fn invalid_context() -> ParseError {
    ParseError::invalid_json("Invalid object for context.")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn headers_go_before_the_body_but_not_for_the_context() {
        let context = |text: &str| parse_context(text).ok();
        let headers = Credentials {
            application_id: Some("header".to_owned()),
            context: context(r#"{"from":"header"}"#),
            ..Credentials::default()
        };
        let body = Credentials {
            application_id: Some("body".to_owned()),
            installation_id: Some("body".to_owned()),
            context: context(r#"{"from":"body"}"#),
            ..Credentials::default()
        };
        let both = headers.or(body);
        assert_eq!(both.application_id.as_deref(), Some("header"));
        assert_eq!(both.installation_id.as_deref(), Some("body"));
        assert_eq!(
            both.context.map(Value::Object),
            Some(json!({"from": "body"}))
        );
    }

    #[test]
    fn a_context_is_an_object() {
        for text in ["", "[]", "1", "{", "null"] {
            assert_eq!(parse_context(text), Err(invalid_context()), "{text}");
        }
    }
}
