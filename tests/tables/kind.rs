//! Every type, every name: what the log has and what a handler is given.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio_postgres::Client;

use super::{events, wait_for_events};
use crate::system::System;

const TABLE: &str = r#""Kinds"."Every ""thing"".é""#;

/// Writes down the object of each change of these tables.
fn recorder(tables: &[&str]) -> String {
    let names = json!(tables);
    format!(
        r#"
        for (const name of {names}) {{
          Parse.Cloud.afterSave(name, async ({{ object, triggerName }}) => {{
            const entry = new Parse.Object("Note");
            await entry.save({{ id_: object.id ?? null, json: JSON.stringify(object.toJSON()), name }}, {{ useMasterKey: true }});
          }});
        }}"#
    )
}

/// Type, value as SQL, and what a handler is given; None: the text that Postgres prints.
fn cases() -> Vec<(&'static str, &'static str, Option<Value>)> {
    let date = |iso: &str| Some(json!({"__type": "Date", "iso": iso}));
    let number = |number: f64| Some(json!(number));
    vec![
        ("int2", "-32768", Some(json!(-32768))),
        ("int4", "2147483647", Some(json!(2_147_483_647))),
        (
            "int8",
            "9007199254740991",
            Some(json!(9_007_199_254_740_991_i64)),
        ),
        ("int8", "9007199254740993", None),
        ("int8", "-9223372036854775808", None),
        ("numeric(10,2)", "12.50", number(12.5)),
        ("numeric", "'NaN'", None),
        ("numeric", "'-Infinity'", None),
        ("numeric", "1e1000", None),
        ("numeric", "0.12345678901234567890", None),
        ("float4", "0.1", number(0.1)),
        ("float4", "'NaN'", None),
        ("float8", "1e-300", number(1e-300)),
        ("float8", "'Infinity'", None),
        ("float8", "'-Infinity'", None),
        ("float8", "'-0'", Some(json!(0))),
        ("money", "'-1234.56'", None),
        ("bool", "true", Some(json!(true))),
        ("text", "E'quote '' \" tab \\t nul-less \u{1F30A}'", None),
        ("varchar(9)", "''", None),
        ("char(5)", "'ab'", None),
        ("\"char\"", "'x'", None),
        ("name", "'a name'", None),
        (
            "bytea",
            "'\\x00ff10'",
            Some(json!({"__type": "Bytes", "base64": "AP8Q"})),
        ),
        ("date", "'2024-02-29'", date("2024-02-29T00:00:00.000Z")),
        ("date", "'infinity'", None),
        ("date", "'4713-01-01 BC'", None),
        ("date", "'5874897-12-31'", None),
        ("time", "'24:00:00'", None),
        ("timetz", "'04:05:06.789-08:30'", None),
        (
            "timestamp",
            "'2024-02-29 12:34:56.789'",
            date("2024-02-29T12:34:56.789Z"),
        ),
        (
            "timestamptz",
            "'2024-02-29 12:34:56.789+02'",
            date("2024-02-29T10:34:56.789Z"),
        ),
        ("timestamptz", "'-infinity'", None),
        ("timestamp", "'294276-12-31 23:59:59.999999'", None),
        ("timestamptz", "'4713-11-24 00:00:00+00 BC'", None),
        ("interval", "'-1 year 2 mons 3 days 04:05:06.789'", None),
        ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", None),
        (
            "json",
            "'{ \"b\": [1, null], \"a\": {} }'",
            Some(json!({"b": [1, null], "a": {}})),
        ),
        ("jsonb", "'[1.5, \"x\"]'", Some(json!([1.5, "x"]))),
        ("jsonb", "'[1e1000]'", None),
        ("bit(3)", "B'101'", None),
        ("varbit", "B'1'", None),
        ("inet", "'192.168.0.1/24'", None),
        ("cidr", "'2001:db8::/32'", None),
        ("macaddr", "'08:00:2b:01:02:03'", None),
        ("macaddr8", "'08:00:2b:01:02:03:04:05'", None),
        ("tsvector", "'a fat:2 cat'", None),
        ("tsquery", "'fat & !cat'", None),
        ("xml", "'<a b=\"1\">x</a>'", None),
        ("jsonpath", "'$.a[*] ? (@ > 1)'", None),
        ("point", "'(1.5,-2)'", None),
        ("line", "'{1,2,3}'", None),
        ("lseg", "'[(0,0),(1,1)]'", None),
        ("box", "'(1,1),(0,0)'", None),
        ("path", "'((0,0),(1,1))'", None),
        ("polygon", "'((0,0),(1,1),(2,0))'", None),
        ("circle", "'<(1,2),3>'", None),
        ("pg_lsn", "'16/B374D848'", None),
        ("oid", "4294967295", Some(json!(4_294_967_295_u32))),
        ("regclass", "'pg_class'", None),
        ("xid8", "'18446744073709551615'", None),
        ("int4[]", "'{1,NULL,3}'", Some(json!([1, null, 3]))),
        (
            "int4[]",
            "'[0:1][2:3]={{1,2},{3,4}}'",
            Some(json!([[1, 2], [3, 4]])),
        ),
        (
            "text[]",
            "array['a,b', 'NULL', '\"', null]",
            Some(json!(["a,b", "NULL", "\"", null])),
        ),
        ("float8[]", "'{NaN,0.5}'", Some(json!(["NaN", 0.5]))),
        (
            "jsonb[]",
            "array['{\"a\": [1]}'::jsonb]",
            Some(json!([{"a": [1]}])),
        ),
        (
            "box[]",
            "'{(1,1),(0,0);(2,2),(1,1)}'",
            Some(json!(["(1,1),(0,0)", "(2,2),(1,1)"])),
        ),
        ("int2vector", "'1 2'", None),
        ("\"Kinds\".mood", "'so so'", None),
        (
            "\"Kinds\".mood[]",
            "'{ok,\"so so\"}'",
            Some(json!(["ok", "so so"])),
        ),
        ("\"Kinds\".positive", "7", Some(json!(7))),
        ("\"Kinds\".ids", "'{1,2}'", Some(json!([1, 2]))),
        ("\"Kinds\".positive[]", "'{3}'", Some(json!([3]))),
        ("\"Kinds\".pair", "row(1, 'a \"b\", c')", None),
        (
            "\"Kinds\".pair[]",
            "array[row(1, 'a')::\"Kinds\".pair]",
            Some(json!(["(1,a)"])),
        ),
        ("int4range", "'[1,5)'", None),
        ("tstzrange", "'[2024-01-01 00:00:00+00,)'", None),
        ("nummultirange", "'{[1,2],[3,4]}'", None),
        ("text", "null", Some(Value::Null)),
        ("int4[]", "null", Some(Value::Null)),
    ]
}

