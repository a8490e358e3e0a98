//! Schedules as rows: sources, names, changes.

use serde_json::{Value, json};
use tidegate_job_log::schedule::{NewSchedule, Source, Target};
use tidegate_job_log::{Error, JobLog};

use crate::fixture::*;

fn schedule(name: &str, source: Source, cron: &str) -> NewSchedule {
    NewSchedule {
        name: name.to_owned(),
        source,
        target: Target::Job("a".into()),
        options: json!({ "cron": cron }),
    }
}

async fn names(log: &JobLog) -> Vec<String> {
    let all = log.schedules().await.unwrap();
    all.into_iter().map(|one| one.name).collect()
}

#[tokio::test]
async fn a_schedule_is_made_read_changed_and_deleted() {
    let (_database, log) = log().await;
    let daily = schedule("daily", Source::Api, "0 9 * * *");
    let made = log.put_schedule(&daily, true).await.unwrap();
    assert_eq!(
        (made.version, made.handled_at, made.next_due),
        (1, None, None)
    );
    assert_eq!(made.target, Target::Job("a".into()));
    // New ones are to be planned.
    assert_eq!(
        log.due_schedules(10).await.unwrap().schedules,
        std::slice::from_ref(&made)
    );
    assert_eq!(
        log.next_schedule_at().await.unwrap(),
        Some(jiff::Timestamp::UNIX_EPOCH)
    );
    let again = log
        .put_schedule(&daily, true)
        .await
        .unwrap_err()
        .to_string();
    assert!(again.contains("already"), "{again}");
    assert_eq!(log.put_schedule(&daily, false).await.unwrap().version, 1);
    let changed = log
        .put_schedule(&schedule("daily", Source::Api, "0 8 * * *"), false)
        .await
        .unwrap();
    assert_eq!((changed.id, changed.version), (made.id, 2));
    log.delete_schedule("daily", Source::Api).await.unwrap();
    let error = log.schedule("daily").await.unwrap_err();
    assert!(matches!(
        error,
        Error::Unknown {
            kind: "schedule",
            ..
        }
    ));
    assert!(log.due_schedules(10).await.unwrap().schedules.is_empty());
    assert_eq!(log.next_schedule_at().await.unwrap(), None);
    // A name that comes back is the same row.
    let back = log.put_schedule(&daily, true).await.unwrap();
    assert_eq!((back.id, back.handled_at), (made.id, None));
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let (_database, log) = log().await;
    let mut unknown = schedule("x", Source::Api, "0 9 * * *");
    unknown.target = Target::Job("nothing-like-it".into());
    assert!(matches!(
        log.put_schedule(&unknown, true).await,
        Err(Error::Unknown { kind: "job", .. })
    ));
    unknown.target = Target::Workflow("flow".into());
    assert!(matches!(
        log.put_schedule(&unknown, true).await,
        Err(Error::Unknown {
            kind: "workflow",
            ..
        })
    ));
    let unnamed = schedule("", Source::Api, "0 9 * * *");
    assert!(matches!(
        log.put_schedule(&unnamed, true).await,
        Err(Error::Invalid { .. })
    ));
    log.put_schedule(&schedule("daily", Source::Api, "0 9 * * *"), true)
        .await
        .unwrap();
    let error = log
        .pause_schedule("dialy", "me")
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "there is no schedule \"dialy\"; did you mean \"daily\"?"
    );
    assert!(log.resume_schedule("dialy").await.is_err());
}

#[tokio::test]
async fn each_source_has_its_own_and_code_that_is_gone_takes_its_schedules_along() {
    let (_database, log) = log().await;
    log.put_schedule(&schedule("mine", Source::Api, "0 9 * * *"), true)
        .await
        .unwrap();
    let code = |names: &[&str]| -> Vec<NewSchedule> {
        names
            .iter()
            .map(|name| schedule(name, Source::Code, "0 9 * * *"))
            .collect()
    };
    let replaced = log
        .replace_schedules(Source::Code, &code(&["one", "two", "mine"]))
        .await
        .unwrap();
    assert_eq!((replaced.changed, replaced.deleted), (2, 0));
    assert_eq!(replaced.taken, ["mine"]);
    assert_eq!(log.schedule("mine").await.unwrap().source, Source::Api);
    log.pause_schedule("two", "me").await.unwrap();
    let replaced = log
        .replace_schedules(Source::Code, &code(&["two", "three"]))
        .await
        .unwrap();
    assert_eq!((replaced.changed, replaced.deleted), (1, 1));
    assert_eq!(names(&log).await, ["mine", "three", "two"]);
    assert!(log.schedule("two").await.unwrap().paused_at.is_some());
    let error = log
        .delete_schedule("two", Source::Api)
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "schedule \"two\" comes from the project's code: change it there"
    );
    let api = schedule("two", Source::Api, "0 9 * * *");
    assert!(matches!(
        log.put_schedule(&api, false).await,
        Err(Error::Invalid { .. })
    ));
    let error = log
        .replace_schedules(Source::Code, &code(&["x", "x"]))
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(error, "two schedules have the same name");
}

#[tokio::test]
async fn a_paused_schedule_is_not_due_and_goes_on_from_its_resumption() {
    let (_database, log) = log().await;
    log.put_schedule(&schedule("daily", Source::Api, "0 9 * * *"), true)
        .await
        .unwrap();
    log.pause_schedule("daily", "me").await.unwrap();
    assert_eq!(
        log.schedule("daily").await.unwrap().paused_by.as_deref(),
        Some("me")
    );
    let due = log.due_schedules(10).await.unwrap();
    assert!(due.schedules.is_empty());
    log.resume_schedule("daily").await.unwrap();
    let resumed = log.due_schedules(10).await.unwrap().schedules.remove(0);
    assert!(resumed.handled_at.unwrap() >= due.now);
    assert_eq!(resumed.paused_by, None);
}

#[tokio::test]
async fn rows_of_the_stock_dashboard_are_read() {
    let (database, log) = log().await;
    let insert = r#"insert into "_JobSchedule" ("objectId", "jobName", "params", "daysOfWeek", "timeOfDay", "repeatMinutes")
                    values ('x7Gk2', 'a', '{"n":1}', '[1,1,1,1,1,1,1]', '09:00:00.000Z', 1440)"#;
    sql(&database).await.batch_execute(insert).await.unwrap();
    let rows = log.parse_schedule_rows().await.unwrap();
    assert_eq!(rows[0].0, "x7Gk2");
    let expected: Value = json!([1, 1, 1, 1, 1, 1, 1]);
    assert_eq!(
        (&rows[0].1["daysOfWeek"], &rows[0].1["repeatMinutes"]),
        (&expected, &json!(1440))
    );
    assert_eq!(rows[0].1["startAfter"], json!(null));
}
