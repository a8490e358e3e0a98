//! Leases: every lane has one owner, shares are fair, fences grow with each change of owner.

use std::time::Duration;

use tidegate_event_log::LaneLease;

use crate::fixture::log;

const LEASE: Duration = Duration::from_secs(60);

fn lanes(leases: &[LaneLease]) -> Vec<u16> {
    let mut lanes: Vec<u16> = leases.iter().map(|lease| lease.lane).collect();
    lanes.sort_unstable();
    lanes
}

#[tokio::test]
async fn two_workers_share_the_lanes_once_the_first_gives_up_its_surplus() {
    let (_database, log) = log().await;
    let first = log.lanes("first", 8, LEASE).await.unwrap();
    let second = log.lanes("second", 8, LEASE).await.unwrap();
    let all = first.renew(&[]).await.unwrap();
    assert_eq!(lanes(&all), (0..8).collect::<Vec<u16>>());
    assert!(all.iter().all(|lease| lease.fence == 1));
    assert_eq!(second.renew(&[]).await.unwrap(), [], "nothing is free yet");
    let kept = first.renew(&[]).await.unwrap();
    assert_eq!(kept.len(), 4, "its fair share");
    let surplus: Vec<LaneLease> = all
        .into_iter()
        .filter(|lease| !kept.contains(lease))
        .collect();
    first.release(&surplus).await.unwrap();
    let taken = second.renew(&[]).await.unwrap();
    assert_eq!(lanes(&taken), lanes(&surplus));
    assert!(
        taken.iter().all(|lease| lease.fence == 2),
        "another owner, another fence"
    );
    first.leave().await.unwrap();
    assert_eq!(second.renew(&[]).await.unwrap().len(), 8);
}

#[tokio::test]
async fn a_silent_workers_lanes_go_to_the_next_and_its_late_release_changes_nothing() {
    let (database, log) = log().await;
    let silent = log.lanes("silent", 4, LEASE).await.unwrap();
    let held = silent.renew(&[]).await.unwrap();
    let sql = database.connect().await;
    sql.batch_execute("update tidegate.lane set expires_at = now() - interval '1 s'; update tidegate.worker set expires_at = now() - interval '1 s'")
        .await
        .unwrap();
    let next = log.lanes("next", 4, LEASE).await.unwrap();
    let taken = next.renew(&[]).await.unwrap();
    assert_eq!((taken.len(), taken[0].fence), (4, 2));
    silent.release(&held).await.unwrap();
    assert_eq!(
        next.renew(&[]).await.unwrap(),
        taken,
        "renewing keeps lanes and fences"
    );
    assert_eq!(silent.renew(&[]).await.unwrap(), []);
}

#[tokio::test]
async fn beyond_its_share_a_worker_keeps_what_is_busy_and_the_rest_runs_out() {
    let (database, log) = log().await;
    let first = log.lanes("first", 8, LEASE).await.unwrap();
    let second = log.lanes("second", 8, LEASE).await.unwrap();
    first.renew(&[]).await.unwrap();
    second.renew(&[]).await.unwrap();
    let sql = database.connect().await;
    // All of the leases are about to end; the first worker renews, and cannot release what is not its any more.
    sql.batch_execute("update tidegate.lane set expires_at = clock_timestamp() + interval '5 s'")
        .await
        .unwrap();
    let kept = first.renew(&[7]).await.unwrap();
    assert_eq!(lanes(&kept), [0, 1, 2, 3], "its fair share, to be read");
    let renewed = "select array_agg(lane order by lane) from tidegate.lane
                    where expires_at > clock_timestamp() + interval '10 s'";
    let renewed: Vec<i32> = sql.query_one(renewed, &[]).await.unwrap().get(0);
    assert_eq!(renewed, [0, 1, 2, 3, 7]);
}
