//! Where beforeSave stands: behind the caller's rights, before the transaction.

use reqwest::Method;
use serde_json::{Value, json};

use super::listener::Listener;
use crate::system::System;
use crate::users::{as_user, sign_up};

#[tokio::test]
async fn a_trigger_runs_only_for_those_who_may_write() {
    let mut system = System::prepare(
        "Parse.Cloud.beforeSave('Note', ({ object }) => console.log('ran for ' + object.get('n')))",
    )
    .await;
    let server = system.serve("proxy,capture,dispatch,worker");
    let (ada, token) = sign_up(&system, "ada").await;
    let mut acl = json!({"*": {"read": true}});
    acl[&ada] = json!({"read": true, "write": true});
    let created = as_user(
        &system,
        &token,
        Method::POST,
        "classes/Note",
        json!({"n": 1, "ACL": acl}),
    )
    .await;
    let path = format!(
        "classes/Note/{}",
        created.body["objectId"].as_str().unwrap()
    );
    system
        .call(Method::PUT, &path, json!({"n": 2}))
        .await
        .expect_error(404, 101);
    system
        .call(Method::PUT, "classes/Note/aaaaaaaaaa", json!({"n": 3}))
        .await
        .expect_error(404, 101);
    assert_eq!(
        as_user(&system, &token, Method::PUT, &path, json!({"n": 4}))
            .await
            .status,
        200
    );
    let server = system.server(server);
    server.wait_for("ran for 4");
    let ran = server.wait_for_lines("ran for ", 2);
    assert_eq!(
        ran.iter()
            .map(|line| line["message"].as_str().unwrap())
            .collect::<Vec<_>>(),
        ["ran for 1", "ran for 4"]
    );
}

#[tokio::test]
async fn users_have_triggers_too_and_their_secrets_stay_hidden() {
    let system = System::start(
        r#"
        Parse.Cloud.beforeSave(Parse.User, ({ object, original }) => {
          if (object.get("username").length < 3) throw new Parse.Error(Parse.Error.VALIDATION_ERROR, "too short");
          object.set("nick", object.get("username").toUpperCase());
          const shown = JSON.stringify([original, original && original.attributes]);
          if (/password|sessionToken|\$2/.test(shown)) throw "a secret is shown: " + shown;
        });
        "#,
    )
    .await;
    let (id, token) = sign_up(&system, "ada").await;
    let me = as_user(&system, &token, Method::GET, "users/me", Value::Null).await;
    assert_eq!(me.body["nick"], "ADA");
    let short = system
        .call(
            Method::POST,
            "users",
            json!({"username": "al", "password": "x"}),
        )
        .await;
    assert_eq!(short.expect_error(400, 142), "too short");
    let path = format!("users/{id}");
    let changed = as_user(
        &system,
        &token,
        Method::PUT,
        &path,
        json!({"username": "adele", "password": "new one"}),
    )
    .await;
    assert_eq!(
        (changed.status, changed.body["nick"].as_str()),
        (200, Some("ADELE")),
        "{}",
        changed.body
    );
    let log_in = json!({"username": "adele", "password": "new one"});
    assert_eq!(
        system.call(Method::POST, "login", log_in).await.body["nick"],
        "ADELE"
    );
}

#[tokio::test]
async fn no_transaction_is_open_while_a_trigger_runs() {
    let mut system = System::prepare(
        "Parse.Cloud.beforeSave('Item', async ({ object }) => {
           const response = await fetch(object.get('url'));
           object.set('text', await response.text());
         });
         Parse.Cloud.afterSave('Item', () => {});",
    )
    .await;
    system.serve("proxy,capture,dispatch,worker");
    let listener = Listener::start().await;
    let save = system.call(
        Method::POST,
        "classes/Item",
        json!({"url": listener.url("/")}),
    );
    let look = async {
        let held = listener.next().await;
        let sql = system.sql().await;
        // A held transaction waits for its client; one with a statement under way is another task's and ends by itself.
        let open = "select count(*) from pg_stat_activity where datname = current_database()
                    and state like 'idle in transaction%' and backend_type = 'client backend'";
        let open: i64 = sql.query_one(open, &[]).await.unwrap().get(0);
        held.answer(200, "hello").await;
        open
    };
    let (saved, open) = tokio::join!(save, look);
    assert_eq!((saved.body["text"].as_str(), open), (Some("hello"), 0));
}
