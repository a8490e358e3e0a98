//! What afterSave and afterDelete see of their event, and what becomes of what they say.

use reqwest::Method;
use serde_json::{Value, json};

use crate::system::System;

#[tokio::test]
async fn a_row_of_a_plain_table_says_where_it_comes_from_and_cannot_be_saved() {
    let mut system = System::prepare(
        r#"
        const note = async (request) => {
          const { object, source, depth, chain, truncated, xid, commitTime, eventId, attempt, replay } = request;
          let refusal = "none";
          await object.save().catch((error) => { refusal = error.message });
          await new Parse.Object("Note").save({
            trigger: request.triggerName, name: object.className, object: object.id, total: object.get("total") ?? 0,
            existed: object.existed(), source, depth, chain, truncated, transaction: xid, eventId, attempt, refusal,
            age: Math.abs(Date.now() - commitTime) / 1000, replayed: replay !== undefined,
          }, { useMasterKey: true });
        };
        Parse.Cloud.afterSave("public.invoices", note);
        Parse.Cloud.afterDelete("public.invoices", note);
        Parse.Cloud.afterSave("Note", async ({ object, source, depth, chain }) => {
          await new Parse.Object("Echo").save({ of: object.get("eventId"), source, depth, chain }, { useMasterKey: true });
        });
        "#,
    )
    .await;
    let sql = system.sql().await;
    sql.batch_execute("create table invoices (number integer primary key, total numeric)")
        .await
        .unwrap();
    system.serve("proxy,capture,dispatch,worker");
    system
        .wait_for_sql("select count(*) = 1 from pg_publication_tables where tablename = 'invoices'")
        .await;
    sql.batch_execute("insert into invoices values (7, 10.50)")
        .await
        .unwrap();
    sql.batch_execute("update invoices set total = 11")
        .await
        .unwrap();
    sql.batch_execute("delete from invoices").await.unwrap();
    let notes = system.wait_for_objects("Note", json!({}), 3).await;
    let expected = [
        json!({"trigger": "afterSave", "total": 10.5, "existed": false}),
        json!({"trigger": "afterSave", "total": 11, "existed": true}),
        json!({"trigger": "afterDelete", "total": 11}),
    ];
    for (note, expected) in notes.iter().zip(expected) {
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&note[field], value, "{field} of {note}");
        }
        let common = json!({"name": "public.invoices", "object": "7", "source": "sql", "depth": 0, "chain": [],
            "truncated": {}, "attempt": 1, "replayed": false});
        for (field, value) in common.as_object().unwrap() {
            assert_eq!(&note[field], value, "{field} of {note}");
        }
        assert!(note["refusal"].as_str().unwrap().contains("no Parse class"));
        assert!(note["transaction"].as_u64().unwrap() > 0 && note["age"].as_f64().unwrap() < 600.0);
    }
    let echoes = system.wait_for_objects("Echo", json!({}), 3).await;
    for note in &notes {
        let echo = echoes.iter().find(|echo| echo["of"] == note["eventId"]);
        let cause = format!(
            "{}:public.invoices {}",
            note["trigger"].as_str().unwrap(),
            note["eventId"].as_str().unwrap()
        );
        let expected = json!(["trigger", 1, [cause]]);
        let echo = echo.unwrap();
        assert_eq!(
            json!([echo["source"], echo["depth"], echo["chain"]]),
            expected
        );
    }
}

#[tokio::test]
async fn a_trigger_that_names_its_class_as_a_table_can_save_its_object() {
    let system = System::start(
        r#"
        Parse.Cloud.afterSave("public.Item", async ({ object }) => {
          if (!object.get("seen")) await object.save({ seen: true }, { useMasterKey: true });
        });
        "#,
    )
    .await;
    system
        .call(Method::POST, "classes/Item", json!({"n": 1}))
        .await;
    let seen = system
        .wait_for_objects("Item", json!({"seen": true}), 1)
        .await;
    assert_eq!(seen[0]["n"], json!(1));
}

#[tokio::test]
async fn what_a_failed_attempt_printed_is_kept_with_its_outcome() {
    let system = System::start(
        r#"
        Parse.Cloud.afterSave("Item", async ({ object, log }) => {
          console.log("looking at", { n: object.get("n") });
          log.warn("this will not end well");
          if (object.get("n") === 1) throw new Error("no");
        });
        "#,
    )
    .await;
    for n in [0, 1] {
        system
            .call(Method::POST, "classes/Item", json!({"n": n}))
            .await;
    }
    system
        .wait_for_sql("select count(*) = 1 from tidegate.outcome where logs is not null")
        .await;
    let query = "select logs from tidegate.outcome where logs is not null";
    let logs: String = system
        .sql()
        .await
        .query_one(query, &[])
        .await
        .unwrap()
        .get(0);
    let expected = "info: looking at { n: 1 }\nwarn: this will not end well";
    assert_eq!(Value::from(logs), Value::from(expected));
}
