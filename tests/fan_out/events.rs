//! `GET /events`.

use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::stream::{Event, KEYS, Stream, ask};
use super::{Writer, version};
use crate::system::{APP_ID, MASTER_KEY, PATIENCE, System, breathe};

const ROLES: &str = "proxy,capture,dispatch,worker";

async fn start() -> System {
    let mut system = System::prepare("").await;
    system.set("capture", "Item, billing.invoices").serve(ROLES);
    system
}

fn versions(events: &[Event]) -> Vec<i64> {
    events.iter().map(|event| version(&event.data)).collect()
}

#[tokio::test]
async fn events_arrive_in_order_and_a_client_that_comes_back_goes_on_where_it_was() {
    let system = start().await;
    let mut writer = Writer::new(&system).await;
    writer.write(19).await;
    let mut stream = Stream::open(&system, "from=start").await;
    let first = stream.take_events(7).await;
    // What it has taken in beyond that is lost with the connection, and comes again.
    stream.last_id = Some(first[6].id.to_string());
    let mut stream = stream.resume(&system, "from=start").await;
    writer.write(20).await;
    let second = stream.take_events(33).await;
    let events: Vec<Event> = first.into_iter().chain(second).collect();
    assert_eq!(versions(&events), writer.versions());
    let offsets: Vec<u64> = events.iter().map(|event| event.id).collect();
    assert_eq!(offsets, (1..=40).collect::<Vec<u64>>(), "dense, from 1");

    let (created, updated) = (&events[0], &events[1]);
    assert_eq!(
        (created.name.as_str(), updated.name.as_str()),
        ("insert", "update")
    );
    assert_eq!(created.data["logOffset"], 1);
    assert_eq!(
        created.data["context"]["source"], "api",
        "the context came with it"
    );
    assert_eq!(updated.data["context"]["source"], "sql");
    assert_eq!(updated.data["table"], "Item");

    // From now on: nothing of what was, also when the connection is lost before anything comes.
    let mut stream = Stream::open(&system, "").await;
    assert!(stream.try_next_now().await.is_none());
    let mut stream = {
        writer.write(1).await;
        stream.resume(&system, "").await
    };
    assert_eq!(version(&stream.next().await.data), 40);
    let mut stream = Stream::open(&system, "after=39").await;
    assert_eq!(stream.next().await.id, 40);
}

impl Stream {
    /// Takes in the first sign of life, which says where the stream begins.
    async fn try_next_now(&mut self) -> Option<Event> {
        while self.last_id.is_none() {
            let taking =
                tokio::time::timeout(std::time::Duration::from_millis(50), self.try_next());
            if let Ok(event) = taking.await {
                return event;
            }
        }
        None
    }
}

#[tokio::test]
async fn only_the_master_key_opens_the_stream_and_a_wrong_request_is_told_why() {
    let system = start().await;
    let status = async |headers: &[(&str, &str)]| ask(&system, "", headers).await.status();
    assert_eq!(status(&[]).await, 401);
    assert_eq!(status(&[("X-Parse-Application-Id", APP_ID)]).await, 401);
    assert_eq!(
        status(&[KEYS[0], ("X-Parse-Master-Key", "wrong")]).await,
        403
    );
    let other = [
        ("X-Parse-Application-Id", "other"),
        ("X-Parse-Master-Key", MASTER_KEY),
    ];
    assert_eq!(status(&other).await, 403);
    let refused = ask(&system, "after=1000000", &KEYS).await;
    assert_eq!(refused.status(), 400);
    assert!(
        refused
            .text()
            .await
            .unwrap()
            .contains("behind the end of the log")
    );
    let refused = ask(&system, "operation=upsert", &KEYS).await;
    assert_eq!(refused.status(), 400);
    assert!(refused.text().await.unwrap().contains("operation must be"));
}

