//! An HTTP server that the test itself answers for, request by request.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub struct Listener {
    socket: TcpListener,
}

/// A request that waits for its answer.
pub struct Held {
    /// `GET /path?query`
    pub line: String,
    /// In lower case, `name: value`.
    pub headers: Vec<String>,
    pub body: String,
    stream: TcpStream,
}

impl Listener {
    pub async fn start() -> Listener {
        Listener {
            socket: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    pub fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port())
    }

    /// The next request, once all of it is there.
    pub async fn next(&self) -> Held {
        let (mut stream, _) = self.socket.accept().await.unwrap();
        let mut received = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            let bytes = stream.read(&mut buffer).await.unwrap();
            assert!(
                bytes > 0,
                "the client left: {}",
                String::from_utf8_lossy(&received)
            );
            received.extend_from_slice(&buffer[..bytes]);
            let text = String::from_utf8(received.clone()).unwrap();
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let mut lines = head.lines();
            let line = lines
                .next()
                .unwrap()
                .trim_end_matches(" HTTP/1.1")
                .to_owned();
            let headers: Vec<String> = lines.map(str::to_lowercase).collect();
            let length = headers
                .iter()
                .find_map(|header| header.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Held {
                    line,
                    headers,
                    body: body.to_owned(),
                    stream,
                };
            }
        }
    }

    /// True when somebody has connected, whether or not they sent anything.
    pub fn was_connected(self) -> bool {
        let socket = self.socket.into_std().unwrap();
        socket.accept().is_ok()
    }
}

impl Held {
    pub async fn answer(self, status: u16, body: &str) {
        self.answer_with(status, "content-type: text/plain", body)
            .await;
    }

    pub async fn answer_with(mut self, status: u16, header: &str, body: &str) {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} Because\r\n{header}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        self.stream
            .write_all(format!("{head}{body}").as_bytes())
            .await
            .unwrap();
    }
}
