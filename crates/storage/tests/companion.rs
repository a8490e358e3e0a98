//! Writes with statements of the caller's in their transaction.

use serde_json::{Value, json};
use tidegate_parse_protocol::Object;
use tidegate_storage::{Companion, Error};

use crate::fixture::{Fixture, delete, insert, update};

const RECORD: &str = "insert into diary (name, n) values ($1::text, $2::text::integer)";

/// A diary line of this name, with the number that the row came to have.
fn line(name: &str, rows: &[Option<Object>]) -> Vec<Companion> {
    let n = rows[0].as_ref().map_or(Value::Null, |row| row["n"].clone());
    vec![Companion {
        text: RECORD,
        params: vec![name.to_owned(), n.to_string()],
    }]
}

async fn fixture() -> Fixture {
    let fixture = Fixture::new().await;
    let sql = fixture.database.connect().await;
    let table = "create table diary (name text primary key, n integer check (n < 100))";
    sql.batch_execute(table).await.unwrap();
    fixture
}

async fn diary(fixture: &Fixture) -> Vec<(String, i32)> {
    let sql = fixture.database.connect().await;
    let rows = sql
        .query("select name, n from diary order by 1", &[])
        .await
        .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn a_companion_is_made_of_the_row_and_commits_with_it() {
    let fixture = fixture().await;
    let class = fixture.create("Order", "o", json!({"n": 1})).await;
    let plus = || {
        update(
            &class,
            "o",
            json!({"n": {"__op": "Increment", "amount": 1}}),
        )
    };
    let first = fixture
        .storage
        .commit_with(vec![plus()], |rows| line("a", rows))
        .await
        .unwrap();
    let both = vec![plus(), insert(&class, "p", json!({"n": 7}))];
    let second = fixture
        .storage
        .commit_with(both, |rows| {
            [line("b", rows), line("c", &rows[1..])].concat()
        })
        .await
        .unwrap();
    assert_eq!(
        diary(&fixture).await,
        [("a".into(), 2), ("b".into(), 3), ("c".into(), 7)]
    );
    assert!(first.xid > 0 && second.xid > first.xid && second.lsn > first.lsn);
}

#[tokio::test]
async fn a_companion_that_is_there_already_undoes_the_write_and_spoils_no_connection() {
    let fixture = fixture().await;
    let class = fixture.create("Order", "o", json!({"n": 1})).await;
    let commit = |name: &'static str, n: i32| {
        let write = vec![update(&class, "o", json!({"n": n}))];
        fixture
            .storage
            .commit_with(write, move |rows| line(name, rows))
    };
    commit("a", 2).await.unwrap();
    // More often than there are connections: each must come back usable.
    for _ in 0..20 {
        assert!(matches!(commit("a", 3).await, Err(Error::Conflict)));
    }
    let refused = commit("b", 100).await;
    assert!(matches!(refused, Err(Error::Constraint { .. })));
    let missing = fixture
        .storage
        .commit_with(vec![delete(&class, "x")], |rows| line("c", rows))
        .await;
    assert!(matches!(missing, Err(Error::NoRow { index: 0 })));
    assert_eq!(fixture.get(&class, "o").await.unwrap()["n"], 2);
    commit("b", 4).await.unwrap();
    assert_eq!(diary(&fixture).await, [("a".into(), 2), ("b".into(), 4)]);
}

#[tokio::test]
async fn of_many_writers_with_one_companion_one_wins() {
    let fixture = fixture().await;
    let class = fixture.create("Order", "o", json!({"n": 0})).await;
    let plus = || {
        update(
            &class,
            "o",
            json!({"n": {"__op": "Increment", "amount": 1}}),
        )
    };
    let commits = (0..8).map(|_| {
        fixture
            .storage
            .commit_with(vec![plus()], |rows| line("a", rows))
    });
    let results = futures_util::future::join_all(commits).await;
    let lost = |result: &&Result<_, Error>| matches!(result, Err(Error::Conflict));
    assert_eq!(results.iter().filter(lost).count(), 7, "{results:?}");
    assert_eq!(fixture.get(&class, "o").await.unwrap()["n"], 1);
}
