//! Users, sessions and access lists.

use reqwest::Method;
use serde_json::{Value, json};

use crate::system::{Reply, System};

/// A new user's id and session token.
pub async fn sign_up(system: &System, name: &str) -> (String, String) {
    let user = json!({"username": name, "password": "correct horse", "email": format!("{name}@example.com")});
    let reply = system.call(Method::POST, "users", user).await;
    assert_eq!(reply.status, 201, "{}", reply.body);
    let text = |field: &str| reply.body[field].as_str().unwrap().to_owned();
    assert!(text("sessionToken").starts_with("r:"));
    (text("objectId"), text("sessionToken"))
}

pub async fn as_user(
    system: &System,
    token: &str,
    method: Method,
    path: &str,
    body: Value,
) -> Reply {
    system
        .request(method, path, body, &[("X-Parse-Session-Token", token)])
        .await
}

#[tokio::test]
async fn a_user_signs_up_logs_in_and_logs_out() {
    let system =
        System::start("Parse.Cloud.define('who', (r) => r.user && r.user.get('username'))").await;
    let (id, token) = sign_up(&system, "ada").await;
    let me = as_user(&system, &token, Method::GET, "users/me", Value::Null).await;
    assert_eq!(
        (
            me.status,
            me.body["objectId"].as_str(),
            me.body["sessionToken"].as_str()
        ),
        (200, Some(&*id), Some(&*token))
    );
    let secrets = ["password", "_hashed_password"]
        .into_iter()
        .filter(|field| me.body.get(field).is_some());
    assert_eq!(secrets.count(), 0);
    let who = as_user(&system, &token, Method::POST, "functions/who", json!({})).await;
    assert_eq!(who.body["result"], "ada");

    let log_in = |password: &'static str| {
        system.call(
            Method::POST,
            "login",
            json!({"username": "ada", "password": password}),
        )
    };
    log_in("wrong").await.expect_error(404, 101);
    let again = log_in("correct horse").await.body["sessionToken"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_ne!(again, token);
    let by_email = json!({"email": "ada@example.com", "password": "correct horse"});
    assert_eq!(
        system.call(Method::POST, "login", by_email).await.status,
        200
    );

    assert_eq!(
        as_user(&system, &again, Method::POST, "logout", json!({}))
            .await
            .status,
        200
    );
    as_user(&system, &again, Method::GET, "users/me", Value::Null)
        .await
        .expect_error(400, 209);
    assert_eq!(
        as_user(&system, &token, Method::GET, "users/me", Value::Null)
            .await
            .status,
        200,
        "the other session lives"
    );
    as_user(
        &system,
        "r:00000000000000000000000000000000",
        Method::POST,
        "functions/who",
        json!({}),
    )
    .await
    .expect_error(400, 209);
}

