//! A TCP proxy that can be told to misbehave: cut, swallow, delay.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Bytes moved at once; also what a delay applies to.
const CHUNK_BYTES: usize = 64 * 1024;

/// What the proxy does with bytes from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weather {
    /// Grows with each cut: connections of before are reset.
    cuts: u64,
    /// Bytes are read and wait here; connections stay open and nothing arrives.
    black_hole: bool,
    delay: Duration,
}

/// Passes bytes between a loopback port of its own and another. Dropping it cuts every connection.
pub struct ByteProxy {
    port: u16,
    weather: Arc<watch::Sender<Weather>>,
    /// `None` once dropped.
    runtime: Option<tokio::runtime::Runtime>,
}

impl ByteProxy {
    /// Listens on a free port, for `target` on loopback. Runs on threads of its own.
    pub fn start(target: u16) -> ByteProxy {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime can be built");
        let weather = Arc::new(watch::channel(Weather::default()).0);
        let listener =
            std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port is free");
        let port = listener.local_addr().expect("it is bound").port();
        listener
            .set_nonblocking(true)
            .expect("a socket can be set non-blocking");
        let accepting = weather.clone();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("the runtime has I/O");
            accept(listener, target, accepting).await;
        });
        ByteProxy {
            port,
            weather,
            runtime: Some(runtime),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Resets every connection that is open now, in the middle of whatever it carries.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| weather.cuts += 1);
    }

    /// While true nothing arrives at either side, and nothing says so: a half-open connection.
    pub fn black_hole(&self, is_on: bool) {
        self.weather
            .send_modify(|weather| weather.black_hole = is_on);
    }

    /// Delays every chunk by this much, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.weather.send_modify(|weather| weather.delay = delay);
    }
}

impl Drop for ByteProxy {
    fn drop(&mut self) {
        // Dropped in a test's own runtime, it may not block.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, target: u16, weather: Arc<watch::Sender<Weather>>) {
    while let Ok((client, _)) = listener.accept().await {
        let weather = weather.subscribe();
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else {
                return;
            };
            join(client, server, weather).await;
        });
    }
}

async fn join(client: TcpStream, server: TcpStream, weather: watch::Receiver<Weather>) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let cuts = weather.borrow().cuts;
    let mut cut = weather.clone();
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    tokio::select! {
        // Either side's end is the end of both: these protocols never half-close.
        () = copy(from_client, to_server, weather.clone()) => {}
        () = copy(from_server, to_client, weather) => {}
        () = async { drop(cut.wait_for(|weather| weather.cuts != cuts).await) } => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(bytes @ 1..) = from.read(&mut chunk).await {
        let delay = weather.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let passes = weather
            .wait_for(|weather| !weather.black_hole)
            .await
            .is_ok();
        if !passes || to.write_all(&chunk[..bytes]).await.is_err() {
            return;
        }
    }
}
