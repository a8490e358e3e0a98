//! Wakes a reader when the log has grown.

use std::future::poll_fn;
use std::time::Duration;

use tokio_postgres::AsyncMessage;

use crate::{Error, EventLog};

/// A hint, not a record: a reader also looks by itself from time to time.
pub struct Listener {
    connection: crate::DedicatedConnection,
    // Dropping the client would end the connection.
    _client: tokio_postgres::Client,
}

impl EventLog {
    /// Listens for appends by any process.
    pub async fn listen(&self) -> Result<Listener, Error> {
        self.listen_to("tidegate_event").await
    }

    pub(crate) async fn listen_to(&self, channel: &str) -> Result<Listener, Error> {
        let listen = format!("listen {channel}");
        let (client, mut connection) = self.dedicated().await?;
        {
            let command = client.batch_execute(&listen);
            tokio::pin!(command);
            loop {
                tokio::select! {
                    done = &mut command => break done?,
                    message = poll_fn(|cx| connection.poll_message(cx)) => { message.transpose()?; }
                }
            }
        }
        Ok(Listener {
            connection,
            _client: client,
        })
    }
}

impl Listener {
    /// Returns when the log has grown, or after `at_most`. Cancel-safe.
    pub async fn changed(&mut self, at_most: Duration) -> Result<(), Error> {
        let waiting = async {
            loop {
                match poll_fn(|cx| self.connection.poll_message(cx))
                    .await
                    .transpose()?
                {
                    Some(AsyncMessage::Notification(_)) => return Ok(()),
                    Some(_) => {}
                    None => return Err(closed()),
                }
            }
        };
        tokio::time::timeout(at_most, waiting)
            .await
            .unwrap_or(Ok(()))
    }
}

fn closed() -> Error {
    Error::Unavailable {
        source: "the listening connection was closed".into(),
    }
}
