//! A small message through the slot now and then, so that an idle database's position moves on and its lag is known.
//!
//! ```text
//! beat ─ pg_logical_emit_message ─▶ WAL ─▶ slot ─▶ read ─▶ checkpoint (end_lsn, oldest_xid)
//! ```

use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::gauge;
use postgres_replication::Message;
use serde::Deserialize;
use tidegate_event::report::chain;
use tidegate_event_log::Heartbeat;
use tokio_postgres::Client;

use crate::{Config, Error, metric_names, slot};

/// The prefix of the message; not that of a request context.
const PREFIX: &str = "tidegate.heartbeat";

/// A server that takes longer for one small message is asked again by another connection.
const EMIT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    /// Other slots of the database see the message too.
    slot: String,
    oldest_xid: u64,
    /// Microseconds since 1970, by the sender's clock.
    sent_at_us: u64,
}

/// Sends one at once and then every `heartbeat_interval`; never returns.
pub(crate) async fn beat(config: &Config) -> Infallible {
    let mut ticks = tokio::time::interval(config.heartbeat_interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut session = None;
    loop {
        ticks.tick().await;
        let emitted = tokio::time::timeout(EMIT_TIMEOUT, emit(config, session.take())).await;
        match emitted {
            Ok(Ok(client)) => session = Some(client),
            Ok(Err(error)) => {
                let error = chain(&error);
                tracing::warn!(error, "cannot send a heartbeat; trying again");
            }
            Err(_) => tracing::warn!("Postgres does not take a heartbeat; trying again"),
        }
    }
}

async fn emit(config: &Config, session: Option<Client>) -> Result<Client, Error> {
    let client = match session {
        Some(client) => client,
        None => slot::sql_client(config).await?,
    };
    // The snapshot is older than the message, so what it calls ended had ended before the message's place in the WAL.
    client
        .execute(
            "select pg_logical_emit_message(true, $1, json_build_object(
                 'slot', $2::text, 'sentAtUs', $3::bigint,
                 'oldestXid', pg_snapshot_xmin(pg_current_snapshot())::text::bigint)::text)::text",
            &[&PREFIX, &config.slot, &micros(SystemTime::now())],
        )
        .await?;
    Ok(client)
}

/// The heartbeat of `slot` that this message is, if it is one.
pub(crate) fn read(message: &Message, slot: &str) -> Option<Heartbeat> {
    let Message::Logical {
        transactional: true,
        prefix,
        content,
        ..
    } = message
    else {
        return None;
    };
    if prefix != PREFIX {
        return None;
    }
    let content: Content = serde_json::from_slice(content).ok()?;
    (content.slot == slot).then(|| Heartbeat {
        oldest_xid: content.oldest_xid,
        sent_at: UNIX_EPOCH + Duration::from_micros(content.sent_at_us),
    })
}

/// Sets the gauge of how long it was on its way.
pub(crate) fn report(heartbeat: &Heartbeat) {
    let lag = SystemTime::now().duration_since(heartbeat.sent_at);
    gauge!(metric_names::HEARTBEAT_LAG_SECONDS).set(lag.unwrap_or_default().as_secs_f64());
}

fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_micros() as i64
}
