//! Reads JSON objects that people wrote: an error names the field and says what is expected.

use serde_json::{Map, Value};

use crate::{RunId, near};

/// What is wrong, with the remedy; for whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// An object being read: `what` names it in errors ("the options of job report").
pub struct Fields<'a> {
    what: &'a str,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// # Errors
    /// The value is no object, or has a key that is not in `known`; a key that is null counts as absent.
    pub fn new(what: &'a str, value: &'a Value, known: &[&str]) -> Result<Fields<'a>, Invalid> {
        let Value::Object(map) = value else {
            return Err(Invalid(format!(
                "{what} must be an object, not {}",
                kind(value)
            )));
        };
        let unknown = map.keys().find(|key| !known.contains(&key.as_str()));
        if let Some(key) = unknown {
            let hint = match near::nearest(key, known.iter().copied()) {
                Some(near) => format!("; did you mean {near:?}?"),
                None => format!("; there is {}", known.join(", ")),
            };
            let key: String = key.chars().take(60).collect();
            return Err(Invalid(format!(
                "{what} has an unknown field {key:?}{hint}"
            )));
        }
        Ok(Fields { what, map })
    }

    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// The error that field `name` should be `expected`.
    pub fn wrong(&self, name: &str, expected: &str) -> Invalid {
        let found = self.map.get(name).map_or_else(String::new, |value| {
            let text: String = value.to_string().chars().take(60).collect();
            format!(", not {text}")
        });
        Invalid(format!("{name} of {} must be {expected}{found}", self.what))
    }

    /// A whole number from `least` to `most`.
    pub fn whole(&self, name: &str, least: i64, most: i64) -> Result<Option<i64>, Invalid> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        // 3.0 is whole too: JavaScript does not tell them apart.
        let float = value.as_f64().filter(|number| number.fract() == 0.0);
        let whole = value.as_i64().or(float.map(|number| number as i64));
        match whole.filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(name, &format!("a whole number from {least} to {most}"))),
        }
    }

    /// A text of 1 to `most` characters, none of them a control character.
    pub fn text(&self, name: &str, most: usize) -> Result<Option<String>, Invalid> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let fits = |text: &&str| is_plain(text, most);
        match value.as_str().filter(fits) {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(self.wrong(
                name,
                &format!("a text of 1 to {most} characters without control characters"),
            )),
        }
    }

    /// One of the texts of `choices`.
    pub fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<Option<T>, Invalid> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let found = choices
            .iter()
            .find(|(text, _)| value.as_str() == Some(*text));
        let Some((_, choice)) = found else {
            let texts: Vec<String> = choices
                .iter()
                .map(|(text, _)| format!("{text:?}"))
                .collect();
            return Err(self.wrong(name, &texts.join(" or ")));
        };
        Ok(Some(*choice))
    }

    /// An array of at most `most` run ids.
    pub fn run_ids(&self, name: &str, most: usize) -> Result<Vec<RunId>, Invalid> {
        let Some(value) = self.get(name) else {
            return Ok(Vec::new());
        };
        let wrong = || {
            self.wrong(
                name,
                &format!("an array of at most {most} run ids (R000012345)"),
            )
        };
        let items = value
            .as_array()
            .filter(|items| items.len() <= most)
            .ok_or_else(wrong)?;
        let ids = items
            .iter()
            .map(|item| serde_json::from_value(item.clone()));
        let mut ids = ids
            .collect::<Result<Vec<RunId>, _>>()
            .map_err(|_| wrong())?;
        ids.sort();
        ids.dedup();
        Ok(ids)
    }
}

/// True for 1 to `most` characters without control characters.
pub fn is_plain(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

/// What JSON calls the value.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
