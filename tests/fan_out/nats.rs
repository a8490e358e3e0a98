//! A sink on NATS JetStream.

use async_nats::jetstream::{self, consumer, stream};
use futures_util::StreamExt;
use serde_json::Value;
use tidegate_event::failpoint;
use tidegate_testkit::Nats;

use super::sinks::configure;
use super::{Writer, version};
use crate::system::{PATIENCE, System, breathe};

const ALL: &str = "proxy,capture,dispatch,worker,fan-out";

struct Message {
    subject: String,
    id: String,
    event: Value,
}

async fn context(nats: &Nats) -> jetstream::Context {
    jetstream::new(async_nats::connect(nats.url()).await.unwrap())
}

/// A server with a stream that takes in what the sink publishes.
async fn start() -> Nats {
    let nats = Nats::start();
    let config = stream::Config {
        name: "changes".into(),
        subjects: vec!["tidegate.>".into()],
        ..Default::default()
    };
    context(&nats).await.create_stream(config).await.unwrap();
    nats
}

async fn prepare(nats: &Nats) -> System {
    let system = System::prepare("").await;
    let sink = format!(
        "[[sinks]]\nname = \"bus\"\nkind = \"nats\"\nurl = \"{}\"\nclasses = [\"Item\"]\nfrom = \"start\"\n",
        nats.url()
    );
    configure(&system, &sink);
    system
}

/// Waits until the stream has so many messages, and reads them by a consumer.
async fn read(nats: &Nats, count: usize) -> Vec<Message> {
    let begun = std::time::Instant::now();
    let context = context(nats).await;
    let mut stream = context.get_stream("changes").await.unwrap();
    loop {
        let found = stream.info().await.unwrap().state.messages as usize;
        if found >= count {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{found} of {count}");
        breathe().await;
    }
    let config = consumer::pull::Config::default();
    let consumer = stream.create_consumer(config).await.unwrap();
    let found = stream.info().await.unwrap().state.messages as usize;
    let messages = consumer.messages().await.unwrap().take(found);
    let message = |message: Result<jetstream::Message, _>| {
        let message = message.unwrap();
        let id = message.headers.as_ref().unwrap().get("Nats-Msg-Id");
        let id = id.unwrap().to_string();
        Message {
            subject: message.subject.to_string(),
            id,
            event: serde_json::from_slice(&message.payload).unwrap(),
        }
    };
    messages.map(message).collect().await
}

/// Each event is in the stream once, in order, under its own id.
async fn check(nats: &Nats, writer: &Writer) {
    let messages = read(nats, writer.versions().len()).await;
    let found: Vec<i64> = messages
        .iter()
        .map(|message| version(&message.event))
        .collect();
    assert_eq!(found, writer.versions(), "each once, in order");
    for message in &messages {
        assert_eq!(message.event["id"], message.id);
        let operation = message.event["operation"].as_str().unwrap();
        assert_eq!(message.subject, format!("tidegate.public.Item.{operation}"));
    }
}

#[tokio::test]
async fn each_event_is_in_the_stream_once_whichever_side_is_killed() {
    let nats = start().await;
    let mut system = prepare(&nats).await;
    let mut running = system.serve(ALL);
    let mut writer = Writer::new(&system).await;
    for round in 1..=2 {
        writer.write(100).await;
        read(&nats, round * 100 - 60).await;
        system.server(running).kill();
        writer.write(10).await;
        running = system.serve(ALL);
        writer.write(50).await;
        nats.kill9();
        writer.write(10).await;
        nats.restart();
    }
    check(&nats, &writer).await;
}

#[tokio::test]
async fn what_was_published_and_not_recorded_is_recognised_by_its_id() {
    let nats = start().await;
    let mut system = prepare(&nats).await;
    system.serve("proxy,capture,dispatch,worker");
    let mut writer = Writer::new(&system).await;
    writer.write(20).await;
    system
        .wait_for_sql("select count(*) = 21 from tidegate.event")
        .await;
    let mut armed = system.spawn_armed("fan-out", failpoint::SINK_PUBLISHED, 1);
    assert_ne!(armed.wait(), Some(0));
    check(&nats, &writer).await;
    system
        .wait_for_sql("select log_offset = 0 from tidegate.sink")
        .await;
    system.serve("fan-out");
    writer.write(5).await;
    check(&nats, &writer).await;
}

#[tokio::test]
async fn an_event_that_the_server_would_refuse_is_sent_without_its_rows() {
    let nats = start().await;
    let mut system = prepare(&nats).await;
    system.serve(ALL);
    let mut writer = Writer::new(&system).await;
    let sql = system.sql().await;
    // Three columns of 500 kB: above the server's 1 MB, and each of a size that an event carries.
    sql.batch_execute(
        "alter table \"Item\" add column a text, add column b text, add column c text;
         update \"Item\" set a = repeat('a', 500000), b = repeat('b', 500000), c = repeat('c', 500000)",
    )
    .await
    .unwrap();
    writer.write(1).await;
    let messages = read(&nats, 3).await;
    let large = &messages[1].event;
    assert_eq!(
        (large["logOffset"].as_u64(), &large["new"]),
        (Some(2), &Value::Null)
    );
    assert!(large["omittedBytes"].as_u64().unwrap() > 1_500_000);
    assert_eq!(large["key"], messages[0].event["key"]);
    assert_eq!(large["operation"], "update");
}

#[tokio::test]
async fn a_sink_without_a_stream_says_how_to_make_one() {
    let nats = Nats::start();
    let mut system = prepare(&nats).await;
    let server = system.serve(ALL);
    let mut writer = Writer::new(&system).await;
    writer.write(2).await;
    let line = system.server(server).wait_for("the sink's target failed");
    let error = line["error"].as_str().unwrap();
    assert!(error.contains("nats stream add"), "{error}");
}
