//! Wait tokens: a transaction's after-triggers are found wherever it stands in the log.

use std::time::Duration;

use tidegate_event::{ChangeEvent, Lsn, WaitToken};
use tidegate_event_log::{Appender, EventLog, TokenWaits};
use tidegate_testkit::Database;
use tokio_postgres::Client;

use crate::fixture::{checkpoint, event, log};

/// How long what must come may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long what must not come is waited for.
const MOMENT: Duration = Duration::from_millis(200);

struct Fixture {
    _database: Database,
    sql: Client,
    appender: Appender,
    waits: TokenWaits,
}

async fn fixture() -> Fixture {
    let (database, log): (Database, EventLog) = log().await;
    log.create_checkpoint(&checkpoint()).await.unwrap();
    Fixture {
        sql: database.connect().await,
        appender: log.appender(checkpoint()).await.unwrap(),
        waits: TokenWaits::new(log),
        _database: database,
    }
}

impl Fixture {
    /// Transactions with an event each, at these positions; a transaction's id is its position.
    async fn append(&mut self, lsns: impl IntoIterator<Item = u64>) {
        let events: Vec<ChangeEvent> = lsns.into_iter().map(|lsn| of(lsn, 0)).collect();
        let end = events.last().unwrap().id.commit_lsn.0 + 1;
        self.appender.append(&events, Lsn(end)).await.unwrap();
    }

    async fn outcome(&self, log_offset: i64, trigger: &str, status: &str) {
        self.sql
            .execute(
                "insert into tidegate.outcome (log_offset, trigger, status, attempts, duration_us)
                 values ($1, $2, $3, 1, 1)",
                &[&log_offset, &trigger, &status],
            )
            .await
            .unwrap();
    }

    async fn run(&self, statement: &str) {
        self.sql.batch_execute(statement).await.unwrap();
    }

    async fn is_done(&self, tokens: &[WaitToken]) -> bool {
        self.waits.wait_for(tokens, MOMENT).await.unwrap()
    }
}

fn of(lsn: u64, ordinal: u32) -> ChangeEvent {
    ChangeEvent {
        xid: lsn as u32,
        ..event(lsn, ordinal)
    }
}

/// Of the transaction that committed at `lsn`, made a little earlier.
fn token(lsn: u64, deliveries: u32) -> WaitToken {
    WaitToken {
        xid: lsn as u32,
        lsn: Lsn(lsn - 5),
        deliveries,
    }
}

#[tokio::test]
async fn a_transaction_is_waited_for_until_each_delivery_had_an_attempt() {
    let mut fixture = fixture().await;
    fixture
        .appender
        .append(&[of(100, 0), of(110, 0), of(110, 1), of(120, 0)], Lsn(121))
        .await
        .unwrap();
    assert!(!fixture.is_done(&[token(110, 3)]).await);
    fixture.outcome(1, "afterSave:A", "done").await;
    fixture.outcome(2, "afterSave:A", "done").await;
    fixture.outcome(3, "afterSave:A", "retry").await;
    assert!(!fixture.is_done(&[token(110, 3)]).await);
    fixture.outcome(3, "afterSave:B", "held").await;
    assert!(fixture.is_done(&[token(110, 3), token(100, 1)]).await);
    assert!(
        !fixture.is_done(&[token(110, 3), token(120, 1)]).await,
        "each of several"
    );
}

#[tokio::test]
async fn an_event_may_come_after_the_wait_has_begun() {
    let mut fixture = fixture().await;
    fixture.append((1..50).map(|n| n * 10)).await;
    let waits = TokenWaits::new(crate::fixture::connect(&fixture._database).await);
    let waiting =
        tokio::spawn(async move { waits.wait_for(&[token(1010, 1)], PATIENCE).await.unwrap() });
    // Another's event, the first of its transaction twice over, then its own.
    for first in (50..100).step_by(10) {
        fixture.append((first..first + 10).map(|n| n * 10)).await;
        tokio::task::yield_now().await;
    }
    fixture.append([1000, 1010]).await;
    fixture.outcome(101, "afterSave:A", "done").await;
    assert!(waiting.await.unwrap());
}

#[tokio::test]
async fn an_old_transaction_is_found_among_many_and_redeliveries_mislead_nobody() {
    let mut fixture = fixture().await;
    for first in (1..12_001).step_by(3_000) {
        fixture.append((first..first + 3_000).map(|n| n * 10)).await;
    }
    // Runs of entries that were delivered anew: their positions are of long ago.
    fixture
        .run(
            "update tidegate.event set redelivery = '{}', commit_lsn = '0/1', xid = 50000
              where log_offset % 1000 between 300 and 900 or log_offset > 11500",
        )
        .await;
    for offset in [1, 7, 299, 2000, 5000, 5100, 9950, 11_200] {
        let token = token(offset * 10, 1);
        assert!(!fixture.is_done(&[token]).await, "{offset}");
        fixture.outcome(offset as i64, "afterSave:A", "done").await;
        assert!(fixture.is_done(&[token]).await, "{offset}");
    }
}

#[tokio::test]
async fn fewer_triggers_than_there_were_are_enough_once_all_is_settled() {
    let mut fixture = fixture().await;
    fixture.append([100, 110, 120]).await;
    assert!(!fixture.is_done(&[token(110, 2)]).await);
    fixture
        .run("update tidegate.dispatch set log_offset = 3, settled_offset = 2")
        .await;
    assert!(
        !fixture.is_done(&[token(110, 2)]).await,
        "more of it may come"
    );
    fixture
        .run("update tidegate.capture set end_lsn = 'FFFFFFFF/0'")
        .await;
    assert!(fixture.is_done(&[token(110, 2)]).await);
    assert!(!fixture.is_done(&[token(120, 1)]).await);
}

#[tokio::test]
async fn nobody_waits_for_what_the_log_does_not_have() {
    let mut fixture = fixture().await;
    fixture.append((10..20).map(|n| n * 10)).await;
    assert!(!fixture.is_done(&[token(90, 1)]).await, "it may come yet");
    fixture
        .run("delete from tidegate.event where log_offset <= 5")
        .await;
    assert!(fixture.is_done(&[token(90, 1)]).await, "retention took it");
    let of_another_history = WaitToken {
        xid: 5,
        lsn: Lsn(u64::MAX),
        deliveries: 1,
    };
    assert!(fixture.is_done(&[of_another_history]).await);
    fixture.run("delete from tidegate.event").await;
    assert!(fixture.is_done(&[token(90, 1)]).await);
}
