//! One request, to the one function that answers it.

use serde_json::json;
use tidegate_parse_protocol::{ErrorCode, Request};

use crate::error::refuse;
use crate::save::Save;
use crate::{Answer, Caller, Error, WritePath};

impl WritePath {
    /// Answers one request. Everything a caller may not do is refused on the way.
    ///
    /// # Errors
    /// [`Error::Parse`] is for the client as it stands; the others become an answer in `proxy` and in `host`.
    pub async fn execute(&self, caller: &Caller, request: Request) -> Result<Answer, Error> {
        match request {
            Request::Create { class, changes } => {
                self.save(
                    caller,
                    Save {
                        class,
                        id: None,
                        changes,
                    },
                )
                .await
            }
            Request::SignUp { changes } => {
                self.save(
                    caller,
                    Save {
                        class: "_User".into(),
                        id: None,
                        changes,
                    },
                )
                .await
            }
            Request::Update { class, id, changes } => {
                self.save(
                    caller,
                    Save {
                        class,
                        id: Some(id),
                        changes,
                    },
                )
                .await
            }
            Request::Delete { class, id } => self.delete(caller, &class, &id).await,
            Request::Get { class, id, options } => self.get(caller, &class, &id, options).await,
            Request::Find { class, query } => self.find(caller, &class, query).await,
            Request::LogIn {
                username,
                email,
                password,
            } => self.log_in(caller, username, email, password).await,
            Request::LogOut => self.log_out(caller).await,
            Request::CurrentUser => self.current_user(caller),
            Request::CurrentSession => self.current_session(caller).await,
            Request::CallFunction { name, params } => {
                self.call_function(caller, &name, params).await
            }
            Request::Batch {
                requests,
                transaction,
            } => self.batch(caller, requests, transaction).await,
            Request::Hook(call) => self.hook(caller, call).await,
            Request::Job(call) => self.job(caller, call).await,
            Request::Health => Ok(Answer::ok(json!({"status": "ok"}))),
            Request::ServerInfo if !caller.master => Err(Error::MasterKeyRequired),
            Request::ServerInfo => Ok(Answer::ok(server_info())),
            Request::Unsupported {
                method,
                path,
                known: true,
            } => {
                let message =
                    format!("{method} {path} is not supported by this version of Tidegate");
                Err(refuse(ErrorCode::COMMAND_UNAVAILABLE, message))
            }
            Request::Unsupported {
                method,
                path,
                known: false,
            } => Err(Error::UnknownRoute { method, path }),
        }
    }
}

/// What the stock dashboard and the SDKs ask: which server, and what it can do.
fn server_info() -> serde_json::Value {
    json!({
        "parseServerVersion": "9.0.0",
        "tidegateVersion": env!("CARGO_PKG_VERSION"),
        "features": {"cloudCode": {"jobs": true}},
    })
}
