//! Notices of outcomes.

use tidegate_testkit::Redis;

use crate::stage;

fn notice(reply_to: &str, payload: &str) -> (String, String) {
    (reply_to.into(), payload.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_reach_the_one_who_listens_in_order() {
    let redis = Redis::start();
    let queue = stage::open(redis.url()).await;
    let mut replies = queue.replies("proxy-1").await.unwrap();
    let notices = [
        notice("proxy-1", "one"),
        notice("proxy-2", "two"),
        notice("proxy-1", "three"),
    ];
    queue.publish_outcomes(&notices).await.unwrap();
    for expected in ["one", "three"] {
        assert_eq!(stage::must(replies.recv()).await.as_deref(), Some(expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_survives_a_restart_of_redis() {
    let redis = Redis::start();
    let queue = stage::open(redis.url()).await;
    let mut replies = queue.replies("proxy-1").await.unwrap();
    redis.restart();
    let heard = stage::eventually(|| {
        let heard = replies.try_recv().ok();
        let queue = &queue;
        async move {
            let _ = queue
                .publish_outcomes(&[notice("proxy-1", "still there")])
                .await;
            heard
        }
    })
    .await;
    assert_eq!(heard, "still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listens_any_more_when_the_receiver_is_dropped() {
    let redis = Redis::start();
    let queue = stage::open(redis.url()).await;
    drop(queue.replies("proxy-1").await.unwrap());
    let client = redis::Client::open(redis.url()).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    stage::eventually(|| {
        let mut connection = connection.clone();
        async move {
            let channels: Vec<String> = redis::cmd("PUBSUB")
                .arg("CHANNELS")
                .query_async(&mut connection)
                .await
                .unwrap();
            channels.is_empty().then_some(())
        }
    })
    .await;
}
