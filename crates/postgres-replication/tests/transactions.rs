//! Transactions, logical messages and their order; how messages are taken.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use postgres_replication::Message;

use crate::describe::describe;
use crate::fixture::{Fixture, next, next_change, until_end};

const TABLE: &str =
    "create table t (id int primary key, body text); create publication p for table t;";

#[tokio::test]
async fn what_rolls_back_leaves_no_trace() {
    let fixture = Fixture::new(TABLE).await;
    let mut stream = fixture.start().await;
    let lines = fixture
        .changes(
            &mut stream,
            "begin;
             select pg_logical_emit_message(true, 'tidegate', 'never');
             insert into t values (1, 'never');
             rollback;
             begin;
             insert into t values (2, 'kept');
             savepoint a;
             select pg_logical_emit_message(true, 'tidegate', 'undone');
             insert into t values (3, 'undone');
             rollback to a;
             insert into t values (4, 'kept');
             commit",
        )
        .await;
    let expected = [
        "begin",
        "relation public.t Default [id*, body]",
        r#"insert t ("2", "kept")"#,
        r#"insert t ("4", "kept")"#,
        "commit",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn logical_messages_stand_where_they_were_written() {
    let fixture = Fixture::new(TABLE).await;
    let mut stream = fixture.start().await;
    let lines = fixture
        .changes(
            &mut stream,
            "begin;
             insert into t values (1, 'a');
             select pg_logical_emit_message(true, 'tidegate', 'between');
             insert into t values (2, 'b');
             select pg_logical_emit_message(true, 'other', '');
             commit;
             select pg_logical_emit_message(false, 'loose', 'outside');",
        )
        .await;
    let expected = [
        "begin",
        "relation public.t Default [id*, body]",
        r#"insert t ("1", "a")"#,
        r#"message tidegate "between" transactional=true"#,
        r#"insert t ("2", "b")"#,
        r#"message other "" transactional=true"#,
        "commit",
        r#"message loose "outside" transactional=false"#,
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn transactions_come_whole_and_in_commit_order_with_their_xid() {
    let fixture = Fixture::new(TABLE).await;
    let second = fixture.database.connect().await;
    let mut stream = fixture.start().await;
    let xid = "select pg_current_xact_id()::text";
    fixture
        .execute("begin; insert into t values (1, 'first to begin')")
        .await;
    let late: String = fixture.sql.query_one(xid, &[]).await.unwrap().get(0);
    second
        .batch_execute("begin; insert into t values (2, 'first to commit')")
        .await
        .unwrap();
    let early: String = second.query_one(xid, &[]).await.unwrap().get(0);
    fixture
        .execute("insert into t values (3, 'still open')")
        .await;
    second.batch_execute("commit").await.unwrap();
    fixture.execute("commit").await;
    fixture.mark_end().await;

    let messages = until_end(&mut stream).await;
    let lines: Vec<_> = messages.iter().map(describe).collect();
    let expected = [
        "begin",
        "relation public.t Default [id*, body]",
        r#"insert t ("2", "first to commit")"#,
        "commit",
        "begin",
        r#"insert t ("1", "first to begin")"#,
        r#"insert t ("3", "still open")"#,
        "commit",
    ];
    assert_eq!(lines, expected);

    let transactions: Vec<_> = messages
        .iter()
        .filter_map(|message| match message {
            Message::Begin { xid, final_lsn, .. } => Some((xid.to_string(), *final_lsn)),
            _ => None,
        })
        .collect();
    assert_eq!(transactions[0].0, early);
    assert_eq!(transactions[1].0, late);
    let ends: Vec<_> = messages
        .iter()
        .filter_map(|message| match message {
            Message::Commit {
                commit_lsn,
                end_lsn,
                ..
            } => Some((*commit_lsn, *end_lsn)),
            _ => None,
        })
        .collect();
    assert_eq!(
        transactions[0].1, ends[0].0,
        "Begin and Commit name one commit record"
    );
    assert!(ends[0].0 < ends[0].1 && ends[0].1 <= ends[1].0 && ends[1].0 < ends[1].1);
}

#[tokio::test]
async fn commit_times_count_from_1970() {
    let fixture = Fixture::new(TABLE).await;
    let mut stream = fixture.start().await;
    fixture.execute("insert into t values (1, '')").await;
    let Message::Begin { commit_time_us, .. } = next_change(&mut stream).await else {
        panic!("a transaction begins with Begin");
    };
    let query = "select abs(extract(epoch from now()) * 1e6 - $1::text::numeric) < 60 * 1e6";
    let near = fixture
        .sql
        .query_one(query, &[&commit_time_us.to_string()])
        .await
        .unwrap();
    assert!(near.get::<_, bool>(0));
}

#[tokio::test]
async fn try_next_takes_what_is_there_and_does_not_wait() {
    let fixture = Fixture::new(TABLE).await;
    let mut stream = fixture.start().await;
    while let Some(message) = stream.try_next().unwrap() {
        assert!(
            matches!(message, Message::Keepalive { .. }),
            "nothing has been written"
        );
    }
    fixture
        .execute("insert into t select id, '' from generate_series(1, 20000) id")
        .await;
    let (mut rows, mut waits) = (0, 0);
    while rows < 20000 {
        let mut message = Some(next(&mut stream).await);
        waits += 1;
        while let Some(taken) = message {
            rows += usize::from(matches!(taken, Message::Insert { .. }));
            message = stream.try_next().unwrap();
        }
    }
    assert!(waits < 10000, "{waits} waits for 20000 rows are no batches");
}

#[tokio::test]
async fn a_cancelled_next_loses_nothing() {
    let fixture = Fixture::new(TABLE).await;
    let mut stream = fixture.start().await;
    fixture
        .execute("insert into t select id, repeat('x', 300) from generate_series(1, 20000) id")
        .await;
    fixture.mark_end().await;
    let (mut rows, mut cancelled) = (0, 0);
    loop {
        // Polled once and dropped: cancelled whenever it had to wait.
        let polled = {
            let mut next = pin!(stream.next());
            poll_fn(|context| Poll::Ready(next.as_mut().poll(context))).await
        };
        match polled {
            Poll::Ready(Ok(Message::Insert { .. })) => rows += 1,
            Poll::Ready(Ok(Message::Logical { .. })) => break,
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Pending => {
                cancelled += 1;
                tokio::task::yield_now().await;
            }
        }
    }
    assert_eq!(rows, 20000);
    assert!(cancelled > 0);
}
