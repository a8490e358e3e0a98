//! Standby status updates: what tells the server that we live and what it may forget.
//!
//! A task of its own writes them each `status_interval` and whenever asked, whatever the consumer
//! of the stream is doing: a server that hears nothing for `wal_sender_timeout` cuts the
//! connection, and its own requests for a reply lie unread behind the rows nobody takes.
//!
//! Invariant: no position is reported as durable that was not confirmed, nor one that the server
//! never sent: confirming too far would skip changes for good.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::Error;
use crate::copy_data::status_update;
use crate::socket::WriteHalf;

/// Requests that wait while one is written; the keepalives among them may be dropped, since
/// one answer serves them all.
const MAX_WAITING_REQUESTS: usize = 4;

/// A configured interval of zero would be a busy loop.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// How far the stream is. Written by its consumer, read by the feedback task.
#[derive(Default)]
struct Progress {
    received: AtomicU64,
    confirmed: AtomicU64,
}

impl Progress {
    /// What may be called durable: never more than was confirmed, nor than was received.
    fn durable(&self) -> u64 {
        self.confirmed
            .load(Ordering::Acquire)
            .min(self.received.load(Ordering::Acquire))
    }

    fn status_update(&self) -> BytesMut {
        let received = self.received.load(Ordering::Acquire);
        status_update(received, self.durable(), SystemTime::now())
    }
}

/// The handle of the feedback task; dropping it ends the task.
pub(crate) struct Feedback {
    progress: Arc<Progress>,
    requests: mpsc::Sender<Request>,
    task: JoinHandle<io::Result<()>>,
}

enum Request {
    Send,
    SendAndTell(oneshot::Sender<()>),
    /// Send, then say goodbye.
    Terminate,
}

impl Feedback {
    pub(crate) fn start(outgoing: WriteHalf, interval: Duration) -> Feedback {
        let progress = Arc::new(Progress::default());
        let (requests, waiting) = mpsc::channel(MAX_WAITING_REQUESTS);
        let task = tokio::spawn(report(outgoing, Arc::clone(&progress), waiting, interval));
        Feedback {
            progress,
            requests,
            task,
        }
    }

    pub(crate) fn received(&self) -> u64 {
        self.progress.received.load(Ordering::Acquire)
    }

    pub(crate) fn confirmed(&self) -> u64 {
        self.progress.confirmed.load(Ordering::Acquire)
    }

    pub(crate) fn set_received(&self, position: u64) {
        self.progress.received.fetch_max(position, Ordering::AcqRel);
    }

    pub(crate) fn confirm(&self, durable: u64) {
        self.progress.confirmed.fetch_max(durable, Ordering::AcqRel);
    }

    /// Has an update sent soon.
    pub(crate) fn prompt(&self) {
        // Full: an update is about to be sent anyway. Closed: reading will say why.
        let _ = self.requests.try_send(Request::Send);
    }

    /// Has an update sent and waits until the kernel has it.
    pub(crate) async fn send(&self) -> Result<(), Error> {
        let (tell, told) = oneshot::channel();
        self.requests
            .send(Request::SendAndTell(tell))
            .await
            .map_err(|_| Error::Closed)?;
        told.await.map_err(|_| Error::Closed)
    }

    /// Has a last update and the goodbye sent, and waits for them to be.
    pub(crate) async fn terminate(mut self) -> Result<(), Error> {
        self.requests
            .send(Request::Terminate)
            .await
            .map_err(|_| Error::Closed)?;
        match (&mut self.task).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(Error::Closed),
        }
    }

    /// Ends the task and with it the writing half of the socket, which tells the server to release
    /// the slot. Closing the channel would not do: the task may hang in a write.
    pub(crate) fn hang_up(&self) {
        self.task.abort();
    }
}

impl Drop for Feedback {
    fn drop(&mut self) {
        self.hang_up();
    }
}

async fn report(
    mut outgoing: WriteHalf,
    progress: Arc<Progress>,
    mut requests: mpsc::Receiver<Request>,
    interval: Duration,
) -> io::Result<()> {
    let mut ticks = tokio::time::interval(interval.max(MIN_INTERVAL));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let request = tokio::select! {
            _ = ticks.tick() => Request::Send,
            request = requests.recv() => match request {
                Some(request) => request,
                None => return Ok(()),
            },
        };
        let mut bytes = progress.status_update();
        if matches!(request, Request::Terminate) {
            frontend::terminate(&mut bytes);
        }
        outgoing.write_all(&bytes).await?;
        match request {
            Request::Send => {}
            // Nobody waits any more: the caller of `send_feedback` was cancelled.
            Request::SendAndTell(tell) => _ = tell.send(()),
            Request::Terminate => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    const UPDATE_BYTES: usize = 39;

    /// Received and durable position of the next update on the wire.
    async fn update(server: &mut tokio::io::DuplexStream) -> (u64, u64) {
        let mut bytes = [0; UPDATE_BYTES];
        server.read_exact(&mut bytes).await.unwrap();
        let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        (number(6), number(14))
    }

    #[tokio::test]
    async fn nothing_is_reported_durable_before_it_is_confirmed_and_received() {
        let (ours, mut server) = tokio::io::duplex(1024);
        let feedback = Feedback::start(Box::new(ours), Duration::from_secs(3600));
        assert_eq!(update(&mut server).await, (0, 0));

        feedback.set_received(100);
        feedback.send().await.unwrap();
        assert_eq!(update(&mut server).await, (100, 0));

        feedback.confirm(60);
        feedback.confirm(50);
        feedback.prompt();
        assert_eq!(
            update(&mut server).await,
            (100, 60),
            "confirming less takes nothing back"
        );

        feedback.confirm(1 << 60);
        feedback.send().await.unwrap();
        assert_eq!(
            update(&mut server).await,
            (100, 100),
            "never beyond what the server sent"
        );
    }

    #[tokio::test]
    async fn updates_go_out_each_interval_unasked() {
        let (ours, mut server) = tokio::io::duplex(UPDATE_BYTES);
        let feedback = Feedback::start(Box::new(ours), Duration::from_millis(1));
        for _ in 0..10 {
            assert_eq!(update(&mut server).await, (0, 0));
        }
        drop(feedback);
        server.read_to_end(&mut Vec::new()).await.unwrap(); // ends: dropping the handle closes
    }

    #[tokio::test]
    async fn the_last_update_comes_before_the_goodbye() {
        let (ours, mut server) = tokio::io::duplex(1024);
        let feedback = Feedback::start(Box::new(ours), Duration::from_secs(3600));
        assert_eq!(update(&mut server).await, (0, 0));
        feedback.set_received(7);
        feedback.confirm(7);
        feedback.terminate().await.unwrap();
        assert_eq!(update(&mut server).await, (7, 7));
        let mut goodbye = Vec::new();
        server.read_to_end(&mut goodbye).await.unwrap();
        assert_eq!(goodbye, [b'X', 0, 0, 0, 4]);
    }
}
