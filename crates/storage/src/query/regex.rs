//! `$regex` as Postgres's advanced regular expressions.
//!
//! Both dialects descend from Perl's. What differs and is translated: `\Q…\E`, which the SDKs use for literal text,
//! flags in front of the pattern, and whether `.` and `^` know about lines.

use crate::sql::Binds;

/// `text ~ pattern`. A pattern that Postgres cannot read is an error of the query (102), seen when it runs.
pub(super) fn condition(text: &str, pattern: &str, options: &str, binds: &mut Binds) -> String {
    let pattern = binds.text(translate(pattern, options));
    format!("{text} ~ {pattern}")
}

fn translate(pattern: &str, options: &str) -> String {
    let (leading, pattern) = leading_flags(pattern);
    let has = |flag| options.contains(flag) || leading.contains(flag);
    let mut flags = String::new();
    if has('i') {
        flags.push('i');
    }
    if has('x') {
        flags.push('x');
    }
    // Perl's default: `.` stops at a line's end, `^` and `$` do not know lines. `m` and `s` change one each.
    flags.push(match (has('m'), has('s')) {
        (false, false) => 'p',
        (true, false) => 'n',
        (false, true) => 's',
        (true, true) => 'w',
    });
    format!("(?{flags}){}", unquote(pattern))
}

/// Splits `(?im)` off the front: Postgres takes flags only at the very start, where ours go.
fn leading_flags(pattern: &str) -> (&str, &str) {
    let flags = pattern
        .strip_prefix("(?")
        .and_then(|rest| rest.split_once(')'));
    flags
        .filter(|(flags, _)| flags.bytes().all(|flag| b"imxs".contains(&flag)))
        .unwrap_or(("", pattern))
}

/// Replaces `\Q…\E` by its text, with everything escaped that could mean something.
fn unquote(pattern: &str) -> String {
    let mut plain = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        plain.push_str(before);
        rest = match escape.as_bytes().get(1) {
            Some(b'Q') => {
                let (literal, after) = escape[2..].split_once("\\E").unwrap_or((&escape[2..], ""));
                plain.push_str(&escaped(literal));
                after
            }
            Some(b'E') => &escape[2..],
            _ => {
                let end = escape
                    .char_indices()
                    .nth(2)
                    .map_or(escape.len(), |(at, _)| at);
                plain.push_str(&escape[..end]);
                &escape[end..]
            }
        };
    }
    plain + rest
}

fn escaped(literal: &str) -> String {
    let mut escaped = String::with_capacity(literal.len() + 8);
    for c in literal.chars() {
        // A backslash before a letter or digit would give it a meaning.
        if !c.is_alphanumeric() && c != '_' {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_keep_their_meaning() {
        let cases = [
            ("a.c", "", "(?p)a.c"),
            ("a.c", "i", "(?ip)a.c"),
            ("^a", "m", "(?n)^a"),
            (".", "s", "(?s)."),
            (".", "ms", "(?w)."),
            ("(?i)abc", "", "(?ip)abc"),
            ("(?:a|b)", "", "(?p)(?:a|b)"),
            (r"^\Qa.b\E", "", r"(?p)^a\.b"),
            (r"\Q(x)", "", r"(?p)\(x\)"),
            // How the SDKs quote a text that has `\E` in it.
            (r"\Qa\E\\E\Qb\E", "", r"(?p)a\\Eb"),
            (r"\d+\.", "", r"(?p)\d+\."),
            (r"\é", "", r"(?p)\é"),
            ("\\", "", "(?p)\\"),
        ];
        for (pattern, options, expected) in cases {
            assert_eq!(translate(pattern, options), expected, "{pattern} {options}");
        }
    }
}
