//! Replays: what is delivered again, what is passed over, and that a step happens once.

use tidegate_event::{Redelivery, RedeliveryKind, TriggerSet};
use tidegate_event_log::operation::{Command, Specification, State, Step};
use tidegate_event_log::replay::Replay;
use tidegate_event_log::{Error, EventLog};
use tidegate_testkit::Database;

use crate::fixture;

const NAME: &str = "afterSave:Item";

fn triggers() -> TriggerSet {
    [fixture::trigger()].into_iter().collect()
}

/// A log with so many events, each in a transaction of its own; everything is dispatched.
async fn log_of(events: u64) -> (Database, EventLog) {
    let (database, log) = fixture::log().await;
    let checkpoint = log.create_checkpoint(&fixture::checkpoint()).await.unwrap();
    let mut appender = log.appender(checkpoint).await.unwrap();
    let all: Vec<_> = (1..=events).map(|n| fixture::event(n * 8, 0)).collect();
    let end = all.last().unwrap().id.commit_lsn;
    appender.append(&all, end).await.unwrap();
    sql(
        &database,
        "update tidegate.dispatch set log_offset = 1000, settled_offset = 1000",
    )
    .await;
    (database, log)
}

async fn sql(database: &Database, statement: &str) {
    database
        .connect()
        .await
        .batch_execute(statement)
        .await
        .unwrap();
}

async fn outcome(database: &Database, log_offset: u64, status: &str) {
    sql(
        database,
        &format!(
            "insert into tidegate.outcome (log_offset, trigger, status, attempts, duration_us)
             values ({log_offset}, '{NAME}', '{status}', 1, 1)"
        ),
    )
    .await;
}

/// What an attempt of this event's delivery wrote.
async fn effect(database: &Database, log_offset: u64) {
    sql(
        database,
        &format!(
            "insert into tidegate.effect (cause, position, log_offset, kind, class, answer)
             select (body::json->>'id') || ':{NAME}', '0', log_offset, 'create', 'Run', '{{}}'
               from tidegate.event where log_offset = {log_offset}"
        ),
    )
    .await;
}

async fn start(log: &EventLog, replay: Replay) -> u64 {
    let end = log.last_offset().await.unwrap();
    let replay = Replay { end, ..replay };
    let total = log.count_replay(&replay, &triggers()).await.unwrap();
    let operation = log
        .create_operation(&Specification::Replay(replay), None, Some(total))
        .await
        .unwrap();
    operation.id
}

/// Steps to the end; returns (event's own offset in the log, redelivery) of what was appended.
async fn finish(log: &EventLog, id: u64, limit: usize) -> Vec<(u64, Redelivery)> {
    let before = log.last_offset().await.unwrap();
    while log.step(id, &triggers(), limit).await.unwrap() != Step::Ended {}
    let added = log.read(before, 1_000).await.unwrap();
    added
        .into_iter()
        .map(|entry| (entry.event.id.commit_lsn.0 / 8, entry.redelivery.unwrap()))
        .collect()
}

#[tokio::test]
async fn what_is_done_runs_afresh_what_is_dead_goes_on_and_what_is_under_way_is_passed_over() {
    let (database, log) = log_of(6).await;
    for (log_offset, status) in [
        (1, "done"),
        (2, "dead"),
        (3, "retry"),
        (4, "held"),
        (6, "done"),
    ] {
        outcome(&database, log_offset, status).await;
    }
    for log_offset in [1, 2] {
        effect(&database, log_offset).await;
    }
    let all = Replay::default();
    let plan = Replay {
        end: 6,
        ..all.clone()
    };
    let plan = log.plan_replay(&plan, &triggers()).await.unwrap();
    let id = start(&log, all).await;
    let added = finish(&log, id, 2).await;
    let again = |of, afresh| {
        let redelivery = Redelivery {
            kind: RedeliveryKind::Replay,
            operation: Some(id),
            triggers: vec![NAME.into()],
            of: Some(of),
            held: None,
            afresh,
        };
        (of, redelivery)
    };
    // 5 is settled without an outcome: the trigger is newer than the event.
    let expected = [
        again(1, true),
        again(2, false),
        again(5, true),
        again(6, true),
    ];
    assert_eq!(added, expected);
    assert_eq!(plan.deliveries, 4);
    let offsets: Vec<u64> = plan
        .first
        .iter()
        .map(|planned| planned.log_offset)
        .collect();
    assert_eq!(offsets, [1, 2, 5, 6]);
    let dead = log
        .recorded_outcome(2, &fixture::trigger())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(dead.status, tidegate_event_log::Status::Moved);
    let effects = database
        .connect()
        .await
        .query("select log_offset from tidegate.effect order by 1", &[])
        .await
        .unwrap();
    let effects: Vec<i64> = effects.iter().map(|row| row.get(0)).collect();
    assert_eq!(effects, [1, 8], "what the dead one wrote goes on with it");
    let operation = log.operation(id).await.unwrap().unwrap();
    assert_eq!((operation.state, operation.total), (State::Done, Some(6)));
    assert_eq!((operation.done, operation.appended), (6, 4));
}

