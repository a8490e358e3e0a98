//! What main may consist of: files, ES modules, TypeScript, JSON, Node's modules, npm packages.

use serde_json::json;

use super::listener::Listener;
use crate::system::{System, repository};

/// A server for a project of these files, in `cloud/`.
async fn project(files: &[(&str, &str)]) -> System {
    let mut system = System::prepare("").await;
    let cloud = system.project.path().join("cloud");
    std::fs::remove_file(cloud.join("main.js")).unwrap();
    for (name, text) in files {
        let path = cloud.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    system.serve("proxy,capture,dispatch,worker");
    system
}

#[tokio::test]
async fn files_require_each_other() {
    let system = project(&[
        ("main.js", "require('./functions/first'); Parse.Cloud.define('main', () => require('./lib').name(__dirname));"),
        ("functions/first.js", "const { count } = require('../lib');\nParse.Cloud.define('first', () => count());"),
        ("lib/index.js", "let n = 0; exports.count = () => (n += 1); exports.name = (d) => require('./data.json').name + d;"),
        ("lib/data.json", r#"{"name": "from json in "}"#),
    ])
    .await;
    assert_eq!(system.function("first", json!({})).await, 1);
    assert_eq!(
        system.function("main", json!({})).await,
        "from json in /cloud"
    );
}

#[tokio::test]
async fn main_may_be_an_es_module() {
    let system = project(&[
        (
            "main.js",
            "import { readFileSync } from 'node:fs';
             import double, { add } from './lib.mjs';
             import * as path from 'node:path';
             Parse.Cloud.define('sum', async ({ params }) => {
               const { late } = await import('./late.js');
               return late(double(add(params.a, params.b))) + path.extname('x.txt');
             });",
        ),
        (
            "lib.mjs",
            "export const add = (a, b) => a + b; export default (n) => n * 2;",
        ),
        ("late.js", "export const late = (n) => `late ${n}`;"),
    ])
    .await;
    assert_eq!(
        system.function("sum", json!({"a": 1, "b": 2})).await,
        "late 6.txt"
    );
}

#[tokio::test]
async fn main_may_be_typescript() {
    let system = project(&[
        (
            "main.ts",
            "import { total, type Line } from './lib';
             enum Kind { Net = 1, Gross = 2 }
             class Price { constructor(public readonly cents: number, private kind: Kind = Kind.Gross) {} get gross() { return this.kind === Kind.Gross; } }
             Parse.Cloud.define('total', async (request: { params: { lines: Line[] } }): Promise<object> => {
               const price = new Price(total(request.params.lines) satisfies number);
               return { cents: price.cents as number, gross: price.gross };
             });",
        ),
        (
            "lib.ts",
            "export interface Line { cents: number; n?: number }
             export function total<T extends Line>(lines: T[]): number { return lines.reduce((sum, l) => sum + l.cents * (l.n ?? 1), 0); }",
        ),
    ])
    .await;
    let lines = json!({"lines": [{"cents": 150, "n": 2}, {"cents": 99}]});
    assert_eq!(
        system.function("total", lines).await,
        json!({"cents": 399, "gross": true})
    );
}

#[tokio::test]
async fn nodes_modules_are_there() {
    let system = System::start(
        r#"
        const crypto = require("crypto");
        const { EventEmitter } = require("node:events");
        const util = require("util");
        Parse.Cloud.define("node", async () => {
          const emitter = new EventEmitter();
          const heard = new Promise((resolve) => emitter.once("said", resolve));
          emitter.emit("said", "hello");
          const url = new URL("/a?b=1", "https://example.com");
          url.searchParams.set("c", "x y");
          return {
            sha256: crypto.createHash("sha256").update("abc").digest("hex"),
            hmac: crypto.createHmac("sha256", "key").update("abc").digest("base64"),
            bytes: crypto.randomBytes(8).length,
            buffer: Buffer.from("äö").toString("base64"),
            heard: await heard,
            inspect: util.inspect({ a: new Map([[1, 2]]) }),
            path: require("path").posix.join("/a", "..", "b"),
            query: require("querystring").stringify({ a: [1, 2] }),
            url: url.href,
            clone: structuredClone({ at: new Date(0) }),
          };
        });
        "#,
    )
    .await;
    let mut found = system.function("node", json!({})).await;
    let clone = found.as_object_mut().unwrap().remove("clone");
    assert_eq!(
        clone,
        Some(json!({"at": {"__type": "Date", "iso": "1970-01-01T00:00:00.000Z"}}))
    );
    let expected = json!({
        "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "hmac": "nBluMtwBdfhvSxy4konWYZ3mvuaZ5MN45oMJ7Zehpqs=",
        "bytes": 8, "buffer": "w6TDtg==", "heard": "hello", "inspect": "{ a: Map(1) { 1 => 2 } }", "path": "/b",
        "query": "a=1&a=2", "url": "https://example.com/a?b=1&c=x+y",
    });
    assert_eq!(found, expected);
}

#[tokio::test]
async fn packages_of_npm_work() {
    let system = System::of_folder(&repository().join("tests/cases/npm-packages")).await;
    let items =
        json!([{"kind": "a", "price": 1}, {"kind": "b", "price": 2}, {"kind": "a", "price": 3}]);
    let lodash = system.function("lodash", json!({"items": items})).await;
    assert_eq!(
        (&lodash["groups"], &lodash["chunks"]),
        (&json!({"a": 4, "b": 2}), &json!([[1, 2], [3]]))
    );
    assert_eq!(
        (&lodash["copy"]["a"][0]["__type"], &lodash["name"]),
        (&json!("Date"), &json!("Foo Bar"))
    );
    let at = json!({"at": {"__type": "Date", "iso": "2026-01-31T12:30:00.000Z"}});
    assert_eq!(
        system.function("dayjs", at.clone()).await,
        "2026-02-28 12:30"
    );
    assert_eq!(
        system.function("moment", at).await,
        "Saturday, January 31st 2026"
    );
    let expected = json!({"user": "ada", "forged": "invalid signature"});
    assert_eq!(system.function("jsonwebtoken", json!({})).await, expected);

    let listener = Listener::start().await;
    let call = system.function("axios", json!({"url": listener.url("")}));
    let (answered, ()) = tokio::join!(call, async {
        let held = listener.next().await;
        assert_eq!(
            (&*held.line, &*held.body),
            ("POST /orders?q=a+b", r#"{"n":1}"#)
        );
        assert!(
            held.headers.contains(&"x-key: k1".to_owned()),
            "{:?}",
            held.headers
        );
        held.answer_with(201, "content-type: application/json", r#"{"id":7}"#)
            .await;
        listener.next().await.answer(404, "").await;
    });
    assert_eq!(
        answered,
        json!({"status": 201, "data": {"id": 7}, "failure": 404})
    );

    let call = system.function("stripe", json!({"port": listener.port()}));
    let (answered, ()) = tokio::join!(call, async {
        let held = listener.next().await;
        assert_eq!(
            (&*held.line, &*held.body),
            ("POST /v1/payment_intents", "amount=1499&currency=eur")
        );
        assert!(
            held.headers
                .contains(&"authorization: bearer sk_test_1".to_owned()),
            "{:?}",
            held.headers
        );
        let intent = r#"{"id":"pi_1","object":"payment_intent","status":"succeeded"}"#;
        held.answer_with(200, "content-type: application/json", intent)
            .await;
    });
    assert_eq!(answered, json!({"id": "pi_1", "status": "succeeded"}));
}
