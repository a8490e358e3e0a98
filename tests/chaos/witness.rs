//! Hears of each run of the handler over HTTP, at least once, and remembers in which order.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// One call: this run of the handler has begun.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    pub item: String,
    pub version: i64,
    pub event_id: String,
}

#[derive(Clone, Default)]
pub struct Witness {
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Witness {
    /// Listens on a free port, for as long as the test's runtime runs; returns the port too.
    pub async fn listen() -> (Witness, u16) {
        let witness = Witness::default();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let calls = witness.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, calls.clone()));
            }
        });
        (witness, port)
    }

    /// The calls after the first `known`.
    pub fn after(&self, known: usize) -> Vec<Call> {
        self.calls.lock().unwrap()[known..].to_vec()
    }

    pub fn count(&self) -> usize {
        self.calls.lock().unwrap().len()
    }
}

/// One connection; a client that is killed leaves half a request, which counts for nothing.
async fn serve(stream: TcpStream, witness: Witness) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(bytes) = line.strip_prefix("content-length: ") {
                length = bytes.parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        let call: Call = serde_json::from_slice(&body).expect("the handler sends this");
        witness.calls.lock().unwrap().push(call);
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.get_mut().write_all(answer).await.ok()?;
    }
}
