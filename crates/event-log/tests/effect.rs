//! The effect ledger: what is recorded is found again, once for each place.

use std::sync::Arc;

use tidegate_event::{Effect, EffectKind, EffectScope};
use tidegate_event_log::effect::{RECORD, parameters};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use crate::fixture::log;

fn scope(cause: &str) -> EffectScope {
    EffectScope {
        cause: cause.into(),
        log_offset: None,
        path: String::new(),
        is_recorded: true,
        earlier: Arc::default(),
    }
}

fn effect(object_id: &str) -> Effect {
    Effect {
        kind: EffectKind::Create,
        class: "Order".into(),
        object_id: object_id.into(),
        answer: r#"{"objectId":"a","text":"'\u0000$1"}"#.into(),
    }
}

async fn record(
    sql: &Client,
    scope: &EffectScope,
    effect: &Effect,
) -> Result<u64, tokio_postgres::Error> {
    let parameters = parameters(scope, effect);
    let parameters: Vec<&(dyn ToSql + Sync)> = parameters
        .iter()
        .map(|text| text as &(dyn ToSql + Sync))
        .collect();
    sql.execute(RECORD, &parameters).await
}

#[tokio::test]
async fn effects_are_found_by_their_cause_and_each_place_is_taken_once() {
    let (database, log) = log().await;
    let sql = database.connect().await;
    let (one, other) = (scope("1-0.A-0:afterSave:A"), scope("1-0.A-0:afterSave:A#7"));
    record(&sql, &one.write(1), &effect("a")).await.unwrap();
    let of_event = EffectScope {
        log_offset: Some(9),
        ..one.write(2).item(3)
    };
    let deleted = Effect {
        kind: EffectKind::Delete,
        ..effect("b")
    };
    record(&sql, &of_event, &deleted).await.unwrap();
    record(&sql, &other.write(1), &effect("c")).await.unwrap();
    let again = record(&sql, &one.write(1), &effect("d")).await;
    assert_eq!(again.unwrap_err().code(), Some(&SqlState::UNIQUE_VIOLATION));

    let found = log.effects_of(&one.cause).await.unwrap();
    assert_eq!(
        found.into_iter().collect::<Vec<_>>(),
        [("1".into(), effect("a")), ("2.3".into(), deleted)]
    );
    assert!(log.effects_of("1-0.A-0").await.unwrap().is_empty());
    let offsets = sql
        .query(
            "select log_offset from tidegate.effect order by cause, position",
            &[],
        )
        .await
        .unwrap();
    let offsets: Vec<Option<i64>> = offsets.iter().map(|row| row.get(0)).collect();
    assert_eq!(offsets, [None, Some(9), None]);
}
