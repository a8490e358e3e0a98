//! May this caller do this to this class, and to which of its objects?

use std::sync::Arc;

use tidegate_parse_protocol::present::Present;
use tidegate_parse_protocol::{
    Access, ClassSchema, ClpOperation, ErrorCode, Filter, Object, Pointer, clp, present,
};
use tidegate_storage::Secrets;

use crate::error::{not_found, refuse};
use crate::session::first;
use crate::{Caller, Error, WritePath};

/// What a caller may do: their rights, and a condition that objects must meet besides their ACL.
pub(crate) struct Granted {
    pub access: Access,
    /// Set by class permissions that go by a field of the object.
    pub only: Option<Filter>,
}

impl WritePath {
    /// The caller's rights: master, or the user with all their roles, or everybody's.
    pub(crate) async fn access(&self, caller: &Caller) -> Result<Access, Error> {
        if caller.master {
            return Ok(Access::Master);
        }
        let Some(user) = caller.user_id() else {
            return Ok(Access::public());
        };
        let roles = self.storage.roles_of_user(user).await?;
        Ok(Access::user(user, roles))
    }

    /// Checks the class permissions for one operation.
    pub(crate) async fn authorize(
        &self,
        caller: &Caller,
        class: &str,
        operation: ClpOperation,
    ) -> Result<Granted, Error> {
        let access = self.access(caller).await?;
        clp::check_class(operation, class, &access)?;
        let schema = self.storage.schema().class(class);
        let only = match schema.as_deref() {
            Some(schema) if !access.is_master() => clp_filter(schema, operation, &access)?,
            _ => None,
        };
        let only = match own_sessions(class, &access)? {
            Some(own) => Some(own.and(only.unwrap_or_else(Filter::all))),
            None => only,
        };
        Ok(Granted { access, only })
    }

    /// An object that the caller may write, as the master key sees it.
    ///
    /// # Errors
    /// 101 when there is none, and when the caller may not write it: they learn no more.
    pub(crate) async fn writable_object(
        &self,
        class: &ClassSchema,
        id: &str,
        granted: &Granted,
    ) -> Result<Object, Error> {
        let only = granted.only.clone().unwrap_or_else(Filter::all);
        let query = first(Filter::equal("objectId", id).and(only));
        let found = self
            .storage
            .find(class, &query, &Access::Master, Secrets::Hidden)
            .await?;
        let object = found.into_iter().next().ok_or_else(not_found)?;
        let acl = present::acl_of(&object);
        match acl.is_none_or(|acl| acl.allows_write(&granted.access)) {
            true => Ok(Present::new(class, &Access::Master).show(object)),
            false => Err(not_found()),
        }
    }

    /// The class, or 101: reading from a class that does not exist finds nothing.
    pub(crate) fn existing_class(&self, class: &str) -> Result<Arc<ClassSchema>, Error> {
        self.storage.schema().class(class).ok_or_else(not_found)
    }
}

fn clp_filter(
    schema: &ClassSchema,
    operation: ClpOperation,
    access: &Access,
) -> Result<Option<Filter>, Error> {
    let fields = schema.allows(operation, access).into_result()?;
    Ok(fields.map(|fields| schema.pointer_filter(&fields, access)))
}

/// Without the master key, a user sees and ends their own sessions, and nobody else's.
fn own_sessions(class: &str, access: &Access) -> Result<Option<Filter>, Error> {
    if class != "_Session" || access.is_master() {
        return Ok(None);
    }
    let user = access.user_id();
    let user =
        user.ok_or_else(|| refuse(ErrorCode::INVALID_SESSION_TOKEN, "Invalid session token"))?;
    Ok(Some(Filter::equal(
        "user",
        Pointer::new("_User", user).to_value(),
    )))
}
