//! Columns that never leave the database: one rule for whoever makes events, from the WAL or from rows.

/// True for a column of Parse's that holds a password hash, a token or a provider's credentials.
///
/// Parse Server keeps those under names with a leading underscore, but for two.
pub fn is_secret(table: &str, column: &str) -> bool {
    match (table, column) {
        (_, "_rperm" | "_wperm") => false,
        ("_User", "authData") | ("_Session", "sessionToken") => true,
        ("_Installation", "deviceToken") => true,
        (_, column) => column.starts_with('_'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_tokens_and_credentials_are_secret_and_permissions_are_not() {
        for column in [
            "_hashed_password",
            "_perishable_token",
            "_email_verify_token",
            "_password_history",
            "authData",
        ] {
            assert!(is_secret("_User", column), "{column}");
        }
        assert!(is_secret("_Session", "sessionToken"));
        for column in ["objectId", "_rperm", "_wperm", "email", "username"] {
            assert!(!is_secret("_User", column), "{column}");
        }
    }
}
