//! Which handlers exist, and which of them an event matches.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{ChangeEvent, Operation, Policy};

/// A moment at which cloud code can run; the wire form is Parse's (`beforeSave`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TriggerKind {
    BeforeSave,
    AfterSave,
    BeforeDelete,
    AfterDelete,
    BeforeFind,
    AfterFind,
    BeforeLogin,
    AfterLogin,
    AfterLogout,
    BeforePasswordResetRequest,
}

/// One handler of one class: a function of cloud code, or a webhook.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Trigger {
    pub kind: TriggerKind,
    /// A class, or `schema.table`.
    pub class: String,
    /// The name of the HTTP endpoint that handles it; None for a function of cloud code.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub webhook: Option<String>,
}

/// The text is not the name of a trigger.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not a trigger such as afterSave:Order or afterSave:Order@webhook")]
pub struct ParseTriggerError {
    text: String,
}

/// All registered handlers, how each is to be run, and what is captured without one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TriggerSet(BTreeMap<Trigger, Policy>, BTreeSet<String>);

impl TriggerKind {
    pub const ALL: [TriggerKind; 10] = [
        TriggerKind::BeforeSave,
        TriggerKind::AfterSave,
        TriggerKind::BeforeDelete,
        TriggerKind::AfterDelete,
        TriggerKind::BeforeFind,
        TriggerKind::AfterFind,
        TriggerKind::BeforeLogin,
        TriggerKind::AfterLogin,
        TriggerKind::AfterLogout,
        TriggerKind::BeforePasswordResetRequest,
    ];

    /// Parse's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            TriggerKind::BeforeSave => "beforeSave",
            TriggerKind::AfterSave => "afterSave",
            TriggerKind::BeforeDelete => "beforeDelete",
            TriggerKind::AfterDelete => "afterDelete",
            TriggerKind::BeforeFind => "beforeFind",
            TriggerKind::AfterFind => "afterFind",
            TriggerKind::BeforeLogin => "beforeLogin",
            TriggerKind::AfterLogin => "afterLogin",
            TriggerKind::AfterLogout => "afterLogout",
            TriggerKind::BeforePasswordResetRequest => "beforePasswordResetRequest",
        }
    }

    /// True for the kinds that fire from the WAL and never from the write path.
    pub fn is_after_commit(self) -> bool {
        matches!(self, TriggerKind::AfterSave | TriggerKind::AfterDelete)
    }

    /// The after-trigger kind that a change of this operation fires; a TRUNCATE names no object and fires none.
    pub fn fired_by(operation: Operation) -> Option<TriggerKind> {
        match operation {
            Operation::Insert | Operation::Update => Some(TriggerKind::AfterSave),
            Operation::Delete => Some(TriggerKind::AfterDelete),
            Operation::Truncate => None,
        }
    }
}

impl FromStr for Trigger {
    type Err = ParseTriggerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (kind, rest) = text.split_once(':')?;
            let kind = TriggerKind::ALL
                .into_iter()
                .find(|one| one.as_str() == kind)?;
            let (class, webhook) = match rest.split_once('@') {
                Some((class, webhook)) => (class, Some(webhook.to_owned())),
                None => (rest, None),
            };
            let is_empty = class.is_empty() || webhook.as_deref() == Some("");
            (!is_empty).then(|| Trigger {
                kind,
                class: class.to_owned(),
                webhook,
            })
        };
        parse().ok_or_else(|| ParseTriggerError {
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for TriggerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.class)?;
        match &self.webhook {
            Some(name) => write!(f, "@{name}"),
            None => Ok(()),
        }
    }
}

impl Trigger {
    /// A function of cloud code.
    pub fn code(kind: TriggerKind, class: impl Into<String>) -> Trigger {
        Trigger {
            kind,
            class: class.into(),
            webhook: None,
        }
    }
}

impl TriggerSet {
    /// True when cloud code has a handler of this kind for `class`.
    pub fn has(&self, kind: TriggerKind, class: &str) -> bool {
        // A set of a few dozen entries; building the key to look up is cheaper than a second index.
        self.0.contains_key(&Trigger::code(kind, class))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Trigger> {
        self.0.keys()
    }

    /// How `trigger` is to be run; the defaults for one that is not registered.
    pub fn policy(&self, trigger: &Trigger) -> Policy {
        self.0.get(trigger).cloned().unwrap_or_default()
    }

    pub fn insert(&mut self, trigger: Trigger, policy: Policy) {
        self.0.insert(trigger, policy);
    }

    /// Adds classes and `schema.table` names whose changes are captured whether or not a handler wants them.
    pub fn capture<T: Into<String>>(&mut self, classes: impl IntoIterator<Item = T>) {
        self.1.extend(classes.into_iter().map(Into::into));
    }

    /// Classes and `schema.table` names whose changes must be captured, and whether a handler needs the row before.
    pub fn captured_classes(&self) -> BTreeMap<&str, bool> {
        let wanted = self.1.iter().map(|class| (class.as_str(), false));
        let mut classes: BTreeMap<&str, bool> = wanted.collect();
        for (trigger, policy) in &self.0 {
            if trigger.kind.is_after_commit() {
                *classes.entry(trigger.class.as_str()).or_default() |= policy.original;
            }
        }
        classes
    }

    /// How many after-triggers a change of this kind to `class` fires.
    pub fn count(&self, kind: TriggerKind, class: &str) -> usize {
        self.of(kind, class).count()
    }

    /// The after-triggers that `event` fires, in a fixed order.
    pub fn matching<'a>(&'a self, event: &ChangeEvent) -> Vec<(&'a Trigger, &'a Policy)> {
        self.fired(event.operation, &event.schema, &event.table)
    }

