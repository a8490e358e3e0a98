//! Connections that break.

use std::pin::pin;

use futures_util::poll;
use serde_json::json;
use tidegate_parse_protocol::{Access, Filter};
use tidegate_storage::{Captured, Error, Storage};
use tidegate_testkit::Postgres;

use crate::fixture::{Fixture, config, delete, insert, update};

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_of_unknown_outcome() {
    let postgres = Postgres::start();
    let fixture = Fixture::on(postgres.create_database().await).await;
    let class = fixture.create("Order", "o1", json!({"n": 1})).await;
    // Prepared on the connections: what follows is sent at once.
    fixture
        .commit(update(&class, "o1", json!({"n": 2})))
        .await
        .unwrap();
    postgres.pause();
    let write = vec![update(&class, "o1", json!({"n": 3}))];
    {
        let mut commit = pin!(fixture.storage.commit(write));
        assert!(poll!(commit.as_mut()).is_pending(), "it is on its way");
        postgres.kill9();
        assert!(matches!(commit.await, Err(Error::Unknown { .. })));
    }
    let down = fixture
        .storage
        .count(&class, &Filter::all(), &Access::Master)
        .await;
    assert!(matches!(down, Err(Error::Unavailable { .. })));
    let down = fixture.commit(update(&class, "o1", json!({"n": 4}))).await;
    assert!(
        matches!(down, Err(Error::Unavailable { .. })),
        "nothing was sent"
    );
    postgres.restart();
    assert_eq!(
        fixture
            .storage
            .count(&class, &Filter::all(), &Access::Master)
            .await
            .unwrap(),
        1
    );
    // The listener is back too, and has read what it could not hear.
    let mut seen = fixture.storage.watch_schema();
    let other = Storage::connect(config(fixture.database.url()))
        .await
        .unwrap();
    other
        .ensure_fields("AfterRestart", &Default::default(), Captured::No)
        .await
        .unwrap();
    seen.wait_for(|schema| schema.class("AfterRestart").is_some())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_read_on_a_connection_that_was_dead_already_is_done_on_another() {
    let postgres = Postgres::start();
    let fixture = Fixture::on(postgres.create_database().await).await;
    let class = fixture.create("Order", "o1", json!({"n": 1})).await;
    for _ in 0..3 {
        postgres.restart();
        assert!(fixture.get(&class, "o1").await.is_some());
    }
}

#[tokio::test]
async fn a_transaction_whose_caller_went_away_is_rolled_back() {
    let database = Postgres::shared().create_database().await;
    let one_connection = tidegate_storage::Config {
        max_connections: 1,
        ..config(database.url())
    };
    let storage = Storage::connect(one_connection).await.unwrap();
    let fixture = Fixture { storage, database };
    let class = fixture.create("Order", "o1", json!({"n": 1})).await;
    fixture
        .storage
        .commit(vec![
            insert(&class, "o2", json!({"n": 1})),
            delete(&class, "o2"),
        ])
        .await
        .unwrap();
    {
        let writes = vec![insert(&class, "o3", json!({"n": 1})), delete(&class, "o1")];
        let mut commit = pin!(fixture.storage.commit(writes));
        assert!(
            poll!(commit.as_mut()).is_pending(),
            "BEGIN and both writes are on their way"
        );
    }
    assert_eq!(fixture.ids(&class, json!({})).await, ["o1"]);
}
