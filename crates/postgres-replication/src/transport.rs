//! Whole messages in, bytes out: the framing of the Postgres protocol over one socket.
//!
//! Memory is bounded by one read buffer, or by one message if that is longer: when nobody takes
//! messages, nothing is read and TCP makes the server wait.

use std::io;

use bytes::{Buf, BytesMut};
use postgres_protocol::message::backend::{self, Header};
use tokio::io::AsyncWriteExt;

use crate::socket::{self, ReadHalf, WriteHalf};
use crate::{Error, Host};

/// Postgres builds each message in a buffer of at most 1 GiB: a longer one is no Postgres.
const MAX_MESSAGE_BYTES: usize = 1 << 30;

/// One read takes this much if it is there: some thousand small rows for one system call.
const READ_BYTES: usize = 256 * 1024;

/// Below this the buffer is renewed rather than read into by crumbs.
const MIN_READ_BYTES: usize = 32 * 1024;

/// A buffer that grew for a message longer than this is given back after it.
const LARGE_MESSAGE_BYTES: usize = 1024 * 1024;

/// `CopyBothResponse`, the one tag that `postgres-protocol` does not know.
const COPY_BOTH_RESPONSE_TAG: u8 = b'W';

pub(crate) struct Transport {
    pub(crate) incoming: Incoming,
    pub(crate) outgoing: WriteHalf,
}

/// The reading half: bytes of the socket, cut into messages without copying them.
pub(crate) struct Incoming {
    socket: ReadHalf,
    buffer: BytesMut,
}

pub(crate) enum Received {
    CopyBoth,
    Message(backend::Message),
}

impl Transport {
    pub(crate) async fn connect(host: &Host) -> io::Result<Transport> {
        let (socket, outgoing) = socket::connect(host).await?;
        Ok(Transport {
            incoming: Incoming {
                socket,
                buffer: BytesMut::new(),
            },
            outgoing,
        })
    }

    /// Sends what `write` puts into the buffer. Not cancel-safe: a message may be cut in two.
    pub(crate) async fn send(
        &mut self,
        write: impl FnOnce(&mut BytesMut) -> io::Result<()>,
    ) -> Result<(), Error> {
        let mut bytes = BytesMut::new();
        write(&mut bytes)?;
        self.outgoing.write_all(&bytes).await?;
        Ok(())
    }

    /// Waits for the next message that is an answer, passing over notices and settings.
    pub(crate) async fn receive(&mut self) -> Result<Received, Error> {
        loop {
            match self.incoming.message()? {
                Some(Received::Message(
                    backend::Message::NoticeResponse(_) | backend::Message::ParameterStatus(_),
                )) => {}
                Some(received) => return Ok(received),
                None => self.incoming.fill().await?,
            }
        }
    }
}

impl Incoming {
    /// Takes the next message out of the buffer if it is there whole.
    pub(crate) fn message(&mut self) -> Result<Option<Received>, Error> {
        let Some(length) = self.message_length()? else {
            return Ok(None);
        };
        if self.buffer.len() < length {
            return Ok(None);
        }
        if self.buffer[0] == COPY_BOTH_RESPONSE_TAG {
            self.buffer.advance(length);
            return Ok(Some(Received::CopyBoth));
        }
        let message = backend::Message::parse(&mut self.buffer).map_err(broken)?;
        if length > LARGE_MESSAGE_BYTES {
            self.renew();
        }
        Ok(message.map(Received::Message))
    }

    /// Waits until the server sent something. Cancel-safe.
    pub(crate) async fn fill(&mut self) -> Result<(), Error> {
        self.make_room()?;
        match self.socket.read(&mut self.buffer).await? {
            0 => Err(Error::Closed),
            _ => Ok(()),
        }
    }

    /// Takes what the kernel holds; false if that is nothing.
    pub(crate) fn try_fill(&mut self) -> Result<bool, Error> {
        self.make_room()?;
        match self.socket.try_read(&mut self.buffer) {
            Ok(0) => Err(Error::Closed),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads until the server closes, keeping nothing.
    pub(crate) async fn drain(&mut self) -> Result<(), Error> {
        loop {
            self.buffer.clear();
            match self.fill().await {
                Ok(()) => {}
                Err(Error::Closed) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Length of the message at the front, tag included, once its header is there.
    fn message_length(&self) -> Result<Option<usize>, Error> {
        let Some(header) = Header::parse(&self.buffer).map_err(broken)? else {
            return Ok(None);
        };
        let length = usize::try_from(header.len())
            .unwrap_or(usize::MAX)
            .saturating_add(1);
        if length > MAX_MESSAGE_BYTES {
            return Err(Error::protocol(format!("a message of {length} bytes")));
        }
        Ok(Some(length))
    }

    fn make_room(&mut self) -> Result<(), Error> {
        let missing = self
            .message_length()?
            .unwrap_or(0)
            .saturating_sub(self.buffer.len());
        let room = self.buffer.capacity() - self.buffer.len();
        if room < missing.max(MIN_READ_BYTES) {
            self.buffer.reserve(missing.max(READ_BYTES));
        }
        Ok(())
    }

    /// Moves to a buffer of ordinary size.
    fn renew(&mut self) {
        let mut buffer = BytesMut::with_capacity(READ_BYTES.max(self.buffer.len()));
        buffer.extend_from_slice(&self.buffer);
        self.buffer = buffer;
    }
}

/// Sorts the parser's complaints, which come as I/O errors, from those of the socket.
fn broken(error: io::Error) -> Error {
    Error::protocol(error.to_string())
}
