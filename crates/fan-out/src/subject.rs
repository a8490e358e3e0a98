//! The NATS subject of an event, from a template.

use std::str::FromStr;

use tidegate_event::Head;

use crate::Error;

/// Such as `tidegate.{schema}.{table}.{operation}`; a stream takes in what begins with its fixed part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject(String);

impl Subject {
    /// Names that no subject could have are changed: `My Table` is `My_Table`.
    pub fn of(&self, head: &Head<'_>) -> String {
        self.0
            .replace("{schema}", &token(&head.schema))
            .replace("{table}", &token(&head.table))
            .replace("{operation}", head.operation.as_str())
    }
}

/// Dots, wildcards and spaces mean something in a subject, and other characters are not portable.
fn token(name: &str) -> String {
    let plain = |letter: char| match letter {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => letter,
        _ => '_',
    };
    name.chars().map(plain).collect()
}

impl FromStr for Subject {
    type Err = Error;

    fn from_str(template: &str) -> Result<Subject, Error> {
        let filled = template
            .replace("{schema}", "s")
            .replace("{table}", "t")
            .replace("{operation}", "o");
        let is_plain = |letter: char| letter.is_ascii_graphic() && !"*>{}".contains(letter);
        let tokens_are_good = |token: &str| !token.is_empty() && token.chars().all(is_plain);
        if filled.split('.').all(tokens_are_good) && !filled.starts_with('$') {
            return Ok(Subject(template.to_owned()));
        }
        Err(Error::config(
            "subject",
            format!(
                "{template:?} is no subject to publish to: write one such as tidegate.{{schema}}.{{table}}.{{operation}}, \
                 with no other placeholders, wildcards or spaces"
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_tokens_and_templates_that_are_no_subjects_are_refused() {
        let body = r#"{"id":"1-0.1-0","commitTimeUs":0,"schema":"a.b","table":"My *Täble>","operation":"update",
                       "key":{},"context":{"source":"sql"}}"#;
        let head = Head::of(body).unwrap();
        let subject: Subject = "x.{schema}.{table}.{operation}".parse().unwrap();
        assert_eq!(subject.of(&head), "x.a_b.My__T_ble_.update");
        for wrong in [
            "",
            "a..b",
            "a.*",
            "a.>",
            "a b",
            "a.{class}",
            "$JS.API",
            "a.{schema",
        ] {
            let refusal = wrong.parse::<Subject>().unwrap_err().to_string();
            assert!(refusal.starts_with("subject "), "{refusal}");
        }
    }
}
