//! Objects over HTTP in the Parse protocol.

use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};

use crate::system::{APP_ID, MASTER_KEY, PATIENCE, System, breathe};

#[tokio::test]
async fn an_object_is_created_read_updated_and_deleted() {
    let system = System::start("").await;
    let created = system
        .call(
            Method::POST,
            "classes/Score",
            json!({"player": "Ada", "points": 7, "tags": ["a"]}),
        )
        .await;
    assert_eq!(created.status, 201);
    let id = created.body["objectId"].as_str().unwrap().to_owned();
    assert_eq!(
        created.header("location").unwrap(),
        format!("{}/parse/classes/Score/{id}", system.url())
    );
    assert!(created.body["createdAt"].as_str().unwrap().ends_with('Z'));

    let path = format!("classes/Score/{id}");
    let read = system.call(Method::GET, &path, Value::Null).await.body;
    assert_eq!(
        (read["player"].as_str(), read["points"].as_u64()),
        (Some("Ada"), Some(7))
    );
    assert_eq!(read["createdAt"], read["updatedAt"]);

    let change = json!({
        "points": {"__op": "Increment", "amount": 3},
        "tags": {"__op": "AddUnique", "objects": ["a", "b"]},
        "player": {"__op": "Delete"},
    });
    let updated = system.call(Method::PUT, &path, change).await;
    assert_eq!(
        (updated.status, updated.body["points"].as_u64()),
        (200, Some(10))
    );
    let read = system.call(Method::GET, &path, Value::Null).await.body;
    assert_eq!(
        (&read["tags"], read.get("player")),
        (&json!(["a", "b"]), None)
    );
    system
        .call(
            Method::PUT,
            &path,
            json!({"tags": {"__op": "Remove", "objects": ["a"]}}),
        )
        .await;
    system
        .call(
            Method::PUT,
            &path,
            json!({"tags": {"__op": "Add", "objects": ["b"]}}),
        )
        .await;
    assert_eq!(
        system.call(Method::GET, &path, Value::Null).await.body["tags"],
        json!(["b", "b"])
    );

    assert_eq!(
        system.call(Method::DELETE, &path, Value::Null).await.status,
        200
    );
    assert_eq!(
        system
            .call(Method::GET, &path, Value::Null)
            .await
            .expect_error(404, 101),
        "Object not found."
    );
    system
        .call(Method::PUT, &path, json!({"points": 1}))
        .await
        .expect_error(404, 101);
    system
        .call(Method::DELETE, &path, Value::Null)
        .await
        .expect_error(404, 101);
}

#[tokio::test]
async fn numbers_come_back_to_the_last_bit() {
    let system = System::start("Parse.Cloud.define('same', ({ params }) => params)").await;
    let numbers = "[10.040000000000001,0.1,5e-324,1.7976931348623157e+308,-2.2250738585072014e-308,9007199254740991,0.30000000000000004]";
    let send = async |path: &str| {
        let request = reqwest::Client::new().post(format!("{}/parse/{path}", system.url()));
        let request = request
            .header("X-Parse-Application-Id", APP_ID)
            .body(format!("{{\"list\":{numbers}}}"));
        request.send().await.unwrap().text().await.unwrap()
    };
    assert_eq!(
        send("functions/same").await,
        format!("{{\"result\":{{\"list\":{numbers}}}}}")
    );
    send("classes/Numbers").await;
    let stored = &system.find("Numbers", json!({})).await[0];
    assert_eq!(
        stored["list"],
        serde_json::from_str::<Value>(numbers).unwrap()
    );
}

