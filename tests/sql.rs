//! Changes by psql, migrations and other programs fire the same after-triggers.

use reqwest::Method;
use serde_json::{Value, json};

use crate::system::System;

/// Writes down what an after-trigger was given.
const RECORDER: &str = r#"
const note = async (request) => {
  const entry = new Parse.Object("Note");
  await entry.save({
    trigger: request.triggerName,
    item: request.object.id,
    name: request.object.get("name"),
    was: request.original ? request.original.get("name") : null,
    source: request.source,
    master: request.master,
    user: request.user ? request.user.id : null,
    context: request.context,
    eventId: request.eventId,
  }, { useMasterKey: true });
};
Parse.Cloud.afterSave("Item", note);
Parse.Cloud.afterDelete("Item", note);
"#;

const INSERT: &str = r#"insert into "Item" ("objectId", "createdAt", "updatedAt", name) values ($1, now(), now(), $2)"#;

async fn with_items() -> System {
    let system = System::start(RECORDER).await;
    // The class comes into being by its first save.
    system
        .call(Method::POST, "classes/Item", json!({"name": "first"}))
        .await;
    system
        .wait_for_objects("Note", json!({"name": "first"}), 1)
        .await;
    // From then on updates carry the old row: capture sees to it within a moment.
    system
        .wait_for_sql(r#"select relreplident = 'f' from pg_class where oid = '"Item"'::regclass"#)
        .await;
    system
}

#[tokio::test]
async fn insert_update_and_delete_fire_with_object_and_original() {
    let system = with_items().await;
    let sql = system.sql().await;
    sql.execute(INSERT, &[&"row0000001", &"lamp"])
        .await
        .unwrap();
    sql.execute(
        r#"update "Item" set name = 'desk' where "objectId" = 'row0000001'"#,
        &[],
    )
    .await
    .unwrap();
    sql.execute(r#"delete from "Item" where "objectId" = 'row0000001'"#, &[])
        .await
        .unwrap();
    let notes = system
        .wait_for_objects("Note", json!({"item": "row0000001"}), 3)
        .await;
    let seen: Vec<Value> = notes
        .iter()
        .map(|note| json!([note["trigger"], note["name"], note["was"]]))
        .collect();
    let expected = [
        json!(["afterSave", "lamp", null]),
        json!(["afterSave", "desk", "lamp"]),
        json!(["afterDelete", "desk", null]),
    ];
    assert_eq!(seen, expected, "in commit order");
    for note in &notes {
        assert_eq!(
            (&note["source"], &note["master"], &note["user"]),
            (&json!("sql"), &json!(true), &Value::Null)
        );
    }
}

#[tokio::test]
async fn a_rolled_back_transaction_fires_nothing() {
    let system = with_items().await;
    let mut sql = system.sql().await;
    let tx = sql.transaction().await.unwrap();
    tx.execute(INSERT, &[&"rolledback", &"never"])
        .await
        .unwrap();
    tx.rollback().await.unwrap();
    sql.execute(INSERT, &[&"afterwards", &"later"])
        .await
        .unwrap();
    system
        .wait_for_objects("Note", json!({"name": "later"}), 1)
        .await;
    system.wait_until_settled().await;
    assert_eq!(
        system.find("Note", json!({"name": "never"})).await,
        Vec::<Value>::new()
    );
}

#[tokio::test]
async fn a_program_can_say_who_writes() {
    let system = with_items().await;
    let user = json!({"username": "ada", "password": "secret"});
    let user_id = system.call(Method::POST, "users", user).await.body["objectId"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut sql = system.sql().await;
    let tx = sql.transaction().await.unwrap();
    let context = json!({"user": user_id, "master": false, "context": {"import": 12}}).to_string();
    tx.execute("select tidegate.set_context($1::text::jsonb)", &[&context])
        .await
        .unwrap();
    tx.execute(INSERT, &[&"imported01", &"imported"])
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let notes = system
        .wait_for_objects("Note", json!({"name": "imported"}), 1)
        .await;
    assert_eq!(
        (&notes[0]["user"], &notes[0]["source"]),
        (&json!(user_id), &json!("sql"))
    );
    assert_eq!(
        (&notes[0]["master"], &notes[0]["context"]),
        (&json!(false), &json!({"import": 12}))
    );
}

#[tokio::test]
async fn a_copy_of_a_hundred_thousand_rows_fires_a_hundred_thousand_times() {
    let system = System::start("Parse.Cloud.afterSave('Bulk', () => {})").await;
    system
        .call(Method::POST, "classes/Bulk", json!({"n": 0}))
        .await;
    let sql = system.sql().await;
    let copied = sql
        .execute(
            r#"insert into "Bulk" ("objectId", "createdAt", "updatedAt", n)
               select 'b' || lpad(n::text, 9, '0'), now(), now(), n from generate_series(1, 100000) n"#,
            &[],
        )
        .await
        .unwrap();
    assert_eq!(copied, 100_000);
    system
        .wait_for_sql("select count(*) >= 100001 from tidegate.outcome where status = 'done'")
        .await;
    let row = sql
        .query_one(
            "select (select count(*) from tidegate.outcome), (select count(*) from tidegate.event),
                    (select count(distinct (commit_lsn, ordinal)) from tidegate.event)",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(
        (
            row.get::<_, i64>(0),
            row.get::<_, i64>(1),
            row.get::<_, i64>(2)
        ),
        (100_001, 100_001, 100_001)
    );
}

#[tokio::test]
async fn a_plain_table_has_after_triggers_by_its_name() {
    let system = System::prepare(
        r#"
        Parse.Cloud.afterSave("billing.invoices", async (request) => {
          const entry = new Parse.Object("Note");
          await entry.save({
            number: request.object.get("number"), total: request.object.get("total"),
            was: request.original ? request.original.get("total") : null,
          }, { useMasterKey: true });
        });
        "#,
    )
    .await;
    let sql = system.sql().await;
    sql.batch_execute("create schema billing; create table billing.invoices (number integer primary key, total numeric)")
        .await
        .unwrap();
    let mut system = system;
    system.serve("proxy,capture,dispatch,worker");
    system
        .wait_for_sql("select count(*) = 1 from pg_publication_tables where tablename = 'invoices'")
        .await;
    sql.batch_execute(
        "insert into billing.invoices values (7, 10.50); update billing.invoices set total = 11",
    )
    .await
    .unwrap();
    let notes = system.wait_for_objects("Note", json!({}), 2).await;
    assert_eq!(
        (notes[0]["number"].as_u64(), notes[1]["number"].as_u64()),
        (Some(7), Some(7))
    );
    assert_ne!(notes[1]["was"], Value::Null);
}

#[tokio::test]
async fn a_large_value_that_did_not_change_is_still_there() {
    let system = System::start(
        r#"
        Parse.Cloud.afterSave("Doc", async (request) => {
          const entry = new Parse.Object("Note");
          await entry.save({ size: (request.object.get("text") || "").length, n: request.object.get("n") }, { useMasterKey: true });
        });
        "#,
    )
    .await;
    let text: String = (0..40_000)
        .map(|n| char::from(b'a' + (n * 7 % 26) as u8))
        .collect();
    let created = system
        .call(Method::POST, "classes/Doc", json!({"text": text, "n": 1}))
        .await;
    let path = format!("classes/Doc/{}", created.body["objectId"].as_str().unwrap());
    system.call(Method::PUT, &path, json!({"n": 2})).await;
    let notes = system.wait_for_objects("Note", json!({"n": 2}), 1).await;
    assert_eq!(notes[0]["size"].as_u64(), Some(40_000));
}

#[tokio::test]
async fn secrets_stay_out_of_the_event_log() {
    let system = System::start(
        r#"
        Parse.Cloud.afterSave(Parse.User, async (request) => {
          const entry = new Parse.Object("Note");
          await entry.save({ username: request.object.get("username"), keys: Object.keys(request.object.toJSON()) }, { useMasterKey: true });
        });
        "#,
    )
    .await;
    let user =
        json!({"username": "ada", "password": "the secret of ada", "email": "ada@example.com"});
    let token = system.call(Method::POST, "users", user).await.body["sessionToken"]
        .as_str()
        .unwrap()
        .to_owned();
    system
        .wait_for_objects("Note", json!({"username": "ada"}), 1)
        .await;
    let sql = system.sql().await;
    let hash: String = sql
        .query_one(r#"select _hashed_password from "_User""#, &[])
        .await
        .unwrap()
        .get(0);
    let bodies: String = sql
        .query_one("select string_agg(body, ' ') from tidegate.event", &[])
        .await
        .unwrap()
        .get(0);
    assert!(
        bodies.contains("ada@example.com"),
        "the user's change is in the log"
    );
    for secret in [
        "the secret of ada",
        hash.as_str(),
        token.as_str(),
        "_hashed_password",
    ] {
        assert!(!bodies.contains(secret), "{secret} is in the event log");
    }
}
