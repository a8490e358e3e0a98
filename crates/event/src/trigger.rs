//! Which handlers exist, and which of them an event matches.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ChangeEvent, Operation};

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

/// One registered handler: the moment and the class (or `schema.table`) it hangs on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Trigger {
    pub kind: TriggerKind,
    pub class: String,
}

/// Every trigger that one release registers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerSet(BTreeSet<Trigger>);

impl TriggerKind {
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

impl fmt::Display for TriggerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.class)
    }
}

impl TriggerSet {
    pub fn has(&self, kind: TriggerKind, class: &str) -> bool {
        // A set of a few dozen entries; building the key to look up is cheaper than a second index.
        self.0.contains(&Trigger {
            kind,
            class: class.to_owned(),
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = &Trigger> {
        self.0.iter()
    }

    /// Classes and `schema.table` names whose changes must be captured.
    pub fn captured_classes(&self) -> BTreeSet<&str> {
        self.0
            .iter()
            .filter(|trigger| trigger.kind.is_after_commit())
            .map(|trigger| trigger.class.as_str())
            .collect()
    }

    /// The after-triggers that `event` fires, in a fixed order.
    pub fn matching(&self, event: &ChangeEvent) -> Vec<Trigger> {
        let Some(kind) = TriggerKind::fired_by(event.operation) else {
            return Vec::new();
        };
        let qualified = format!("{}.{}", event.schema, event.table);
        let names = event.class().into_iter().chain([qualified.as_str()]);
        names
            .filter(|name| self.has(kind, name))
            .map(|name| Trigger {
                kind,
                class: name.to_owned(),
            })
            .collect()
    }
}

impl FromIterator<Trigger> for TriggerSet {
    fn from_iter<I: IntoIterator<Item = Trigger>>(triggers: I) -> Self {
        TriggerSet(triggers.into_iter().collect())
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
            context: RequestContext::direct_sql(),
        }
    }

    #[test]
    fn an_event_fires_the_after_trigger_of_its_class_and_of_its_qualified_table() {
        let of = |kind, class: &str| Trigger {
            kind,
            class: class.into(),
        };
        let set: TriggerSet = [
            of(TriggerKind::AfterSave, "Order"),
            of(TriggerKind::AfterSave, "billing.invoices"),
            of(TriggerKind::BeforeSave, "Order"),
            of(TriggerKind::AfterDelete, "public.Order"),
        ]
        .into_iter()
        .collect();
        let fired = |schema, table, operation| {
            set.matching(&event(schema, table, operation))
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            fired("public", "Order", Operation::Insert),
            ["afterSave:Order"]
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
            set.captured_classes().into_iter().collect::<Vec<_>>(),
            ["Order", "billing.invoices", "public.Order"]
        );
    }
}
