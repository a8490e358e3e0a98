//! Rows of `_JobSchedule` just run, however they came there.

use crate::stage::Stage;

#[tokio::test]
async fn a_row_that_sql_writes_is_a_schedule_and_goes_with_it() {
    let stage = Stage::new().await;
    let _scheduler = stage.schedule();
    let client = stage.sql().await;
    let insert = r#"insert into "_JobSchedule" ("objectId", "createdAt", "updatedAt", "jobName", params, "startAfter")
                    values ('row1', now(), now(), 'report', '{"a": 1}', to_char(now() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')),
                           ('bad1', now(), now(), 'report', '[', null)"#;
    client.batch_execute(insert).await.unwrap();
    // Due now, and only once.
    stage
        .until("select count(*) = 1 from tidegate.run where params::jsonb = '{\"a\": 1}'")
        .await;
    let names = client
        .query(
            "select name from tidegate.schedule where deleted_at is null",
            &[],
        )
        .await
        .unwrap();
    let names: Vec<&str> = names.iter().map(|row| row.get(0)).collect();
    assert_eq!(names, ["parse:row1"]);
    client
        .batch_execute(r#"delete from "_JobSchedule" where "objectId" = 'row1'"#)
        .await
        .unwrap();
    stage
        .until("select deleted_at is not null from tidegate.schedule where name = 'parse:row1'")
        .await;
}

#[tokio::test]
async fn a_row_that_went_while_nobody_led_takes_its_schedule_along() {
    let stage = Stage::new().await;
    let scheduler = stage.schedule();
    let client = stage.sql().await;
    let insert = r#"insert into "_JobSchedule" ("objectId", "createdAt", "updatedAt", "jobName", "startAfter", "repeatMinutes", "timeOfDay")
                    values ('row1', now(), now(), 'report', '2026-01-01T00:00:00.000Z', 1440, '09:00:00.000Z')"#;
    client.batch_execute(insert).await.unwrap();
    stage
        .until("select count(*) = 1 from tidegate.schedule where deleted_at is null")
        .await;
    scheduler.abort();
    assert!(scheduler.await.unwrap_err().is_cancelled());
    client
        .batch_execute(r#"delete from "_JobSchedule""#)
        .await
        .unwrap();
    let _scheduler = stage.schedule();
    stage
        .until("select deleted_at is not null from tidegate.schedule where name = 'parse:row1'")
        .await;
}
