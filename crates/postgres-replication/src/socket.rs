//! A socket to the server, in two halves that two tasks can own.
//!
//! Read and write are split for good: the [`Stream`](crate::Stream) reads, and a task of its own
//! writes feedback, so that neither waits for the other.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, tcp, unix};

use crate::Host;

/// A dead peer is noticed after 6 + 3 × 3 = 15 seconds of silence: soon enough that a failover
/// does not wait for us, long enough that a lost packet or two does no harm.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(6);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
const KEEPALIVE_RETRIES: u32 = 3;

/// Keepalive probes rest while written data is unacknowledged, and feedback is written each
/// second: without this limit a black-holed connection would live for the kernel's 15 minutes.
const UNACKNOWLEDGED_LIMIT: Duration = Duration::from_secs(15);

pub(crate) enum ReadHalf {
    Tcp(tcp::OwnedReadHalf),
    Unix(unix::OwnedReadHalf),
}

pub(crate) type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

pub(crate) async fn connect(host: &Host) -> io::Result<(ReadHalf, WriteHalf)> {
    match host {
        Host::Tcp { name, port } => {
            let stream = TcpStream::connect((name.as_str(), *port)).await?;
            set_tcp_options(&stream)?;
            let (read, write) = stream.into_split();
            Ok((ReadHalf::Tcp(read), Box::new(write)))
        }
        Host::Unix { directory, port } => {
            let stream = UnixStream::connect(directory.join(format!(".s.PGSQL.{port}"))).await?;
            let (read, write) = stream.into_split();
            Ok((ReadHalf::Unix(read), Box::new(write)))
        }
    }
}

fn set_tcp_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_LIMIT))?;
    Ok(())
}

impl ReadHalf {
    /// Waits for bytes and appends them; 0 means the server closed. Cancel-safe.
    pub(crate) async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            ReadHalf::Tcp(half) => half.read_buf(buffer).await,
            ReadHalf::Unix(half) => half.read_buf(buffer).await,
        }
    }

    /// Appends what the kernel has, or answers `WouldBlock`.
    pub(crate) fn try_read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            ReadHalf::Tcp(half) => half.try_read_buf(buffer),
            ReadHalf::Unix(half) => half.try_read_buf(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tcp_sockets_notice_a_dead_peer_and_do_not_delay() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        set_tcp_options(&stream).unwrap();
        let socket = SockRef::from(&stream);
        assert!(stream.nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        assert_eq!(
            socket.tcp_user_timeout().unwrap(),
            Some(UNACKNOWLEDGED_LIMIT)
        );
    }
}
