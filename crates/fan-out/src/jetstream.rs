//! NATS JetStream: each event's message id is its event id, so that a stream drops repeats within its window.

use std::time::Duration;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::context::{ContextBuilder, PublishErrorKind};
use async_nats::jetstream::{self, context::PublishAckFuture};
use async_nats::{ConnectOptions, HeaderMap, ServerAddr};
use futures_util::future::BoxFuture;
use serde_json::json;
use tidegate_event::report::chain;

use crate::error::Error;
use crate::sink::{Batch, Message, Sink};
use crate::subject::Subject;

/// How long connecting may take, and an acknowledgement.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// More than a batch has: acknowledgements are awaited after the last of a batch was sent.
const MAX_UNACKNOWLEDGED: usize = 4 * crate::feed::BATCH_MAX_EVENTS;
/// What headers may take of a message's greatest size.
const HEADER_BYTES: usize = 1024;

pub(crate) struct JetStream {
    name: String,
    url: String,
    subject: Subject,
    connection: Option<Connection>,
}

struct Connection {
    client: async_nats::Client,
    jetstream: jetstream::Context,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Refuses what is not the URL of a NATS server.
pub(crate) fn check(url: &str) -> Result<(), Error> {
    // The error's text could repeat the URL, which may hold a password.
    let refuse = |_| Error::config("url", "must be such as nats://host:4222");
    url.parse::<ServerAddr>().map(drop).map_err(refuse)
}

impl JetStream {
    pub fn new(name: String, url: &str, subject: Subject) -> JetStream {
        JetStream {
            name,
            url: url.to_owned(),
            subject,
            connection: None,
        }
    }

    async fn connect(&self) -> Result<Connection, BoxError> {
        let options = ConnectOptions::new()
            .name(format!("tidegate sink {}", self.name))
            .connection_timeout(RESPONSE_TIMEOUT)
            // A lost connection is given up here and made anew there: what was sent on it is sent again.
            .max_reconnects(1);
        let client = options.connect(self.url.parse::<ServerAddr>()?).await?;
        let jetstream = ContextBuilder::new()
            .timeout(RESPONSE_TIMEOUT)
            .max_ack_inflight(MAX_UNACKNOWLEDGED)
            .build(client.clone());
        Ok(Connection { client, jetstream })
    }

    async fn send(&mut self, batch: &Batch<'_>) -> Result<(), BoxError> {
        // Taken: a connection that failed is not used again, nor is one with acknowledgements that nobody awaited.
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let mut sent: Vec<PublishAckFuture> = Vec::with_capacity(batch.messages.len());
        for message in &batch.messages {
            sent.push(connection.publish(&self.subject, message).await?);
        }
        for acknowledgement in sent {
            acknowledgement.await.map_err(|error| match error.kind() {
                PublishErrorKind::StreamNotFound => {
                    "no stream takes in the sink's subject: create one, such as \
                     `nats stream add tidegate --subjects 'tidegate.>'`"
                        .into()
                }
                _ => BoxError::from(chain(&error)),
            })?;
        }
        self.connection = Some(connection);
        Ok(())
    }
}

impl Connection {
    /// Sends one message, without waiting for its acknowledgement.
    async fn publish(
        &self,
        subject: &Subject,
        message: &Message<'_>,
    ) -> Result<PublishAckFuture, BoxError> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, message.head.id.to_string());
        let mut payload = message.line.json();
        let room = self.client.max_payload().saturating_sub(HEADER_BYTES);
        if payload.len() > room {
            payload = by_reference(message);
        }
        let subject = subject.of(&message.head);
        let sent = self
            .jetstream
            .publish_with_headers(subject, headers, payload.into());
        Ok(sent.await?)
    }
}

/// The event without its rows, for a server that takes no message so large: a sink that stopped at it would stop for
/// ever. `GET /events?after=` the offset before has it whole.
fn by_reference(message: &Message<'_>) -> String {
    let head = &message.head;
    let key = head.key.iter().map(|(name, value)| {
        let value = value.as_ref().map(|value| value.0.as_ref());
        (name.0.to_string(), json!(value))
    });
    json!({
        "logOffset": message.line.log_offset, "id": head.id, "commitTimeUs": head.commit_time_us,
        "schema": head.schema, "table": head.table, "operation": head.operation,
        "key": key.collect::<serde_json::Map<_, _>>(), "omittedBytes": message.line.body.len(),
    })
    .to_string()
}

impl Sink for JetStream {
    fn publish<'a>(&'a mut self, batch: &'a Batch<'a>) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let sink = self.name.clone();
            let sent = self.send(batch).await;
            sent.map_err(|source| Error::Target { sink, source })
        })
    }
}
