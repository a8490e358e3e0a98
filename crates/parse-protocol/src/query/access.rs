//! Which fields a caller may query by.

use super::{Filter, Order, Query};
use crate::{Access, ErrorCode, ParseError};

impl Query {
    /// Refuses conditions and sort keys that would let a caller read what it is not shown.
    ///
    /// `protected`: fields that are hidden from this caller ([`crate::Present::protected_fields`]).
    ///
    /// # Errors
    /// 105 for an internal field without the master key, 119 for a protected one or the `authData` of users.
    pub fn check_access(
        &self,
        class: &str,
        access: &Access,
        protected: &[String],
    ) -> Result<(), ParseError> {
        if access.is_master() {
            return Ok(());
        }
        let order = self.order.iter().map(|order: &Order| order.path.as_slice());
        self.filter
            .paths()
            .into_iter()
            .chain(order)
            .try_for_each(|path| check(class, path, protected))
    }
}

impl Filter {
    /// Every path that the filter looks at, with repeats.
    pub fn paths(&self) -> Vec<&[String]> {
        match self {
            Filter::And(filters) | Filter::Or(filters) | Filter::Nor(filters) => {
                filters.iter().flat_map(Filter::paths).collect()
            }
            Filter::Field { path, .. } => vec![path],
            Filter::RelatedTo { .. } => Vec::new(),
        }
    }
}

fn check(class: &str, path: &[String], protected: &[String]) -> Result<(), ParseError> {
    let Some(root) = path.first() else {
        return Ok(());
    };
    let is_plain = |part: &String| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if root.starts_with('_') || !path.iter().all(is_plain) {
        return Err(ParseError::invalid_key(format!(
            "Invalid key name: {}",
            path.join(".")
        )));
    }
    // Which of the other users has a given token is not to be found out by asking.
    let is_secret = class == "_User" && root == "authData";
    if is_secret || protected.contains(root) || protected.contains(&path.join(".")) {
        return Err(ParseError::permission_denied(
            ErrorCode::OPERATION_FORBIDDEN,
        ));
    }
    Ok(())
}