async fn make_table(sql: &Client) {
    let columns: Vec<String> = cases()
        .iter()
        .enumerate()
        .map(|(at, (column_type, ..))| format!("c{at} {column_type}"))
        .collect();
    let values: Vec<&str> = cases().iter().map(|(_, value, _)| *value).collect();
    let statements = format!(
        r#"create schema "Kinds";
           create type "Kinds".mood as enum ('ok', 'so so');
           create domain "Kinds".positive as int4 check (value > 0);
           create domain "Kinds".ids as int4[];
           create type "Kinds".pair as (a int4, b text);
           create table {TABLE} (id int generated always as identity primary key, {},
                                 twice int generated always as (c0 * 2) stored);
           create function "Kinds".add() returns void language sql as $$
               insert into {TABLE} values (default, {}) $$;"#,
        columns.join(", "),
        values.join(", ")
    );
    sql.batch_execute(&statements).await.unwrap();
}

/// What Postgres prints for each column of the first row.
async fn printed(sql: &Client) -> BTreeMap<String, Option<String>> {
    sql.batch_execute("set extra_float_digits = 3")
        .await
        .unwrap();
    let names: Vec<String> = (0..cases().len()).map(|at| format!("c{at}")).collect();
    let texts = names.iter().map(|name| {
        format!(
            "case when num_nulls({name}) = 0 or {name} is not null then format('%s', {name}) end"
        )
    });
    let query = format!(
        "select {} from {TABLE}",
        texts.collect::<Vec<_>>().join(", ")
    );
    let row = sql.query_one(&query, &[]).await.unwrap();
    let texts = (0..names.len()).map(|at| row.get::<_, Option<String>>(at));
    names.iter().cloned().zip(texts).collect()
}

