//! A client of `GET /events`.

use reqwest::Response;
use serde_json::Value;

use crate::system::{APP_ID, MASTER_KEY, PATIENCE, System};

pub(super) struct Stream {
    response: Response,
    text: String,
    /// What a client resumes from.
    pub last_id: Option<String>,
}

#[derive(Debug)]
pub(super) struct Event {
    pub id: u64,
    pub name: String,
    pub data: Value,
}

pub(super) async fn ask(system: &System, query: &str, headers: &[(&str, &str)]) -> Response {
    let url = format!("{}/events?{query}", system.url());
    let mut request = reqwest::Client::new().get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("the server answers")
}

pub(super) const KEYS: [(&str, &str); 2] = [
    ("X-Parse-Application-Id", APP_ID),
    ("X-Parse-Master-Key", MASTER_KEY),
];

impl Stream {
    pub async fn open(system: &System, query: &str) -> Stream {
        Stream::of(ask(system, query, &KEYS).await)
    }

    /// As a client does by itself when its stream has ended.
    pub async fn resume(self, system: &System, query: &str) -> Stream {
        let last_id = self.last_id.expect("a stream says where it is at once");
        drop(self.response);
        let headers = [KEYS[0], KEYS[1], ("Last-Event-ID", &last_id)];
        Stream::of(ask(system, query, &headers).await)
    }

    fn of(response: Response) -> Stream {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Stream {
            response,
            text: String::new(),
            last_id: None,
        }
    }

    /// The next event; None at the stream's end.
    pub async fn try_next(&mut self) -> Option<Event> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                if let Some(event) = self.take(&block) {
                    return Some(event);
                }
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk());
            let chunk = chunk.await.expect("something comes").ok()??;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    pub async fn next(&mut self) -> Event {
        self.try_next().await.expect("the stream goes on")
    }

    pub async fn take_events(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        for _ in 0..count {
            events.push(self.next().await);
        }
        events
    }

    /// One block of the stream, as the standard says to read it.
    fn take(&mut self, block: &str) -> Option<Event> {
        let field = |name: &str| {
            let mut lines = block.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        if let Some(id) = field("id") {
            self.last_id = Some(id.to_owned());
        }
        let data = field("data")?;
        Some(Event {
            id: field("id")?.parse().unwrap(),
            name: field("event")?.to_owned(),
            data: serde_json::from_str(data).unwrap(),
        })
    }
}
