//! The change stream of a slot: messages out, feedback in.
//!
//! ```text
//! socket ──▶ Incoming ──▶ CopyData ──▶ Decoder ──▶ next() / try_next()
//! socket ◀── feedback task ◀── confirm(), keepalives, status_interval
//! ```

use std::time::Duration;

use bytes::Bytes;
use postgres_protocol::message::backend;

use crate::copy_data::CopyData;
use crate::decoder::Decoder;
use crate::feedback::Feedback;
use crate::transport::{Incoming, Received, Transport};
use crate::{Error, Message};

/// How long [`Stream::close`] waits for the server to let go of the slot.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// An open slot. Dropping it closes the connection and lets the server release the slot soon;
/// [`Stream::close`] waits for that.
///
/// After an error the stream is spent: it has hung up, and the slot will be free for the next one.
///
/// Needs a tokio runtime that goes on running: feedback is written by a task. A consumer that
/// blocks its thread for long must leave the runtime another one.
pub struct Stream {
    incoming: Incoming,
    decoder: Decoder,
    feedback: Feedback,
}

impl Stream {
    pub(crate) fn new(transport: Transport, status_interval: Duration) -> Stream {
        let Transport { incoming, outgoing } = transport;
        let feedback = Feedback::start(outgoing, status_interval);
        Stream {
            incoming,
            decoder: Decoder::default(),
            feedback,
        }
    }

    /// Waits for the next message. Cancel-safe: a dropped future loses nothing.
    ///
    /// # Errors
    /// See [`Error::is_transient`]; nothing unconfirmed is lost by connecting again.
    pub async fn next(&mut self) -> Result<Message, Error> {
        let result = self.wait_for_next().await;
        self.hang_up_if_failed(result)
    }

    /// The next message if it has arrived; never waits. `None` ends a batch.
    ///
    /// Under steady load there is always one more: the caller bounds its batch, and goes through
    /// [`Stream::next`] between batches so that other tasks run.
    pub fn try_next(&mut self) -> Result<Option<Message>, Error> {
        let result = self.take_next();
        self.hang_up_if_failed(result)
    }

    /// Says that everything before `durable` is durable downstream: the server may forget it.
    ///
    /// Reported with the next status update, and never more than this; nothing is reported before
    /// the first call. Give a `Commit.end_lsn`, or a `Keepalive.wal_end` when every transaction
    /// before it is durable. A position lower than one given before changes nothing.
    pub fn confirm(&mut self, durable: u64) {
        self.feedback.confirm(durable);
    }

    /// Sends a status update now rather than within `status_interval`. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Closed`]: the connection is gone; `next` may still know why.
    pub async fn send_feedback(&mut self) -> Result<(), Error> {
        self.feedback.send().await
    }

    /// The last WAL position that the server has sent so far.
    pub fn received(&self) -> u64 {
        self.feedback.received()
    }

    /// The highest position given to [`Stream::confirm`], 0 before the first.
    pub fn confirmed(&self) -> u64 {
        self.feedback.confirmed()
    }

    /// Reports what is confirmed, ends the session and waits until the slot is free.
    ///
    /// # Errors
    /// The goodbye did not reach the server, or it did not let go within 5 seconds: the slot may
    /// be busy for a while. Nothing is lost.
    pub async fn close(self) -> Result<(), Error> {
        let Stream {
            mut incoming,
            feedback,
            ..
        } = self;
        let goodbye = async {
            // Drained meanwhile: a server that waits to send rows does not hear us.
            let (told, drained) = tokio::join!(feedback.terminate(), incoming.drain());
            told.and(drained)
        };
        let result = tokio::time::timeout(CLOSE_TIMEOUT, goodbye).await;
        result.unwrap_or_else(|elapsed| Err(Error::Io(elapsed.into())))
    }

    async fn wait_for_next(&mut self) -> Result<Message, Error> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(message);
            }
            self.incoming.fill().await?;
        }
    }

    fn take_next(&mut self) -> Result<Option<Message>, Error> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(Some(message));
            }
            if !self.incoming.try_fill()? {
                return Ok(None);
            }
        }
    }

    /// A failed stream must not keep its own successor out by holding the slot.
    fn hang_up_if_failed<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.inspect_err(|_| self.feedback.hang_up())
    }

    fn buffered(&mut self) -> Result<Option<Message>, Error> {
        while let Some(received) = self.incoming.message()? {
            match received {
                Received::Message(backend::Message::CopyData(body)) => {
                    return self.accept(body.into_bytes()).map(Some);
                }
                Received::Message(
                    backend::Message::NoticeResponse(_) | backend::Message::ParameterStatus(_),
                ) => {}
                Received::Message(backend::Message::ErrorResponse(body)) => return Err(body.into()),
                // The server shuts down: it sent all it had and ends the copy.
                Received::Message(
                    backend::Message::CopyDone | backend::Message::CommandComplete(_),
                ) => return Err(Error::Closed),
                Received::Message(_) | Received::CopyBoth => {
                    return Err(Error::protocol(
                        "a message that does not belong into a stream",
                    ));
                }
            }
        }
        Ok(None)
    }

    fn accept(&mut self, bytes: Bytes) -> Result<Message, Error> {
        let lsn = self.feedback.received();
        let data = CopyData::decode(bytes);
        match data.map_err(|source| Error::Decode {
            message: "CopyData",
            lsn,
            source,
        })? {
            CopyData::Keepalive {
                wal_end,
                reply_requested,
            } => {
                self.feedback.set_received(wal_end);
                if reply_requested {
                    self.feedback.prompt();
                }
                Ok(Message::Keepalive {
                    wal_end,
                    reply_requested,
                })
            }
            CopyData::Wal { position, message } => {
                let decoded = self.decoder.decode(&message);
                let message = decoded.map_err(|source| Error::Decode {
                    message: "pgoutput",
                    lsn: position,
                    source,
                })?;
                self.feedback.set_received(position);
                Ok(message)
            }
        }
    }
}
