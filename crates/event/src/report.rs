//! How an error is written into a log line, an outcome or an answer to operators.

use std::error::Error;

/// The error with its causes, outermost first, on one line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let message = next.to_string();
        // Some libraries repeat their cause in their own text.
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the log failed")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn causes_follow_what_they_caused() {
        assert_eq!(
            chain(&Outer(std::io::Error::other("no disk"))),
            "the log failed: no disk"
        );
    }
}
