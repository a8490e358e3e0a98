//! Backfills beside writers, and what a kill -9 leaves of long work.

use std::collections::{BTreeMap, HashMap};

use super::*;

/// What `Run` says of each item: versions in the order in which they were delivered.
async fn versions(system: &System) -> BTreeMap<String, Vec<i64>> {
    let mut versions: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let rows = system
        .sql()
        .await
        .query(
            r#"select item, version::bigint from "Run" order by "createdAt", "objectId""#,
            &[],
        )
        .await
        .unwrap();
    for row in rows {
        versions.entry(row.get(0)).or_default().push(row.get(1));
    }
    versions
}

/// A class with rows, and no trigger until the server is started with one.
async fn with_rows_before_the_trigger(rows: usize) -> System {
    let mut system = System::prepare("").await;
    system.set("wait", false).set("lane_lease_ms", 1500);
    let first = system.serve(ALL);
    create(&system, "good").await;
    insert_items(&system, rows - 1).await;
    system.server(first).terminate();
    std::fs::write(system.project.path().join("cloud/main.js"), RECORDER).unwrap();
    system
}

/// Starts everything, and waits until it is the release that the command line sees.
async fn serve_all(system: &mut System) -> usize {
    let server = system.serve(ALL);
    let known = "select 'afterSave:Item' = any(triggers) from tidegate.dispatch";
    system.wait_for_sql(known).await;
    server
}

#[tokio::test]
async fn a_backfill_beside_writers_brings_every_row_to_its_last_version_and_never_back() {
    const ROWS: usize = 2_000;
    let mut system = with_rows_before_the_trigger(ROWS).await;
    serve_all(&mut system).await;
    let plan = ask(&system, &["triggers", "backfill", "Item", "--dry-run"]);
    assert_eq!(
        (&plan["rows"], &plan["triggers"]),
        (&json!(ROWS), &json!(["afterSave:Item"]))
    );
    let arguments = [
        "triggers", "backfill", "Item", "--chunk", "100", "--rate", "1500", "--detach",
    ];
    let operation = ask(&system, &arguments)["id"].clone();
    let writers = (0..4).map(|writer| {
        let url = system.database.url().to_owned();
        tokio::spawn(async move { write_until_done(&url, writer).await })
    });
    let writers: Vec<_> = writers.collect();
    wait_for_state(&system, &operation, "done").await;
    for writer in writers {
        writer.await.unwrap();
    }
    let updates = count(&system, r#"select sum(version)::bigint from "Item""#).await;
    assert!(updates > 0, "there were writers");
    let live = format!(
        "select count(*) >= {updates} from tidegate.event where redelivery is null and body::json ->> 'operation' = 'update'"
    );
    system.wait_for_sql(&live).await;
    system.wait_until_settled().await;

    let delivered = versions(&system).await;
    let last: HashMap<String, i64> = system
        .sql()
        .await
        .query(r#"select "objectId", version::bigint from "Item""#, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    assert_eq!(last.len(), ROWS);
    for (id, version) in &last {
        let ran = delivered
            .get(id)
            .unwrap_or_else(|| panic!("{id} was missed"));
        assert_eq!(
            ran.last(),
            Some(version),
            "{id} ends with its last version: {ran:?}"
        );
    }
    let out_of_order: Vec<_> = in_log_order(&system)
        .await
        .into_iter()
        .filter(|(_, versions)| !versions.is_sorted())
        .collect();
    assert!(out_of_order.is_empty(), "{out_of_order:?}");
    let told = system.find("Run", json!({"backfill": operation})).await;
    assert!(told.iter().all(|run| run["source"] == "backfill"));
    let appended =
        ask(&system, &["operations", "show", &operation.to_string()])["appended"].clone();
    assert_eq!(json!(told.len()), appended);
}

/// Versions of each item as the log has them, whatever brought them there.
async fn in_log_order(system: &System) -> BTreeMap<String, Vec<i64>> {
    let mut versions: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let query = r"select body::json -> 'new' ->> 'objectId', (body::json -> 'new' ->> 'version')::bigint
                    from tidegate.event where body::json ->> 'table' = 'Item' order by log_offset";
    for row in system.sql().await.query(query, &[]).await.unwrap() {
        versions.entry(row.get(0)).or_default().push(row.get(1));
    }
    versions
}

/// Raises versions of random rows, each in a transaction of its own, until no operation runs.
async fn write_until_done(url: &str, writer: usize) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let update = format!(
        r#"update "Item" set version = version + 1 where "objectId" in
              (select 'item' || to_char(1 + 4 * (random() * 498)::int + {writer}, 'FM00000') from generate_series(1, 4))"#
    );
    // So many at most, that a slow machine is not kept busy by what slows it down.
    for _ in 0..150 {
        client.batch_execute(&update).await.unwrap();
        let running = "select exists (select from tidegate.operation where state = 'running')";
        if !client
            .query_one(running, &[])
            .await
            .unwrap()
            .get::<_, bool>(0)
        {
            return;
        }
        breathe().await;
    }
}

#[tokio::test]
async fn a_server_killed_in_the_middle_of_a_backfill_or_a_replay_appends_each_event_once() {
    const ROWS: i64 = 400;
    let mut system = with_rows_before_the_trigger(ROWS as usize).await;
    let mut server = serve_all(&mut system).await;
    let asks: [&[&str]; 2] = [
        &[
            "triggers", "backfill", "Item", "--chunk", "10", "--rate", "150", "--detach",
        ],
        &[
            "events", "replay", "--class", "Item", "--rate", "150", "--detach",
        ],
    ];
    for (arguments, events) in asks.into_iter().zip([ROWS, 60]) {
        if arguments[0] == "events" {
            // Rows of a backfill are redeliveries; what is replayed is what was committed.
            let update =
                format!(r#"update "Item" set version = 1 where "objectId" <= 'item{events:05}'"#);
            system.sql().await.batch_execute(&update).await.unwrap();
            system
                .wait_for_sql(r"select count(*) >= 60 from tidegate.event where redelivery is null")
                .await;
            system.wait_until_settled().await;
        }
        let operation = ask(&system, arguments)["id"].clone();
        for part in [1, 2] {
            wait_for_entries(&system, &operation, (events * part / 4) as u64).await;
            system.server(server).kill();
            server = system.serve(ALL);
        }
        wait_for_state(&system, &operation, "done").await;
        system.wait_until_settled().await;
        let entries = format!(
            "select format('%s %s %s', count(*), count(distinct body::json -> 'key' ->> 'objectId'),
                           count(distinct (epoch, commit_lsn, ordinal)))
               from tidegate.event where redelivery::json ->> 'operation' = '{operation}'"
        );
        let entries: String = system
            .sql()
            .await
            .query_one(&entries, &[])
            .await
            .unwrap()
            .get(0);
        let committed = count(
            &system,
            r"select count(*) from tidegate.event where redelivery is null",
        )
        .await;
        let expected = if arguments[0] == "events" {
            committed
        } else {
            events
        };
        assert_eq!(
            entries,
            format!("{expected} {expected} {expected}"),
            "{arguments:?}"
        );
        let dense = "select last_offset - (select count(*) from tidegate.event) from tidegate.log";
        assert_eq!(count(&system, dense).await, 0, "offsets are dense");
    }
}
