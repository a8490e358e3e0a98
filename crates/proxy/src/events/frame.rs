//! The wire form: server-sent events.
//!
//! Source: WHATWG HTML, "Server-sent events". An id without data moves what the client resumes from, and fires nothing.

use axum::body::Bytes;
use tidegate_event::{Filter, Head};
use tidegate_event_log::{Error, LogLine};

/// How long a client waits before it comes back.
const RETRY_MS: u32 = 1000;

/// A batch as a client gets it.
pub(super) struct Frames {
    text: String,
    offset: u64,
    events: u64,
}

impl Frames {
    /// For entries after `offset`.
    pub fn after(offset: u64) -> Frames {
        Frames {
            text: String::new(),
            offset,
            events: 0,
        }
    }

    /// Adds the next entry, if it is wanted.
    pub fn add(
        &mut self,
        line: &LogLine,
        filter: &Filter,
        redeliveries: bool,
    ) -> Result<(), Error> {
        let log_offset = line.log_offset;
        self.skip_to(log_offset - 1);
        self.offset = log_offset;
        if line.redelivery.is_some() && !redeliveries {
            return Ok(());
        }
        let head = Head::of(&line.body).map_err(|source| Error::Decode { log_offset, source })?;
        if filter.wants(&head) {
            self.push(head.operation.as_str(), &line.json());
            self.events += 1;
        }
        Ok(())
    }

    /// Tells of a hole, if there is one: retention has dropped what stood after the last entry, up to `offset`.
    pub fn skip_to(&mut self, offset: u64) {
        if offset > self.offset {
            let from = self.offset + 1;
            self.offset = offset;
            self.push("gap", &format!("{{\"from\":{from},\"to\":{offset}}}"));
        }
    }

    /// `data` has no line ends: it is JSON as this program writes it.
    fn push(&mut self, event: &str, data: &str) {
        let id = self.offset;
        self.text.reserve(data.len() + 64);
        for part in [
            "id: ",
            &id.to_string(),
            "\nevent: ",
            event,
            "\ndata: ",
            data,
            "\n\n",
        ] {
            self.text.push_str(part);
        }
    }

    pub fn offset(&self) -> u64 {
        self.offset
    }

    pub fn events(&self) -> u64 {
        self.events
    }

    pub fn into_bytes(self) -> Bytes {
        self.text.into()
    }
}

/// A sign of life that says how far the client is. `moved`: it did not know yet, and resumes from there.
pub(super) fn progress(offset: u64, moved: bool) -> Bytes {
    match moved {
        true => format!(": at {offset}\nretry: {RETRY_MS}\nid: {offset}\n\n").into(),
        false => format!(": at {offset}\n\n").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_come_before_what_follows_them_and_unwanted_events_move_the_offset() {
        let line = |log_offset, redelivery: Option<&str>| {
            LogLine {
            log_offset,
            body: r#"{"id":"1-0.1-0","commitTimeUs":0,"schema":"public","table":"A","operation":"insert","key":{},"context":{}}"#.into(),
            redelivery: redelivery.map(str::to_owned),
        }
        };
        let nothing = Filter {
            classes: ["B".to_owned()].into(),
            ..Filter::default()
        };
        let mut frames = Frames::after(3);
        frames.add(&line(4, None), &nothing, false).unwrap();
        frames
            .add(&line(5, Some("{}")), &Filter::default(), false)
            .unwrap();
        frames
            .add(&line(8, None), &Filter::default(), false)
            .unwrap();
        frames
            .add(
                &line(9, Some("{\"kind\":\"replay\"}")),
                &Filter::default(),
                true,
            )
            .unwrap();
        assert_eq!((frames.offset(), frames.events()), (9, 2));
        let text = String::from_utf8(frames.into_bytes().to_vec()).unwrap();
        let expected = "id: 7\nevent: gap\ndata: {\"from\":6,\"to\":7}\n\n\
                        id: 8\nevent: insert\ndata: {\"logOffset\":8,\"id\":\"1-0.1-0\",";
        assert!(text.starts_with(expected), "{text}");
        assert!(
            text.contains("data: {\"logOffset\":9,\"redelivery\":{\"kind\":\"replay\"},\"id\":")
        );
    }
}
