//! The export: every order is a row of the spreadsheet, and its progress is seen while it goes on.

use serde_json::{Value, json};

use super::{make_order, read, shop, start, succeeded};

const ORDERS: usize = 5000;

#[tokio::test]
async fn five_thousand_orders_become_a_spreadsheet() {
    let system = shop(1).await;
    make_order(
        &system,
        "A & <B> \"C\" ä",
        "DE",
        137,
        "2026-03-29T12:00:00.000Z",
    )
    .await;
    let sql = system.sql().await;
    let more = format!(
        "insert into \"Order\" (\"objectId\", \"createdAt\", \"updatedAt\", number, customer, country, \"totalCents\", \"placedAt\")
         select 'o' || lpad(n::text, 9, '0'), now(), now(), n, 'Customer ' || n, 'FR', n * 100, '2026-01-01T00:00:00Z'
           from generate_series(2, {ORDERS}) as n"
    );
    sql.execute(&more, &[]).await.unwrap();

    let run = start(&system, "exportOrders", Value::Null).await;
    system
        .wait_for_sql(&format!(
            "select exists (select from tidegate.run where tidegate.run_name(id) = '{run}' and state = 'running'
                               and (progress::json ->> 'total')::float8 = {ORDERS})"
        ))
        .await;
    let said = succeeded(&system, &run).await;
    let name = format!("orders-{run}.xlsx");
    assert!(
        said.starts_with(&format!("{ORDERS} orders in {name}")),
        "{said}"
    );
    let progress = "select (body::json ->> 'done')::float8::int from tidegate.run_event
                     where kind = 'progress' and tidegate.run_name(run_id) = $1 order by id";
    let rows = sql.query(progress, &[&run]).await.unwrap();
    let done: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    assert!(
        done.is_sorted() && done[0] < done[done.len() - 1],
        "{done:?}"
    );
    assert_eq!(done.last(), Some(&(ORDERS as i32)));

    let exports = system.find("Export", json!({"name": name})).await;
    assert_eq!((exports.len(), &exports[0]["orders"]), (1, &json!(ORDERS)));
    assert_eq!(exports[0]["ACL"], json!({}), "for the master key alone");
    let found = read("xlsx", exports[0]["file"]["base64"].as_str().unwrap());
    let rows = found["rows"].as_array().unwrap();
    assert_eq!(rows.len(), ORDERS + 1);
    assert_eq!(
        rows[0],
        json!(["Number", "Placed", "Customer", "Country", "EUR"])
    );
    let mut found: Vec<&Value> = rows[1..].iter().collect();
    found.sort_by_key(|row| row[0].as_u64());
    // 29 March 2026, noon, in the days of spreadsheets.
    assert_eq!(
        found[0],
        &json!([1, 46110.5, "A & <B> \"C\" ä", "DE", 1.37])
    );
    for (index, row) in found.iter().enumerate().skip(1) {
        let n = index + 1;
        assert_eq!(
            **row,
            json!([n, 46023, format!("Customer {n}"), "FR", n]),
            "row {n}"
        );
    }
}
