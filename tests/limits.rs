//! Limits: code that misbehaves costs its own caller one clear error, and nobody else anything.

mod hostile;
pub mod process;
mod size;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::system::{Reply, System};

const HOSTILE: &str = r#"
    const define = (name, handler) => Parse.Cloud.define(name, handler);
    define("loop", () => { while (true) {} });
    define("native", () => [].join.call({ length: 2 ** 53 - 1 }));
    define("microtasks", async () => { while (true) await null; });
    define("regex", () => /(?=(a+))\1b/.test("a".repeat(1e6)));
    define("never", () => new Promise(() => {}));
    define("memory", () => { const all = []; while (true) all.push(new Uint8Array(1e6).fill(1)); });
    define("string", () => { let text = "x"; while (true) text += text; });
    define("recursion", () => { const f = () => f() + 1; return f(); });
    define("output", () => "x".repeat(20e6));
    define("circular", () => { const a = {}; a.a = a; return a; });
    define("polite", ({ params }) => params.n);
    define("held", async ({ params }) => {
      await new Parse.Object("Step").save({ beside: params.beside });
      const text = await (await fetch(params.url)).text();
      await new Parse.Object("Step").save({ beside: params.beside });
      return text;
    });
    define("saving", async ({ params }) => (await new Parse.Object("Entry").save({ n: params.n })).get("n"));
    "#;

async fn call(system: &System, name: &str, params: Value) -> Reply {
    system
        .call(Method::POST, &format!("functions/{name}"), params)
        .await
}

/// Calls a function with the numbers below `count` at once and expects each back.
async fn all_succeed(system: &System, name: &str, count: usize, beside: &str) {
    let replies = join_all((0..count).map(|n| call(system, name, json!({"n": n})))).await;
    for (n, reply) in replies.iter().enumerate() {
        assert_eq!(
            (reply.status, &reply.body["result"]),
            (200, &json!(n)),
            "{name} beside {beside}: {}",
            reply.body
        );
    }
}
