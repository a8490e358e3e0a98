//! Who may ask: application id, master key, client keys.

use axum::http::HeaderMap;
use subtle::{Choice, ConstantTimeEq};
use tidegate_parse_protocol::{Credentials, Secret};

use crate::Keys;
use crate::error::Refusal;
use crate::incoming;

impl Keys {
    /// True when a request with these headers carries the application id and the master key.
    pub fn is_master(&self, headers: &HeaderMap) -> bool {
        let credentials = incoming::from_headers(headers);
        credentials.is_ok_and(|credentials| matches!(self.check(&credentials), Ok(true)))
    }

    /// True when the request carries the master key.
    ///
    /// # Errors
    /// [`Refusal::Unauthorized`]: another application, a wrong master key, or no valid client key where one is needed.
    pub(crate) fn check(&self, credentials: &Credentials) -> Result<bool, Refusal> {
        let application = credentials.application_id.as_deref().unwrap_or_default();
        let application = same(application, &self.application_id);
        let master = matches(&credentials.master_key, Some(&self.master_key));
        let client = matches(&credentials.rest_key, self.rest_api_key.as_ref())
            | matches(&credentials.javascript_key, self.javascript_key.as_ref())
            | matches(&credentials.client_key, self.client_key.as_ref());
        let allowed = bool::from(application)
            && match credentials.master_key {
                Some(_) => bool::from(master),
                None => !self.client_key_needed() || bool::from(client),
            };
        if allowed {
            Ok(bool::from(master))
        } else {
            Err(Refusal::Unauthorized)
        }
    }

    fn client_key_needed(&self) -> bool {
        self.rest_api_key.is_some() || self.javascript_key.is_some() || self.client_key.is_some()
    }
}

fn matches(given: &Option<Secret>, expected: Option<&Secret>) -> Choice {
    let given_text = given.as_ref().map_or("", Secret::expose);
    let expected_text = expected.map_or("", Secret::expose);
    same(given_text, expected_text) & Choice::from(u8::from(given.is_some() && expected.is_some()))
}

/// Takes as long for a wrong text as for the right one of the same length.
fn same(given: &str, expected: &str) -> Choice {
    given.as_bytes().ct_eq(expected.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(javascript_key: Option<&str>) -> Keys {
        Keys {
            application_id: "app".into(),
            master_key: Secret::new("master"),
            rest_api_key: None,
            javascript_key: javascript_key.map(Secret::new),
            client_key: None,
        }
    }

    fn from(
        application_id: &str,
        master_key: Option<&str>,
        javascript_key: Option<&str>,
    ) -> Credentials {
        Credentials {
            application_id: Some(application_id.into()),
            master_key: master_key.map(Secret::new),
            javascript_key: javascript_key.map(Secret::new),
            ..Credentials::default()
        }
    }

    #[test]
    fn a_client_key_is_needed_only_where_one_is_configured() {
        assert!(matches!(
            keys(None).check(&from("app", None, None)),
            Ok(false)
        ));
        assert!(matches!(
            keys(None).check(&from("app", None, Some("whatever"))),
            Ok(false)
        ));
        assert!(keys(Some("js")).check(&from("app", None, None)).is_err());
        assert!(
            keys(Some("js"))
                .check(&from("app", None, Some("j")))
                .is_err()
        );
        assert!(matches!(
            keys(Some("js")).check(&from("app", None, Some("js"))),
            Ok(false)
        ));
        assert!(
            keys(Some("js"))
                .check(&from("other", None, Some("js")))
                .is_err()
        );
    }

    #[test]
    fn a_request_is_the_masters_with_application_and_key_alone() {
        for (application, key, expected) in [
            ("app", "master", true),
            ("other", "master", false),
            ("app", "mast", false),
            ("app", "", false),
            ("", "master", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-parse-application-id", application.parse().unwrap());
            headers.insert("x-parse-master-key", key.parse().unwrap());
            assert_eq!(
                keys(None).is_master(&headers),
                expected,
                "{application} {key}"
            );
        }
        assert!(!keys(None).is_master(&HeaderMap::new()));
    }

    #[test]
    fn the_master_key_opens_everything_and_a_wrong_one_nothing() {
        assert!(matches!(
            keys(Some("js")).check(&from("app", Some("master"), None)),
            Ok(true)
        ));
        assert!(
            keys(Some("js"))
                .check(&from("app", Some("mast"), Some("js")))
                .is_err()
        );
        assert!(keys(None).check(&from("app", Some(""), None)).is_err());
        assert!(
            keys(None)
                .check(&from("other", Some("master"), None))
                .is_err()
        );
    }
}
