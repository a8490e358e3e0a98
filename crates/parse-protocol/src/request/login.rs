//! The body of a login.

use serde_json::Value;

use super::Request;
use crate::{ErrorCode, Object, ParseError, Secret};

/// The checks and texts of `UsersRouter._authenticateUserFromRequest`.
pub(super) fn parse(body: &Object) -> Result<Request, ParseError> {
    let given = |key: &str| {
        body.get(key)
            .filter(|value| !value.is_null() && *value != "")
    };
    let (username, email, password) = (given("username"), given("email"), given("password"));
    if username.is_none() && email.is_none() {
        return Err(ParseError::new(
            ErrorCode::USERNAME_MISSING,
            "username/email is required.",
        ));
    }
    let password = password
        .ok_or_else(|| ParseError::new(ErrorCode::PASSWORD_MISSING, "password is required."))?;
    Ok(Request::LogIn {
        username: username.map(text).transpose()?,
        email: email.map(text).transpose()?,
        password: Secret::new(text(password)?),
    })
}

fn text(value: &Value) -> Result<String, ParseError> {
    let text = value
        .as_str()
        .filter(|text| !text.contains('\0'))
        .map(str::to_owned);
    text.ok_or_else(|| ParseError::new(ErrorCode::OBJECT_NOT_FOUND, "Invalid username/password."))
}
