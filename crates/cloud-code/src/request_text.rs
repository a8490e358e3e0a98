//! A run's request as the JavaScript runtime reads it.
//!
//! One JSON, but for after-triggers: theirs is one JSON a line, because they run most often and most of them look at
//! little. The runtime parses a line when a handler asks for what is in it (`js/src/request/after.js`).
//!
//! ```text
//! the request's plain members · {className, existed, commitTimeMs} · object · original · ops · user · digit
//! ```
//!
//! The digit: 1 if there is an original, plus 2 if there is a user.

use std::io::Write;

use serde_json::{Map, Value};

use crate::Handler;

/// Members that have a line of their own, in this order.
const LINES: [&str; 4] = ["object", "original", "ops", "user"];

/// Members of the second line.
const ABOUT: [&str; 3] = ["className", "existed", "commitTimeMs"];

/// What the runtime has no use for.
const UNUSED: &str = "requestId";

pub(crate) fn request_text(handler: &Handler, request: &Value) -> String {
    match (handler, request) {
        (Handler::Trigger(trigger), Value::Object(members)) if trigger.kind.is_after_commit() => {
            lines(members)
        }
        _ => request.to_string(),
    }
}

fn lines(members: &Map<String, Value>) -> String {
    let mut text = Vec::with_capacity(512);
    let is_plain = |name: &&String| {
        !LINES.contains(&&***name) && !ABOUT.contains(&&***name) && *name != UNUSED
    };
    put_members(&mut text, members.iter().filter(|(name, _)| is_plain(name)));
    let about = members.iter().filter(|(name, _)| ABOUT.contains(&&***name));
    put_members(&mut text, about);
    for name in LINES {
        put(&mut text, members.get(name).unwrap_or(&Value::Null));
        text.push(b'\n');
    }
    let has = |name| u8::from(members.get(name).is_some_and(|value| !value.is_null()));
    text.push(b'0' + has("original") + 2 * has("user"));
    String::from_utf8(text).expect("JSON is UTF-8")
}

/// One line: an object of those members that are not null.
fn put_members<'a>(text: &mut Vec<u8>, members: impl Iterator<Item = (&'a String, &'a Value)>) {
    let mut separator = b'{';
    for (name, value) in members.filter(|(_, value)| !value.is_null()) {
        text.push(separator);
        separator = b',';
        serde_json::to_writer(&mut *text, name).expect("a Vec takes all");
        text.push(b':');
        put(text, value);
    }
    let end: &[u8] = if separator == b'{' { b"{}\n" } else { b"}\n" };
    text.extend_from_slice(end);
}

fn put(text: &mut Vec<u8>, value: &Value) {
    write!(text, "{value}").expect("a Vec takes all");
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_event::{Trigger, TriggerKind};

    use super::*;

    #[test]
    fn an_after_trigger_gets_lines_and_everything_else_one_json() {
        let request = json!({"className": "Order", "existed": true, "commitTimeMs": 5, "requestId": "r", "attempt": 1, "ip": null,
            "object": {"text": "a\nb"}, "original": null, "ops": {}, "user": {"objectId": "u"}});
        let handler = |kind| Handler::Trigger(Trigger::code(kind, "Order"));
        let text = request_text(&handler(TriggerKind::AfterSave), &request);
        let lines: Vec<&str> = text.split('\n').collect();
        assert_eq!(lines[0], r#"{"attempt":1}"#);
        let about: Value = serde_json::from_str(lines[1]).unwrap();
        assert_eq!(
            about,
            json!({"className": "Order", "existed": true, "commitTimeMs": 5})
        );
        let rest = [
            r#"{"text":"a\nb"}"#,
            "null",
            "{}",
            r#"{"objectId":"u"}"#,
            "2",
        ];
        assert_eq!(lines[2..], rest);
        let empty = request_text(&handler(TriggerKind::AfterDelete), &json!({"original": {}}));
        assert_eq!(empty, "{}\n{}\nnull\n{}\nnull\nnull\n1");
        let whole = request_text(&handler(TriggerKind::BeforeSave), &request);
        assert_eq!(whole, request.to_string());
    }
}
