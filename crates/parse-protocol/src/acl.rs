//! Who may read and write one object, in Parse's form and in the two columns that hold it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{ErrorCode, Object, ParseError};

/// An object's access list: principal (`*`, a user's objectId, `role:Name`) → what it may do.
///
/// An empty list means nobody but the master key; *no* list (`None` wherever an `Option<Acl>` stands) means everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl(BTreeMap<String, Grant>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    pub read: bool,
    pub write: bool,
}

/// Whose rights a read or write goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Sees and may do everything.
    Master,
    /// `*`, then the user's roles as `role:Name`, then the user's objectId; just `*` for a caller without a user.
    Principals(Vec<String>),
}

impl Acl {
    /// Reads `{"*":{"read":true},"<user id>":{"read":true,"write":true},"role:Admins":{…}}`.
    ///
    /// # Errors
    /// 123 for anything else than objects of booleans, and for the SDK's mark of a user that was never saved.
    pub fn from_rest(value: &Value) -> Result<Acl, ParseError> {
        let Value::Object(grants) = value else {
            return Err(invalid_acl("ACL must be an object"));
        };
        if grants.contains_key("*unresolved") {
            return Err(invalid_acl("Invalid ACL."));
        }
        grants
            .iter()
            .map(|(who, grant)| Ok((who.clone(), Grant::from_rest(grant)?)))
            .collect::<Result<_, _>>()
            .map(Acl)
    }

    pub fn to_rest(&self) -> Value {
        let mut rest = Object::new();
        for (who, grant) in &self.0 {
            rest.insert(who.clone(), grant.to_rest());
        }
        Value::Object(rest)
    }

    /// From `_rperm` and `_wperm`; `None` when both columns are NULL: the object has no ACL and is public.
    pub fn from_permissions(rperm: Option<&[String]>, wperm: Option<&[String]>) -> Option<Acl> {
        if rperm.is_none() && wperm.is_none() {
            return None;
        }
        let mut acl = Acl::default();
        for who in rperm.unwrap_or_default() {
            acl.0.entry(who.clone()).or_default().read = true;
        }
        for who in wperm.unwrap_or_default() {
            acl.0.entry(who.clone()).or_default().write = true;
        }
        Some(acl)
    }

    /// What goes into `_rperm` and `_wperm`.
    pub fn permissions(&self) -> (Vec<String>, Vec<String>) {
        let those = |may: fn(&Grant) -> bool| {
            self.0
                .iter()
                .filter(|(_, grant)| may(grant))
                .map(|(who, _)| who.clone())
                .collect()
        };
        (those(|grant| grant.read), those(|grant| grant.write))
    }

    /// Adds to what `who` may already do.
    pub fn grant(&mut self, who: impl Into<String>, read: bool, write: bool) {
        let grant = self.0.entry(who.into()).or_default();
        grant.read |= read;
        grant.write |= write;
    }

    pub fn allows_read(&self, access: &Access) -> bool {
        access.matches(|who| self.0.get(who).is_some_and(|grant| grant.read))
    }

    pub fn allows_write(&self, access: &Access) -> bool {
        access.matches(|who| self.0.get(who).is_some_and(|grant| grant.write))
    }
}

impl Grant {
    fn from_rest(value: &Value) -> Result<Grant, ParseError> {
        let Value::Object(fields) = value else {
            return Err(invalid_acl("an ACL entry must be an object"));
        };
        let mut grant = Grant::default();
        for (right, granted) in fields {
            let slot = match right.as_str() {
                "read" => &mut grant.read,
                "write" => &mut grant.write,
                _ => continue,
            };
            *slot = match granted {
                Value::Null => false,
                Value::Bool(granted) => *granted,
                _ => {
                    return Err(invalid_acl(
                        "read and write of an ACL entry must be booleans",
                    ));
                }
            };
        }
        Ok(grant)
    }

    fn to_rest(self) -> Value {
        match (self.read, self.write) {
            (true, true) => json!({"read": true, "write": true}),
            (true, false) => json!({"read": true}),
            (false, true) => json!({"write": true}),
            (false, false) => json!({}),
        }
    }
}

impl Access {
    /// The rights of a caller without a user.
    pub fn public() -> Self {
        Access::Principals(vec!["*".to_owned()])
    }

    /// The rights of a user; `roles` are names without the `role:` prefix, inherited ones included.
    pub fn user<R: AsRef<str>>(user_id: &str, roles: impl IntoIterator<Item = R>) -> Self {
        let mut principals = vec!["*".to_owned()];
        principals.extend(
            roles
                .into_iter()
                .map(|role| format!("role:{}", role.as_ref())),
        );
        principals.push(user_id.to_owned());
        Access::Principals(principals)
    }

    pub fn is_master(&self) -> bool {
        matches!(self, Access::Master)
    }

    /// True for master, and when one of the principals is `who`.
    pub fn includes(&self, who: &str) -> bool {
        self.matches(|principal| principal == who)
    }

    /// The objectId of the user whose rights these are.
    pub fn user_id(&self) -> Option<&str> {
        match self {
            Access::Master => None,
            Access::Principals(principals) => principals
                .iter()
                .map(String::as_str)
                .find(|who| *who != "*" && !who.starts_with("role:")),
        }
    }

    fn matches(&self, may: impl Fn(&str) -> bool) -> bool {
        match self {
            Access::Master => true,
            Access::Principals(principals) => principals.iter().any(|who| may(who)),
        }
    }
}

fn invalid_acl(message: &str) -> ParseError {
    ParseError::new(ErrorCode::INVALID_ACL, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_of_a_caller() {
        let user = Access::user("u1", ["Admin", "Staff"]);
        let Access::Principals(principals) = &user else {
            panic!("a user is not master")
        };
        assert_eq!(principals, &["*", "role:Admin", "role:Staff", "u1"]);
        assert_eq!(user.user_id(), Some("u1"));
        assert!(user.includes("role:Admin") && user.includes("*") && !user.includes("u2"));
        assert_eq!(Access::public().user_id(), None);
        assert!(Access::Master.is_master() && Access::Master.includes("anybody"));
    }

    #[test]
    fn no_columns_are_no_list_and_empty_columns_an_empty_one() {
        assert_eq!(Acl::from_permissions(None, None), None);
        assert_eq!(
            Acl::from_permissions(Some(&[]), Some(&[])),
            Some(Acl::default())
        );
        assert_eq!(Acl::from_permissions(Some(&[]), None), Some(Acl::default()));
    }

    #[test]
    fn grants_add_up() {
        let mut acl = Acl::default();
        acl.grant("u1", true, false);
        acl.grant("u1", false, true);
        acl.grant("*", true, false);
        assert_eq!(
            acl.to_rest(),
            json!({"*": {"read": true}, "u1": {"read": true, "write": true}})
        );
    }
}
