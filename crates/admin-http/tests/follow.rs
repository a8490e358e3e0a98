//! Following a run's log.

use axum::body::Body;
use axum::http::{Method, Request};
use futures_util::StreamExt;

use crate::fixture::{Stage, log, stage, succeeded};

/// What follows, frame by frame, without comments.
async fn frames(body: Body) -> Vec<String> {
    let mut stream = body.into_data_stream();
    let mut text = String::new();
    while let Some(chunk) = stream.next().await {
        text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
    }
    let frames = text.split("\n\n").filter(|frame| !frame.is_empty());
    frames
        .filter(|frame| !frame.starts_with(':'))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn a_log_is_followed_from_its_beginning_to_the_end_of_the_run() {
    let stage = stage().await;
    let run = stage.start("report").await;
    let claimed = stage.claim().await.remove(0);
    log(&stage, &claimed, &["one"]).await;
    let path = format!("/runs/{run}/logs?follow=true");
    let response = stage.send(Method::GET, &path, None).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let reading = tokio::spawn(frames(response.into_body()));
    log(&stage, &claimed, &["two"]).await;
    stage.finish(&claimed, succeeded()).await;
    let frames = reading.await.unwrap();
    let whole = frames.join("\n");
    assert!(
        whole.contains(r#""text":"one""#) && whole.contains(r#""text":"two""#),
        "{whole}"
    );
    let last = frames.last().unwrap();
    assert!(
        last.starts_with("event: end\ndata: {") && last.contains(r#""state":"succeeded""#),
        "{last}"
    );

    // A client that comes back goes on after what it has.
    let id = frames[0]
        .lines()
        .next()
        .unwrap()
        .trim_start_matches("id: ")
        .to_owned();
    let rest = resumed(&stage, &path, &id).await;
    assert!(
        !rest.contains(r#""text":"one""#) && rest.contains("event: end"),
        "{rest}"
    );
}

async fn resumed(stage: &Stage, path: &str, id: &str) -> String {
    let request = Request::builder()
        .uri(format!("/tidegate/v1{path}"))
        .header("x-parse-master-key", "master")
        .header("last-event-id", id);
    let response = stage.raw(request.body(Body::empty()).unwrap()).await;
    frames(response.into_body()).await.join("\n")
}

#[tokio::test]
async fn a_stream_ends_at_shutdown_and_there_are_so_many_places() {
    let stage = stage().await;
    let run = stage.start("report").await;
    let path = format!("/runs/{run}/logs?follow=true");
    let mut open = Vec::new();
    for _ in 0..tidegate_admin_http::MAX_FOLLOWERS {
        let response = stage.send(Method::GET, &path, None).await;
        assert_eq!(response.status(), 200);
        open.push(response);
    }
    assert_eq!(stage.send(Method::GET, &path, None).await.status(), 503);
    // A place is free when its client has gone.
    open.pop();
    let response = stage.send(Method::GET, &path, None).await;
    assert_eq!(response.status(), 200);
    stage.shutdown.cancel();
    assert!(frames(response.into_body()).await.is_empty());
}
