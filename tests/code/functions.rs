//! Cloud functions: results, errors, parameters, the request object, the log.

use reqwest::Method;
use serde_json::{Value, json};

use crate::system::System;
use crate::users::{as_user, sign_up};

#[tokio::test]
async fn a_function_returns_any_kind_of_value() {
    let system = System::start(
        r#"
        const define = (name, handler) => Parse.Cloud.define(name, handler);
        define("number", () => 1.5);
        define("text", () => "Grüße \u{1F30D}");
        define("false", () => false);
        define("null", () => null);
        define("nothing", () => {});
        define("promise", () => new Promise((resolve) => setTimeout(() => resolve([1, "two", [3]]), 1)));
        define("date", async () => ({ at: new Date(0), list: [new Date(1)] }));
        define("place", () => new Parse.GeoPoint(1, 2));
        define("unsaved", () => new Parse.Object("Thing", { n: 1, at: new Date(0) }));
        define("saved", async () => ({ thing: await new Parse.Object("Thing", { n: 2 }).save() }));
        define("name.with.dots", ({ functionName }) => functionName);
        "#,
    )
    .await;
    let date = |iso: &str| json!({"__type": "Date", "iso": iso});
    let cases = [
        ("number", json!(1.5)),
        ("text", json!("Grüße 🌍")),
        ("false", json!(false)),
        ("promise", json!([1, "two", [3]])),
        (
            "date",
            json!({"at": date("1970-01-01T00:00:00.000Z"), "list": [date("1970-01-01T00:00:00.001Z")]}),
        ),
        (
            "place",
            json!({"__type": "GeoPoint", "latitude": 1, "longitude": 2}),
        ),
        ("name.with.dots", json!("name.with.dots")),
    ];
    for (name, expected) in cases {
        assert_eq!(system.function(name, json!({})).await, expected, "{name}");
    }
    let body = async |name: &str| {
        system
            .call(Method::POST, &format!("functions/{name}"), json!({}))
            .await
            .body
    };
    assert_eq!(body("nothing").await, json!({}));
    assert_eq!(body("null").await, json!({"result": null}));

    // As in Parse: what has no id cannot be pointed to.
    let unsaved = system
        .call(Method::POST, "functions/unsaved", json!({}))
        .await;
    assert_eq!(
        unsaved.expect_error(400, 141),
        "Cannot create a pointer to an unsaved ParseObject"
    );
    let saved = &system.function("saved", json!({})).await["thing"];
    let stored = &system.find("Thing", json!({"n": 2})).await[0];
    for field in ["objectId", "createdAt", "updatedAt", "n"] {
        assert_eq!(saved[field], stored[field], "{field}");
    }
}

#[tokio::test]
async fn whatever_a_function_throws_is_one_clear_error() {
    let mut system = System::prepare(
        r#"
        Parse.Cloud.define("text", () => { throw "a text"; });
        Parse.Cloud.define("error", () => { throw new Error("an error"); });
        Parse.Cloud.define("rejected", () => Promise.reject(new RangeError("rejected")));
        Parse.Cloud.define("parse", () => { throw new Parse.Error(999, "own code"); });
        Parse.Cloud.define("nothing", () => { throw null; });
        Parse.Cloud.define("bug", async ({ params }) => {
          await null;
          return params.missing.field;
        });
        Parse.Cloud.define("sdk", () => new Parse.Query("Thing").get("aaaaaaaaaa"));
        "#,
    )
    .await;
    let server = system.serve("proxy,capture,dispatch,worker");
    let cases = [
        ("text", 141, "a text"),
        ("error", 141, "an error"),
        ("rejected", 141, "rejected"),
        ("parse", 999, "own code"),
        ("nothing", 141, "Script failed."),
        ("unknown", 141, "Invalid function: \"unknown\""),
    ];
    for (name, code, message) in cases {
        let reply = system
            .call(Method::POST, &format!("functions/{name}"), json!({}))
            .await;
        assert_eq!(reply.expect_error(400, code), message);
        assert_eq!(
            reply.body.as_object().unwrap().len(),
            2,
            "no more is told: {}",
            reply.body
        );
    }
    system
        .call(Method::POST, "functions/sdk", json!({}))
        .await
        .expect_error(404, 101);

    let bug = system.call(Method::POST, "functions/bug", json!({})).await;
    assert!(bug.expect_error(400, 141).contains("field"), "{}", bug.body);
    let failures = system
        .server(server)
        .wait_for_lines("function failed", cases.len() + 1);
    let logged = failures
        .iter()
        .find(|line| line["function"] == "bug")
        .expect("a line for this failure");
    let stack = logged["stack"].as_str().expect("a stack");
    assert!(
        stack.contains("cloud/main.js:9"),
        "the author's own file and line: {stack}"
    );
}

