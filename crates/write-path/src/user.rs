//! Users: sign-up, log-in, log-out, and what a write to `_User` must be.

use serde_json::{Value, json};
use tidegate_parse_protocol::present::Present;
use tidegate_parse_protocol::{
    Access, Acl, Changes, ErrorCode, Filter, Object, ParseError, Secret,
};
use tidegate_storage::{Action, Secrets, Write};

use crate::commit::Then;
use crate::error::{not_found, refuse};
use crate::password::MAX_PASSWORD_BYTES;
use crate::session::{CreatedWith, first};
use crate::{Answer, Caller, Error, WritePath, password};

/// What a write to `_User` brings with it.
#[derive(Default)]
pub(crate) struct UserWrite {
    pub beside: Vec<Write>,
    pub session_token: Option<String>,
    pub then: Then,
}

impl WritePath {
    /// Checks a write to `_User`, hashes its password, and makes a session for a new user.
    pub(crate) async fn user_changes(
        &self,
        caller: &Caller,
        is_update: bool,
        user_id: &str,
        changes: &mut Changes,
    ) -> Result<UserWrite, Error> {
        check_user_fields(is_update, changes)?;
        if !caller.master {
            own_fields(changes)?;
        }
        if is_update && !caller.master && caller.user_id() != Some(user_id) {
            let message = format!("Cannot modify user {user_id}.");
            return Err(refuse(ErrorCode::SESSION_MISSING, message));
        }
        let new_password = match changes.remove("password") {
            Some(op) => Some(password_of(&op)?),
            None => None,
        };
        let changes_password = new_password.is_some();
        if let Some(new_password) = new_password {
            changes.set("_hashed_password", password::hash(new_password).await?);
        }
        if is_update {
            let keep = caller.session.as_deref().map(|session| session.id.clone());
            let then = match changes_password {
                true => Then::EndSessions {
                    user_id: user_id.to_owned(),
                    except: keep,
                },
                false => Then::Nothing,
            };
            return Ok(UserWrite {
                then,
                ..UserWrite::default()
            });
        }
        own_acl(user_id, changes)?;
        // The master key makes users for others; they log in themselves.
        if caller.master {
            return Ok(UserWrite::default());
        }
        let installation_id = caller.cause.installation_id.as_deref();
        let (token, session) = self
            .new_session(user_id, installation_id, CreatedWith::SignUp)
            .await?;
        Ok(UserWrite {
            beside: vec![session],
            session_token: Some(token),
            then: Then::Nothing,
        })
    }

    pub(crate) async fn log_in(
        &self,
        caller: &Caller,
        username: Option<String>,
        email: Option<String>,
        secret: Secret,
    ) -> Result<Answer, Error> {
        let user = self.verified_user(username, email, secret).await?;
        let user_id = user
            .get("objectId")
            .and_then(Value::as_str)
            .ok_or_else(not_found)?
            .to_owned();
        let installation_id = caller.cause.installation_id.as_deref();
        let (token, session) = self
            .new_session(&user_id, installation_id, CreatedWith::LogIn)
            .await?;
        self.storage.commit(vec![session]).await?;
        let class = self.existing_class("_User")?;
        let mut shown = Present::new(&class, &Access::Master).show(user);
        shown.insert("sessionToken".into(), token.into());
        Ok(Answer::ok(Value::Object(shown)))
    }

    /// The user whose password this is. One text for every failure, so that nobody learns which names exist.
    async fn verified_user(
        &self,
        username: Option<String>,
        email: Option<String>,
        secret: Secret,
    ) -> Result<Object, Error> {
        let wrong = || refuse(ErrorCode::OBJECT_NOT_FOUND, "Invalid username/password.");
        let filter = match (username, email) {
            (Some(username), None) => Filter::equal("username", username),
            (None, Some(email)) => Filter::equal("email", email),
            (Some(username), Some(email)) => {
                Filter::equal("username", username).and(Filter::equal("email", email))
            }
            (None, None) => {
                return Err(refuse(
                    ErrorCode::USERNAME_MISSING,
                    "username/email is required.",
                ));
            }
        };
        let class = self.existing_class("_User").map_err(|_| wrong())?;
        let found = self
            .storage
            .find(&class, &first(filter), &Access::Master, Secrets::Shown)
            .await?;
        let user = found.into_iter().next();
        let hash = user
            .as_ref()
            .and_then(|user| user.get("_hashed_password")?.as_str());
        // A name that nobody has takes as long as a wrong password.
        let hash = hash.unwrap_or(password::HASH_OF_NOBODY).to_owned();
        let is_right = password::verify(secret.expose().to_owned(), hash).await?;
        user.filter(|_| is_right).ok_or_else(wrong)
    }

