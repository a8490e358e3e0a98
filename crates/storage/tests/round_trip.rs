//! How often a call waits for the server, counted on the wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tidegate_parse_protocol::{Access, Filter, Query};
use tidegate_storage::{Captured, Companion, Config, Secrets, Storage, Write};
use tidegate_testkit::Postgres;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::fixture::{Fixture, config, delete, insert, update};

/// A proxy in front of Postgres that counts the messages to which the server answers "ready for query".
async fn counting_proxy(port: u16) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own_port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let (mut from_server, to_server) = server.into_split();
            let (from_client, mut to_client) = client.into_split();
            tokio::spawn(forward(from_client, to_server, counted.clone()));
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        }
    });
    (own_port, count)
}

async fn forward(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    count: Arc<AtomicUsize>,
) -> std::io::Result<()> {
    // The first message has no type byte.
    let mut kind = None;
    loop {
        let length = client.read_u32().await?;
        let mut body = vec![0; length as usize - 4];
        client.read_exact(&mut body).await?;
        if let Some(kind) = kind {
            server.write_u8(kind).await?;
        }
        server.write_u32(length).await?;
        server.write_all(&body).await?;
        if matches!(kind, Some(b'S' | b'Q')) {
            count.fetch_add(1, Ordering::SeqCst);
        }
        kind = Some(client.read_u8().await?);
    }
}

#[tokio::test]
async fn a_get_a_create_an_update_and_a_delete_are_one_round_trip_each() {
    let postgres = Postgres::shared();
    let database = postgres.create_database().await;
    let (port, count) = counting_proxy(postgres.port()).await;
    let url = database
        .url()
        .replace(&format!(":{}/", postgres.port()), &format!(":{port}/"));
    let storage = Storage::connect(Config {
        max_connections: 1,
        ..config(&url)
    })
    .await
    .unwrap();
    let fixture = Fixture { storage, database };
    let relation =
        json!({"__op": "AddRelation", "objects": [crate::fixture::pointer("Item", "i1")]});
    let class = fixture
        .create("Order", "o1", json!({"n": 1, "items": relation.clone()}))
        .await;
    let storage = &fixture.storage;
    let access = Access::user("u1", ["Team"]);
    let get = Query::filtered(Filter::equal("objectId", "o1"));
    let with = |write: Write| Write {
        message: Some("m".to_owned()),
        access: access.clone(),
        ..write
    };
    let waits = || count.swap(0, Ordering::SeqCst);
    // The first round prepares the statements on the connection.
    for (round, id) in ["a", "b", "c"].into_iter().enumerate() {
        let mut waited = Vec::new();
        waits();
        storage
            .commit(vec![with(insert(&class, id, json!({"n": round})))])
            .await
            .unwrap();
        waited.push(waits());
        storage
            .commit(vec![with(update(
                &class,
                id,
                json!({"n": 2, "items": relation.clone()}),
            ))])
            .await
            .unwrap();
        waited.push(waits());
        storage
            .find(&class, &get, &access, Secrets::Hidden)
            .await
            .unwrap();
        waited.push(waits());
        storage
            .commit(vec![with(delete(&class, id))])
            .await
            .unwrap();
        waited.push(waits());
        storage.roles_of_user("u1").await.unwrap();
        waited.push(waits());
        storage
            .ensure_fields(
                "Order",
                &crate::fixture::types(&crate::fixture::changes(json!({"n": 1}))),
                Captured::No,
            )
            .await
            .unwrap();
        waited.push(waits());
        let each = if round == 0 { 2 } else { 1 };
        assert_eq!(waited, [each, each, each, each, each, 0]);
        let companion = || Companion {
            text: "select $1::text",
            params: vec!["x".into()],
        };
        storage
            .commit_with(vec![update(&class, "o1", json!({"n": 3}))], |_| {
                vec![companion()]
            })
            .await
            .unwrap();
        // BEGIN and the write are one wait, the companion and COMMIT another; each message is counted.
        let preparations = if round == 0 { 2 } else { 0 };
        assert_eq!(waits(), 4 + preparations);
    }
}
