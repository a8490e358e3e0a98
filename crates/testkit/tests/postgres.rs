//! Databases, privileges, slots, crashes.

use std::time::Duration;

use tidegate_testkit::{Authentication, Postgres};
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls};

#[tokio::test]
async fn a_database_is_the_owners_and_ready_for_logical_replication() {
    let database = Postgres::shared().create_database().await;
    let client = database.connect().await;
    let row = client
        .query_one(
            "select current_user::text, rolsuper, rolreplication, current_setting('wal_level')
             from pg_roles where rolname = current_user",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, String>(0), "owner");
    assert!(!row.get::<_, bool>(1));
    assert!(row.get::<_, bool>(2));
    assert_eq!(row.get::<_, String>(3), "logical");
    client
        .batch_execute("create table t (id int primary key); create publication p for table t;")
        .await
        .unwrap();
    create_slot(&client, "owners_slot").await;
}

#[tokio::test]
async fn databases_are_separate_and_go_with_their_slots() {
    let (first, second) = (
        Postgres::shared().create_database().await,
        Postgres::shared().create_database().await,
    );
    let client = first.connect().await;
    client
        .batch_execute("create table only_here ()")
        .await
        .unwrap();
    create_slot(&client, "dropped_slot").await;
    let other = second.connect().await;
    assert!(other.batch_execute("select from only_here").await.is_err());

    let name = first.name().to_owned();
    drop(first);
    let left = other
        .query_one(
            "select (select count(*) from pg_database where datname = $1)
                  + (select count(*) from pg_replication_slots where slot_name = 'dropped_slot')",
            &[&name],
        )
        .await
        .unwrap();
    assert_eq!(left.get::<_, i64>(0), 0);
}

#[tokio::test]
async fn every_url_logs_in() {
    let database = Postgres::shared().create_database().await;
    let mut urls = vec![
        database.url().to_owned(),
        database.socket_url(),
        database.superuser_url(),
    ];
    for way in [
        Authentication::Scram,
        Authentication::Md5,
        Authentication::Cleartext,
    ] {
        let url = database.password_url(way);
        assert!(
            tokio_postgres::connect(&url.replacen("p%40", "q%40", 1), NoTls)
                .await
                .is_err()
        );
        urls.push(url);
    }
    for url in urls {
        assert!(tokio_postgres::connect(&url, NoTls).await.is_ok());
    }
}

#[tokio::test]
async fn what_was_committed_survives_a_crash() {
    let postgres = Postgres::start();
    let database = postgres.create_database().await;
    let client = database.connect().await;
    client
        .batch_execute("create table t (id int); insert into t values (1)")
        .await
        .unwrap();

    postgres.kill9();
    assert_eq!(postgres.pid(), None);
    assert!(client.batch_execute("select").await.is_err());
    assert!(
        tokio_postgres::connect(database.url(), NoTls)
            .await
            .is_err()
    );

    postgres.restart();
    let row = database
        .connect()
        .await
        .query_one("select id from t", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i32>(0), 1);

    postgres.stop();
    postgres.restart();
    database
        .connect()
        .await
        .batch_execute("insert into t values (2)")
        .await
        .unwrap();
}

#[tokio::test]
async fn further_settings_hold() {
    let postgres = Postgres::start_with(&["max_slot_wal_keep_size=8MB"]);
    let database = postgres.create_database().await;
    let client = database.connect_as_superuser().await;
    let row = client
        .query_one("select current_setting('max_slot_wal_keep_size')", &[])
        .await;
    assert_eq!(row.unwrap().get::<_, String>(0), "8MB");
}

#[tokio::test]
async fn a_paused_server_answers_once_resumed() {
    let postgres = Postgres::start();
    let database = postgres.create_database().await;
    let client = database.connect().await;
    postgres.pause();
    let mut query = Box::pin(client.query_one("select 1", &[]));
    let early = timeout(Duration::from_millis(20), &mut query).await;
    assert!(early.is_err());
    postgres.resume();
    assert_eq!(query.await.unwrap().get::<_, i32>(0), 1);
    postgres.pause();
    postgres.restart();
    postgres.pause();
    drop(postgres);
}

async fn create_slot(client: &Client, name: &str) {
    client
        .execute(
            "select pg_create_logical_replication_slot($1, 'pgoutput')",
            &[&name],
        )
        .await
        .expect("the slot is created");
}
