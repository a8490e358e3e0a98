//! Tells the process that waits for an outcome, by publish and subscribe.
//!
//! Nothing is kept for a process that does not listen: a notice lost while Redis is away is a
//! time-out for the one who waits, who then asks Postgres. Postgres is the record.

use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::backoff;
use crate::error::Error;
use crate::link;
use crate::queue::Queue;

/// Notices held for a slow receiver. Beyond it they wait in Redis, which in the end drops the
/// connection.
const MAX_HELD: usize = 1024;

impl Queue {
    /// Sends notices, pairs of `reply_to` and payload, to whoever listens.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: some or all were not sent. There is no need to send them again.
    pub async fn publish_outcomes(&self, notices: &[(String, String)]) -> Result<(), Error> {
        if notices.is_empty() {
            return Ok(());
        }
        let live = self.link().live().await?;
        let mut pipeline = redis::pipe();
        for (reply_to, payload) in notices {
            pipeline
                .cmd("PUBLISH")
                .arg(self.keys().reply(reply_to))
                .arg(payload)
                .ignore();
        }
        Ok(self.link().query(&live, &pipeline).await?)
    }

    /// Listens for notices to `reply_to`. It listens when this returns, so that what is caused
    /// after is not missed; when the connection is lost it subscribes again by itself. Ends when
    /// the receiver is dropped.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry.
    pub async fn replies(&self, reply_to: &str) -> Result<mpsc::Receiver<String>, Error> {
        let client = link::client(&self.config().redis_url)?;
        let channel = self.keys().reply(reply_to);
        let subscription = subscribe(&client, &channel).await?;
        let (sender, receiver) = mpsc::channel(MAX_HELD);
        tokio::spawn(listen(client, channel, subscription, sender));
        Ok(receiver)
    }
}

async fn subscribe(
    client: &redis::Client,
    channel: &str,
) -> redis::RedisResult<redis::aio::PubSub> {
    let subscribing = async {
        let mut subscription = client.get_async_pubsub().await?;
        subscription.subscribe(channel).await?;
        Ok(subscription)
    };
    tokio::time::timeout(link::RESPONSE_TIMEOUT, subscribing)
        .await
        .unwrap_or_else(|_| Err((redis::ErrorKind::Io, "redis does not answer SUBSCRIBE").into()))
}

async fn listen(
    client: redis::Client,
    channel: String,
    mut subscription: redis::aio::PubSub,
    sender: mpsc::Sender<String>,
) {
    loop {
        tokio::select! {
            () = forward(subscription, &sender) => {}
            () = sender.closed() => return,
        }
        tracing::debug!(channel, "subscription lost, will subscribe again");
        subscription = tokio::select! {
            subscription = subscribe_again(&client, &channel) => subscription,
            () = sender.closed() => return,
        };
    }
}

/// Passes on notices until the connection ends.
async fn forward(subscription: redis::aio::PubSub, sender: &mpsc::Sender<String>) {
    let mut messages = subscription.into_on_message();
    while let Some(message) = messages.next().await {
        let Ok(payload) = message.get_payload() else {
            continue;
        };
        if sender.send(payload).await.is_err() {
            return;
        }
    }
}

async fn subscribe_again(client: &redis::Client, channel: &str) -> redis::aio::PubSub {
    let mut failures = 0;
    loop {
        failures += 1;
        tokio::time::sleep(backoff::pause(failures, rand::random())).await;
        match subscribe(client, channel).await {
            Ok(subscription) => return subscription,
            Err(error) => tracing::debug!(%error, "subscribing failed"),
        }
    }
}
