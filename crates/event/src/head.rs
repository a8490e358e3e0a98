//! A stored event read in place, by those who pass it on as it is: what it is about, and whether somebody wants it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::{EventId, Operation, Source};

/// What an event is about. Borrows from the stored text; rows are passed over, not decoded.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head<'a> {
    pub id: EventId,
    /// Commit time, microseconds since 1970-01-01 UTC.
    pub commit_time_us: i64,
    #[serde(borrow)]
    pub schema: Cow<'a, str>,
    #[serde(borrow)]
    pub table: Cow<'a, str>,
    pub operation: Operation,
    #[serde(borrow)]
    pub key: BTreeMap<Text<'a>, Option<Text<'a>>>,
    context: Origin,
}

/// Borrowed where its JSON has no escapes.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Origin {
    source: Source,
}

impl<'a> Head<'a> {
    /// Reads the head of a stored event.
    pub fn of(body: &'a str) -> Result<Head<'a>, serde_json::Error> {
        serde_json::from_str(body)
    }

    pub fn source(&self) -> Source {
        self.context.source
    }

    /// As [`crate::ChangeEvent::order_key`].
    pub fn order_key(&self) -> String {
        let mut text = format!("{}.{}", self.schema, self.table);
        for value in self.key.values() {
            text.push('\u{1f}');
            text.push_str(value.as_ref().map_or("\u{0}", |value| value.0.as_ref()));
        }
        text
    }
}

/// Which events somebody wants. An empty set wants all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Classes, and `schema.table` names.
    pub classes: BTreeSet<String>,
    pub operations: BTreeSet<Operation>,
    pub sources: BTreeSet<Source>,
    /// Values of the key: for a class, objectIds.
    pub ids: BTreeSet<String>,
}

impl Filter {
    pub fn wants(&self, head: &Head<'_>) -> bool {
        fn holds<T: Ord>(set: &BTreeSet<T>, one: &T) -> bool {
            set.is_empty() || set.contains(one)
        }
        holds(&self.operations, &head.operation)
            && holds(&self.sources, &head.source())
            && self.wants_table(head)
            && self.wants_key(head)
    }

    fn wants_table(&self, head: &Head<'_>) -> bool {
        if self.classes.is_empty() {
            return true;
        }
        let is_class = head.schema == "public" && self.classes.contains(head.table.as_ref());
        is_class
            || self
                .classes
                .contains(&format!("{}.{}", head.schema, head.table))
    }

    fn wants_key(&self, head: &Head<'_>) -> bool {
        let mut values = head.key.values().flatten();
        self.ids.is_empty() || values.any(|value| self.ids.contains(value.0.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChangeEvent, Lsn, RequestContext};

    fn stored(schema: &str, table: &str) -> String {
        let id = Some("a\"b".to_owned());
        let event = ChangeEvent {
            v: crate::change::FORMAT_VERSION,
            id: EventId {
                epoch: 1,
                commit_lsn: Lsn(1),
                ordinal: 0,
            },
            xid: 1,
            commit_time_us: 7,
            schema: schema.into(),
            table: table.into(),
            operation: Operation::Update,
            key: [("objectId".to_owned(), id)].into(),
            old: None,
            new: Some([("n".to_owned(), None)].into()),
            changed: Vec::new(),
            unchanged_toast: Vec::new(),
            truncated: Default::default(),
            context: RequestContext::direct_sql(),
        };
        serde_json::to_string(&event).unwrap()
    }

    fn set<T: Ord>(one: T) -> BTreeSet<T> {
        BTreeSet::from([one])
    }

    #[test]
    fn a_filter_wants_what_all_of_its_sets_hold() {
        let order = stored("public", "Order");
        let invoice = stored("billing", "Order");
        let (order, invoice) = (Head::of(&order).unwrap(), Head::of(&invoice).unwrap());
        assert!(matches!(order.table, Cow::Borrowed("Order")));
        let wants = |filter: Filter| (filter.wants(&order), filter.wants(&invoice));
        let class = |name: &str| Filter {
            classes: set(name.to_owned()),
            ..Filter::default()
        };
        assert_eq!(wants(Filter::default()), (true, true));
        assert_eq!(wants(class("Order")), (true, false));
        assert_eq!(wants(class("public.Order")), (true, false));
        assert_eq!(wants(class("billing.Order")), (false, true));
        let ids = |id: &str| Filter {
            ids: set(id.to_owned()),
            ..class("Order")
        };
        assert_eq!(wants(ids("a\"b")), (true, false));
        assert_eq!(wants(ids("ab")), (false, false));
        let sources = |source| Filter {
            sources: set(source),
            ..Filter::default()
        };
        assert_eq!(wants(sources(Source::Sql)), (true, true));
        assert_eq!(wants(sources(Source::Api)), (false, false));
        let operations = Filter {
            operations: set(Operation::Insert),
            ..Filter::default()
        };
        assert_eq!(wants(operations), (false, false));
    }
}
