//! What one attempt of a handler wrote, so that the next is told its answers instead of writing again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// One recorded write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    pub kind: EffectKind,
    pub class: String,
    pub object_id: String,
    /// What the write was answered with: the JSON of the REST answer's body, without secrets.
    pub answer: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EffectKind {
    Create,
    Update,
    Delete,
}

/// Where the writes of one run are recorded; goes with the run into all that it calls.
#[derive(Clone, Debug)]
pub struct EffectScope {
    /// The delivery or job run whose attempts share their writes: [`crate::Delivery::effect_key`].
    pub cause: Arc<str>,
    /// Of the event that set it off; what is recorded is kept as long as the event.
    pub log_offset: Option<u64>,
    /// Of this place among the attempt's writes: empty for the attempt itself, `2` for its second write, `2.17` for
    /// the 17th item of that when it is a batch, `2/1` for the first write of a handler that runs within it; `[pay]/2`
    /// for the second write of a job's step `pay`. What follows the last `]` has only digits, so that no step's name
    /// makes two places one.
    pub path: String,
    /// False: nothing is recorded, because the author chose so.
    pub is_recorded: bool,
    /// What earlier attempts have written, by path. Empty for a first attempt.
    pub earlier: Arc<BTreeMap<String, Effect>>,
}

impl EffectScope {
    /// The place of the `n`th write (from 1) of the handler that runs here.
    pub fn write(&self, n: u32) -> EffectScope {
        let path = match self.path.as_str() {
            "" => n.to_string(),
            path => format!("{path}/{n}"),
        };
        EffectScope {
            path,
            ..self.clone()
        }
    }

    /// The place of a job's step, whose writes are numbered by themselves: an attempt that skips it, because an earlier
    /// one has finished it, finds its other writes where they were.
    pub fn step(&self, name: &str) -> EffectScope {
        EffectScope {
            path: format!("{}[{name}]", self.path),
            ..self.clone()
        }
    }

    /// The place of the `n`th item (from 1) of the batch that stands here.
    pub fn item(&self, n: usize) -> EffectScope {
        EffectScope {
            path: format!("{}.{n}", self.path),
            ..self.clone()
        }
    }

    /// A name for the `n`th request (from 1) that the handler here sends elsewhere: the same in each attempt.
    pub fn idempotency_key(&self, n: u32) -> String {
        format!("{}:{}", self.cause, self.write(n).path)
    }
}

impl EffectKind {
    pub fn as_str(self) -> &'static str {
        match self {
            EffectKind::Create => "create",
            EffectKind::Update => "update",
            EffectKind::Delete => "delete",
        }
    }

    /// Reads what [`EffectKind::as_str`] wrote.
    pub fn parse(text: &str) -> Option<EffectKind> {
        let all = [EffectKind::Create, EffectKind::Update, EffectKind::Delete];
        all.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for EffectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_names_every_write_of_an_attempt_differently() {
        let attempt = EffectScope {
            cause: "1-0.A-0:afterSave:Order".into(),
            log_offset: Some(1),
            path: String::new(),
            is_recorded: true,
            earlier: Arc::default(),
        };
        let second = attempt.write(2);
        let paths = [
            second.path.as_str(),
            &second.item(17).path,
            &second.write(1).path,
            &second.item(17).write(3).path,
        ];
        assert_eq!(paths, ["2", "2.17", "2/1", "2.17/3"]);
        let step = attempt.step("pay [1]/2");
        assert_eq!(step.write(2).item(3).path, "[pay [1]/2]/2.3");
        assert_eq!(
            step.idempotency_key(1),
            "1-0.A-0:afterSave:Order:[pay [1]/2]/1"
        );
        assert_eq!(
            (attempt.idempotency_key(1), second.idempotency_key(1)),
            (
                "1-0.A-0:afterSave:Order:1".into(),
                "1-0.A-0:afterSave:Order:2/1".into()
            )
        );
    }

    #[test]
    fn a_kind_survives_its_text_form() {
        for kind in [EffectKind::Create, EffectKind::Update, EffectKind::Delete] {
            assert_eq!(EffectKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(EffectKind::parse("creat"), None);
    }
}
