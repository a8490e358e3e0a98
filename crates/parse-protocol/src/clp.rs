//! Class-level permissions: who may use a class at all.

use serde_json::Value;

use crate::{Access, ErrorCode, Object, ParseError};

/// What a caller wants to do with a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClpOperation {
    Get,
    Find,
    Count,
    Create,
    Update,
    Delete,
    /// A write that brings a field the class does not have yet.
    AddField,
}

/// The `classLevelPermissions` of a class, as stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassLevelPermissions(Object);

/// The answer to "may they?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    Allowed,
    /// Only for logged-in users: 101, not 119.
    NeedsAuthentication,
    Denied,
    /// Allowed for the objects that point to the user from one of these fields (a Pointer, or an Array of pointers):
    /// [`crate::ClassSchema::pointer_filter`]. A create has no such object: there it means no for [`ClpOperation::AddField`].
    OnlyPointerFields(Vec<String>),
}

/// Classes of which a client without the master key sees nothing (`SharedRest.enforceRoleSecurity`).
const MASTER_ONLY_CLASSES: &[&str] = &[
    "_JobStatus",
    "_PushStatus",
    "_Hooks",
    "_GlobalConfig",
    "_GraphQLConfig",
    "_JobSchedule",
    "_Audience",
    "_Idempotency",
];

/// Refuses what no class-level permission can grant: clients in the server's own classes, and finding or deleting
/// installations.
///
/// # Errors
/// 119.
pub fn check_class(
    operation: ClpOperation,
    class: &str,
    access: &Access,
) -> Result<(), ParseError> {
    let of_installations = matches!(
        operation,
        ClpOperation::Find | ClpOperation::Count | ClpOperation::Delete
    );
    let is_closed =
        MASTER_ONLY_CLASSES.contains(&class) || (class == "_Installation" && of_installations);
    match is_closed && !access.is_master() {
        true => Err(ParseError::permission_denied(
            ErrorCode::OPERATION_FORBIDDEN,
        )),
        false => Ok(()),
    }
}

impl ClpOperation {
    /// Its key in the stored form.
    pub fn as_str(self) -> &'static str {
        match self {
            ClpOperation::Get => "get",
            ClpOperation::Find => "find",
            ClpOperation::Count => "count",
            ClpOperation::Create => "create",
            ClpOperation::Update => "update",
            ClpOperation::Delete => "delete",
            ClpOperation::AddField => "addField",
        }
    }

    fn user_fields_key(self) -> &'static str {
        match self {
            ClpOperation::Get | ClpOperation::Find | ClpOperation::Count => "readUserFields",
            _ => "writeUserFields",
        }
    }
}

impl Permission {
    /// The fields that an object must point to the user from; `None`: any object.
    ///
    /// # Errors
    /// 119, or 101 for a caller who only has to log in (`SchemaController.validatePermission`).
    pub fn into_result(self) -> Result<Option<Vec<String>>, ParseError> {
        match self {
            Permission::Allowed => Ok(None),
            Permission::OnlyPointerFields(fields) => Ok(Some(fields)),
            Permission::NeedsAuthentication => {
                Err(ParseError::permission_denied(ErrorCode::OBJECT_NOT_FOUND))
            }
            Permission::Denied => Err(ParseError::permission_denied(
                ErrorCode::OPERATION_FORBIDDEN,
            )),
        }
    }
}

impl ClassLevelPermissions {
    /// `None` when there are none, which leaves the class public.
    pub fn from_value(value: &Value) -> Option<ClassLevelPermissions> {
        value.as_object().cloned().map(ClassLevelPermissions)
    }

    pub fn to_value(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// Whether `access` may do `operation`. An operation that is not listed is nobody's.
    pub fn allows(&self, operation: ClpOperation, access: &Access) -> Permission {
        let Access::Principals(principals) = access else {
            return Permission::Allowed;
        };
        let granted = self.0.get(operation.as_str()).and_then(Value::as_object);
        let is_granted = |who: &str| {
            granted
                .and_then(|granted| granted.get(who))
                .is_some_and(|yes| yes == true)
        };
        if is_granted("*") || principals.iter().any(|who| is_granted(who)) {
            return Permission::Allowed;
        }
        let for_users = is_granted("requiresAuthentication");
        if for_users && access.user_id().is_none() {
            return Permission::NeedsAuthentication;
        }
        let fields = self.pointer_fields(operation, granted);
        match operation {
            // Nothing points to anybody from an object that does not exist yet.
            ClpOperation::Create if for_users => Permission::Allowed,
            ClpOperation::Create => Permission::Denied,
            _ if !fields.is_empty() => Permission::OnlyPointerFields(fields),
            _ if for_users => Permission::Allowed,
            _ => Permission::Denied,
        }
    }

    /// `pointerFields` of the operation, and `readUserFields` or `writeUserFields` of the class.
    fn pointer_fields(&self, operation: ClpOperation, granted: Option<&Object>) -> Vec<String> {
        let of_operation = granted.and_then(|granted| granted.get("pointerFields"));
        let of_class = self.0.get(operation.user_fields_key());
        let mut fields = Vec::new();
        for field in of_operation.into_iter().chain(of_class).flat_map(strings) {
            if !fields.contains(&field) {
                fields.push(field);
            }
        }
        fields
    }

    /// The rules of `protectedFields`: for whom, and which fields.
    pub(crate) fn protected_fields(&self) -> impl Iterator<Item = (&str, Vec<String>)> {
        let rules = self.0.get("protectedFields").and_then(Value::as_object);
        rules
            .into_iter()
            .flatten()
            .map(|(who, fields)| (who.as_str(), strings(fields)))
    }
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}
