//! How consumers leave the groups: in order, or forgotten.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{RedisResult, Script};

use crate::link::{Link, Live};
use crate::runs::{Band, GROUP, RunQueue};

/// A consumer that has not been heard of for this long and has nothing pending is removed. One that is only busy is made
/// again by its next read.
pub(super) const FORGOTTEN: Duration = Duration::from_secs(3600);

/// Adds again what is pending with a consumer, and removes it from the groups. In one step, so that nothing is lost or
/// read twice between. A group that is missing has nothing pending.
static LEAVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "
local group, consumer = ARGV[1], ARGV[2]
local returned = 0
for _, key in ipairs(KEYS) do
    local pending
    repeat
        pending = redis.pcall('XPENDING', key, group, '-', '+', 1000, consumer)
        for _, entry in ipairs(pending) do
            local found = redis.call('XRANGE', key, entry[1], entry[1])[1]
            if found then
                redis.call('XADD', key, '*', unpack(found[2]))
                returned = returned + 1
            end
            redis.call('XACK', key, group, entry[1])
            redis.call('XDEL', key, entry[1])
        end
    until #pending == 0
    if not pending.err then
        redis.call('XGROUP', 'DELCONSUMER', key, group, consumer)
    end
end
return returned
",
    )
});

/// Removes consumers. In one step, because removing one takes what is pending with it along. A group that is missing has none.
static SWEEP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "
for _, key in ipairs(KEYS) do
    for _, fields in ipairs(redis.pcall('XINFO', 'CONSUMERS', key, ARGV[1])) do
        local consumer = {}
        for i = 1, #fields, 2 do
            consumer[fields[i]] = fields[i + 1]
        end
        if consumer.pending == 0 and consumer.idle >= tonumber(ARGV[2]) then
            redis.call('XGROUP', 'DELCONSUMER', key, ARGV[1], consumer.name)
        end
    end
end
",
    )
});

/// Hands back what a consumer read and did not decide, at the end of its band, and takes its name off.
pub(super) async fn leave(queue: &RunQueue, live: &Live, consumer: &str) -> RedisResult<()> {
    let mut call = LEAVE.prepare_invoke();
    for band in Band::ALL {
        call.key(queue.key(band));
    }
    call.arg(GROUP).arg(consumer);
    let answer = call.invoke_async(&mut live.connection()).await;
    let returned: u64 = queue.link().judge(live, answer)?;
    tracing::debug!(consumer, returned, "a consumer of runs left");
    Ok(())
}

/// Takes off the names of consumers that are no more: idle for `forgotten`, and with nothing pending.
pub(super) async fn sweep(
    queue: &RunQueue,
    link: &Link,
    live: &Live,
    forgotten: Duration,
) -> RedisResult<()> {
    let mut call = SWEEP.prepare_invoke();
    for band in Band::ALL {
        call.key(queue.key(band));
    }
    call.arg(GROUP).arg(forgotten.as_millis() as u64);
    let answer = call.invoke_async(&mut live.connection()).await;
    link.judge(live, answer)
}

#[cfg(test)]
mod tests {
    use tidegate_testkit::Redis;

    use super::*;
    use crate::{Config, Queue};

    async fn ask<T: redis::FromRedisValue>(live: &Live, command: &[&str]) -> T {
        redis::cmd(command[0])
            .arg(&command[1..])
            .query_async(&mut live.connection())
            .await
            .unwrap()
    }

    async fn names(live: &Live, key: &str) -> Vec<String> {
        let command = ["XINFO", "CONSUMERS", key, GROUP];
        let answer: redis::streams::StreamInfoConsumersReply = ask(live, &command).await;
        let consumers = answer.consumers.into_iter();
        consumers.map(|known| known.name).collect()
    }

    async fn read(live: &Live, key: &str, consumer: &str) {
        let group = ["XREADGROUP", "GROUP", GROUP, consumer, "COUNT", "1"];
        let command = [&group[..], &["STREAMS", key, ">"]].concat();
        let _: redis::Value = ask(live, &command).await;
    }

    #[tokio::test]
    async fn only_a_consumer_with_nothing_pending_is_forgotten() {
        let redis = Redis::start();
        let config = Config {
            redis_url: redis.url().into(),
            namespace: "test".into(),
            lanes: 1,
            max_queued: 1,
        };
        let queue = RunQueue::new(&Queue::connect(config).await.unwrap());
        queue.incarnation().await.unwrap();
        queue.push(&[(1, Band::Normal)]).await.unwrap();
        let live = queue.link().live().await.unwrap();
        let key = queue.key(Band::Normal);
        read(&live, &key, "owes").await;
        let create = ["XGROUP", "CREATECONSUMER", &key, GROUP, "idle"];
        let _: u64 = ask(&live, &create).await;
        let sweep = async |forgotten| {
            sweep(&queue, queue.link(), &live, forgotten).await.unwrap();
            names(&live, &key).await
        };
        assert_eq!(sweep(FORGOTTEN).await, ["idle", "owes"]);
        assert_eq!(sweep(Duration::ZERO).await, ["owes"]);

        leave(&queue, &live, "owes").await.unwrap();
        assert!(names(&live, &key).await.is_empty());
        assert_eq!(queue.queued().await.unwrap().total(), 1);
        read(&live, &key, "next").await;
        leave(&queue, &live, "next").await.unwrap();
        assert_eq!(queue.queued().await.unwrap().total(), 1);
    }
}