#[tokio::test]
async fn an_entry_that_is_a_redelivery_is_replayed_only_when_it_died() {
    let (database, log) = log_of(1).await;
    outcome(&database, 1, "done").await;
    let first = start(&log, Replay::default()).await;
    assert_eq!(finish(&log, first, 10).await.len(), 1, "offset 2");
    outcome(&database, 2, "done").await;
    let second = start(&log, Replay::default()).await;
    let added = finish(&log, second, 10).await;
    assert_eq!(added[0].1.of, Some(1), "not also that of offset 2");
    assert_eq!(added.len(), 1, "offset 3");
    outcome(&database, 3, "dead").await;
    let dead = Replay {
        dead: true,
        ..Replay::default()
    };
    let third = start(&log, dead.clone()).await;
    let added = finish(&log, third, 10).await;
    assert_eq!((added.len(), added[0].1.of), (1, Some(3)));
    // Its effects are those of the replay that died: they are known by that one's number.
    assert_eq!(
        (added[0].1.afresh, added[0].1.operation),
        (true, Some(second))
    );
    let fourth = start(&log, dead).await;
    assert!(
        finish(&log, fourth, 10).await.is_empty(),
        "it goes on under offset 4 already"
    );
}

#[tokio::test]
async fn a_dead_letter_that_was_revived_and_done_can_be_replayed_by_its_event() {
    let (database, log) = log_of(1).await;
    outcome(&database, 1, "dead").await;
    let first = start(&log, Replay::default()).await;
    finish(&log, first, 10).await;
    let second = start(&log, Replay::default()).await;
    assert!(
        finish(&log, second, 10).await.is_empty(),
        "what it was moved to is under way"
    );
    outcome(&database, 2, "done").await;
    let ids = vec![fixture::event(8, 0).id];
    let third = start(
        &log,
        Replay {
            ids,
            ..Replay::default()
        },
    )
    .await;
    let added = finish(&log, third, 10).await;
    assert_eq!(
        (added.len(), added[0].1.of, added[0].1.afresh),
        (1, Some(1), true)
    );
}

#[tokio::test]
async fn each_part_of_a_filter_leaves_out_what_it_should() {
    let (database, log) = log_of(5).await;
    sql(&database, "update tidegate.event set commit_time = '2026-01-01Z'::timestamptz + log_offset * interval '1 hour'")
        .await;
    let lsn = |n: u64| Some(tidegate_event::Lsn(n * 8));
    let time = |hour: u32| Some(format!("2026-01-01T{hour:02}:00:00Z"));
    let none = Replay::default();
    let cases = [
        (
            Replay {
                from_lsn: lsn(4),
                ..none.clone()
            },
            vec![4, 5],
        ),
        (
            Replay {
                to_lsn: lsn(2),
                ..none.clone()
            },
            vec![1, 2],
        ),
        (
            Replay {
                since: time(2),
                until: time(3),
                ..none.clone()
            },
            vec![2, 3],
        ),
        (
            Replay {
                offsets: vec![2, 4],
                ..none.clone()
            },
            vec![2, 4],
        ),
        (
            Replay {
                class: Some("Other".into()),
                ..none.clone()
            },
            vec![],
        ),
        (
            Replay {
                class: Some("public.Item".into()),
                ..none.clone()
            },
            vec![1, 2, 3, 4, 5],
        ),
        (
            Replay {
                changes: vec![tidegate_event::Operation::Update],
                ..none.clone()
            },
            vec![],
        ),
        (
            Replay {
                changes: vec![tidegate_event::Operation::Insert],
                ..none.clone()
            },
            vec![1, 2, 3, 4, 5],
        ),
        (
            Replay {
                dead: true,
                ..none.clone()
            },
            vec![],
        ),
    ];
    for (replay, expected) in cases {
        let shown = format!("{replay:?}");
        let id = start(&log, replay).await;
        let added: Vec<u64> = finish(&log, id, 10)
            .await
            .into_iter()
            .map(|(n, _)| n)
            .collect();
        assert_eq!(added, expected, "{shown}");
    }
}

#[tokio::test]
async fn a_stopped_operation_takes_no_step_and_goes_on_where_it_was() {
    let (_database, log) = log_of(5).await;
    let id = start(&log, Replay::default()).await;
    let appended = log.step(id, &triggers(), 2).await.unwrap();
    assert_eq!(
        appended,
        Step::Appended {
            seen: 2,
            first: 6,
            last: 7,
            deliveries: 2
        }
    );
    log.command_operation(id, Command::Pause)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(log.step(id, &triggers(), 2).await.unwrap(), Step::Ended);
    assert!(
        log.command_operation(id, Command::Pause)
            .await
            .unwrap()
            .is_none()
    );
    log.command_operation(id, Command::Resume)
        .await
        .unwrap()
        .unwrap();
    let rest: Vec<u64> = finish(&log, id, 2)
        .await
        .into_iter()
        .map(|(n, _)| n)
        .collect();
    assert_eq!(rest, [3, 4, 5], "its own entries are after its end");
    assert!(
        log.command_operation(id, Command::Cancel)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn two_that_take_the_same_step_append_once() {
    let (_database, log) = log_of(40).await;
    let id = start(&log, Replay::default()).await;
    let all = triggers();
    loop {
        let (one, other) = tokio::join!(log.step(id, &all, 3), log.step(id, &all, 3));
        if one.unwrap() == Step::Ended && other.unwrap() == Step::Ended {
            break;
        }
    }
    let added = log.read(40, 1_000).await.unwrap();
    let of: Vec<u64> = added
        .iter()
        .map(|entry| entry.redelivery.as_ref().unwrap().of.unwrap())
        .collect();
    assert_eq!(of, (1..=40).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_trigger_that_the_release_lacks_fails_the_replay() {
    let (_database, log) = log_of(1).await;
    let gone = vec!["afterSave:Gone".to_owned()];
    let replay = Replay {
        triggers: gone,
        ..Replay::default()
    };
    let id = start(&log, replay).await;
    let error = log.step(id, &triggers(), 10).await.unwrap_err();
    assert!(matches!(error, Error::Operation { .. }), "{error}");
    assert!(error.to_string().contains("afterSave:Gone") && !error.is_transient());
}
