//! Hears of schema changes that other processes make, Parse Servers among them.
//!
//! ```text
//! NOTIFY "schema.change" '{"senderId":…}' ─▶ is it our own? ─▶ reload
//! ```
//!
//! Invariant: whatever changes after LISTEN is heard. The schema is read after every LISTEN, the first one and each
//! after a lost connection, so no change falls between.

use std::future::poll_fn;
use std::sync::Weak;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};

use crate::Error;
use crate::error::Phase;
use crate::storage::Inner;

/// Parse Server's own channel (`PostgresStorageAdapter._notifySchemaChange`). Whoever changes tables, `_SCHEMA` or the
/// publication's members should NOTIFY here.
pub const SCHEMA_CHANNEL: &str = "schema.change";

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A connection that listens. Notifications arrive until it breaks, then the channel closes.
pub(crate) struct Listener {
    /// Keeps the connection open.
    _client: Client,
    notifications: mpsc::UnboundedReceiver<String>,
}

impl Listener {
    pub(crate) async fn open(config: &Config) -> Result<Listener, Error> {
        let read = |source| Error::from_postgres(source, Phase::BeforeCommit);
        let (client, mut connection) = config.connect(NoTls).await.map_err(read)?;
        let (sender, notifications) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notification(notification) = message
                    && sender.send(notification.payload().to_owned()).is_err()
                {
                    return;
                }
            }
        });
        client
            .batch_execute(&format!("LISTEN \"{SCHEMA_CHANNEL}\""))
            .await
            .map_err(read)?;
        Ok(Listener {
            _client: client,
            notifications,
        })
    }

    /// Waits for a change that another process made; `false`: the connection broke.
    async fn changed(&mut self, sender_id: &str) -> bool {
        while let Some(first) = self.notifications.recv().await {
            // Several that are waiting are one reload.
            let mut is_foreign = sent_by_another(&first, sender_id);
            while let Ok(next) = self.notifications.try_recv() {
                is_foreign |= sent_by_another(&next, sender_id);
            }
            if is_foreign {
                return true;
            }
        }
        false
    }
}

/// Keeps the schema up to date until the storage is dropped.
pub(crate) async fn run(
    mut listener: Listener,
    storage: Weak<Inner>,
    config: Config,
    sender_id: String,
) {
    loop {
        if !listener.changed(&sender_id).await {
            tracing::warn!(
                "the connection that hears of schema changes was lost; connecting again"
            );
            listener = reopen(&config).await;
        }
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(storage) = storage.upgrade() else {
                return;
            };
            let Err(error) = storage.reload_after_change().await else {
                break;
            };
            drop(storage);
            tracing::warn!(error = %error, "cannot read the schema after a change; trying again");
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

async fn reopen(config: &Config) -> Listener {
    let mut pause = FIRST_PAUSE;
    loop {
        match Listener::open(config).await {
            Ok(listener) => return listener,
            Err(error) => tracing::debug!(error = %error, "cannot listen for schema changes yet"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// A payload of an unknown form is somebody else's.
fn sent_by_another(payload: &str, sender_id: &str) -> bool {
    let payload: Option<Value> = serde_json::from_str(payload).ok();
    payload
        .and_then(|payload| payload.get("senderId").map(|sender| sender != sender_id))
        .unwrap_or(true)
}