    pub(crate) async fn log_out(&self, caller: &Caller) -> Result<Answer, Error> {
        if let Some(session) = caller.session.as_deref() {
            let class = self.existing_class("_Session")?;
            let write = Write {
                class,
                object_id: session.id.clone(),
                action: Action::Delete,
                access: Access::Master,
                message: None,
            };
            self.storage.commit(vec![write]).await?;
        }
        Ok(Answer::empty())
    }

    pub(crate) fn current_user(&self, caller: &Caller) -> Result<Answer, Error> {
        let session = caller.session.as_deref().ok_or_else(invalid_session)?;
        let mut user = session.user.clone();
        user.insert("sessionToken".into(), session.token.clone().into());
        Ok(Answer::ok(Value::Object(user)))
    }

    pub(crate) async fn current_session(&self, caller: &Caller) -> Result<Answer, Error> {
        let session = caller.session.as_deref().ok_or_else(invalid_session)?;
        let class = self.existing_class("_Session")?;
        let query = first(Filter::equal("objectId", session.id.as_str()));
        let found = self
            .storage
            .find(&class, &query, &Access::Master, Secrets::Hidden)
            .await?;
        let row = found.into_iter().next().ok_or_else(invalid_session)?;
        let mut shown = Present::new(&class, &Access::Master).show(row);
        shown.insert("sessionToken".into(), session.token.clone().into());
        Ok(Answer::ok(Value::Object(shown)))
    }
}

fn invalid_session() -> Error {
    refuse(ErrorCode::INVALID_SESSION_TOKEN, "Invalid session token")
}

fn check_user_fields(is_update: bool, changes: &Changes) -> Result<(), Error> {
    let text = |field: &str| {
        changes
            .value(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    if !is_update {
        if text("username").is_empty() {
            return Err(refuse(
                ErrorCode::USERNAME_MISSING,
                "bad or missing username",
            ));
        }
        if text("password").is_empty() {
            return Err(refuse(ErrorCode::PASSWORD_MISSING, "password is required"));
        }
    }
    let email = text("email");
    if !email.is_empty() && !looks_like_email(email) {
        return Err(refuse(
            ErrorCode::INVALID_EMAIL,
            "Email address format is invalid.",
        ));
    }
    Ok(())
}

/// What a user cannot say of themselves: that their address is verified, or who a provider says they are.
fn own_fields(changes: &Changes) -> Result<(), Error> {
    for (field, _) in changes.iter() {
        let root = field.split('.').next().unwrap_or(field);
        if root == "emailVerified" {
            let message = "Clients aren't allowed to manually update email verification.";
            return Err(refuse(ErrorCode::OPERATION_FORBIDDEN, message));
        }
        if root == "authData" {
            let message = "This version of Tidegate does not verify authData: it takes the master key to set it.";
            return Err(refuse(ErrorCode::OPERATION_FORBIDDEN, message));
        }
    }
    Ok(())
}

/// Parse Server's own test: something, an @, something.
fn looks_like_email(text: &str) -> bool {
    text.split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
}

fn password_of(op: &tidegate_parse_protocol::FieldOp) -> Result<String, Error> {
    let tidegate_parse_protocol::FieldOp::Set(Value::String(text)) = op else {
        return Err(refuse(
            ErrorCode::PASSWORD_MISSING,
            "password must be a non-empty text",
        ));
    };
    if text.is_empty() || text.len() > MAX_PASSWORD_BYTES {
        let message = format!(
            "password must have from 1 to {MAX_PASSWORD_BYTES} bytes, this one has {}",
            text.len()
        );
        return Err(Error::Parse(ParseError::new(
            ErrorCode::VALIDATION_ERROR,
            message,
        )));
    }
    Ok(text.clone())
}

/// A user may read and write themselves, whatever else the ACL says; without an ACL, nobody else may.
fn own_acl(user_id: &str, changes: &mut Changes) -> Result<(), Error> {
    let mut acl = changes.acl()?.unwrap_or_else(Acl::default);
    acl.grant(user_id, true, true);
    changes.set("ACL", json!(acl.to_rest()));
    Ok(())
}
