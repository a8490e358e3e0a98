//! Array literals: `{1,NULL,3}`, `{{a,"b,c"},{d,e}}`, `[0:1]={1,2}`.

use serde_json::Value;

use super::kind::Kind;

/// An array as nested JSON arrays, elements by their kind; None for what is no array literal.
///
/// Lower bounds other than 1 are left out. An element that cannot be shown as its kind is its text.
pub(super) fn value(element: &Kind, delimiter: char, text: &str) -> Option<Value> {
    let body = match text.strip_prefix('[') {
        Some(bounds) => &bounds[bounds.find("={")? + 1..],
        None => text,
    };
    let mut reader = Reader {
        rest: body,
        element,
        delimiter,
    };
    let value = reader.array()?;
    reader.rest.is_empty().then_some(value)
}

struct Reader<'a> {
    rest: &'a str,
    element: &'a Kind,
    delimiter: char,
}

impl Reader<'_> {
    fn take(&mut self, expected: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(expected)?;
        Some(())
    }

    /// From the opening brace on. Postgres has at most six dimensions; a text that claims more is none of its.
    fn array(&mut self) -> Option<Value> {
        self.array_within(6)
    }

    fn array_within(&mut self, dimensions: usize) -> Option<Value> {
        let dimensions = dimensions.checked_sub(1)?;
        self.take('{')?;
        let mut items = Vec::new();
        if self.take('}').is_some() {
            return Some(items.into());
        }
        loop {
            items.push(if self.rest.starts_with('{') {
                self.array_within(dimensions)?
            } else {
                self.item()?
            });
            if self.take('}').is_some() {
                return Some(items.into());
            }
            self.take(self.delimiter)?;
        }
    }

    fn item(&mut self) -> Option<Value> {
        let text = if self.take('"').is_some() {
            self.quoted()?
        } else {
            let end = self.rest.find([self.delimiter, '}'])?;
            let (text, rest) = self.rest.split_at(end);
            self.rest = rest;
            match text {
                "" => return None,
                "NULL" => return Some(Value::Null),
                _ => text.to_owned(),
            }
        };
        Some(super::value(self.element, &text).unwrap_or(Value::String(text)))
    }

    /// What follows an opening quote, up to the closing one.
    fn quoted(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices();
        loop {
            match chars.next()? {
                (at, '"') => {
                    self.rest = &self.rest[at + 1..];
                    return Some(text);
                }
                (_, '\\') => text.push(chars.next()?.1),
                (_, c) => text.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn literals_are_read_as_postgres_writes_them() {
        let read = |kind: Kind, text| value(&kind, ',', text);
        assert_eq!(read(Kind::Integer, "{}"), Some(json!([])));
        assert_eq!(read(Kind::Integer, "{1,NULL,3}"), Some(json!([1, null, 3])));
        assert_eq!(read(Kind::Float, "{NaN,0.5}"), Some(json!(["NaN", 0.5])));
        assert_eq!(
            read(Kind::Text, r#"{{a,"b,c"},{"\"\\",NULL},{"NULL",""}}"#),
            Some(json!([["a", "b,c"], ["\"\\", null], ["NULL", ""]]))
        );
        assert_eq!(read(Kind::Integer, "[0:1]={1,2}"), Some(json!([1, 2])));
        assert_eq!(
            read(Kind::Integer, "[-1:-1][2:3]={{1,2}}"),
            Some(json!([[1, 2]]))
        );
        assert_eq!(
            read(Kind::Json, r#"{"{\"a\": [1, null]}"}"#),
            Some(json!([{"a": [1, null]}]))
        );
        assert_eq!(
            value(&Kind::Text, ';', "{(1,1),(0,0);(2,2),(1,1)}"),
            Some(json!(["(1,1),(0,0)", "(2,2),(1,1)"]))
        );
        for broken in [
            "", "{", "{a", "{a,}", "{\"a\"b}", "{a}}", "1 2", "[0:1]", "{,}",
        ] {
            assert_eq!(read(Kind::Text, broken), None, "{broken}");
        }
        assert_eq!(read(Kind::Text, &"{".repeat(100_000)), None);
    }
}