    /// The after-triggers that this change of a row of this table fires, in a fixed order.
    pub fn fired(
        &self,
        operation: Operation,
        schema: &str,
        table: &str,
    ) -> Vec<(&Trigger, &Policy)> {
        let Some(kind) = TriggerKind::fired_by(operation) else {
            return Vec::new();
        };
        let qualified = format!("{schema}.{table}");
        let class = (schema == "public").then_some(table);
        let names = class.into_iter().chain([qualified.as_str()]);
        names.flat_map(|name| self.of(kind, name)).collect()
    }

    fn of(&self, kind: TriggerKind, class: &str) -> impl Iterator<Item = (&Trigger, &Policy)> {
        let first = Trigger::code(kind, class);
        let class = first.class.clone();
        self.0
            .range(first..)
            .take_while(move |(trigger, _)| trigger.kind == kind && trigger.class == class)
    }
}

impl FromIterator<Trigger> for TriggerSet {
    fn from_iter<I: IntoIterator<Item = Trigger>>(triggers: I) -> Self {
        let plain = |trigger| (trigger, Policy::default());
        triggers.into_iter().map(plain).collect()
    }
}

impl FromIterator<(Trigger, Policy)> for TriggerSet {
    fn from_iter<I: IntoIterator<Item = (Trigger, Policy)>>(triggers: I) -> Self {
        TriggerSet(triggers.into_iter().collect(), BTreeSet::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventId, Lsn, RequestContext};

    fn event(schema: &str, table: &str, operation: Operation) -> ChangeEvent {
        ChangeEvent {
            v: crate::change::FORMAT_VERSION,
            id: EventId {
                epoch: 1,
                commit_lsn: Lsn(1),
                ordinal: 0,
            },
            xid: 1,
            commit_time_us: 0,
            schema: schema.into(),
            table: table.into(),
            operation,
            key: Default::default(),
            old: None,
            new: None,
            changed: Vec::new(),
            unchanged_toast: Vec::new(),
            truncated: Default::default(),
            context: RequestContext::direct_sql(),
        }
    }

    #[test]
    fn an_event_fires_the_after_trigger_of_its_class_and_of_its_qualified_table() {
        let of = |kind, class: &str| Trigger::code(kind, class);
        let hook = Trigger {
            webhook: Some("billing".into()),
            ..of(TriggerKind::AfterSave, "Order")
        };
        let mut set: TriggerSet = [
            of(TriggerKind::AfterSave, "Order"),
            of(TriggerKind::AfterSave, "billing.invoices"),
            of(TriggerKind::BeforeSave, "Order"),
            of(TriggerKind::AfterDelete, "public.Order"),
            hook,
        ]
        .into_iter()
        .collect();
        let fired = |schema, table, operation| {
            set.matching(&event(schema, table, operation))
                .iter()
                .map(|(trigger, _)| trigger.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            fired("public", "Order", Operation::Insert),
            ["afterSave:Order", "afterSave:Order@billing"]
        );
        assert_eq!(
            fired("public", "Order", Operation::Delete),
            ["afterDelete:public.Order"]
        );
        assert_eq!(
            fired("billing", "invoices", Operation::Update),
            ["afterSave:billing.invoices"]
        );
        assert!(
            fired("billing", "Order", Operation::Insert).is_empty(),
            "a class lives in schema public"
        );
        assert!(fired("public", "Order", Operation::Truncate).is_empty());
        assert_eq!(
            set.captured_classes().into_keys().collect::<Vec<_>>(),
            ["Order", "billing.invoices", "public.Order"]
        );
        set.capture(["Order", "ledger.entries"]);
        assert_eq!(
            set.captured_classes().into_keys().collect::<Vec<_>>(),
            [
                "Order",
                "billing.invoices",
                "ledger.entries",
                "public.Order"
            ]
        );
    }

    #[test]
    fn a_trigger_is_read_back_from_its_name() {
        for text in ["afterSave:Order", "afterDelete:billing.invoices@erp"] {
            assert_eq!(text.parse::<Trigger>().unwrap().to_string(), text);
        }
        for bad in ["", "Order", "afterSave:", "after:Order", "afterSave:Order@"] {
            assert!(bad.parse::<Trigger>().is_err(), "{bad}");
        }
    }
}
