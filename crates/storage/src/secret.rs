//! Columns that hold secrets.

/// Whether a read shows the columns that hold secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// As everybody sees the object, the master key included.
    Hidden,
    /// For logging in and checking sessions: password hashes, session tokens, one-time tokens.
    Shown,
}

/// True for a column whose value must not leave the server: no event, log line, answer or trigger carries it.
pub fn is_secret(class: &str, column: &str) -> bool {
    match class {
        "_User" => {
            matches!(
                column,
                "_hashed_password"
                    | "_password_history"
                    | "_email_verify_token"
                    | "_perishable_token"
            )
        }
        "_Session" => column == "sessionToken",
        _ => false,
    }
}

pub(crate) fn is_shown(class: &str, column: &str, secrets: Secrets) -> bool {
    secrets == Secrets::Shown || !is_secret(class, column)
}
