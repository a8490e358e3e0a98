//! What a save must be before it is committed: a class that exists, fields of the right type, a user with a password.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tidegate_event::TriggerKind;
use tidegate_parse_protocol::{Changes, ClassSchema, ClpOperation, ErrorCode, FieldType, name};
use tidegate_storage::{Captured, Write};

use crate::authorize::Granted;
use crate::commit::Then;
use crate::error::{not_found, refuse};
use crate::save::{Save, object_id_of_create};
use crate::{Caller, Error, WritePath};

/// A save that can be committed.
pub(crate) struct Valid {
    pub class: Arc<ClassSchema>,
    pub object_id: String,
    pub changes: Changes,
    /// What is written with it, in the same transaction.
    pub beside: Vec<Write>,
    pub session_token: Option<String>,
    pub then: Then,
}

impl WritePath {
    pub(crate) async fn validate(
        &self,
        caller: &Caller,
        granted: &Granted,
        save: &Save,
        mut changes: Changes,
    ) -> Result<Valid, Error> {
        let existing = self.storage.schema().class(&save.class);
        if save.id.is_some() && existing.is_none() {
            return Err(not_found());
        }
        self.class_may_be_made(caller, &save.class, existing.is_some())?;
        let object_id = match &save.id {
            Some(id) => id.clone(),
            None => {
                object_id_of_create(&mut changes, self.config.custom_object_ids || caller.master)?
            }
        };
        let is_create = save.id.is_none();
        let schema = existing.unwrap_or_else(|| Arc::new(ClassSchema::new(&save.class)));
        schema.fill_defaults(&mut changes, is_create)?;
        let user = match save.class.as_str() {
            "_User" => {
                self.user_changes(caller, save.id.is_some(), &object_id, &mut changes)
                    .await?
            }
            "_Role" => {
                role_changes(save.id.is_none(), &changes)?;
                Default::default()
            }
            "_Session" if !granted.access.is_master() => {
                session_changes(is_create, &changes)?;
                Default::default()
            }
            _ => Default::default(),
        };
        // A new password is a column of the server's own by now.
        let fields = new_fields(&schema, granted, &changes, is_create)?;
        let class = self
            .storage
            .ensure_fields(&save.class, &fields, self.captured(&save.class))
            .await?;
        Ok(Valid {
            class,
            object_id,
            changes,
            beside: user.beside,
            session_token: user.session_token,
            then: user.then,
        })
    }

    /// What of this class's changes its after-triggers need to be published.
    fn captured(&self, class: &str) -> Captured {
        let triggers = self.triggers.load();
        let classes = triggers.captured_classes();
        let qualified = format!("public.{class}");
        let needs = [class, qualified.as_str()].map(|name| classes.get(name).copied());
        match needs
            .into_iter()
            .flatten()
            .reduce(|one, other| one || other)
        {
            None => Captured::No,
            Some(false) => Captured::Rows,
            Some(true) => Captured::WholeRows,
        }
    }

    /// Whether changes of this class are captured, for after-triggers or for others.
    pub(crate) fn is_captured(&self, class: &str) -> bool {
        !matches!(self.captured(class), Captured::No)
    }

    /// How many after-triggers of this kind a change of `class` fires.
    pub(crate) fn after_triggers(&self, class: &str, kind: TriggerKind) -> usize {
        let triggers = self.triggers.load();
        let qualified = format!("public.{class}");
        triggers.count(kind, class) + triggers.count(kind, &qualified)
    }

    fn class_may_be_made(&self, caller: &Caller, class: &str, exists: bool) -> Result<(), Error> {
        if exists
            || caller.master
            || self.config.client_class_creation
            || name::is_system_class(class)
        {
            return Ok(());
        }
        let message = format!("This user is not allowed to access non-existent class: {class}");
        Err(refuse(ErrorCode::OPERATION_FORBIDDEN, message))
    }
}

/// Checks the types, and returns the fields that the class must still get.
fn new_fields(
    schema: &ClassSchema,
    granted: &Granted,
    changes: &Changes,
    is_create: bool,
) -> Result<BTreeMap<String, FieldType>, Error> {
    let new = schema.check_write(changes, is_create)?;
    if !new.is_empty() && !granted.access.is_master() {
        schema
            .allows(ClpOperation::AddField, &granted.access)
            .into_result()?;
    }
    Ok(new)
}

/// A session says who its holder is: without the master key, only fields of the application's own may change.
fn session_changes(is_create: bool, changes: &Changes) -> Result<(), Error> {
    if is_create {
        let message = "sessions are made by logging in";
        return Err(refuse(ErrorCode::OPERATION_FORBIDDEN, message));
    }
    let system = ClassSchema::system_fields("_Session");
    let root = |field: &str| field.split('.').next().unwrap_or(field).to_owned();
    match changes
        .iter()
        .map(|(field, _)| root(field))
        .find(|field| system.contains_key(field) || field == "ACL")
    {
        Some(field) => {
            let message = format!("{field} of a session cannot be changed without the master key");
            Err(refuse(ErrorCode::OPERATION_FORBIDDEN, message))
        }
        None => Ok(()),
    }
}

fn role_changes(is_create: bool, changes: &Changes) -> Result<(), Error> {
    if is_create && changes.acl()?.is_none() {
        return Err(refuse(ErrorCode::INVALID_ACL, "Role must have an ACL."));
    }
    let name = changes.value("name").and_then(Value::as_str);
    let is_valid = |name: &str| {
        !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_- ".contains(c))
    };
    match name {
        None if is_create => Err(refuse(
            ErrorCode::INVALID_ROLE_NAME,
            "Role must have a name.",
        )),
        Some(name) if !is_valid(name) => Err(refuse(
            ErrorCode::INVALID_ROLE_NAME,
            "A role's name can only contain alphanumeric characters, _, -, and spaces.",
        )),
        Some(_) if !is_create => Err(refuse(
            ErrorCode::INVALID_ROLE_NAME,
            "A role's name cannot be changed.",
        )),
        _ => Ok(()),
    }
}