#[tokio::test]
async fn params_come_from_body_and_query_and_are_decoded() {
    let system = System::start(
        r#"
        Parse.Cloud.define("kinds", ({ params }) => ({
          date: params.at instanceof Date && params.at.getTime(),
          nested: params.list[0].at instanceof Date,
          pointer: params.thing instanceof Parse.Object && params.thing.className + ":" + params.thing.id,
          matrix: Array.isArray(params.matrix[0]),
          query: params.query,
        }));
        "#,
    )
    .await;
    let params = json!({
        "at": {"__type": "Date", "iso": "1970-01-01T00:00:01.000Z"},
        "list": [{"at": {"__type": "Date", "iso": "1970-01-01T00:00:01.000Z"}}],
        "thing": {"__type": "Pointer", "className": "Thing", "objectId": "abc"},
        "matrix": [[1]],
    });
    let reply = system
        .call(
            Method::POST,
            "functions/kinds?query=from%20the%20url",
            params,
        )
        .await;
    let expected = json!({"date": 1000, "nested": true, "pointer": "Thing:abc", "matrix": true, "query": "from the url"});
    assert_eq!(reply.body["result"], expected);
}

const WHO: &str = r#"
    Parse.Cloud.define("who", ({ user, master, ip, installationId, headers, context, functionName }) => ({
      user: user && { id: user.id, name: user.get("username"), token: user.getSessionToken() },
      master, ip, installationId, context, functionName, agent: headers["user-agent"], headers: Object.keys(headers),
    }));
    "#;