#[tokio::test]
async fn names_addresses_and_passwords_are_checked() {
    let system = System::start("").await;
    sign_up(&system, "ada").await;
    let refused = |user: Value| {
        let system = &system;
        async move { system.call(Method::POST, "users", user).await.body["code"].as_u64() }
    };
    assert_eq!(
        refused(json!({"username": "ada", "password": "x"})).await,
        Some(202)
    );
    assert_eq!(
        refused(json!({"username": "bob", "password": "x", "email": "ada@example.com"})).await,
        Some(203)
    );
    assert_eq!(refused(json!({"password": "x"})).await, Some(200));
    assert_eq!(refused(json!({"username": "bob"})).await, Some(201));
    assert_eq!(
        refused(json!({"username": "bob", "password": "x", "email": "nonsense"})).await,
        Some(125)
    );
    assert_eq!(
        refused(json!({"username": "bob", "password": "x".repeat(73)})).await,
        Some(142)
    );
    assert_eq!(system.find("_User", json!({})).await.len(), 1);
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions() {
    let system = System::start("").await;
    let (id, first) = sign_up(&system, "ada").await;
    let log_in = json!({"username": "ada", "password": "correct horse"});
    let second = system.call(Method::POST, "login", log_in).await.body["sessionToken"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("users/{id}");
    assert_eq!(
        as_user(
            &system,
            &first,
            Method::PUT,
            &path,
            json!({"password": "new"})
        )
        .await
        .status,
        200
    );
    as_user(&system, &second, Method::GET, "users/me", Value::Null)
        .await
        .expect_error(400, 209);
    assert_eq!(
        as_user(&system, &first, Method::GET, "users/me", Value::Null)
            .await
            .status,
        200
    );
    assert_eq!(
        system
            .call(
                Method::POST,
                "login",
                json!({"username": "ada", "password": "new"})
            )
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn an_access_list_hides_and_protects_an_object() {
    let system = System::start("").await;
    let (ada, ada_token) = sign_up(&system, "ada").await;
    let (_, bob_token) = sign_up(&system, "bob").await;
    let mut acl = json!({});
    acl[&ada] = json!({"read": true, "write": true});
    let note = json!({"text": "private", "ACL": acl});
    let created = as_user(&system, &ada_token, Method::POST, "classes/Note", note).await;
    let path = format!(
        "classes/Note/{}",
        created.body["objectId"].as_str().unwrap()
    );

    assert_eq!(
        as_user(&system, &ada_token, Method::GET, &path, Value::Null)
            .await
            .body["ACL"],
        acl
    );
    as_user(&system, &bob_token, Method::GET, &path, Value::Null)
        .await
        .expect_error(404, 101);
    as_user(
        &system,
        &bob_token,
        Method::PUT,
        &path,
        json!({"text": "mine"}),
    )
    .await
    .expect_error(404, 101);
    as_user(&system, &bob_token, Method::DELETE, &path, Value::Null)
        .await
        .expect_error(404, 101);
    let found = as_user(
        &system,
        &bob_token,
        Method::GET,
        "classes/Note",
        Value::Null,
    )
    .await;
    assert_eq!(found.body["results"], json!([]));
    assert_eq!(
        system.find("Note", json!({})).await.len(),
        1,
        "the master key sees all"
    );
    assert_eq!(
        as_user(
            &system,
            &ada_token,
            Method::PUT,
            &path,
            json!({"text": "still mine"})
        )
        .await
        .status,
        200
    );
}

#[tokio::test]
async fn a_user_cannot_change_another_and_no_secret_is_shown() {
    let system = System::start("").await;
    let (ada, _) = sign_up(&system, "ada").await;
    let (_, bob_token) = sign_up(&system, "bob").await;
    let path = format!("users/{ada}");
    let refused = as_user(
        &system,
        &bob_token,
        Method::PUT,
        &path,
        json!({"username": "eve"}),
    )
    .await;
    assert!(refused.status >= 400, "{}", refused.body);
    let sessions = as_user(&system, &bob_token, Method::GET, "sessions", Value::Null).await;
    assert_eq!(
        sessions.body["results"].as_array().unwrap().len(),
        1,
        "a user sees their own sessions alone"
    );
    let users = system.find("_User", json!({})).await;
    let text = serde_json::to_string(&users).unwrap();
    assert!(
        !text.contains("_hashed_password") && !text.contains("$2"),
        "{text}"
    );
}

#[tokio::test]
async fn a_session_cannot_be_turned_into_somebody_elses() {
    let system = System::start("").await;
    let (ada, _) = sign_up(&system, "ada").await;
    let (bob, token) = sign_up(&system, "bob").await;
    let me = as_user(&system, &token, Method::GET, "sessions/me", Value::Null).await;
    let path = format!("sessions/{}", me.body["objectId"].as_str().unwrap());
    let victim = json!({"__type": "Pointer", "className": "_User", "objectId": ada});
    for change in [
        json!({"user": victim}),
        json!({"sessionToken": "r:00000000000000000000000000000000"}),
        json!({"expiresAt": {"__type": "Date", "iso": "2999-01-01T00:00:00.000Z"}}),
    ] {
        as_user(&system, &token, Method::PUT, &path, change)
            .await
            .expect_error(400, 119);
    }
    let user = as_user(&system, &token, Method::GET, "users/me", Value::Null).await;
    assert_eq!(user.body["objectId"], bob);
    as_user(
        &system,
        &token,
        Method::POST,
        "sessions",
        json!({"user": victim}),
    )
    .await
    .expect_error(400, 119);
}

#[tokio::test]
async fn nobody_verifies_their_own_address_or_says_who_a_provider_says_they_are() {
    let system = System::start("").await;
    let (id, token) = sign_up(&system, "ada").await;
    let path = format!("users/{id}");
    for change in [
        json!({"emailVerified": true}),
        json!({"authData": {"google": {"id": "1"}}}),
        json!({"authData.google.id": "1"}),
    ] {
        as_user(&system, &token, Method::PUT, &path, change)
            .await
            .expect_error(400, 119);
    }
    let changed = system
        .master(Method::PUT, &path, json!({"emailVerified": true}))
        .await;
    assert_eq!(changed.status, 200, "{}", changed.body);
}

#[tokio::test]
async fn a_user_is_deleted_by_themselves_or_the_master_key() {
    let system = System::start("").await;
    let (ada, ada_token) = sign_up(&system, "ada").await;
    let (_, bob_token) = sign_up(&system, "bob").await;
    // As a user stands that another program inserted: without an access list.
    let sql = system.sql().await;
    sql.batch_execute(r#"update "_User" set _rperm = null, _wperm = null"#)
        .await
        .unwrap();
    let path = format!("users/{ada}");
    as_user(&system, &bob_token, Method::DELETE, &path, Value::Null)
        .await
        .expect_error(400, 206);
    system
        .call(Method::DELETE, &path, Value::Null)
        .await
        .expect_error(400, 206);
    let deleted = as_user(&system, &ada_token, Method::DELETE, &path, Value::Null).await;
    assert_eq!(deleted.status, 200);
}
