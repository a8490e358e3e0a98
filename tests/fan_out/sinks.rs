//! Sinks: what is common to all, shown on Redis Streams.

use tidegate_event::failpoint;

use super::Writer;
use super::redis_streams::{STREAM, Target};
use crate::system::{PATIENCE, System, breathe};

const ALL: &str = "proxy,capture,dispatch,worker,fan-out";
const OTHERS: &str = "proxy,capture,dispatch,worker";

async fn prepare(target: &Target) -> System {
    let system = System::prepare("").await;
    configure(&system, &target.sink());
    system
}

pub(super) fn configure(system: &System, text: &str) {
    std::fs::write(system.project.path().join("tidegate.toml"), text).unwrap();
}

#[tokio::test]
async fn a_server_killed_in_the_middle_leaves_each_event_once_and_in_order() {
    let target = Target::start();
    let mut system = prepare(&target).await;
    let mut running = system.serve(ALL);
    let mut writer = Writer::new(&system).await;
    for round in 1..=3 {
        writer.write(100).await;
        target.wait_for(round * 100 - 60).await;
        system.server(running).kill();
        writer.write(10).await;
        running = system.serve(ALL);
    }
    target.check(&writer.versions()).await;
}

#[tokio::test]
async fn what_was_published_and_not_recorded_is_published_again_and_refused() {
    let target = Target::start();
    let mut system = prepare(&target).await;
    system.serve(OTHERS);
    let mut writer = Writer::new(&system).await;
    writer.write(20).await;
    system
        .wait_for_sql("select count(*) = 21 from tidegate.event")
        .await;
    let mut armed = system.spawn_armed("fan-out", failpoint::SINK_PUBLISHED, 1);
    assert_ne!(armed.wait(), Some(0));
    target.check(&writer.versions()).await;
    let recorded = "select log_offset from tidegate.sink where name = 'target'";
    let row = system.sql().await.query_one(recorded, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 0, "the cursor has not moved");
    system.serve("fan-out");
    writer.write(20).await;
    target.check(&writer.versions()).await;
    system
        .wait_for_sql("select log_offset = 41 from tidegate.sink")
        .await;
}

#[tokio::test]
async fn a_target_that_is_away_costs_no_event_and_its_lag_is_reported() {
    let target = Target::start();
    let mut system = prepare(&target).await;
    let server = system.serve(ALL);
    let mut writer = Writer::new(&system).await;
    writer.write(10).await;
    target.check(&writer.versions()).await;
    target.redis.kill9();
    writer.write(50).await;
    system.server(server).wait_for("the sink's target failed");
    wait_for_lag(&system, |lag| lag == 50.0).await;
    target.redis.restart();
    target.check(&writer.versions()).await;
    wait_for_lag(&system, |lag| lag == 0.0).await;
}

async fn wait_for_lag(system: &System, is_right: impl Fn(f64) -> bool) {
    let begun = std::time::Instant::now();
    loop {
        let url = format!("{}/metrics", system.url());
        let text = reqwest::get(url).await.unwrap().text().await.unwrap();
        let mut lines = text.lines();
        let lag =
            lines.find_map(|line| line.strip_prefix("tidegate_sink_lag_events{sink=\"target\"} "));
        if lag.is_some_and(|lag| is_right(lag.parse().unwrap())) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "lag is {lag:?}");
        breathe().await;
    }
}

#[tokio::test]
async fn one_process_feeds_a_sink_and_another_takes_over_when_it_dies() {
    let target = Target::start();
    let mut system = prepare(&target).await;
    system.serve(OTHERS);
    let first = system.serve("fan-out");
    system.server(first).wait_for("feeding the sink");
    let second = system.serve("fan-out");
    system
        .server(second)
        .wait_for("another process feeds the sink; standing by");
    let mut writer = Writer::new(&system).await;
    writer.write(10).await;
    target.check(&writer.versions()).await;
    assert!(system.server(second).line("feeding the sink").is_none());
    system.server(first).kill();
    system.server(second).wait_for("feeding the sink");
    writer.write(10).await;
    target.check(&writer.versions()).await;
}

#[tokio::test]
async fn a_sink_that_is_behind_retention_names_the_gap_and_goes_on() {
    let target = Target::start();
    let mut system = prepare(&target).await;
    system.serve(OTHERS);
    let mut writer = Writer::new(&system).await;
    writer.write(9).await;
    system
        .wait_for_sql("select count(*) = 10 from tidegate.event")
        .await;
    system
        .sql()
        .await
        .batch_execute(
            "insert into tidegate.sink (name, log_offset) values ('target', 2);
             delete from tidegate.event where log_offset <= 6",
        )
        .await
        .unwrap();
    let server = system.serve("fan-out");
    let line = system.server(server).wait_for("a gap");
    assert_eq!(
        (line["from"].as_u64(), line["missed"].as_u64()),
        (Some(3), Some(4)),
        "{line}"
    );
    target.check(&writer.versions()[6..]).await;
}

#[tokio::test]
async fn a_stream_that_another_log_has_filled_is_not_mixed_with_this_one() {
    let target = Target::start();
    let mut system = prepare(&target).await;
    let mut connection = target.connect().await;
    let add = async |connection: &mut _| {
        let command = redis::cmd("XADD")
            .arg(&[STREAM, "5000-0", "id", "theirs"])
            .to_owned();
        command.query_async::<String>(connection).await.unwrap()
    };
    add(&mut connection).await;
    let server = system.serve(ALL);
    let mut writer = Writer::new(&system).await;
    writer.write(3).await;
    let line = system.server(server).wait_for("the sink's target failed");
    let error = line["error"].as_str().unwrap();
    assert!(
        error.contains("stream changes was filled from another log"),
        "{error}"
    );
    // The remedy that it names.
    let () = redis::cmd("DEL")
        .arg(STREAM)
        .query_async(&mut connection)
        .await
        .unwrap();
    target.check(&writer.versions()).await;
}

#[tokio::test]
async fn a_sink_is_given_only_what_it_wants() {
    let target = Target::start();
    let system = System::prepare("").await;
    let sink = target
        .sink()
        .replace("from =", "operations = [\"insert\"]\nmax_len = 1\nfrom =");
    configure(&system, &sink);
    let mut system = system;
    system.serve(ALL);
    let mut writer = Writer::new(&system).await;
    writer.write(5).await;
    system
        .wait_for_sql("select log_offset = 6 from tidegate.sink")
        .await;
    target.check(&[0]).await;
}
