//! The sync: pages to a CRM that says 429, from where it was when it goes on, and from where it ended the next time.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{make, run, shop, start, succeeded};
use crate::code::listener::{Held, Listener};
use crate::system::System;

/// 250 customers of the same microsecond, an hour ago.
async fn with_customers(system: &System) {
    make(
        system,
        "Customer",
        json!({"name": "Customer 1", "email": "1@example.com"}),
    )
    .await;
    let sql = system.sql().await;
    sql.batch_execute(
        "insert into \"Customer\" (\"objectId\", \"createdAt\", \"updatedAt\", name, email)
         select 'c' || lpad(n::text, 9, '0'), now(), now(), 'Customer ' || n, n || '@example.com' from generate_series(2, 250) as n;
         update \"Customer\" set \"updatedAt\" = now() - interval '1 hour'",
    )
    .await
    .unwrap();
}

fn sent_in(held: &Held) -> (String, Vec<Value>) {
    assert_eq!(held.line, "POST /crm/contacts");
    let found = held
        .headers
        .iter()
        .find_map(|header| header.strip_prefix("idempotency-key: "));
    let mut body: Value = serde_json::from_str(&held.body).unwrap();
    let contacts = body["contacts"].as_array_mut().unwrap();
    (found.expect("a key").to_owned(), std::mem::take(contacts))
}

#[tokio::test]
async fn a_crm_that_is_busy_gets_each_customer_once() {
    let listener = Listener::start().await;
    let system = shop(listener.port()).await;
    with_customers(&system).await;
    let first_run = start(&system, "hourlySync", Value::Null).await;

    let held = listener.next().await;
    let (first_key, first) = sent_in(&held);
    held.answer(200, "").await;
    let held = listener.next().await;
    let (second_key, second) = sent_in(&held);
    let asked_to_wait = Instant::now();
    held.answer_with(429, "retry-after: 3", "").await;
    let held = listener.next().await;
    // Its own backoff would be a second at most. What the CRM has it does not get again.
    assert!(asked_to_wait.elapsed() > Duration::from_millis(2800));
    assert_eq!(sent_in(&held), (second_key.clone(), second.clone()));
    assert_ne!(first_key, second_key);
    held.answer(200, "").await;
    let held = listener.next().await;
    let (_, third) = sent_in(&held);
    held.answer(200, "").await;

    assert_eq!(succeeded(&system, &first_run).await, "sent 250 customers");
    assert_eq!((first.len(), second.len(), third.len()), (100, 100, 50));
    let mut ids: Vec<String> = [first, second, third]
        .concat()
        .iter()
        .map(|contact| contact["id"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 250);

    assert_eq!(
        run(&system, "hourlySync", Value::Null).await,
        "sent 0 customers"
    );
    let sql = system.sql().await;
    sql.batch_execute(
        "update \"SyncState\" set until = until - interval '10 minutes';
         update \"Customer\" set name = 'Changed', \"updatedAt\" = now() - interval '5 minutes' where email = '7@example.com'",
    )
    .await
    .unwrap();
    let next_run = start(&system, "hourlySync", Value::Null).await;
    let held = listener.next().await;
    let (_, contacts) = sent_in(&held);
    held.answer(200, "").await;
    assert_eq!(
        (contacts.len(), &contacts[0]["name"]),
        (1, &json!("Changed"))
    );
    assert_eq!(succeeded(&system, &next_run).await, "sent 1 customers");
}
