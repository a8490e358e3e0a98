//! Session tokens: issued, looked up, ended.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rand::RngExt;
use serde_json::{Value, json};
use tidegate_parse_protocol::present::Present;
use tidegate_parse_protocol::{
    Access, Changes, ErrorCode, Filter, Object, Pointer, Query, date, name,
};
use tidegate_storage::{Action, Captured, Secrets, Write};

use crate::caller::Session;
use crate::error::refuse;
use crate::{Error, WritePath};

/// How a session came to be; stored as Parse Server stores it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CreatedWith {
    SignUp,
    LogIn,
}

impl WritePath {
    /// The session of a token that is valid now, with its user.
    ///
    /// # Errors
    /// 209 for a token that is unknown or expired, or whose user is gone.
    pub async fn session(&self, token: &str) -> Result<Arc<Session>, Error> {
        let invalid = || refuse(ErrorCode::INVALID_SESSION_TOKEN, "Invalid session token");
        let class = self
            .storage
            .schema()
            .class("_Session")
            .ok_or_else(invalid)?;
        let query = first(Filter::equal("sessionToken", token));
        let found = self
            .storage
            .find(&class, &query, &Access::Master, Secrets::Shown)
            .await?;
        let session = found.into_iter().next().ok_or_else(invalid)?;
        if expires_at_ms(&session).is_some_and(|expires_at| expires_at <= now_ms()) {
            return Err(refuse(
                ErrorCode::INVALID_SESSION_TOKEN,
                "Session token is expired.",
            ));
        }
        let user_id = session
            .get("user")
            .and_then(Pointer::of)
            .ok_or_else(invalid)?
            .id;
        let user = self.user_by_id(&user_id).await?.ok_or_else(invalid)?;
        let id = session
            .get("objectId")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        Ok(Arc::new(Session {
            id,
            token: token.to_owned(),
            user_id,
            user,
        }))
    }

    /// A user as cloud code and themselves see it.
    pub(crate) async fn user_by_id(&self, user_id: &str) -> Result<Option<Object>, Error> {
        let Some(class) = self.storage.schema().class("_User") else {
            return Ok(None);
        };
        let query = first(Filter::equal("objectId", user_id));
        let found = self
            .storage
            .find(&class, &query, &Access::Master, Secrets::Hidden)
            .await?;
        let present = Present::new(&class, &Access::Master);
        Ok(found.into_iter().next().map(|user| present.show(user)))
    }

    /// A new session of `user_id`, and the write that makes it valid.
    pub(crate) async fn new_session(
        &self,
        user_id: &str,
        installation_id: Option<&str>,
        created_with: CreatedWith,
    ) -> Result<(String, Write), Error> {
        let token = new_token();
        let action = match created_with {
            CreatedWith::SignUp => "signup",
            CreatedWith::LogIn => "login",
        };
        let mut changes = Changes::default();
        changes.set("user", Pointer::new("_User", user_id).to_value());
        changes.set("sessionToken", token.clone());
        changes.set(
            "createdWith",
            json!({"action": action, "authProvider": "password"}),
        );
        changes.set(
            "expiresAt",
            date_value(now_ms() + self.config.session_lifetime.as_millis() as i64),
        );
        if let Some(installation_id) = installation_id {
            changes.set("installationId", installation_id);
        }
        let fields = tidegate_parse_protocol::ClassSchema::system_fields("_Session");
        let fields = fields
            .into_iter()
            .map(|(name, field)| (name, field.field_type))
            .collect();
        let class = self
            .storage
            .ensure_fields("_Session", &fields, Captured::No)
            .await?;
        let action = Action::Insert {
            changes,
            created_at_ms: now_ms(),
        };
        let object_id = name::new_object_id();
        Ok((
            token,
            Write {
                class,
                object_id,
                action,
                access: Access::Master,
                message: None,
            },
        ))
    }

    /// Ends the sessions of a user, but for the one named. One that is gone already is as good as ended.
    pub(crate) async fn end_sessions(
        &self,
        user_id: &str,
        except: Option<&str>,
    ) -> Result<(), Error> {
        let Some(class) = self.storage.schema().class("_Session") else {
            return Ok(());
        };
        let filter = Filter::equal("user", Pointer::new("_User", user_id).to_value());
        let query = Query::filtered(filter);
        let sessions = self
            .storage
            .find(&class, &query, &Access::Master, Secrets::Hidden)
            .await?;
        let ids = sessions
            .iter()
            .filter_map(|session| session.get("objectId")?.as_str());
        for id in ids.filter(|id| Some(*id) != except) {
            let delete = Write {
                class: Arc::clone(&class),
                object_id: id.to_owned(),
                action: Action::Delete,
                access: Access::Master,
                message: None,
            };
            self.storage.commit(vec![delete]).await?;
        }
        Ok(())
    }
}

/// `r:` and 128 random bits, as Parse Server makes them.
fn new_token() -> String {
    format!("r:{:032x}", rand::rng().random::<u128>())
}

pub(crate) fn first(filter: Filter) -> Query {
    Query {
        limit: Some(1),
        ..Query::filtered(filter)
    }
}

pub(crate) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_millis() as i64)
}

pub(crate) fn date_value(unix_ms: i64) -> Value {
    date::format_iso(unix_ms).map_or(Value::Null, |iso| date::to_value(&iso))
}

fn expires_at_ms(session: &Object) -> Option<i64> {
    date::parse_iso(date::iso_of(session.get("expiresAt")?)?)
}