#[tokio::test]
async fn queries_compare_sort_page_and_count() {
    let system = System::start("").await;
    let create = |n: i32| json!({"method": "POST", "path": "/parse/classes/Score", "body": {"n": n, "even": n % 2 == 0}});
    let items: Vec<Value> = (1..=10).map(create).collect();
    let batch = system
        .call(Method::POST, "batch", json!({"requests": items}))
        .await;
    assert_eq!(
        batch
            .body
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| one["success"]["objectId"].is_string())
            .count(),
        10
    );

    let cases = [
        (json!({"where": {"n": 3}}), vec![3]),
        (
            json!({"where": {"n": {"$gte": 8}}, "order": "-n"}),
            vec![10, 9, 8],
        ),
        (
            json!({"where": {"n": {"$in": [2, 5, 99]}}, "order": "n"}),
            vec![2, 5],
        ),
        (
            json!({"where": {"n": {"$gt": 2, "$lt": 5}}, "order": "n"}),
            vec![3, 4],
        ),
        (
            json!({"where": {"even": true}, "order": "n", "limit": 2, "skip": 1}),
            vec![4, 6],
        ),
        (
            json!({"where": {"n": {"$ne": 1}}, "order": "n", "limit": 1}),
            vec![2],
        ),
        (json!({"where": {"missing": {"$exists": true}}}), vec![]),
        (
            json!({"where": {"$or": [{"n": 1}, {"n": 10}]}, "order": "n"}),
            vec![1, 10],
        ),
    ];
    for (mut query, expected) in cases {
        query["_method"] = json!("GET");
        let reply = system
            .call(Method::POST, "classes/Score", query.clone())
            .await;
        let found: Vec<u64> = reply.body["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["n"].as_u64().unwrap())
            .collect();
        assert_eq!(found, expected, "{query}");
        assert_eq!(
            reply.body.get("count"),
            None,
            "a count comes only when asked for"
        );
    }
    let counted = system
        .call(
            Method::GET,
            "classes/Score?limit=0&count=1&where=%7B%22even%22%3Atrue%7D",
            Value::Null,
        )
        .await;
    assert_eq!(counted.body, json!({"results": [], "count": 5}));
}

#[tokio::test]
async fn a_batch_in_a_transaction_is_all_or_nothing() {
    let system = System::start("").await;
    let create = |value: Value| json!({"method": "POST", "path": "/parse/classes/Pair", "body": {"n": value}});
    let good = json!({"transaction": true, "requests": [create(json!(1)), create(json!(2))]});
    assert_eq!(system.call(Method::POST, "batch", good).await.status, 200);
    let missing =
        json!({"method": "PUT", "path": "/parse/classes/Pair/aaaaaaaaaa", "body": {"n": 4}});
    let bad = json!({"transaction": true, "requests": [create(json!(3)), missing]});
    system
        .call(Method::POST, "batch", bad)
        .await
        .expect_error(404, 101);
    assert_eq!(system.find("Pair", json!({})).await.len(), 2);
}

#[tokio::test]
async fn bad_requests_are_refused_with_parses_codes() {
    let system = System::start("").await;
    system
        .call(Method::POST, "classes/Thing", json!({"n": 1}))
        .await;
    let post = |path: &'static str, body: Value| system.call(Method::POST, path, body);
    let message = post("classes/Thing", json!({"n": "text"})).await;
    assert_eq!(
        message.expect_error(400, 111),
        "schema mismatch for Thing.n; expected Number but got String"
    );
    post("classes/1Thing", json!({}))
        .await
        .expect_error(400, 103);
    post("classes/Thing", json!({"bad-name": 1}))
        .await
        .expect_error(400, 105);
    post("classes/Thing", json!({"text": "a\u{0}b"}))
        .await
        .expect_error(400, 107);
    post("classes/Thing", json!({"n": {"__op": "Explode"}}))
        .await
        .expect_error(400, 108);
    post(
        "classes/Thing",
        json!({"_method": "GET", "where": {"n": {"$near": 1}}}),
    )
    .await
    .expect_error(400, 102);
    assert_eq!(post("nowhere", json!({})).await.status, 404);

    let raw = |body: &'static str| {
        let request = reqwest::Client::new().post(format!("{}/parse/classes/Thing", system.url()));
        request
            .header("X-Parse-Application-Id", APP_ID)
            .body(body)
            .send()
    };
    for (body, code) in [("{\"n\":", 107), ("[1]", 107), ("\"text\"", 107)] {
        let reply: Value = raw(body).await.unwrap().json().await.unwrap();
        assert_eq!(reply["code"], code, "{body}");
    }
    assert_eq!(
        system.find("Thing", json!({})).await.len(),
        1,
        "nothing was left half done"
    );
}

