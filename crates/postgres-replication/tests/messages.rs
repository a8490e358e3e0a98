//! What each kind of change looks like on the stream.

use postgres_replication::{Message, ReplicaIdentity, Value};

use crate::fixture::{Fixture, until_end};

const KEYED: &str = "
    create table keyed (id int primary key, body text, extra text);
    alter table keyed alter column extra set storage external;
    create publication p for table keyed;";

const WHOLE: &str = "
    create table whole (id int primary key, body text, extra text);
    alter table whole alter column extra set storage external;
    alter table whole replica identity full;
    create publication p for table whole;";

#[tokio::test]
async fn under_default_identity_the_old_row_is_its_key_or_absent() {
    let fixture = Fixture::new(KEYED).await;
    let mut stream = fixture.start().await;
    let lines = fixture
        .changes(
            &mut stream,
            "begin;
             insert into keyed values (1, 'eins', 'x'), (2, null, '');
             update keyed set body = 'one' where id = 1;
             update keyed set id = 3 where id = 2;
             delete from keyed where id = 1;
             commit",
        )
        .await;
    let expected = [
        "begin",
        "relation public.keyed Default [id*, body, extra]",
        r#"insert keyed ("1", "eins", "x")"#,
        r#"insert keyed ("2", null, "")"#,
        r#"update keyed to ("1", "one", "x")"#,
        r#"update keyed key ("2", null, null) to ("3", null, "")"#,
        r#"delete keyed key ("1", null, null)"#,
        "commit",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn an_unchanged_toast_value_is_neither_null_nor_known_under_default() {
    let fixture = Fixture::new(KEYED).await;
    fixture
        .execute("insert into keyed values (1, 'eins', repeat('x', 100000))")
        .await;
    let mut stream = fixture.start().await;
    let lines = fixture
        .changes(&mut stream, "update keyed set body = 'one'")
        .await;
    assert_eq!(lines[2], r#"insert keyed ("1", "eins", x×100000)"#);
    assert_eq!(lines[5], r#"update keyed to ("1", "one", unchanged)"#);
}

#[tokio::test]
async fn an_unchanged_toast_value_is_in_the_old_row_under_full() {
    let fixture = Fixture::new(WHOLE).await;
    fixture
        .execute("insert into whole values (1, 'eins', repeat('x', 100000))")
        .await;
    let mut stream = fixture.start().await;
    let lines = fixture
        .changes(
            &mut stream,
            "update whole set body = 'one'; delete from whole",
        )
        .await;
    assert_eq!(lines[1], "relation public.whole Full [id*, body*, extra*]");
    let old = r#"("1", "eins", x×100000)"#;
    assert_eq!(
        lines[5],
        format!(r#"update whole full {old} to ("1", "one", unchanged)"#)
    );
    assert_eq!(lines[6], r#"delete whole full ("1", "one", x×100000)"#);
}

#[tokio::test]
async fn truncate_names_every_table_at_once() {
    let fixture = Fixture::new(
        "create table parent (id int primary key);
         create table child (id int references parent);
         create publication p for table parent, child;",
    )
    .await;
    let mut stream = fixture.start().await;
    let lines = fixture
        .changes(
            &mut stream,
            "truncate parent restart identity cascade; truncate child",
        )
        .await;
    let expected = [
        "begin",
        "relation public.parent Default [id*]",
        "relation public.child Default [id]",
        "truncate parent, child cascade=true restart_identity=true",
        "truncate child cascade=false restart_identity=false",
        "commit",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn types_names_and_text_forms_arrive_as_postgres_has_them() {
    let fixture = Fixture::new(
        "create schema \"Söme Schema\";
         create type mood as enum ('sad', 'happy');
         create table \"Söme Schema\".\"T\" (\"a \"\"b\" mood, at timestamptz, bytes bytea,
             number float8, amount numeric, span interval);
         create publication p for table \"Söme Schema\".\"T\";
         do $$ begin
             execute format('alter database %I set timezone = ''Asia/Tokyo''', current_database());
             execute format('alter database %I set datestyle = ''German''', current_database());
         end $$;",
    )
    .await;
    let mut stream = fixture.start().await;
    let lines = fixture
        .changes(
            &mut stream,
            r#"insert into "Söme Schema"."T" values ('happy', '2026-11-22 09:00:00.5+00', '\x00ff',
                0.1::float8 + 0.2::float8, 'NaN', '1 day 2 hours')"#,
        )
        .await;
    let expected = [
        "begin",
        "type public.mood",
        "relation Söme Schema.T Default [a \"b, at, bytes, number, amount, span]",
        r#"insert T ("happy", "2026-11-22 09:00:00.5+00", "\\x00ff", "0.30000000000000004", "NaN", "1 day 02:00:00")"#,
        "commit",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_row_is_decoded_with_the_columns_it_was_written_with() {
    let fixture = Fixture::new(
        "create table t (id int, body text);
         create publication p for table t;",
    )
    .await;
    let mut stream = fixture.start().await;
    let lines = fixture
        .changes(
            &mut stream,
            "begin;
             insert into t values (1, 'a');
             alter table t add column more int;
             insert into t values (2, 'b', 3);
             alter table t drop column body;
             alter table t rename column more to fewer;
             insert into t values (3, 4);
             alter table t rename to renamed;
             alter table renamed replica identity full;
             update renamed set fewer = 5 where id = 3;
             commit",
        )
        .await;
    let expected = [
        "begin",
        "relation public.t Default [id, body]",
        r#"insert t ("1", "a")"#,
        "relation public.t Default [id, body, more]",
        r#"insert t ("2", "b", "3")"#,
        "relation public.t Default [id, fewer]",
        r#"insert t ("3", "4")"#,
        "relation public.renamed Full [id*, fewer*]",
        r#"update renamed full ("3", "4") to ("3", "5")"#,
        "commit",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn messages_share_one_relation_and_carry_its_types() {
    let fixture = Fixture::new(
        "create table t (id int primary key, name varchar(20));
         create unique index by_name on t (name);
         alter table t alter column name set not null;
         alter table t replica identity using index by_name;
         create publication p for table t;",
    )
    .await;
    let mut stream = fixture.start().await;
    fixture.execute("insert into t values (1, 'a')").await;
    fixture.mark_end().await;
    let messages = until_end(&mut stream).await;
    let (Message::Relation(described), Message::Insert { relation, new }) =
        (&messages[1], &messages[2])
    else {
        panic!("{messages:?}");
    };
    assert!(std::sync::Arc::ptr_eq(described, relation));
    assert_eq!(relation.replica_identity, ReplicaIdentity::Index);
    assert_eq!(relation.columns[0].type_oid, 23);
    assert_eq!(relation.columns[1].type_oid, 1043);
    assert_eq!(relation.columns[1].type_modifier, 24);
    assert!(!relation.columns[0].is_key && relation.columns[1].is_key);
    assert_eq!(*new, [Value::Text("1".into()), Value::Text("a".into())]);
    assert!(
        !format!("{messages:?} {new:?}").contains('"'),
        "values stay out of Debug"
    );
}

#[tokio::test]
async fn values_longer_than_the_read_buffer_arrive_whole_between_small_ones() {
    let fixture = Fixture::new(KEYED).await;
    let mut stream = fixture.start().await;
    let lines = fixture
        .changes(
            &mut stream,
            "begin;
             insert into keyed values (1, 'small', 'a');
             insert into keyed values (2, 'long', repeat('x', 30000000));
             insert into keyed values (3, 'longer', repeat('y', 60000000));
             insert into keyed select id, 'small', 'b' from generate_series(4, 1003) id;
             commit",
        )
        .await;
    assert_eq!(lines[2], r#"insert keyed ("1", "small", "a")"#);
    assert_eq!(lines[3], r#"insert keyed ("2", "long", x×30000000)"#);
    assert_eq!(lines[4], r#"insert keyed ("3", "longer", y×60000000)"#);
    assert_eq!(lines[1004], r#"insert keyed ("1003", "small", "b")"#);
    assert_eq!(lines.len(), 1006);
}
