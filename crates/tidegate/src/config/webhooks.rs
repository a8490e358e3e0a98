//! `[[webhooks]]` of `tidegate.toml`.

use anyhow::Result;
use tidegate_cloud_code::{Egress, Poster};
use tidegate_event::{Backoff, Policy, Rate, Trigger, TriggerKind};
use tidegate_worker::{Webhook, Webhooks};

use crate::cli::UsageError;

const FIELDS: [&str; 12] = [
    "name",
    "class",
    "on",
    "url",
    "secret",
    "secret_env",
    "attempts",
    "backoff_ms",
    "timeout_ms",
    "concurrency",
    "rate",
    "original",
];

/// The name of the webhooks that come from Parse's `_Hooks`.
pub const PARSE_HOOKS: &str = "hooks";

/// What webhooks are read with.
pub(super) struct Surroundings<'a> {
    pub egress: &'a Egress,
    pub max_backoff_ms: u64,
    /// The value of an environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

/// # Errors
/// A [`UsageError`] that names the webhook, the field, and what it should be.
pub(super) fn webhooks(tables: &[toml::Table], around: &Surroundings<'_>) -> Result<Webhooks> {
    let mut webhooks = Webhooks::new();
    let mut names: Vec<&str> = Vec::new();
    for (place, table) in (1..).zip(tables) {
        let label = match table.get("name").and_then(toml::Value::as_str) {
            Some(name) => format!("[[webhooks]] {name}"),
            None => format!("[[webhooks]] number {place}"),
        };
        let refuse = |problem: String| UsageError(format!("{label}: {problem}"));
        let fields = Fields { table, around };
        let name = fields.name().map_err(refuse)?;
        if names.contains(&name) {
            return Err(refuse("name is that of another webhook: each has its own".into()).into());
        }
        names.push(name);
        let webhook = fields.webhook().map_err(refuse)?;
        for kind in fields.kinds().map_err(refuse)? {
            let class = fields.required("class").map_err(refuse)?;
            let trigger = Trigger {
                webhook: Some(name.to_owned()),
                ..Trigger::code(kind, class)
            };
            webhooks.insert(trigger, webhook.clone());
        }
    }
    Ok(webhooks)
}

struct Fields<'a> {
    table: &'a toml::Table,
    around: &'a Surroundings<'a>,
}

impl<'a> Fields<'a> {
    fn webhook(&self) -> Result<Webhook, String> {
        if let Some(name) = self
            .table
            .keys()
            .find(|name| !FIELDS.contains(&name.as_str()))
        {
            let all = FIELDS.join(", ");
            return Err(format!("there is no field {name}; there are {all}"));
        }
        let url = self.required("url")?;
        let poster = Poster::new(self.around.egress).map_err(|error| error.to_string())?;
        poster.check(url).map_err(|error| format!("url {error}"))?;
        Ok(Webhook {
            url: url.to_owned(),
            secret: self.secret()?,
            policy: self.policy()?,
        })
    }

    fn policy(&self) -> Result<Policy, String> {
        let small = |name: &str| -> Result<Option<u32>, String> {
            let number = self.number(name)?;
            let fits = |number| u32::try_from(number).map_err(|_| too_large(name));
            number.map(fits).transpose()
        };
        let backoff = |initial_ms| Backoff {
            initial_ms,
            factor: 2.0,
            max_ms: self.around.max_backoff_ms.max(initial_ms),
        };
        Ok(Policy {
            attempts: small("attempts")?,
            backoff: self.number("backoff_ms")?.map(backoff),
            timeout_ms: self.number("timeout_ms")?,
            concurrency: small("concurrency")?,
            rate: self.rate()?,
            unordered: false,
            original: match self.table.get("original") {
                None => true,
                Some(toml::Value::Boolean(original)) => *original,
                Some(_) => return Err("original must be true or false".into()),
            },
            ..Policy::default()
        })
    }

    fn rate(&self) -> Result<Option<Rate>, String> {
        let expected = || {
            "rate must be a number a second, or such as { count = 100, per_ms = 60000 }".to_owned()
        };
        let positive = |value: Option<&toml::Value>| {
            let number = value.and_then(toml::Value::as_integer);
            number.filter(|number| *number > 0).ok_or_else(expected)
        };
        let (count, per_ms) = match self.table.get("rate") {
            None => return Ok(None),
            Some(toml::Value::Table(rate)) => {
                (positive(rate.get("count"))?, positive(rate.get("per_ms"))?)
            }
            number => (positive(number)?, 1_000),
        };
        Ok(Some(Rate {
            count: u32::try_from(count).map_err(|_| too_large("rate"))?,
            per_ms: per_ms.unsigned_abs(),
        }))
    }

    fn secret(&self) -> Result<Option<String>, String> {
        match (self.text("secret")?, self.text("secret_env")?) {
            (Some(_), Some(_)) => Err("secret and secret_env are both set: keep one".into()),
            (Some(""), None) => Err("secret is empty: leave it out for unsigned calls".into()),
            (secret, None) => Ok(secret.map(str::to_owned)),
            (None, Some(variable)) => {
                let value = (self.around.variable)(variable).filter(|value| !value.is_empty());
                let missing =
                    || format!("secret_env names {variable}, which is not set in the environment");
                value.ok_or_else(missing).map(Some)
            }
        }
    }