#[tokio::test]
async fn every_type_reaches_the_log_as_printed_and_the_handler_as_documented() {
    let plain_name = r#"Kinds.Every "thing".é"#;
    let wide_name = format!("public.{}", "ü'".repeat(21)); // 63 bytes
    let code = recorder(&[plain_name, &wide_name, "Kinds.pairs", "Kinds.keyless"]);
    let mut system = System::prepare(&code).await;
    let sql = system.sql().await;
    make_table(&sql).await;
    let columns: Vec<String> = (1..1600).map(|n| format!("c{n} int default {n}")).collect();
    let wide = format!(
        r#"create table "{}" (id bigint primary key, {});
           create table "Kinds".pairs (b text, a int, primary key (b, a), "objectId_" int);
           create table "Kinds".keyless (n int);"#,
        "ü'".repeat(21),
        columns.join(", ")
    );
    sql.batch_execute(&wide).await.unwrap();
    system.serve("proxy,capture,dispatch,worker");
    let fill = format!(
        r#"select "Kinds".add(); insert into "{}" (id) values (1);
           insert into "Kinds".pairs values ('x', 1); insert into "Kinds".keyless values (1);
           update "Kinds".keyless set n = 2;"#,
        "ü'".repeat(21)
    );
    sql.batch_execute(&fill).await.unwrap();
    let notes = system.wait_for_objects("Note", json!({}), 5).await;
    let of = |name: &str| {
        let note = notes.iter().find(|note| note["name"] == name).unwrap();
        let object: Value = serde_json::from_str(note["json"].as_str().unwrap()).unwrap();
        (note["id_"].clone(), object)
    };

    let printed = printed(&sql).await;
    let logged = &events(&sql, "Kinds").await[0]["new"];
    let (id, object) = of(plain_name);
    assert_eq!((id, &object["id"]), (json!("1"), &json!(1)));
    for (at, (column_type, value, expected)) in cases().into_iter().enumerate() {
        let name = format!("c{at}");
        assert_eq!(
            logged[&name],
            json!(printed[&name]),
            "{column_type} {value}"
        );
        let expected = expected.unwrap_or_else(|| json!(printed[&name]));
        let shown = object.get(&name).cloned().unwrap_or_default();
        assert_eq!(shown, expected, "{column_type} {value}");
    }
    assert_eq!(
        logged.get("twice"),
        None,
        "pgoutput of Postgres 15 sends no generated column"
    );

    let (id, object) = of(&wide_name);
    assert_eq!((id, &object["c1599"]), (json!("1"), &json!(1599)));
    assert_eq!(
        of("Kinds.pairs").0,
        "1,x",
        "values in the order of the columns' names"
    );
    assert_eq!(of("Kinds.keyless").0, Value::Null);
}

#[tokio::test]
async fn a_truncate_is_one_event_per_table_and_fires_nothing() {
    let code = recorder(&["cut.orders", "cut.lines"]);
    let mut system = System::prepare(&code).await;
    let sql = system.sql().await;
    sql.batch_execute(
        "create schema cut;
         create table cut.orders (id int generated always as identity primary key, n int);
         create table cut.lines (id int primary key, order_id int references cut.orders);
         create table cut.quiet (id int primary key references cut.orders);",
    )
    .await
    .unwrap();
    system.serve("proxy,capture,dispatch,worker");
    sql.batch_execute(
        "insert into cut.orders (n) values (1), (2);
         truncate cut.orders restart identity cascade;
         insert into cut.orders (n) values (3);",
    )
    .await
    .unwrap();
    let found = wait_for_events(&sql, "cut", 5).await;
    let seen: Vec<_> = found
        .iter()
        .map(|event| json!([event["operation"], event["table"], event["key"]["id"]]))
        .collect();
    assert_eq!(
        json!(seen[..2]),
        json!([["insert", "orders", "1"], ["insert", "orders", "2"]])
    );
    let mut cut: Vec<_> = seen[2..4]
        .iter()
        .map(|event| (&event[0], &event[1]))
        .collect();
    cut.sort_by_key(|(_, table)| table.as_str());
    let truncate = json!("truncate");
    assert_eq!(
        cut,
        [(&truncate, &json!("lines")), (&truncate, &json!("orders"))]
    );
    assert_eq!(
        seen[4],
        json!(["insert", "orders", "1"]),
        "the identity began anew"
    );
    system.wait_until_settled().await;
    assert_eq!(system.find("Note", json!({})).await.len(), 3);
}

#[tokio::test]
async fn a_database_without_an_encoding_is_refused_at_the_start() {
    let system = System::prepare("").await;
    let superuser = system.database.connect_as_superuser().await;
    let name = format!("{}_ascii", system.database.name());
    superuser
        .batch_execute(&format!(
            "create database {name} encoding 'SQL_ASCII' locale 'C' template template0"
        ))
        .await
        .unwrap();
    let mut command = system.command("proxy,capture");
    let url = system.database.url().replace(system.database.name(), &name);
    command.env("DATABASE_URL", url);
    let mut server = crate::server::Server::spawn(command);
    let exit_code = server.wait();
    superuser
        .batch_execute(&format!("drop database {name} with (force)"))
        .await
        .unwrap();
    assert_ne!(exit_code, Some(0));
    let log = server.log();
    assert!(
        log.contains("SQL_ASCII") && log.contains("createdb -E UTF8"),
        "{log}"
    );
}
