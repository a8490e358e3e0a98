//! From a project's `cloud/` folder to one script.
//!
//! ```text
//! cloud/main.{ts,js,mjs,cjs} │ cloud/app.js ─▶ node bundle.mjs ─▶ { code, map } │ { errors }
//! ```
//!
//! The bundler is esbuild with our plugin (`js/bundle.mjs`): it resolves npm packages, compiles TypeScript, and points
//! Node's modules and `parse` at the built-in runtime. It runs when a release is made, never when one is run.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::Error;

/// Where main may be, in this order.
const ENTRIES: [&str; 5] = [
    "cloud/main.ts",
    "cloud/main.js",
    "cloud/main.mjs",
    "cloud/main.cjs",
    "cloud/app.js",
];

const TIMEOUT: Duration = Duration::from_secs(60);

/// The bundler's own script, beside this crate's JavaScript.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/js/bundle.mjs");

/// A release's code, ready to load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle {
    /// The first 16 hexadecimal digits of the code's SHA-256.
    pub id: String,
    pub code: String,
    pub source_map: Option<String>,
}

/// Where the bundler is found.
#[derive(Clone, Debug)]
pub struct Bundler {
    /// Node.js, as a path or as a name to be found on PATH.
    pub node: PathBuf,
    /// `bundle.mjs`.
    pub script: PathBuf,
}

impl Default for Bundler {
    fn default() -> Self {
        Bundler {
            node: "node".into(),
            script: SCRIPT.into(),
        }
    }
}

impl Bundle {
    pub fn new(code: String, source_map: Option<String>) -> Bundle {
        let digest = Sha256::digest(&code);
        let id = digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Bundle {
            id,
            code,
            source_map,
        }
    }
}

/// Bundles the code of `project` with the default bundler. A project without cloud code gives an empty bundle.
///
/// # Errors
/// [`Error::Build`]: the code is at fault; the message shows where. [`Error::Bundler`]: Node.js or esbuild is missing.
pub async fn bundle(project: &Path) -> Result<Bundle, Error> {
    Bundler::default().bundle(project).await
}

impl Bundler {
    /// See [`bundle`].
    pub async fn bundle(&self, project: &Path) -> Result<Bundle, Error> {
        let project = std::path::absolute(project).map_err(|source| Error::Io {
            action: "find the project",
            source,
        })?;
        let Some(entry) = ENTRIES
            .iter()
            .map(|entry| project.join(entry))
            .find(|entry| entry.is_file())
        else {
            return Ok(Bundle::new(String::new(), None));
        };
        let mut command = tokio::process::Command::new(&self.node);
        command
            .arg(&self.script)
            .arg(&entry)
            .current_dir(&project)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(TIMEOUT, command.output()).await;
        let output = output
            .map_err(|_| failed(format!("it did not finish within {} s", TIMEOUT.as_secs())))?;
        let output = output.map_err(|error| failed(format!("{}: {error}", self.node.display())))?;
        match serde_json::from_slice(&output.stdout) {
            Ok(Printed::Bundle { code, map }) => Ok(Bundle::new(code, map)),
            Ok(Printed::Errors { errors }) => Err(Error::Build {
                message: render(&errors),
            }),
            Err(_) => Err(failed(
                String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            )),
        }
    }
}

fn failed(message: String) -> Error {
    Error::Bundler { message }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Printed {
    Bundle { code: String, map: Option<String> },
    Errors { errors: Vec<Message> },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    text: String,
    file: Option<String>,
    line: Option<u32>,
    column: Option<u32>,
    line_text: Option<String>,
}

/// `file:line:column: text`, and under it the line with a mark.
fn render(errors: &[Message]) -> String {
    let mut text = String::new();
    for error in errors {
        let newline = if text.is_empty() { "" } else { "\n" };
        let (line, column) = (error.line.unwrap_or(1), error.column.unwrap_or(1));
        let written = match &error.file {
            Some(file) => write!(text, "{newline}{file}:{line}:{column}: {}", error.text),
            None => write!(text, "{newline}{}", error.text),
        };
        written.expect("a String grows");
        if let Some(source) = &error.line_text {
            let gutter = format!("{line:>5} | ");
            let before = column.saturating_sub(1) as usize;
            let indent: String = source
                .chars()
                .take(before)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            let mark = " ".repeat(gutter.len() - 2);
            write!(text, "\n{gutter}{source}\n{mark}| {indent}^").expect("a String grows");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_error_shows_the_place() {
        let error = Message {
            text: "Expected \";\" but found \"x\"".into(),
            file: Some("cloud/main.js".into()),
            line: Some(12),
            column: Some(4),
            line_text: Some("let x x".into()),
        };
        let other = Message {
            text: "Could not resolve \"fs\"".into(),
            file: None,
            line: None,
            column: None,
            line_text: None,
        };
        assert_eq!(
            render(&[error, other]),
            "cloud/main.js:12:4: Expected \";\" but found \"x\"\n   12 | let x x\n      |    ^\nCould not resolve \"fs\""
        );
    }

    #[test]
    fn a_bundles_id_is_its_codes_digest() {
        assert_eq!(Bundle::new(String::new(), None).id, "e3b0c44298fc1c14");
        assert_ne!(
            Bundle::new("a".into(), None).id,
            Bundle::new("b".into(), None).id
        );
    }
}
