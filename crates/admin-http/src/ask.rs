//! Reading what is asked: query parameters and JSON bodies, with errors that say what to write.

use std::str::FromStr;

use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::MAX_BODY_BYTES;
use crate::refusal::Refusal;

/// The parameters behind the `?`, decoded, in order. Which names there may be, `endpoint` has checked.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(query: &str) -> Query {
        let decode = |text: &str| {
            let spaced = text.replace('+', " ");
            percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
        };
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Query(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (decode(name), decode(value)))
                .collect(),
        )
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The last value of that name.
    pub fn text(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().rev().filter(|(given, _)| given == name);
        values.next().map(|(_, value)| value.as_str())
    }

    /// All values of that name, with those that commas part.
    pub fn list(&self, name: &str) -> Vec<String> {
        let values = self.0.iter().filter(|(given, _)| given == name);
        let items = values.flat_map(|(_, value)| value.split(',').map(str::trim));
        items
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()
    }

    pub fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let wrong = |_| Refusal::Wrong(format!("{name}: {text:?} is not a whole number"));
        text.parse().map(Some).map_err(wrong)
    }

    /// A flag is set by `true`, or by its name alone.
    pub fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("" | "true") => Ok(true),
            Some(other) => {
                let message = format!("{name}: {other:?} is neither true nor false");
                Err(Refusal::Wrong(message))
            }
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        Ok(Query::parse(parts.uri.query().unwrap_or_default()))
    }
}

/// A JSON object; no body is the same as `{}`.
pub(crate) struct Body<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let read = to_bytes(request.into_body(), MAX_BODY_BYTES).await;
        let bytes = read.map_err(|error| {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            match source.is_some_and(|source| source.contains("length limit")) {
                true => Refusal::BodyTooLarge,
                false => Refusal::Wrong("the body could not be read to its end".to_owned()),
            }
        })?;
        let text = if bytes.is_empty() { b"{}" } else { &bytes[..] };
        let value: Value = serde_json::from_slice(text)
            .map_err(|error| Refusal::Wrong(format!("the body is not JSON: {error}")))?;
        if !value.is_object() {
            return Err(Refusal::Wrong("the body must be a JSON object".to_owned()));
        }
        let read = serde_json::from_value(value);
        read.map(Body)
            .map_err(|error| Refusal::Wrong(format!("the body: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_lists_may_come_in_two_ways() {
        let query = Query::parse(
            "state=failed,cancelled&state=skipped&since=2026-11-25T10%3A00+Z&follow&limit=x",
        );
        assert_eq!(query.list("state"), ["failed", "cancelled", "skipped"]);
        assert_eq!(query.text("since"), Some("2026-11-25T10:00 Z"));
        assert!(query.flag("follow").unwrap());
        assert!(!query.flag("force").unwrap());
        assert!(query.flag("since").is_err());
        assert!(query.number::<u32>("limit").is_err());
        assert_eq!(query.number::<u32>("after").unwrap(), None);
    }
}