    fn kinds(&self) -> Result<Vec<TriggerKind>, String> {
        let expected = || "on must be a list of \"afterSave\" and \"afterDelete\"".to_owned();
        let items = self.table.get("on").and_then(toml::Value::as_array);
        let items = items
            .filter(|items| !items.is_empty())
            .ok_or_else(expected)?;
        let kind = |item: &toml::Value| match item.as_str() {
            Some("afterSave") => Ok(TriggerKind::AfterSave),
            Some("afterDelete") => Ok(TriggerKind::AfterDelete),
            _ => Err(expected()),
        };
        items.iter().map(kind).collect()
    }

    fn name(&self) -> Result<&'a str, String> {
        let name = self.required("name")?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name == PARSE_HOOKS {
            return Err(format!(
                "name {PARSE_HOOKS} is that of the hooks set through the API"
            ));
        }
        match name.len() <= 64 && name.bytes().all(is_plain) {
            true => Ok(name),
            false => Err("name must be at most 64 letters, digits, -, _ or .".into()),
        }
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, String> {
        match self.table.get(name) {
            None => Ok(None),
            Some(toml::Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("{name} must be a text in quotes")),
        }
    }

    fn required(&self, name: &str) -> Result<&'a str, String> {
        let text = self.text(name)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| format!("{name} is missing"))
    }

    fn number(&self, name: &str) -> Result<Option<u64>, String> {
        match self.table.get(name) {
            None => Ok(None),
            Some(toml::Value::Integer(number)) if *number > 0 => Ok(Some(number.unsigned_abs())),
            Some(_) => Err(format!("{name} must be a whole number from 1")),
        }
    }
}

fn too_large(name: &str) -> String {
    format!("{name} must be at most {}", u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "name = 'billing'\nclass = 'Order'\non = ['afterSave', 'afterDelete']\nurl = 'https://b.example/'\n";

    fn read(text: &str) -> Result<Webhooks> {
        let table: toml::Table = text.parse().unwrap();
        let tables = table
            .get("webhooks")
            .and_then(toml::Value::as_array)
            .unwrap();
        let tables: Vec<toml::Table> = tables
            .iter()
            .map(|table| table.as_table().unwrap().clone())
            .collect();
        let around = Surroundings {
            egress: &Egress::default(),
            max_backoff_ms: 60_000,
            variable: &|name| (name == "BILLING_SECRET").then(|| "s3cret".into()),
        };
        webhooks(&tables, &around)
    }

    #[test]
    fn a_webhook_is_a_trigger_for_each_of_what_it_is_on() {
        let more = "secret_env = 'BILLING_SECRET'\nrate = 20\nconcurrency = 2\nbackoff_ms = 10\n";
        let webhooks = read(&format!("[[webhooks]]\n{GOOD}{more}")).unwrap();
        let names: Vec<String> = webhooks.keys().map(ToString::to_string).collect();
        assert_eq!(
            names,
            ["afterSave:Order@billing", "afterDelete:Order@billing"]
        );
        let webhook = webhooks.values().next().unwrap();
        assert_eq!(webhook.secret.as_deref(), Some("s3cret"));
        let rate = Rate {
            count: 20,
            per_ms: 1_000,
        };
        assert_eq!(webhook.policy.rate, Some(rate));
        assert_eq!(webhook.policy.backoff.unwrap().max_ms, 60_000);
        assert!(webhook.policy.is_limited() && webhook.policy.original);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let with = |field: &str| {
            let name = field.split_once(" =").map_or(field, |(name, _)| name);
            let kept = GOOD
                .lines()
                .filter(|line| !line.starts_with(&format!("{name} =")));
            let kept: String = kept.map(|line| format!("{line}\n")).collect();
            let text = format!("[[webhooks]]\n{kept}{field}\n");
            read(&text).unwrap_err().to_string()
        };
        for (field, problem) in [
            ("name = ''", "[[webhooks]] : name is missing"),
            (
                "name = 'hooks'",
                "[[webhooks]] hooks: name hooks is that of",
            ),
            (
                "url = 'billing'",
                "[[webhooks]] billing: url must be an http or https URL",
            ),
            (
                "url = 'http://10.0.0.1/'",
                "url cannot be reached: the address is private",
            ),
            ("on = ['beforeSave']", "on must be a list of"),
            ("class = 5", "class must be a text in quotes"),
            ("attempts = 0", "attempts must be a whole number from 1"),
            ("rate = { count = 1 }", "rate must be a number a second, or"),
            (
                "secret_env = 'NOWHERE'",
                "secret_env names NOWHERE, which is not set",
            ),
            ("secret = ''", "secret is empty"),
            (
                "retries = 5",
                "there is no field retries; there are name, class,",
            ),
        ] {
            let error = with(field);
            assert!(error.contains(problem), "{field}: {error}");
        }
        let twice = format!("[[webhooks]]\n{GOOD}[[webhooks]]\n{GOOD}");
        let error = read(&twice).unwrap_err().to_string();
        assert!(error.contains("name is that of another webhook"), "{error}");
    }
}
