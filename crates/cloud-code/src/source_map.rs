//! From the stack of a bundle to the stack of what people wrote.

use sourcemap::SourceMap;

/// The file name under which the application's bundle runs.
pub(crate) const APP_FILE: &str = "app.js";

/// The file name under which the JavaScript runtime runs; its frames are of no interest to users.
pub(crate) const RUNTIME_FILE: &str = "runtime.js";

/// The most frames that a mapped stack keeps.
const MAX_FRAMES: usize = 30;

/// Maps stacks of one bundle; without a source map it only drops the runtime's own frames.
#[derive(Debug, Default)]
pub(crate) struct Stacks {
    map: Option<SourceMap>,
}

impl Stacks {
    /// `source_map`: JSON as the bundler printed it. One that cannot be read is passed over: a stack is no reason to fail.
    pub(crate) fn new(source_map: Option<&str>) -> Stacks {
        Stacks {
            map: source_map.and_then(|json| SourceMap::from_slice(json.as_bytes()).ok()),
        }
    }

    /// Rewrites each `file:line:column` of the bundle to where that code was written.
    pub(crate) fn map(&self, stack: &str) -> String {
        let frames = stack.lines().filter(|line| !line.trim().is_empty());
        let frames = frames
            .filter_map(|frame| self.map_frame(frame))
            .take(MAX_FRAMES);
        frames.collect::<Vec<_>>().join("\n")
    }

    /// One line of a stack; None for a frame of the runtime or of the engine.
    fn map_frame(&self, frame: &str) -> Option<String> {
        let frame = frame.trim_end();
        if frame.ends_with("(native)") {
            return None;
        }
        let open = frame.trim_end_matches(')');
        let start = open.rfind([' ', '(']).map_or(0, |before| before + 1);
        let Some((file, line, column)) = place(&open[start..]) else {
            return Some(frame.to_owned());
        };
        match file {
            RUNTIME_FILE => None,
            APP_FILE => {
                let (file, line, column) =
                    self.original(line, column).unwrap_or((file, line, column));
                let close = &frame[open.len()..];
                Some(format!("{}{file}:{line}:{column}{close}", &frame[..start]))
            }
            _ => Some(frame.to_owned()),
        }
    }

    /// Lines and columns count from 1 in a stack and from 0 in a map.
    fn original(&self, line: u32, column: u32) -> Option<(&str, u32, u32)> {
        let token = self
            .map
            .as_ref()?
            .lookup_token(line.checked_sub(1)?, column.saturating_sub(1))?;
        let file = token.get_source()?.trim_start_matches("../");
        Some((file, token.get_src_line() + 1, token.get_src_col() + 1))
    }
}

/// Splits `file:line:column`.
fn place(text: &str) -> Option<(&str, u32, u32)> {
    let (rest, column) = text.rsplit_once(':')?;
    let (file, line) = rest.rsplit_once(':')?;
    Some((file, line.parse().ok()?, column.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Line 1 of the bundle is line 3 of `cloud/main.ts`, column by column.
    const MAP: &str =
        r#"{"version":3,"sources":["../cloud/main.ts"],"names":[],"mappings":"AAEA,IAAI"}"#;

    #[test]
    fn frames_of_the_bundle_are_mapped_and_the_runtimes_are_dropped() {
        let stack = "    at charge (app.js:1:5)\n    at app.js:1:1\n    at run (runtime.js:10:2)\n    at call (native)\n";
        let mapped = Stacks::new(Some(MAP)).map(stack);
        assert_eq!(
            mapped,
            "    at charge (cloud/main.ts:3:5)\n    at cloud/main.ts:3:1"
        );
    }

    #[test]
    fn what_cannot_be_mapped_stays() {
        let stack = "    at f (app.js:7:5)\n    at <eval>\n    at g (<input>:1:1)";
        for map in [None, Some("no map"), Some("{}")] {
            assert_eq!(Stacks::new(map).map(stack), stack, "{map:?}");
        }
        assert_eq!(Stacks::default().map(""), "");
    }
}
