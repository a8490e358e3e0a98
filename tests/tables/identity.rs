//! Replica identities: whole old rows only where they are needed, and what was before is given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::json;

use super::{events, identity, wait_for_events, write_code};
use crate::system::System;

const TABLES: &str = r#"
    create schema id;
    create table id.by_key (id int primary key, n int);
    create table id.whole (id int primary key, n int);
    create table id.keyless (n int, m int);
    create table id.nothing (id int primary key, n int);
    alter table id.nothing replica identity nothing;
    create table id.by_index (id int primary key, code text not null, n int);
    create unique index "by Code" on id.by_index (code);
    alter table id.by_index replica identity using index "by Code";
    create table id.whole_by_index (like id.by_index including all);
    create unique index "Code""2" on id.whole_by_index (code);
    alter table id.whole_by_index replica identity using index "Code""2";
    create table id.own_full (id int primary key, n int);
    alter table id.own_full replica identity full;
    insert into id.keyless values (0, 0);
"#;

const CODE: &str = r#"
    for (const name of ["by_key", "keyless", "nothing", "by_index", "own_full"])
      Parse.Cloud.afterSave("id." + name, () => {}, { original: false });
    for (const name of ["whole", "whole_by_index"])
      Parse.Cloud.afterSave("id." + name, () => {}, { original: true });
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identities_follow_the_handlers_and_are_given_back() {
    let mut system = System::prepare(CODE).await;
    let sql = system.sql().await;
    sql.batch_execute(TABLES).await.unwrap();

    // An application that goes on writing to a table without a key while that is published.
    let application = system.sql().await;
    let (stop, written) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU32::new(0)),
    );
    let (stopped, count) = (Arc::clone(&stop), Arc::clone(&written));
    let writes = tokio::spawn(async move {
        while !stopped.load(Ordering::Relaxed) {
            let update = "update id.keyless set m = m + 1";
            application.execute(update, &[]).await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    system.serve("capture");
    let so_far = written.load(Ordering::Relaxed);
    while written.load(Ordering::Relaxed) < so_far + 10 {
        crate::system::breathe().await;
    }
    stop.store(true, Ordering::Relaxed);
    writes.await.expect("no update failed");

    let remembered = |kind: &str, before: &str| (kind.to_owned(), Some(before.to_owned()));
    let untouched = |kind: &str| (kind.to_owned(), None);
    let expected = [
        ("id.by_key", untouched("d")),
        ("id.whole", remembered("f", "default")),
        ("id.keyless", remembered("f", "default")),
        ("id.nothing", remembered("d", "nothing")),
        ("id.by_index", untouched("i")),
        ("id.whole_by_index", remembered("f", "using index Code\"2")),
        ("id.own_full", untouched("f")),
    ];
    for (table, expected) in expected {
        assert_eq!(identity(&sql, table).await, expected, "{table}");
    }
    let before = events(&sql, "id").await.len();
    sql.batch_execute(
        "insert into id.by_key values (1, 1); update id.by_key set n = 2; delete from id.by_key;
         insert into id.whole values (1, 1); update id.whole set n = 2; delete from id.whole;
         insert into id.by_index values (1, 'a', 1); update id.by_index set n = 2; delete from id.by_index;
         insert into id.nothing values (1, 1); update id.nothing set n = 2;",
    )
    .await
    .unwrap();
    let found = wait_for_events(&sql, "id", before + 11).await;
    let of = |table: &str| {
        let events = found.iter().filter(|event| event["table"] == table);
        let seen = events.map(|event| json!([event["key"], event["old"], event["changed"]]));
        json!(seen.collect::<Vec<_>>())
    };
    let key = json!({"id": "1"});
    assert_eq!(
        of("by_key"),
        json!([[key, null, null], [key, null, null], [key, {"id": "1"}, null]])
    );
    assert_eq!(
        of("whole"),
        json!([[key, null, null], [key, {"id": "1", "n": "1"}, ["n"]], [key, {"id": "1", "n": "2"}, null]])
    );
    let code = json!({"code": "a"});
    assert_eq!(
        of("by_index"),
        json!([[code, null, null], [code, null, null], [code, code, null]])
    );

    // One handler stays and does not look at the row before any more.
    system.server(0).terminate();
    write_code(
        &system,
        r#"Parse.Cloud.afterSave("id.whole", () => {}, { original: false });"#,
    );
    system.serve("capture");
    system
        .wait_for_sql("select count(*) = 0 from tidegate.table_identity")
        .await;
    let given_back = [
        ("id.by_key", "d"),
        ("id.whole", "d"),
        ("id.keyless", "d"),
        ("id.nothing", "n"),
        ("id.by_index", "i"),
        ("id.whole_by_index", "i"),
        ("id.own_full", "f"),
    ];
    for (table, kind) in given_back {
        assert_eq!(identity(&sql, table).await, untouched(kind), "{table}");
    }
    let published = "select count(*) = 1 from pg_publication_rel";
    assert!(
        sql.query_one(published, &[])
            .await
            .unwrap()
            .get::<_, bool>(0)
    );
}

#[tokio::test]
async fn an_unchanged_large_value_is_read_from_its_table_and_then_logged() {
    let code = r#"
        for (const name of ["docs", "gone"])
          Parse.Cloud.afterSave("toast." + name, () => {}, { original: false });"#;
    let mut system = System::prepare(code).await;
    let sql = system.sql().await;
    for table in ["docs", "gone"] {
        sql.batch_execute(&format!(
            "create schema if not exists toast;
             create table toast.{table} (id char(4) primary key, doc text, pad char(9000), n int);
             alter table toast.{table} alter doc set storage external, alter pad set storage external;
             insert into toast.{table} values ('a', repeat('x', 9000), 'blank', 1);"
        ))
        .await
        .unwrap();
    }
    system.serve("capture");
    assert_eq!(identity(&sql, "toast.docs").await.0, "d");
    sql.batch_execute("update toast.docs set n = 2")
        .await
        .unwrap();
    let filled = &wait_for_events(&sql, "toast", 1).await[0];
    assert_eq!(filled["new"]["doc"], json!("x".repeat(9000)));
    assert_eq!(
        filled["new"]["pad"],
        json!(format!("{:9000}", "blank")),
        "with its blanks"
    );
    assert_eq!(filled.get("unchangedToast"), None);
    // From now on the WAL has it.
    system
        .wait_for_sql("select lacked_values from tidegate.table_identity where table_oid = 'toast.docs'::regclass")
        .await;
    sql.batch_execute("update toast.docs set n = 3")
        .await
        .unwrap();
    let logged = &wait_for_events(&sql, "toast", 2).await[1];
    assert_eq!(logged["old"]["doc"], logged["new"]["doc"]);
    assert_eq!(logged["changed"], json!(["n"]));

    system.server(0).terminate();
    sql.batch_execute("update toast.gone set n = 2")
        .await
        .unwrap();
    sql.batch_execute("delete from toast.gone").await.unwrap();
    system.serve("capture");
    let gone = &wait_for_events(&sql, "toast", 4).await[2];
    assert_eq!(gone["unchangedToast"], json!(["doc", "pad"]));
    assert_eq!(
        gone["new"],
        json!({"id": "a   ", "n": "2"}),
        "absent, not null"
    );
}

#[tokio::test]
async fn partitions_appear_as_their_root() {
    let code = r#"Parse.Cloud.afterSave("part.rows", () => {}, { original: true });"#;
    let mut system = System::prepare(code).await;
    let sql = system.sql().await;
    sql.batch_execute(
        "create schema part;
         create table part.rows (id int, region text, n int, doc text, primary key (id, region)) partition by list (region);
         create table part.a partition of part.rows for values in ('a');
         create table part.b partition of part.rows for values in ('b') partition by range (id);
         create table part.b1 partition of part.b for values from (0) to (1000);",
    )
    .await
    .unwrap();
    system.serve("capture");
    for leaf in ["part.a", "part.b1"] {
        assert_eq!(
            identity(&sql, leaf).await,
            ("f".into(), Some("default".into()))
        );
    }
    assert_eq!(identity(&sql, "part.rows").await, ("d".into(), None));
    // A partition that is made later, and one that leaves.
    sql.batch_execute(
        "create table part.c partition of part.rows for values in ('c'); notify \"schema.change\"",
    )
    .await
    .unwrap();
    let captured = "select relreplident = 'f' from pg_class where oid = 'part.c'::regclass";
    system.wait_for_sql(captured).await;
    sql.batch_execute(
        "insert into part.rows values (1, 'a', 1), (2, 'b', 1), (3, 'c', 1);
         update part.rows set n = 2; delete from part.rows where id = 3;
         truncate part.rows;",
    )
    .await
    .unwrap();
    let found = wait_for_events(&sql, "part", 8).await;
    assert!(
        found.iter().all(|event| event["table"] == "rows"),
        "{found:#?}"
    );
    let operations: Vec<_> = found
        .iter()
        .map(|event| event["operation"].as_str().unwrap())
        .collect();
    let expected = [
        "insert", "insert", "insert", "update", "update", "update", "delete", "truncate",
    ];
    assert_eq!(operations, expected);
    for (at, id, region) in [(3, "1", "a"), (4, "2", "b"), (5, "3", "c")] {
        let event = &found[at];
        assert_eq!(event["key"], json!({"id": id, "region": region}));
        assert_eq!(
            event["old"],
            json!({"id": id, "region": region, "n": "1", "doc": null})
        );
        assert_eq!(event["changed"], json!(["n"]));
    }
    sql.batch_execute("alter table part.rows detach partition part.c; notify \"schema.change\"")
        .await
        .unwrap();
    let given_back = "select relreplident = 'd' from pg_class where oid = 'part.c'::regclass";
    system.wait_for_sql(given_back).await;
}
