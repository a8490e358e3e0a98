//! Printing: JSON for programs, aligned columns for people.

use std::io::{IsTerminal, Write};

use anyhow::Result;
use serde::Serialize;

/// How the answer is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    pub json: bool,
}

impl Output {
    /// Prints the answer: as JSON, or as `text` makes it.
    pub fn data<T: Serialize>(self, data: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
        if self.json {
            print(&format!("{}\n", serde_json::to_string_pretty(data)?));
        } else {
            print(&text(data));
        }
        Ok(())
    }

    /// Prints one of many that come one after the other: as JSON on one line, or as `text` makes it.
    pub fn line<T: Serialize>(self, data: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
        match self.json {
            true => print(&format!("{}\n", serde_json::to_string(data)?)),
            false => print(&format!("{}\n", text(data))),
        }
        Ok(())
    }
}

/// To stdout. A reader that has gone away (`| head`) wants no more.
fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

/// Aligned columns under headings; the last column is as long as it is. `empty`: what to say when there are no rows.
pub fn table(headings: &[&str], rows: &[Vec<String>], empty: &str) -> String {
    if rows.is_empty() {
        return format!("{empty}\n");
    }
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells
            .chain([headings[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        let line = padded.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    };
    let mut text = line(headings.to_vec());
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

/// `name: value` lines, aligned.
pub fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 1;
    let line = |(name, value): &(&str, String)| format!("{:<width$} {value}\n", format!("{name}:"));
    fields.iter().map(line).collect()
}

/// Text of somebody else's on one line, without what a terminal would take as a command.
pub fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(shown).collect()
}

/// How far something is: a bar where a person looks, lines now and then elsewhere. To stderr.
pub struct Progress {
    is_terminal: bool,
    /// Of the last line or bar.
    said: Option<u64>,
}

impl Progress {
    pub fn start() -> Progress {
        Progress {
            is_terminal: std::io::stderr().is_terminal(),
            said: None,
        }
    }

    /// `rest`: what stands behind the bar.
    pub fn show(&mut self, done: u64, total: Option<u64>, rest: &str) {
        let percent = total.map(|total| percent(done, total));
        if self.is_terminal {
            eprint!("\r{} {rest}\x1b[K", bar(percent));
            self.said = percent;
            return;
        }
        // A line for each tenth, so that a log file stays short.
        let step = percent.map_or(done / 10_000, |percent| percent / 10);
        if self.said != Some(step) {
            self.said = Some(step);
            let percent = percent.map_or_else(String::new, |percent| format!("{percent}% "));
            eprintln!("{percent}{rest}");
        }
    }

    /// A line of its own, above the bar.
    pub fn say(&mut self, line: &str) {
        match self.is_terminal {
            true => eprintln!("\r{line}\x1b[K"),
            false => eprintln!("{line}"),
        }
    }

    /// Leaves the bar as it is.
    pub fn end(self) {
        if self.is_terminal && self.said.is_some() {
            eprintln!();
        }
    }
}

fn percent(done: u64, total: u64) -> u64 {
    match total {
        0 => 100,
        total => (u128::from(done) * 100 / u128::from(total)).min(100) as u64,
    }
}

fn bar(percent: Option<u64>) -> String {
    const WIDTH: usize = 30;
    match percent {
        Some(percent) => {
            let full = percent as usize * WIDTH / 100;
            format!(
                "[{}{}] {percent:>3}%",
                "#".repeat(full),
                "-".repeat(WIDTH - full)
            )
        }
        None => format!("[{}]", "?".repeat(WIDTH)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_with_their_text() {
        let rows = [
            vec!["1".to_owned(), "ä".to_owned()],
            vec!["100".into(), "".into()],
        ];
        assert_eq!(
            table(&["ID", "NAME"], &rows, "none"),
            "ID   NAME\n1    ä\n100\n"
        );
        assert_eq!(table(&["ID"], &[], "none"), "none\n");
        assert_eq!(
            fields(&[("a", "1".into()), ("long", "2".into())]),
            "a:    1\nlong: 2\n"
        );
        assert_eq!(plain("a\nb\x1b[2J"), "a b [2J");
    }

    #[test]
    fn a_bar_is_full_at_the_end_and_never_fuller() {
        assert_eq!(
            bar(Some(percent(5, 10))),
            format!("[{}{}]  50%", "#".repeat(15), "-".repeat(15))
        );
        assert_eq!(percent(11, 10), 100);
        assert_eq!(percent(0, 0), 100);
    }
}
