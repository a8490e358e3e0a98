//! Several calls in one.

use std::fmt;

use serde_json::Value;

use super::Request;
use crate::{Object, ParseError};

/// The most calls of one batch: the limit that Parse's REST guide names. A larger batch is refused with 107.
pub const MAX_BATCH_REQUESTS: usize = 50;

/// One call of a batch; [`BatchItem::route`] it, then [`Request::parse`] it. A refusal by `parse` is the item's own
/// answer, a refusal by `route` is the whole batch's.
#[derive(Clone, PartialEq)]
pub struct BatchItem {
    pub method: String,
    /// From the root of the host, mount included: `/parse/classes/Order`.
    pub path: String,
    pub body: Value,
}

impl BatchItem {
    /// The item's path below the mount. `mounts`: the paths under which this server is reached, such as `/parse`; the
    /// longest that fits is cut off. An empty one lets paths without a mount through.
    ///
    /// # Errors
    /// 107 for a path outside every mount, and for a batch inside the batch.
    pub fn route(&self, mounts: &[&str]) -> Result<&str, ParseError> {
        let below = mounts
            .iter()
            .filter_map(|mount| below(&self.path, mount))
            .min_by_key(|path| path.len());
        let outside = || ParseError::invalid_json(format!("cannot route batch path {}", self.path));
        match below.ok_or_else(outside)? {
            path if path.trim_matches('/') == "batch" => Err(ParseError::invalid_json(
                "nested batch requests are not allowed",
            )),
            path => Ok(path),
        }
    }
}

/// Without the body: it can carry a password.
impl fmt::Debug for BatchItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

pub(super) fn parse(body: &Object) -> Result<Request, ParseError> {
    let requests = body.get("requests").and_then(Value::as_array);
    let requests = requests.ok_or_else(|| ParseError::invalid_json("requests must be an array"))?;
    if requests.len() > MAX_BATCH_REQUESTS {
        return Err(ParseError::invalid_json(format!(
            "Batch request contains {} sub-requests, which exceeds the limit of {MAX_BATCH_REQUESTS}.",
            requests.len()
        )));
    }
    let transaction = body.get("transaction").is_some_and(|flag| flag == true);
    Ok(Request::Batch {
        requests: requests.iter().map(item).collect::<Result<_, _>>()?,
        transaction,
    })
}

fn item(request: &Value) -> Result<BatchItem, ParseError> {
    let text = |key: &str| request.get(key).and_then(Value::as_str);
    let path = text("path")
        .ok_or_else(|| ParseError::invalid_json("batch request path must be a string"))?;
    Ok(BatchItem {
        method: text("method").unwrap_or("GET").to_ascii_uppercase(),
        path: path.to_owned(),
        body: request.get("body").cloned().unwrap_or(Value::Null),
    })
}

fn below<'a>(path: &'a str, mount: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(mount.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}
