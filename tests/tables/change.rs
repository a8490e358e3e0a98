//! Tables that change their shape while rows change: what the log has equals what a row trigger saw.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tokio_postgres::Client;

use super::events;
use crate::system::System;

/// Steps with a server that follows, and then without one, which has it all to read later.
const STEPS: u32 = 150;

/// Longer values are stored apart from their row.
const LARGE_BYTES: usize = 2000;

/// Writes every row change down, in the same transaction, by what Postgres itself says of the row.
const SETUP: &str = r#"
    create schema fuzz;
    create table fuzz.audit (seq bigint generated always as identity primary key, change jsonb not null);
    create function fuzz.note() returns trigger language plpgsql as $$
    declare
        image jsonb := case tg_op when 'DELETE' then to_jsonb(old) else to_jsonb(new) end;
    begin
        insert into fuzz.audit (change) values (jsonb_build_object(
            'operation', lower(tg_op), 'table', tg_table_name,
            'row', (select jsonb_object_agg(key, value) from jsonb_each_text(image))));
        return null;
    end $$;
"#;

const CODE: &str = r#"
    for (const name of ["a", "b"]) Parse.Cloud.afterSave("fuzz." + name, () => {}, { original: true });
"#;

#[tokio::test]
async fn rows_are_read_by_the_shape_that_the_table_had() {
    let seed = std::env::var("TIDEGATE_FUZZ_SEED").map_or_else(
        |_| std::process::id().into(),
        |seed| seed.parse().expect("TIDEGATE_FUZZ_SEED is a number"),
    );
    println!("TIDEGATE_FUZZ_SEED={seed}");
    let mut system = System::prepare(CODE).await;
    let sql = system.sql().await;
    sql.batch_execute(SETUP).await.unwrap();
    let mut fuzz = Fuzz {
        random: seed,
        table: "a",
        columns: BTreeMap::new(),
        next: 1,
    };
    sql.batch_execute(&fuzz.create()).await.unwrap();
    system.serve("capture");
    for step in 0..2 * STEPS {
        if step == STEPS {
            system.server(0).terminate();
        }
        let is_followed = step < STEPS;
        if fuzz.step(&sql, is_followed).await {
            let table = fuzz.table;
            system
                .wait_for_sql(&format!(
                    "select exists (select from pg_publication_rel where prrelid = 'fuzz.{table}'::regclass)"
                ))
                .await;
        }
    }
    sql.batch_execute(&format!("drop table fuzz.{}", fuzz.table))
        .await
        .unwrap();
    system.serve("capture");
    system
        .wait_for_sql(
            r#"select (select count(*) from tidegate.event
                        where body::jsonb ->> 'schema' = 'fuzz' and body::jsonb ->> 'operation' <> 'truncate')
                      >= (select count(*) from fuzz.audit)"#,
        )
        .await;
    compare(&sql).await;
}

async fn compare(sql: &Client) {
    let rows = sql
        .query("select change::text from fuzz.audit order by seq", &[])
        .await
        .unwrap();
    let seen: Vec<Value> = rows
        .iter()
        .map(|row| serde_json::from_str(row.get(0)).unwrap())
        .collect();
    let logged = events(sql, "fuzz").await;
    let logged: Vec<&Value> = logged
        .iter()
        .filter(|event| event["operation"] != "truncate")
        .collect();
    eprintln!("{} changes", seen.len());
    assert!(seen.len() > 100, "a test of nothing");
    for (at, (event, seen)) in logged.iter().zip(&seen).enumerate() {
        assert_eq!(
            (&event["operation"], &event["table"]),
            (&seen["operation"], &seen["table"]),
            "change {at}"
        );
        compare_row(at, event, seen["row"].as_object().unwrap());
    }
    assert_eq!(logged.len(), seen.len());
}

fn compare_row(at: usize, event: &Value, expected: &Map<String, Value>) {
    let is_delete = event["operation"] == "delete";
    let row = if is_delete {
        &event["old"]
    } else {
        &event["new"]
    };
    let row = row.as_object().unwrap();
    let unchanged = event["unchangedToast"].as_array().map_or(0, Vec::len);
    // Of a deleted row the log has the key alone, where the identity was the default one for a while.
    let has_all = row.len() + unchanged == expected.len() || (is_delete && row.len() == 1);
    assert!(has_all, "change {at}: {event} is not {expected:?}");
    for (name, value) in row {
        let expected = &expected[name];
        // Where it was, an unchanged large value is read from the table, and may be a newer one.
        let may_be_newer = event["operation"] == "update"
            && event.get("old").is_none()
            && expected
                .as_str()
                .is_some_and(|text| text.len() > LARGE_BYTES);
        assert!(
            may_be_newer || value == expected || *value == as_printed(expected),
            "change {at}, column {name}: {value} is not {expected}"
        );
    }
}

/// JSON writes a boolean out in full.
fn as_printed(text: &Value) -> Value {
    match text.as_str() {
        Some("true") => json!("t"),
        Some("false") => json!("f"),
        _ => text.clone(),
    }
}

/// One table, and what it looks like.
struct Fuzz {
    random: u64,
    table: &'static str,
    /// Name → type, without `id`.
    columns: BTreeMap<String, &'static str>,
    /// For names and ids that were never there.
    next: u64,
}