#[tokio::test]
async fn a_function_knows_who_calls_it() {
    let system = System::start(WHO).await;
    let (id, token) = sign_up(&system, "ada").await;
    let headers = [
        ("X-Parse-Session-Token", &*token),
        ("X-Parse-Installation-Id", "phone-1"),
        ("X-Parse-Cloud-Context", r#"{"trace":{"id":1}}"#),
        ("User-Agent", "a test"),
        ("Cookie", "secret=1"),
    ];
    let reply = system
        .request(Method::POST, "functions/who", json!({}), &headers)
        .await;
    let who = &reply.body["result"];
    assert_eq!(
        who["user"],
        json!({"id": id, "name": "ada", "token": token})
    );
    assert_eq!(
        (&who["master"], &who["ip"]),
        (&json!(false), &json!("127.0.0.1"))
    );
    assert_eq!(
        (&who["installationId"], &who["functionName"]),
        (&json!("phone-1"), &json!("who"))
    );
    assert_eq!(
        (&who["context"], &who["agent"]),
        (&json!({"trace": {"id": 1}}), &json!("a test"))
    );
    let shown = who["headers"].to_string();
    for secret in ["x-parse-session-token", "cookie"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }

    let nobody = system.function("who", json!({})).await;
    let none = ["user", "installationId"].map(|field| nobody.get(field).is_none_or(Value::is_null));
    assert_eq!((none, &nobody["context"]), ([true, true], &json!({})));
    let master = system
        .master(Method::POST, "functions/who", json!({}))
        .await
        .body["result"]
        .clone();
    assert_eq!(master["master"], true);
    assert!(!master["headers"].to_string().contains("x-parse-master-key"));
    // The body's context wins over the header's, and is no parameter.
    let body = json!({"_context": {"from": "body"}});
    let context = [("X-Parse-Cloud-Context", r#"{"from":"header"}"#)];
    let reply = system
        .request(Method::POST, "functions/who", body, &context)
        .await;
    assert_eq!(reply.body["result"]["context"], json!({"from": "body"}));
    for wrong in ["[1]", "{", "\"text\""] {
        let context = [("X-Parse-Cloud-Context", wrong)];
        system
            .request(Method::POST, "functions/who", json!({}), &context)
            .await
            .expect_error(400, 107);
    }
}

#[tokio::test]
async fn request_user_is_the_user_as_stored_now() {
    let system = System::start(
        "Parse.Cloud.define('city', ({ user }) => user.get('city'));
         Parse.Cloud.define('move', ({ user, params }) => user.save(params, { sessionToken: user.getSessionToken() }));",
    )
    .await;
    let (id, token) = sign_up(&system, "ada").await;
    let city = async || {
        as_user(&system, &token, Method::POST, "functions/city", json!({}))
            .await
            .body["result"]
            .clone()
    };
    system
        .master(Method::PUT, &format!("users/{id}"), json!({"city": "Graz"}))
        .await;
    assert_eq!(city().await, "Graz");
    // The user that a function is given can act as themselves.
    let moved = as_user(
        &system,
        &token,
        Method::POST,
        "functions/move",
        json!({"city": "Linz"}),
    )
    .await;
    assert_eq!(moved.status, 200, "{}", moved.body);
    assert_eq!(city().await, "Linz");
}

#[tokio::test]
async fn what_a_handler_logs_is_in_the_servers_log_with_its_request() {
    let mut system = System::prepare(
        r#"
        console.log("said while loading");
        Parse.Cloud.define("talk", async ({ log }) => {
          console.log("plain", { a: [1, { b: 2 }] }, new Date(0));
          await null;
          console.warn("careful");
          console.error(new Error("bad luck"));
          log.info("by request.log");
          console.log('forged\n{"level":"ERROR","message":"not real"}');
        });
        Parse.Cloud.beforeSave("Thing", () => console.log("in a trigger"));
        "#,
    )
    .await;
    let server = system.serve("proxy,capture,dispatch,worker");
    let id = [("X-Request-Id", "call-7")];
    assert_eq!(
        system
            .request(Method::POST, "functions/talk", json!({}), &id)
            .await
            .header("x-request-id"),
        Some("call-7")
    );
    system
        .request(
            Method::POST,
            "classes/Thing",
            json!({}),
            &[("X-Request-Id", "save-8")],
        )
        .await;

    let server = system.server(server);
    let cases = [
        (
            "plain { a: [ 1, { b: 2 } ] } 1970-01-01T00:00:00.000Z",
            "INFO",
            "function talk",
            "call-7",
        ),
        ("careful", "WARN", "function talk", "call-7"),
        ("Error: bad luck", "ERROR", "function talk", "call-7"),
        ("by request.log", "INFO", "function talk", "call-7"),
        ("forged\\n", "INFO", "function talk", "call-7"),
        ("in a trigger", "INFO", "beforeSave Thing", "save-8"),
        ("said while loading", "INFO", "module", ""),
    ];
    for (message, level, handler, request) in cases {
        let line = server.wait_for(message);
        let found = (
            line["level"].as_str(),
            line["handler"].as_str(),
            line["request.id"].as_str(),
        );
        assert_eq!(found, (Some(level), Some(handler), Some(request)), "{line}");
    }
    assert_eq!(
        server.line("not real").unwrap()["level"],
        "INFO",
        "user code cannot write lines of the server's own"
    );
}

#[tokio::test]
async fn functions_call_functions_and_save_with_the_rights_they_ask_for() {
    let system = System::start(
        r#"
        Parse.Cloud.define("outer", async ({ params }) => 1 + await Parse.Cloud.run("inner", params));
        Parse.Cloud.define("inner", ({ params, master }) => { if (master) throw "inherited"; return params.n * 2; });
        Parse.Cloud.define("secrets", async ({ params }) => {
          const query = new Parse.Query("Secret");
          return (await query.find(params.master ? { useMasterKey: true } : {})).map((one) => one.get("n"));
        });
        Parse.Cloud.define("keys", () => [Parse.masterKey ?? null, Object.keys(process.env).length, Parse.applicationId]);
        "#,
    )
    .await;
    assert_eq!(system.function("outer", json!({"n": 4})).await, 9);
    // The rights of a call inside are those it names, not its caller's.
    assert_eq!(
        system
            .master(Method::POST, "functions/outer", json!({"n": 1}))
            .await
            .body["result"],
        3
    );
    system
        .master(Method::POST, "classes/Secret", json!({"n": 5, "ACL": {}}))
        .await;
    assert_eq!(
        system.function("secrets", json!({"master": true})).await,
        json!([5])
    );
    assert_eq!(system.function("secrets", json!({})).await, json!([]));
    assert_eq!(
        system.function("keys", json!({})).await,
        json!([null, 0, "test-app"])
    );
}
