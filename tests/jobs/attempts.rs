//! What becomes of an attempt: repeated when its author wants it, over when its time is, and kept with what it said.

use std::time::Duration;

use serde_json::json;

use super::*;

#[tokio::test]
async fn a_failed_attempt_is_repeated_when_and_as_often_as_its_author_wants() {
    let system = system(
        r#"
        Parse.Cloud.job("third", { retries: 2, backoff: { initial: 40, factor: 10, max: 100 } }, (request) => {
          console.log(`attempt ${request.attempt} of ${request.maxAttempts}`);
          if (request.attempt < 3) throw new Error(`no ${request.attempt}`);
          return { attempt: request.attempt };
        });
        Parse.Cloud.job("later", { retries: 1, backoff: { initial: 1 } }, (request) => {
          if (request.attempt === 1) request.retryAfter(1, "busy");
        });
        Parse.Cloud.job("never", (request) => { console.warn("looking"); request.giveUp("there is no such customer"); });
        "#,
    )
    .await;
    let third = start(&system, "third", json!({})).await;
    let later = start(&system, "later", json!({})).await;
    let never = start(&system, "never", json!({})).await;
    // The starter's word goes before the author's.
    let once = start_with(&system, "third", json!({}), json!({"retries": 0})).await;

    let ended = succeeds(&system, &third).await;
    assert_eq!(ended["result"], json!({"attempt": 3}));
    assert_eq!(
        (count_of(&ended, "retry"), count_of(&ended, "finished")),
        (2, 1)
    );
    let retries = ended["history"].as_array().unwrap().iter();
    let waits: Vec<(f64, &str)> = retries
        .filter(|event| event["kind"] == "retry")
        .map(|event| {
            let body = &event["body"];
            (
                body["afterMs"].as_f64().unwrap(),
                body["error"].as_str().unwrap(),
            )
        })
        .collect();
    assert!(waits[0].0 <= 40.0 && waits[1].0 <= 100.0, "{waits:?}");
    assert_eq!((waits[0].1, waits[1].1), ("no 1", "no 2"));
    for attempt in 1..=3 {
        let said = logs(&system, &third, attempt).await;
        assert_eq!(said[0], format!("attempt {attempt} of 3"));
        assert_eq!(
            said.len(),
            if attempt < 3 { 2 } else { 1 },
            "and where it threw: {said:?}"
        );
    }

    succeeds(&system, &later).await;
    let apart = format!(
        "select count(*) = 2 and max(at) - min(at) >= interval '1 second' from tidegate.run_event
          where run_id = {} and kind = 'started'",
        number(&later)
    );
    system.wait_for_sql(&apart).await;

    let ended = reaches(&system, &never, "failed").await;
    assert_eq!(
        (&ended["attempts"], &ended["error"], &ended["result"]),
        (&json!(1), &json!("there is no such customer"), &Value::Null)
    );
    assert_eq!(logs(&system, &never, 1).await[0], "looking");
    let found = status(&system, &never).await;
    assert_eq!(
        (&found["status"], &found["message"]),
        (&json!("failed"), &json!("there is no such customer"))
    );

    let ended = reaches(&system, &once, "failed").await;
    assert_eq!(
        (&ended["attempts"], &ended["error"]),
        (&json!(1), &json!("no 1"))
    );
}

#[tokio::test]
async fn what_is_out_of_time_is_warned_told_and_ended_from_outside() {
    let system = system(
        r#"
        const options = { timeout: 1500, retries: 0 };
        Parse.Cloud.job("patient", options, (request) => new Promise(() => {
          request.signal.addEventListener("abort", () => console.log(`told: ${request.signal.reason.name}`));
        }));
        Parse.Cloud.job("busy", options, () => { while (true) {} });
        Parse.Cloud.job("deaf", options, () => [].join.call({ length: 2 ** 53 - 1 }));
        Parse.Cloud.job("tidy", options, (request) => new Promise((resolve) => {
          request.signal.addEventListener("abort", () => resolve("half of it"));
        }));
        "#,
    )
    .await;
    let mut runs = Vec::new();
    for job in ["patient", "busy", "deaf"] {
        runs.push(start(&system, job, json!({})).await);
    }
    let tidy = start(&system, "tidy", json!({})).await;
    for run in &runs {
        let ended = reaches(&system, run, "failed").await;
        assert_eq!(ended["error"], "timed out after 1500 ms", "{ended:#}");
        let warnings = &ended["tries"][0]["warnings"];
        assert_eq!(
            *warnings,
            json!(["1000 ms are left of the time limit of 1500 ms"])
        );
        let took =
            Duration::from_secs_f64(ended["tries"][0]["durationMs"].as_f64().unwrap() / 1000.0);
        assert!(took >= Duration::from_millis(1500), "{took:?}");
    }
    assert_eq!(logs(&system, &runs[0], 1).await, ["told: AbortError"]);
    assert_eq!(succeeds(&system, &tidy).await["result"], "half of it");
}
