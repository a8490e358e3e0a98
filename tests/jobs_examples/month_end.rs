//! The month's end: three jobs one after the other, and all of it undone when the last one is refused.

use reqwest::Method;
use serde_json::{Value, json};

use super::{make_order, shop};
use crate::code::listener::Listener;
use crate::system::System;

async fn start_month_end(system: &System, month: &str) -> String {
    let params = json!({"month": month});
    let reply = system
        .master(Method::POST, "workflows/monthEnd", params)
        .await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let id = reply.header("x-tidegate-workflow-id");
    id.expect("the answer names the workflow").to_owned()
}

/// Waits until a workflow has ended; returns its state and its runs: job, state, attempts, in the order of their
/// beginning. No run may have begun before the one before it had ended.
async fn ended(system: &System, workflow: &str) -> (String, Vec<(String, String, i32)>) {
    let number: i64 = workflow.trim_start_matches('W').parse().unwrap();
    system
        .wait_for_sql(&format!(
            "select finished_at is not null from tidegate.workflow where id = {number}"
        ))
        .await;
    let sql = system.sql().await;
    let row = sql
        .query_one(
            "select state from tidegate.workflow where id = $1",
            &[&number],
        )
        .await
        .unwrap();
    let runs = sql
        .query(
            "select job, state, attempts,
                    coalesce(started_at > lag(finished_at) over (order by started_at), true)
               from tidegate.run where workflow_id = $1 order by started_at",
            &[&number],
        )
        .await
        .unwrap();
    assert!(runs.iter().all(|run| run.get::<_, bool>(3)), "one by one");
    let runs = runs.iter().map(|run| (run.get(0), run.get(1), run.get(2)));
    (row.get(0), runs.collect())
}

fn run(job: &str, state: &str, attempts: i32) -> (String, String, i32) {
    (job.to_owned(), state.to_owned(), attempts)
}

async fn invoices(system: &System, month: &str) -> Vec<(Value, Value, Value)> {
    let mut found = system.find("Invoice", json!({"month": month})).await;
    found.sort_by_key(|invoice| invoice["customer"].to_string());
    let fields = |invoice: &Value| {
        let field = |name: &str| invoice[name].clone();
        (field("customer"), field("cents"), field("status"))
    };
    found.iter().map(fields).collect()
}

#[tokio::test]
async fn the_chain_runs_in_order_and_is_undone_when_it_is_refused() {
    let listener = Listener::start().await;
    let system = shop(listener.port()).await;
    for (customer, cents, placed_at) in [
        ("Ada", 5, "2026-02-28T22:59:59.999Z"),
        ("Ada", 100, "2026-02-28T23:00:00.000Z"),
        ("Bob", 20, "2026-03-15T12:00:00.000Z"),
        ("Ada", 300, "2026-03-31T21:59:59.999Z"),
        ("Ada", 4000, "2026-03-31T22:00:00.000Z"),
    ] {
        make_order(&system, customer, "DE", cents, placed_at).await;
    }

    let march = start_month_end(&system, "2026-03").await;
    let held = listener.next().await;
    held.answer_with(503, "retry-after: 1", "").await;
    let held = listener.next().await;
    let body: Value = serde_json::from_str(&held.body).unwrap();
    assert_eq!(held.line, "POST /books");
    assert_eq!(
        body,
        json!({"month": "2026-03", "invoices": 2, "cents": 420})
    );
    held.answer(200, "").await;
    let runs = vec![
        run("closeMonth", "succeeded", 1),
        run("makeInvoices", "succeeded", 1),
        run("handOverInvoices", "succeeded", 2),
    ];
    assert_eq!(ended(&system, &march).await, ("succeeded".into(), runs));

    // It is closed, and stays so: there is nothing to undo.
    let again = start_month_end(&system, "2026-03").await;
    let (state, runs) = ended(&system, &again).await;
    assert_eq!(
        (&*state, &runs[0]),
        ("failed", &run("closeMonth", "failed", 1))
    );
    let begun = runs.iter().filter(|(_, state, _)| state != "skipped");
    assert_eq!(begun.count(), 1, "{runs:?}");

    let april = start_month_end(&system, "2026-04").await;
    let held = listener.next().await;
    held.answer(422, "the books are closed").await;
    let runs = vec![
        run("closeMonth", "succeeded", 1),
        run("makeInvoices", "succeeded", 1),
        run("handOverInvoices", "failed", 1),
        run("voidInvoices", "succeeded", 1),
        run("reopenMonth", "succeeded", 1),
    ];
    assert_eq!(ended(&system, &april).await, ("failed".into(), runs));

    let closings = system.find("Closing", json!({})).await;
    let states: Vec<_> = closings
        .iter()
        .map(|closing| (&closing["month"], &closing["status"]))
        .collect();
    assert_eq!(
        states,
        [
            (&json!("2026-03"), &json!("closed")),
            (&json!("2026-04"), &json!("reopened"))
        ]
    );
    let open = |customer: &str, cents: u32| (json!(customer), json!(cents), json!("open"));
    assert_eq!(
        invoices(&system, "2026-03").await,
        [open("Ada", 400), open("Bob", 20)]
    );
    assert_eq!(
        invoices(&system, "2026-04").await,
        [(json!("Ada"), json!(4000), json!("void"))]
    );
}
