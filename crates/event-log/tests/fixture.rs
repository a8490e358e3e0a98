//! A log in a database of its own, and events to put into it.

use tidegate_event::change::FORMAT_VERSION;
use tidegate_event::{
    ChangeEvent, EventId, Lsn, Operation, RequestContext, Row, Trigger, TriggerKind,
};
use tidegate_event_log::{Checkpoint, Config, EventLog};
use tidegate_testkit::{Database, Postgres};

pub const SLOT: &str = "test";

pub async fn log() -> (Database, EventLog) {
    let database = Postgres::shared().create_database().await;
    let log = connect(&database).await;
    (database, log)
}

pub async fn connect(database: &Database) -> EventLog {
    let config = Config {
        database_url: database.url().to_owned(),
        max_connections: 4,
    };
    EventLog::connect(config).await.unwrap()
}

pub fn checkpoint() -> Checkpoint {
    Checkpoint {
        slot_name: SLOT.into(),
        epoch: 1,
        system_identifier: "1".into(),
        timeline: 1,
        commit_lsn: Lsn(0),
        ordinal: 0,
        end_lsn: Lsn(0),
        oldest_xid: None,
    }
}

/// The `ordinal`th change of the transaction that committed at `lsn`, now.
pub fn event(lsn: u64, ordinal: u32) -> ChangeEvent {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    ChangeEvent {
        v: FORMAT_VERSION,
        id: EventId {
            epoch: 1,
            commit_lsn: Lsn(lsn),
            ordinal,
        },
        xid: 7,
        commit_time_us: now.as_micros() as i64,
        schema: "public".into(),
        table: "Item".into(),
        operation: Operation::Insert,
        key: Row::from([("objectId".into(), Some("a".into()))]),
        old: None,
        new: Some(Row::from([
            ("objectId".into(), Some("a".into())),
            ("gone".into(), None),
        ])),
        changed: Vec::new(),
        unchanged_toast: Vec::new(),
        truncated: Default::default(),
        context: RequestContext::direct_sql(),
    }
}

pub fn trigger() -> Trigger {
    Trigger::code(TriggerKind::AfterSave, "Item")
}
