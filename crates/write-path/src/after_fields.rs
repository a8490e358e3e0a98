//! What an after-trigger's request says of its event, beside the object. Pure.

use serde_json::{Map, Value, json};
use tidegate_event::{ChangeEvent, Delivery, Operation, RedeliveryKind};
use tidegate_parse_protocol::Object;

/// Adds the fields to `request`. What is so for most events (no cause, nothing left out, no redelivery) is left out: the
/// runtime knows it.
pub(crate) fn put(delivery: &Delivery, request: &mut Map<String, Value>) {
    let event = &delivery.event;
    let context = &event.context;
    let mut add = |name: &str, value: Value| request.insert(name.to_owned(), value);
    add("commitTimeMs", json!(event.commit_time_us.div_euclid(1000)));
    add("xid", json!(event.xid));
    // Said by the change and not by the old row, which only some tables log.
    add("existed", json!(event.operation != Operation::Insert));
    if context.depth > 0 {
        add("depth", json!(context.depth));
        add("chain", json!(context.chain));
    }
    if !event.truncated.is_empty() {
        add("truncated", json!(event.truncated));
    }
    if let Some(redelivery) = &delivery.redelivery {
        let why = json!({"operation": redelivery.operation});
        match redelivery.kind {
            RedeliveryKind::Replay => add("replay", why),
            RedeliveryKind::Backfill => add("backfill", why),
            RedeliveryKind::Resume => None,
        };
    }
}

/// Gives the object of a table that is no class its primary key as `objectId`, unless it has a column of that name. The
/// columns of a key of several are joined by commas, in the order of their names.
pub(crate) fn name_by_key(event: &ChangeEvent, object: &mut Object) {
    if !object.contains_key("objectId") && !event.key.is_empty() {
        let values: Vec<&str> = event
            .key
            .values()
            .map(|value| value.as_deref().unwrap_or_default())
            .collect();
        object.insert("objectId".into(), values.join(",").into());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tidegate_event::{EventId, Lsn, RequestContext, Row, Trigger, TriggerKind};

    use super::*;

    fn delivery(operation: Operation, key: &[(&str, &str)]) -> Delivery {
        let key: Row = key
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())))
            .collect();
        Delivery {
            log_offset: 1,
            trigger: Trigger::code(TriggerKind::AfterSave, "Order"),
            event: ChangeEvent {
                v: 1,
                id: EventId {
                    epoch: 1,
                    commit_lsn: Lsn(1),
                    ordinal: 0,
                },
                xid: 7,
                commit_time_us: 1_500_999,
                schema: "billing".into(),
                table: "invoices".into(),
                operation,
                key,
                old: None,
                new: None,
                changed: Vec::new(),
                unchanged_toast: Vec::new(),
                truncated: BTreeMap::new(),
                context: RequestContext::direct_sql(),
            },
            redelivery: None,
        }
    }

    fn fields(delivery: &Delivery) -> Value {
        let mut request = Map::new();
        put(delivery, &mut request);
        Value::Object(request)
    }

    #[test]
    fn a_first_delivery_says_little_and_another_says_why() {
        let mut subject = delivery(Operation::Insert, &[]);
        let expected = json!({"commitTimeMs": 1500, "xid": 7, "existed": false});
        assert_eq!(fields(&subject), expected);
        subject.event.operation = Operation::Update;
        subject.event.context.depth = 1;
        subject.event.context.chain = vec!["afterSave:A 1".into()];
        subject.event.truncated = [("photo".to_owned(), 9)].into();
        let expected = json!({"commitTimeMs": 1500, "xid": 7, "existed": true, "depth": 1,
            "chain": ["afterSave:A 1"], "truncated": {"photo": 9}});
        assert_eq!(fields(&subject), expected);
        for (kind, name) in [
            ("replay", "replay"),
            ("backfill", "backfill"),
            ("resume", "none"),
        ] {
            let redelivery = json!({"kind": kind, "operation": 3, "triggers": []});
            subject.redelivery = Some(serde_json::from_value(redelivery).unwrap());
            let given = fields(&subject);
            let expected = (name != "none").then(|| json!({"operation": 3}));
            assert_eq!(given.get(name), expected.as_ref());
            let others = ["replay", "backfill"];
            assert!(
                others
                    .iter()
                    .all(|other| *other == name || given.get(*other).is_none())
            );
        }
    }

    #[test]
    fn an_object_of_no_class_is_named_by_its_key() {
        let name = |key: &[(&str, &str)], object: Value| {
            let Value::Object(mut object) = object else {
                unreachable!()
            };
            name_by_key(&delivery(Operation::Insert, key).event, &mut object);
            object.get("objectId").cloned()
        };
        assert_eq!(name(&[("id", "7")], json!({"id": 7})), Some(json!("7")));
        assert_eq!(
            name(&[("b", "2"), ("a", "1")], json!({})),
            Some(json!("1,2"))
        );
        let own = json!({"objectId": "own"});
        assert_eq!(name(&[("id", "7")], own), Some(json!("own")));
        assert_eq!(name(&[], json!({})), None);
    }
}
