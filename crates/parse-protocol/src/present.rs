//! From the stored object to the one that a caller is shown.

mod protected;

use serde_json::Value;

use crate::{Access, Acl, ClassSchema, Object};
use protected::Protected;

/// How objects of one class look to one caller.
#[derive(Clone, Debug)]
pub struct Present<'a> {
    class: &'a ClassSchema,
    access: &'a Access,
    protected: Protected,
}

impl<'a> Present<'a> {
    pub fn new(class: &'a ClassSchema, access: &'a Access) -> Self {
        Present {
            class,
            access,
            protected: Protected::new(class, access),
        }
    }

    /// Fields hidden from this caller in objects that have nothing to do with it: it may not query by them either.
    pub fn protected_fields(&self) -> &[String] {
        self.protected.fields()
    }

    /// What the caller sees of `object`: no internal field, no password, no protected field, `ACL` instead of `_rperm`
    /// and `_wperm`. Whoever wants to hand out the session token of a `_User` adds it afterwards.
    ///
    /// Source: parse-server `DatabaseController.filterSensitiveData`, `RestQuery.cleanResultAuthData`.
    pub fn show(&self, mut object: Object) -> Object {
        let acl = acl_of(&object);
        let is_self = self.is_self(&object);
        if !is_self {
            for field in self.protected.of(&object, self.access) {
                object.remove(&field);
            }
        }
        object.retain(|field, _| !field.starts_with('_') || field == "__type");
        if self.class.name == "_User" {
            self.show_user(&mut object, is_self);
        }
        if let Some(acl) = acl {
            object.insert("ACL".to_owned(), acl.to_rest());
        }
        object
    }

    fn show_user(&self, object: &mut Object, is_self: bool) {
        object.remove("password");
        object.remove("sessionToken");
        if !is_self && !self.access.is_master() {
            object.remove("authData");
        }
        let Some(Value::Object(providers)) = object.get_mut("authData") else {
            return;
        };
        // An unlinked provider stays behind as null.
        providers.retain(|_, data| !data.is_null());
        if providers.is_empty() {
            object.remove("authData");
        }
    }

    /// True for the caller's own `_User`.
    fn is_self(&self, object: &Object) -> bool {
        let id = object.get("objectId").and_then(Value::as_str);
        self.class.name == "_User" && id.is_some() && id == self.access.user_id()
    }
}

/// The `ACL` of a stored object, from its `_rperm` and `_wperm`; `None`: public.
pub fn acl_of(object: &Object) -> Option<Acl> {
    let list = |column: &str| -> Option<Vec<String>> {
        let items = object.get(column)?.as_array()?;
        Some(
            items
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        )
    };
    Acl::from_permissions(list("_rperm").as_deref(), list("_wperm").as_deref())
}
