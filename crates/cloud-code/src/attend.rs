//! The task that reads, writes and buries one isolate.

use std::io;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::child::Child;
use crate::frame::{FromIsolate, Reader};
use crate::pool::Pool;

/// Reads before other tasks of this thread get a turn.
const READS_IN_A_ROW: usize = 16;

/// A write buffer that grew past this for one large request is not kept.
const KEPT_BUFFER_BYTES: usize = 1024 * 1024;

/// Frames being written: all of a batch, from `written` on.
#[derive(Default)]
struct Outgoing {
    buffer: Vec<u8>,
    written: usize,
}

/// Moves frames between `child` and its process until that has ended.
pub(crate) async fn attend(child: Arc<Child>, socket: UnixStream, pool: Arc<Pool>) {
    let mut reader = Reader::default();
    let mut outgoing = Outgoing::default();
    let how = loop {
        if outgoing.write(&child, &socket).is_err() {
            child.process.kill();
            break child.process.ended().await;
        }
        let interest = if outgoing.is_empty() {
            Interest::READABLE
        } else {
            Interest::READABLE | Interest::WRITABLE
        };
        tokio::select! {
            () = child.wake.notified(), if outgoing.is_empty() => {}
            ready = socket.ready(interest) => {
                match ready.and_then(|_| read(&child, &socket, &mut reader, &pool)) {
                    Ok(Rest::Nothing) => {}
                    // Waiting for a ready socket never yields: without this a flood would starve the thread's other tasks.
                    Ok(Rest::Something) => tokio::task::yield_now().await,
                    Err(_) => {
                        child.process.kill();
                        break child.process.ended().await;
                    }
                }
            }
            how = child.process.ended() => break how,
        }
    };
    // What it said before it ended still counts.
    let _ = read(&child, &socket, &mut reader, &pool);
    let moved = child.bury(&how);
    pool.buried(&child, moved);
}

impl Outgoing {
    fn is_empty(&self) -> bool {
        self.written == self.buffer.len()
    }

    /// Writes until all is written or the socket is full.
    fn write(&mut self, child: &Child, socket: &UnixStream) -> io::Result<()> {
        loop {
            if self.is_empty() {
                self.buffer.clear();
                self.buffer.shrink_to(KEPT_BUFFER_BYTES);
                self.written = 0;
                child.take_output(&mut self.buffer);
            }
            if self.is_empty() {
                return Ok(());
            }
            match socket.try_write(&self.buffer[self.written..]) {
                Ok(bytes) => self.written += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether there may be more to read.
enum Rest {
    Nothing,
    Something,
}

/// Reads and acts on what is there. An error means that the isolate is gone or talks nonsense.
fn read(
    child: &Arc<Child>,
    socket: &UnixStream,
    reader: &mut Reader,
    pool: &Pool,
) -> io::Result<Rest> {
    for _ in 0..READS_IN_A_ROW {
        match socket.try_read(reader.space()) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => reader.filled(bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Rest::Nothing),
            Err(error) => return Err(error),
        }
        while let Some(frame) = reader.next()? {
            child.heard(FromIsolate::decode(frame)?);
        }
        child.notice_freedom();
        pool.place_waiting();
    }
    Ok(Rest::Something)
}