#[tokio::test]
async fn filters_let_through_what_they_name() {
    let system = start().await;
    let sql = system.sql().await;
    let id = {
        let item = system
            .call(Method::POST, "classes/Item", json!({"n": 1}))
            .await;
        item.body["objectId"].as_str().unwrap().to_owned()
    };
    sql.batch_execute(
        "create schema billing;
         create table billing.invoices (id integer primary key, secret bytea);",
    )
    .await
    .unwrap();
    system
        .wait_for_sql(
            "select exists (select from pg_publication_tables where tablename = 'invoices')",
        )
        .await;
    sql.batch_execute(
        "insert into billing.invoices (id) values (7);
         update billing.invoices set id = 8; delete from billing.invoices; truncate billing.invoices;
         update \"Item\" set n = 2",
    )
    .await
    .unwrap();
    system
        .wait_for_sql("select count(*) = 6 from tidegate.event")
        .await;
    // A replayed entry, as operations append it.
    sql.batch_execute(
        "with log as (update tidegate.log set last_offset = last_offset + 1 returning last_offset)
         insert into tidegate.event (log_offset, commit_time, epoch, commit_lsn, ordinal, xid, redelivery, body)
         select last_offset, commit_time, epoch, commit_lsn, ordinal, xid,
                '{\"kind\":\"replay\",\"triggers\":[\"afterSave:Item\"],\"of\":1}', body
           from log, tidegate.event where log_offset = 1",
    )
    .await
    .unwrap();
    let found = async |query: &str, count: usize| {
        let mut stream = Stream::open(&system, &format!("from=start&{query}")).await;
        let events = stream.take_events(count).await;
        events.iter().map(|event| event.id).collect::<Vec<u64>>()
    };
    assert_eq!(found("class=Item", 2).await, [1, 6]);
    assert_eq!(found("class=public.Item", 2).await, [1, 6]);
    assert_eq!(found("class=billing.invoices", 4).await, [2, 3, 4, 5]);
    assert_eq!(
        found("class=Nothing&class=Item,billing.invoices", 6).await,
        [1, 2, 3, 4, 5, 6]
    );
    assert_eq!(found("operation=delete,truncate", 2).await, [4, 5]);
    assert_eq!(found("source=api", 1).await, [1]);
    assert_eq!(found(&format!("id={id}&source=sql"), 1).await, [6]);
    assert_eq!(found("id=8&operation=update", 1).await, [3]);
    let time = "select to_char(commit_time at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
                  from tidegate.event where log_offset = 2";
    let time: String = sql.query_one(time, &[]).await.unwrap().get(0);
    assert_eq!(found(&format!("since={time}&class=Item"), 1).await, [6]);
    assert_eq!(found(&format!("since={time}"), 1).await, [2]);
    let mut stream = Stream::open(&system, "after=5&redeliveries=true").await;
    let events = stream.take_events(2).await;
    assert_eq!(
        (events[1].id, &events[1].data["redelivery"]["kind"]),
        (7, &json!("replay"))
    );
    assert_eq!(
        events[1].data["id"],
        events_id(&system).await,
        "the id of what it repeats"
    );
}

async fn events_id(system: &System) -> serde_json::Value {
    let mut stream = Stream::open(system, "from=start").await;
    stream.next().await.data["id"].clone()
}

#[tokio::test]
async fn nothing_is_missed_when_the_server_is_killed() {
    let mut system = start().await;
    let mut running = 0;
    let mut writer = Writer::new(&system).await;
    let mut stream = Stream::open(&system, "from=start").await;
    let mut events = Vec::new();
    for _ in 0..2 {
        writer.write(30).await;
        // Somewhere in the middle; what the client has is what it has read to its end.
        events.extend(stream.take_events(11).await);
        system.server(running).kill();
        writer.write(30).await;
        while let Some(event) = stream.try_next().await {
            events.push(event);
        }
        running = system.serve(ROLES);
        stream = stream.resume(&system, "from=start").await;
    }
    events.extend(stream.take_events(121 - events.len()).await);
    assert_eq!(versions(&events), writer.versions(), "each once, in order");
}

