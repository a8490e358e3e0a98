//! What an attempt writes to its log, and how much.

use serde::{Deserialize, Serialize};

/// Lines of one attempt that are kept: more than a person reads.
pub const MAX_LINES: u32 = 10_000;

/// Bytes of one attempt's lines that are kept: a loop that logs may not fill the disk.
pub const MAX_BYTES: u64 = 1024 * 1024;

/// Bytes of one line; what is longer is cut.
pub const MAX_LINE_BYTES: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    pub level: LogLevel,
    pub text: String,
}

/// How much one attempt may still log. Kept by the worker for as long as the attempt runs.
#[derive(Clone, Debug)]
pub struct LogBudget {
    lines: u32,
    bytes: u64,
    is_spent: bool,
}

impl Default for LogBudget {
    fn default() -> Self {
        LogBudget {
            lines: MAX_LINES,
            bytes: MAX_BYTES,
            is_spent: false,
        }
    }
}

impl LogBudget {
    /// The lines that are kept; after the last that fits, one that says so, and then none.
    pub fn admit(&mut self, lines: Vec<LogLine>) -> Vec<LogLine> {
        let mut kept = Vec::with_capacity(lines.len());
        for mut line in lines {
            if self.is_spent {
                break;
            }
            cut(&mut line.text);
            let bytes = line.text.len() as u64;
            if self.lines == 0 || bytes > self.bytes {
                self.is_spent = true;
                line.level = LogLevel::Warn;
                line.text = format!(
                    "the log of this attempt ends here: an attempt has {MAX_LINES} lines and {MAX_BYTES} bytes at most"
                );
            } else {
                self.lines -= 1;
                self.bytes -= bytes;
            }
            kept.push(line);
        }
        kept
    }
}

/// Cuts a line to its limit, and takes out what Postgres's text cannot hold.
fn cut(text: &mut String) {
    if text.contains('\0') {
        text.retain(|c| c != '\0');
    }
    if text.len() > MAX_LINE_BYTES {
        text.truncate(text.floor_char_boundary(MAX_LINE_BYTES));
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> LogLine {
        LogLine {
            at_ms: 1,
            level: LogLevel::Info,
            text: text.to_owned(),
        }
    }

    #[test]
    fn the_line_after_the_last_says_so_once() {
        let mut budget = LogBudget::default();
        assert_eq!(budget.admit(vec![line("a"); 9_999]).len(), 9_999);
        let last = budget.admit(vec![line("b"), line("c"), line("d")]);
        assert_eq!(last[0], line("b"));
        assert_eq!(last.len(), 2);
        assert!(last[1].text.contains("10000 lines"), "{}", last[1].text);
        assert!(budget.admit(vec![line("e")]).is_empty());
    }

    #[test]
    fn bytes_are_counted_and_long_lines_cut() {
        let mut budget = LogBudget::default();
        let kept = budget.admit(vec![line(&"ä".repeat(16 * 1024)); 100]);
        assert_eq!(kept[0].text.len(), MAX_LINE_BYTES + "…".len());
        let bytes: usize = kept.iter().map(|line| line.text.len()).sum();
        assert!(bytes <= MAX_BYTES as usize + 200, "{bytes}");
        assert!(kept.len() < 100);
        assert_eq!(LogBudget::default().admit(vec![line("a\0b")])[0].text, "ab");
    }
}
