//! The daily report: the right day's orders, in a PDF, in one mail.

use serde_json::{Value, json};

use super::{make_order, read, shop, start, succeeded};
use crate::code::listener::{Held, Listener};
use crate::system::System;

/// The day on which Berlin has 23 hours, and the moments around it.
async fn shop_of_29_march(listener: &Listener) -> System {
    let system = shop(listener.port()).await;
    for (country, cents, placed_at) in [
        ("DE", 100_000, "2026-03-28T22:59:59.999Z"),
        ("DE", 1_000, "2026-03-28T23:00:00.000Z"),
        ("DE", 99, "2026-03-29T12:00:00.000Z"),
        ("FR", 250_050, "2026-03-29T21:59:59.999Z"),
        ("FR", 100_000, "2026-03-29T22:00:00.000Z"),
    ] {
        make_order(&system, "Ada", country, cents, placed_at).await;
    }
    system
}

fn key_of(held: &Held) -> String {
    let found = held
        .headers
        .iter()
        .find_map(|header| header.strip_prefix("idempotency-key: "));
    found.expect("a key").to_owned()
}

fn mail_in(held: &Held) -> Value {
    assert_eq!(held.line, "POST /mail");
    serde_json::from_str(&held.body).unwrap()
}

#[tokio::test]
async fn a_days_orders_are_mailed_as_a_pdf() {
    let listener = Listener::start().await;
    let system = shop_of_29_march(&listener).await;
    let params = json!({"day": "2026-03-29", "to": "ada@example.com"});
    let run = start(&system, "dailyReport", params).await;

    let refused = listener.next().await;
    let (key, mail) = (key_of(&refused), mail_in(&refused));
    refused.answer_with(503, "retry-after: 1", "").await;
    // The second attempt sends the very same.
    let sent = listener.next().await;
    assert_eq!((key_of(&sent), mail_in(&sent)), (key, mail.clone()));
    sent.answer(202, "").await;

    assert_eq!(
        (&mail["to"], &mail["subject"]),
        (&json!("ada@example.com"), &json!("Orders of 2026-03-29"))
    );
    let attachment = &mail["attachments"][0];
    assert_eq!(attachment["filename"], "orders-2026-03-29.pdf");
    let found = read("pdf", attachment["content"].as_str().unwrap());
    let lines = json!([
        ["Orders of 2026-03-29"],
        ["Country", "Orders", "EUR"],
        ["FR", "1", "2,500.50"],
        ["DE", "2", "10.99"],
        ["Total", "3", "2,511.49"],
    ]);
    assert_eq!(found, json!({"pages": 1, "lines": lines}));
    assert_eq!(
        succeeded(&system, &run).await,
        "mailed 3 orders of 2026-03-29 to ada@example.com"
    );
}

#[tokio::test]
async fn the_schedule_reports_the_day_before_it_was_due() {
    let listener = Listener::start().await;
    let system = shop(listener.port()).await;
    let sql = system.sql().await;
    system
        .wait_for_sql("select count(*) = 1 from tidegate.schedule where name = 'dailyReport'")
        .await;
    // As after an outage of two days: what was missed is made up for by one run.
    let outage = "update tidegate.schedule set handled_at = now() - interval '2 days', next_due = '-infinity'
                   where name = 'dailyReport'";
    sql.execute(outage, &[]).await.unwrap();
    let sent = listener.next().await;
    let mail = mail_in(&sent);
    sent.answer(202, "").await;

    let row = sql
        .query_one(
            "select (fire.due_at at time zone 'Europe/Berlin')::time = '09:00',
                    'Orders of ' || ((fire.due_at at time zone 'Europe/Berlin')::date - 1), tidegate.run_name(fire.run_id)
               from tidegate.fire join tidegate.schedule on schedule.id = fire.schedule_id
              where name = 'dailyReport' and result = 'started'",
            &[],
        )
        .await
        .unwrap();
    assert!(row.get::<_, bool>(0), "due at nine in Berlin");
    assert_eq!(mail["subject"], row.get::<_, &str>(1));
    assert_eq!(mail["to"], "owner@example.com");
    let said = succeeded(&system, row.get(2)).await;
    assert!(said.starts_with("mailed 0 orders of "), "{said}");
}
