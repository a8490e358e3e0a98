//! Console output of user code, as log events of the server.
//!
//! Invariant: a line of user code is one event. It cannot begin a second one, nor colour a terminal.

use std::fmt::{Display, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;

use crate::frame::Level;
use crate::{Cause, Handler};

/// Past this much output of one run the rest is dropped. The isolate keeps the same limit; this one is for a hostile isolate.
pub(crate) const MAX_BYTES_PER_RUN: usize = 2 * 1024 * 1024;

/// The target of these events, by which a filter can tell user code from the server.
const TARGET: &str = "cloud_code";

/// A longer line is cut; the isolate has cut it already unless it is hostile.
const MAX_LINE_BYTES: usize = 8 * 1024;

/// The most of a run's output that is kept to be stored with its failure; the oldest lines go first.
const MAX_KEPT_BYTES: usize = 16 * 1024;

/// A line that a run printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// `error`, `warn`, `info` or `debug`.
    pub level: &'static str,
    /// One line of at most some 8 KiB; control characters are written out.
    pub text: String,
    /// When the server heard it, in milliseconds since 1970.
    pub at_ms: i64,
}

/// The lines of one run for somebody who reads them while it goes on.
pub(crate) struct Live {
    lines: mpsc::Sender<LogLine>,
    /// A place in the channel for the word that lines were dropped. None if there was none to be had.
    last: Option<mpsc::OwnedPermit<LogLine>>,
    dropped: u64,
}

impl Live {
    pub(crate) fn new(lines: mpsc::Sender<LogLine>) -> Live {
        Live {
            last: lines.clone().try_reserve_owned().ok(),
            lines,
            dropped: 0,
        }
    }

    /// Never waits: a slow reader loses lines, and is told how many.
    pub(crate) fn send(&mut self, level: Level, text: &str) {
        if self.dropped > 0 && self.lines.try_send(dropped(self.dropped)).is_ok() {
            self.dropped = 0;
        }
        let line = LogLine {
            level: name_of(level),
            text: printable(text),
            at_ms: now_ms(),
        };
        self.dropped += u64::from(self.lines.try_send(line).is_err());
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(last) = self.last.take().filter(|_| self.dropped > 0) {
            last.send(dropped(self.dropped));
        }
    }
}

fn dropped(lines: u64) -> LogLine {
    LogLine {
        level: name_of(Level::Warn),
        text: format!("{lines} lines were dropped here: there were more than could be stored"),
        at_ms: now_ms(),
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

/// The last lines of one run.
#[derive(Default)]
pub(crate) struct Kept(String);

impl Kept {
    pub(crate) fn push(&mut self, level: Level, text: &str) {
        self.0.push_str(name_of(level));
        self.0.push_str(": ");
        let line = printable(text); // Which makes it longer.
        self.0
            .push_str(&line[..line.floor_char_boundary(MAX_LINE_BYTES)]);
        self.0.push('\n');
        // Not for each line, which would move the whole text each time.
        if self.0.len() > 2 * MAX_KEPT_BYTES {
            self.cut();
        }
    }

    /// The lines, oldest first, without the last line break; None when there are none.
    pub(crate) fn take(&mut self) -> Option<String> {
        self.cut();
        let mut text = std::mem::take(&mut self.0);
        text.pop()?;
        Some(text)
    }

    /// Drops whole lines from the front until the limit is kept.
    fn cut(&mut self) {
        if let Some(over) = self.0.len().checked_sub(MAX_KEPT_BYTES + 1) {
            let end = self.0.as_bytes()[over..].iter().position(|&b| b == b'\n');
            self.0.drain(..end.map_or(0, |end| over + end + 1));
        }
    }
}

fn name_of(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
    }
}

/// Output of a run.
pub(crate) fn run(cause: &Cause, handler: &Handler, level: Level, text: &str) {
    emit(&cause.request_id, handler, level, &printable(text));
}

/// Output of no run: of the code while it loads, or of a timer that it set then.
pub(crate) fn module(level: Level, text: &str) {
    emit("", &"module", level, &printable(text));
}

/// One branch for each level, because the level of an event is fixed where it is written.
fn emit(request: &str, handler: &dyn Display, level: Level, text: &str) {
    match level {
        Level::Error => {
            tracing::error!(target: TARGET, { request.id = request, %handler }, "{text}")
        }
        Level::Warn => tracing::warn!(target: TARGET, { request.id = request, %handler }, "{text}"),
        Level::Info => tracing::info!(target: TARGET, { request.id = request, %handler }, "{text}"),
        Level::Debug => {
            tracing::debug!(target: TARGET, { request.id = request, %handler }, "{text}")
        }
    }
}

/// `text` without its last line break, cut, with control characters written out.
pub(crate) fn printable(text: &str) -> String {
    let text = text.trim_end();
    let text = &text[..text.floor_char_boundary(MAX_LINE_BYTES)];
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\t' => printable.push('\t'),
            '\n' => printable.push_str("\\n"),
            control if control.is_control() => {
                write!(printable, "\\u{{{:x}}}", u32::from(control)).expect("a String grows")
            }
            other => printable.push(other),
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_lines_of_a_run_are_kept() {
        let mut kept = Kept::default();
        assert_eq!(kept.take(), None);
        kept.push(Level::Warn, "a\nb\n");
        assert_eq!(kept.take().as_deref(), Some("warn: a\\nb"));
        for line in 0..10_000 {
            kept.push(Level::Info, &format!("line {line}"));
        }
        let text = kept.take().unwrap();
        assert!(text.len() <= MAX_KEPT_BYTES && text.len() > MAX_KEPT_BYTES - 32);
        assert!(text.starts_with("info: line ") && text.ends_with("\ninfo: line 9999"));
        kept.push(Level::Error, &"\u{1}".repeat(MAX_LINE_BYTES));
        assert!(kept.take().unwrap().len() < MAX_KEPT_BYTES);
    }

    #[test]
    fn a_reader_that_is_slow_is_told_what_it_missed() {
        let (sender, mut lines) = mpsc::channel(3);
        let mut live = Live::new(sender);
        let mut read = || {
            let all = std::iter::from_fn(|| lines.try_recv().ok());
            all.map(|line| line.text).collect::<Vec<_>>()
        };
        (1..=4).for_each(|n| live.send(Level::Info, &n.to_string()));
        let heard = read();
        assert_eq!(heard, ["1", "2"]);
        (5..=7).for_each(|n| live.send(Level::Info, &n.to_string()));
        drop(live);
        let heard = read();
        assert!(
            heard[0].starts_with("2 lines") && heard[1] == "5",
            "{heard:?}"
        );
        assert!(
            heard[2].starts_with("2 lines") && heard.len() == 3,
            "{heard:?}"
        );
    }

    #[test]
    fn a_line_of_user_code_cannot_forge_another_line() {
        assert_eq!(
            printable("a\n{\"level\":\"error\"}\u{1b}[31m\r\n"),
            "a\\n{\"level\":\"error\"}\\u{1b}[31m"
        );
        assert_eq!(printable(&"ä".repeat(MAX_LINE_BYTES)).len(), MAX_LINE_BYTES);
    }
}