#[tokio::test]
async fn keys_decide_who_may_ask() {
    let mut system = System::prepare("").await;
    system
        .set("javascript_key", "js-key")
        .serve("proxy,capture,dispatch,worker");
    let refused = system.call(Method::POST, "classes/Thing", json!({})).await;
    assert_eq!(
        (refused.status, &refused.body),
        (403, &json!({"error": "unauthorized"}))
    );
    let with = |headers: Vec<(&'static str, &'static str)>| {
        let system = &system;
        async move {
            system
                .request(Method::POST, "classes/Thing", json!({}), &headers)
                .await
                .status
        }
    };
    assert_eq!(with(vec![("X-Parse-Javascript-Key", "js-key")]).await, 201);
    assert_eq!(with(vec![("X-Parse-Javascript-Key", "wrong")]).await, 403);
    assert_eq!(with(vec![("X-Parse-Master-Key", MASTER_KEY)]).await, 201);
    assert_eq!(
        with(vec![
            ("X-Parse-Master-Key", "wrong"),
            ("X-Parse-Javascript-Key", "js-key")
        ])
        .await,
        403
    );
    // Browsers send everything in the body, as text/plain.
    let body =
        json!({"_method": "POST", "_ApplicationId": APP_ID, "_JavaScriptKey": "js-key", "n": 1});
    let sent = reqwest::Client::new()
        .post(format!("{}/parse/classes/Thing", system.url()))
        .body(body.to_string())
        .send();
    assert_eq!(sent.await.unwrap().status(), 201);
    let preflight = reqwest::Client::new()
        .request(
            Method::OPTIONS,
            format!("{}/parse/classes/Thing", system.url()),
        )
        .send();
    assert_eq!(
        preflight.await.unwrap().headers()["access-control-allow-origin"],
        "*"
    );
}

#[tokio::test]
async fn operators_see_health_readiness_and_metrics() {
    let system =
        System::start("Parse.Cloud.define('f', () => 1); Parse.Cloud.afterSave('Thing', () => {})")
            .await;
    system.function("f", json!({})).await;
    system.call(Method::POST, "classes/Thing", json!({})).await;
    let get = |path: &'static str| reqwest::get(format!("{}{path}", system.url()));
    assert_eq!(get("/healthz").await.unwrap().status(), 200);
    let ready = get("/readyz").await.unwrap();
    assert_eq!(
        (
            ready.status().as_u16(),
            ready.json::<Value>().await.unwrap()["ready"].as_bool()
        ),
        (200, Some(true))
    );
    let names = [
        "tidegate_slot_lag_bytes",
        "tidegate_slot_lag_seconds",
        "tidegate_events_captured_total",
        "tidegate_deliveries_pending",
        "tidegate_deliveries_failed",
        "tidegate_deliveries_dead",
        "tidegate_function_seconds_bucket",
        "tidegate_after_trigger_seconds_bucket",
        "tidegate_http_request_seconds_bucket",
    ];
    // Some are set once in a while only.
    let begun = Instant::now();
    loop {
        let metrics = get("/metrics").await.unwrap().text().await.unwrap();
        let Some(missing) = names.iter().find(|name| !metrics.contains(*name)) else {
            break;
        };
        let patient = begun.elapsed() < PATIENCE;
        assert!(patient, "{missing} is not among the metrics:\n{metrics}");
        breathe().await;
    }
}