const TYPES: [&str; 6] = ["int", "bigint", "numeric", "text", "bool", "uuid"];

impl Fuzz {
    /// splitmix64.
    fn below(&mut self, limit: usize) -> usize {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A table of that name with one column.
    fn create(&mut self) -> String {
        let table = self.table;
        self.columns = BTreeMap::from([("c1".to_owned(), "int")]);
        format!(
            "create table fuzz.{table} (id bigint primary key, c1 int);
             create trigger note after insert or update or delete on fuzz.{table}
                 for each row execute function fuzz.note();"
        )
    }

    /// One transaction of one to four statements, of which every fifth is rolled back. True: there is a new table.
    async fn step(&mut self, sql: &Client, is_followed: bool) -> bool {
        if is_followed && self.below(25) == 0 {
            let drop = format!("drop table fuzz.{};", self.table);
            let statements = drop + &self.create();
            sql.batch_execute(&statements).await.unwrap();
            return true;
        }
        let before = (self.table, self.columns.clone());
        let mut statements = String::new();
        for _ in 0..=self.below(4) {
            statements += &self.statement();
        }
        let is_kept = self.below(5) > 0;
        if !is_kept {
            (self.table, self.columns) = before;
        }
        let end = if is_kept { "commit" } else { "rollback" };
        let transaction = format!("begin; {statements} {end}");
        if let Err(error) = sql.batch_execute(&transaction).await {
            panic!("{error:?}: {transaction}");
        }
        false
    }

    fn statement(&mut self) -> String {
        let table = self.table;
        match self.below(16) {
            0..=4 => self.insert(),
            5..=8 => self.update(),
            9 => format!("delete from fuzz.{table} where id % 7 = {};", self.below(7)),
            10 => self.add_column(),
            11 => self.drop_column(),
            12 => self.rename_column(),
            13 => self.change_type(),
            14 => {
                let other = if table == "a" { "b" } else { "a" };
                self.table = other;
                format!("alter table fuzz.{table} rename to {other};")
            }
            _ => {
                let identity = ["full", "default"][self.below(2)];
                format!("alter table fuzz.{table} replica identity {identity};")
            }
        }
    }

    fn value(&mut self, column_type: &str) -> String {
        let number = self.fresh();
        match column_type {
            _ if self.below(6) == 0 => "null".into(),
            "int" | "bigint" => format!("{number}"),
            "numeric" => format!("{number}.50"),
            "bool" => ["true", "false"][self.below(2)].into(),
            "uuid" => format!("'00000000-0000-4000-8000-{number:012}'"),
            // Some are long enough to be stored apart.
            _ if self.below(3) == 0 => format!(
                "(select string_agg(md5(n::text), '') from generate_series({number}, {number} + 99) n)"
            ),
            _ => format!("'text {number}'"),
        }
    }

    fn insert(&mut self) -> String {
        let id = self.fresh();
        let columns = self.columns.clone();
        let names: String = columns.keys().map(|name| format!(", {name}")).collect();
        let values: String = columns
            .values()
            .map(|kind| format!(", {}", self.value(kind)))
            .collect();
        format!(
            "insert into fuzz.{} (id{names}) values ({id}{values});",
            self.table
        )
    }

    fn update(&mut self) -> String {
        let Some((name, kind)) = self.any_column() else {
            return self.insert();
        };
        let (value, rest) = (self.value(kind), self.below(5));
        format!(
            "update fuzz.{} set {name} = {value} where id % 5 = {rest};",
            self.table
        )
    }

    fn any_column(&mut self) -> Option<(String, &'static str)> {
        let at = self.below(self.columns.len().max(1));
        self.columns
            .iter()
            .nth(at)
            .map(|(name, kind)| (name.clone(), *kind))
    }

    fn add_column(&mut self) -> String {
        let (name, kind) = (format!("c{}", self.fresh()), TYPES[self.below(TYPES.len())]);
        let default = if self.below(2) == 0 {
            format!(" default {}", self.value_without_query(kind))
        } else {
            String::new()
        };
        self.columns.insert(name.clone(), kind);
        format!(
            "alter table fuzz.{} add column {name} {kind}{default};",
            self.table
        )
    }

    /// A default is no place for a query.
    fn value_without_query(&mut self, kind: &str) -> String {
        if kind == "text" {
            "'by default'".into()
        } else {
            self.value(kind)
        }
    }

    fn drop_column(&mut self) -> String {
        let Some((name, _)) = self.any_column() else {
            return self.add_column();
        };
        self.columns.remove(&name);
        format!("alter table fuzz.{} drop column {name};", self.table)
    }

    fn rename_column(&mut self) -> String {
        let Some((name, kind)) = self.any_column() else {
            return self.add_column();
        };
        let new = format!("r{}", self.fresh());
        self.columns.remove(&name);
        self.columns.insert(new.clone(), kind);
        format!(
            "alter table fuzz.{} rename column {name} to {new};",
            self.table
        )
    }

    fn change_type(&mut self) -> String {
        let Some((name, _)) = self.any_column() else {
            return self.add_column();
        };
        self.columns.insert(name.clone(), "text");
        let table = self.table;
        format!(
            "alter table fuzz.{table} alter {name} drop default;
             alter table fuzz.{table} alter {name} type text using {name}::text;"
        )
    }
}
