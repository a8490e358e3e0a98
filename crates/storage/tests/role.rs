//! Roles, and members of relations.

use serde_json::json;

use crate::fixture::{Fixture, insert, pointer};

#[tokio::test]
async fn roles_are_inherited_through_any_number_of_steps_and_circles_end() {
    let fixture = Fixture::new().await;
    let role = fixture.storage.schema().class("_Role").unwrap();
    let add = |objects: serde_json::Value| json!({"__op": "AddRelation", "objects": objects});
    let roles = [
        ("r1", "Editors", Some("u1"), None),
        // Who is an Editor is a Writer, who is a Writer is a Reader, and back.
        ("r2", "Writers", None, Some("r1")),
        ("r3", "Readers", None, Some("r2")),
        ("r4", "Admins", Some("u2"), None),
    ];
    for (id, name, user, child) in roles {
        let mut body = json!({"name": name, "ACL": {}});
        if let Some(user) = user {
            body["users"] = add(json!([pointer("_User", user)]));
        }
        if let Some(child) = child {
            body["roles"] = add(json!([pointer("_Role", child)]));
        }
        fixture.commit(insert(&role, id, body)).await.unwrap();
    }
    let circle = json!({"roles": add(json!([pointer("_Role", "r3")]))});
    fixture
        .commit(crate::fixture::update(&role, "r1", circle))
        .await
        .unwrap();
    assert_eq!(
        fixture.storage.roles_of_user("u1").await.unwrap(),
        ["Editors", "Readers", "Writers"]
    );
    assert_eq!(
        fixture.storage.roles_of_user("u2").await.unwrap(),
        ["Admins"]
    );
    assert!(
        fixture
            .storage
            .roles_of_user("nobody")
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        fixture
            .storage
            .related_ids(&role, "users", "r1")
            .await
            .unwrap(),
        ["u1"]
    );
}