#[tokio::test]
async fn a_hole_that_retention_left_is_announced() {
    let system = start().await;
    let mut writer = Writer::new(&system).await;
    writer.write(11).await;
    system
        .wait_for_sql("select count(*) = 12 from tidegate.event")
        .await;
    let sql = system.sql().await;
    sql.batch_execute("delete from tidegate.event where log_offset <= 5 or log_offset = 8")
        .await
        .unwrap();
    let mut stream = Stream::open(&system, "after=2").await;
    let gap = stream.next().await;
    assert_eq!(
        (gap.name.as_str(), gap.id, &gap.data),
        ("gap", 5, &json!({"from": 3, "to": 5}))
    );
    let ids: Vec<u64> = stream
        .take_events(3)
        .await
        .iter()
        .map(|event| event.id)
        .collect();
    assert_eq!(ids, [6, 7, 8], "8 is the second gap");
    assert_eq!(Stream::open(&system, "from=start").await.next().await.id, 6);

    sql.batch_execute("delete from tidegate.event")
        .await
        .unwrap();
    let mut stream = Stream::open(&system, "after=9").await;
    assert_eq!(stream.next().await.data, json!({"from": 10, "to": 12}));
    writer.write(1).await;
    assert_eq!(stream.next().await.id, 13);
}

#[tokio::test]
async fn a_place_is_free_again_when_a_client_has_left() {
    let mut system = System::prepare("").await;
    system.set("event_stream_clients", 1).serve(ROLES);
    let stream = Stream::open(&system, "").await;
    let refused = ask(&system, "", &KEYS).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    assert!(
        refused
            .text()
            .await
            .unwrap()
            .contains("event_stream_clients")
    );
    drop(stream);
    let begun = std::time::Instant::now();
    while ask(&system, "", &KEYS).await.status() != 200 {
        assert!(begun.elapsed() < PATIENCE, "the place is never free");
        breathe().await;
    }
}

#[tokio::test]
async fn all_clients_share_one_listening_connection() {
    let mut system = start().await;
    system.server(0).wait_for("leading dispatch");
    let mut writer = Writer::new(&system).await;
    let sql = system.sql().await;
    let count = "select count(*) from pg_stat_activity
                  where datname = current_database() and query = 'listen tidegate_event'";
    let listening = async || sql.query_one(count, &[]).await.unwrap().get::<_, i64>(0);
    let before = listening().await;
    let mut streams = vec![Stream::open(&system, "after=0").await];
    system
        .wait_for_sql(&format!("select ({count}) = {before} + 1"))
        .await;
    for _ in 0..3 {
        streams.push(Stream::open(&system, "after=0").await);
    }
    writer.write(5).await;
    for stream in &mut streams {
        assert_eq!(versions(&stream.take_events(6).await), writer.versions());
    }
    assert_eq!(listening().await, before + 1);
}

#[tokio::test]
async fn a_client_that_takes_nothing_holds_up_neither_others_nor_a_shutdown() {
    let mut system = System::prepare("").await;
    system
        .set("capture", "Item")
        .set("drain_timeout_ms", 3_600_000)
        .serve(ROLES);
    let mut writer = Writer::new(&system).await;
    let sql = system.sql().await;
    // More than the sockets' buffers hold.
    sql.batch_execute(
        "alter table \"Item\" add column filler text;
         insert into \"Item\" (\"objectId\", version, filler)
         select 'filler' || n, 0, repeat('x', 100000) from generate_series(1, 200) as n",
    )
    .await
    .unwrap();
    let address = system.url().trim_start_matches("http://").to_owned();
    let mut stalled = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /events?from=start HTTP/1.1\r\nHost: x\r\nX-Parse-Application-Id: {APP_ID}\r\n\
         X-Parse-Master-Key: {MASTER_KEY}\r\n\r\n"
    );
    stalled.write_all(request.as_bytes()).await.unwrap();
    let mut stream = Stream::open(&system, "from=start").await;
    assert_eq!(stream.take_events(201).await.len(), 201);
    writer.write(1).await;
    assert_eq!(stream.take_events(201).await.len(), 201);
    let server = system.server(0);
    assert_eq!(
        server.terminate(),
        Some(0),
        "it does not wait out its drain time-out"
    );
    assert!(stream.try_next().await.is_none(), "the stream ended, whole");
    drop(stalled);
}
