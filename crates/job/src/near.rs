//! The name that was meant.

/// The one of `known` that differs least from `name`, if any is near.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    let most = (wanted.chars().count() / 3).max(2);
    let distances = known
        .into_iter()
        .map(|one| (distance(&wanted, &one.to_lowercase()), one));
    let nearest = distances.filter(|(distance, _)| *distance <= most).min();
    nearest.map(|(_, one)| one)
}

/// `; did you mean …?`, or nothing.
pub fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(name, known) {
        Some(near) => format!("; did you mean {near:?}?"),
        None => String::new(),
    }
}

/// Levenshtein's: how many characters must be added, removed or replaced.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, a) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_found() {
        let known = ["retries", "timeout", "runAt"];
        assert_eq!(nearest("retry", known), None);
        assert_eq!(nearest("retrys", known), Some("retries"));
        assert_eq!(nearest("TimeOut", known), Some("timeout"));
        assert_eq!(nearest("concurrency", known), None);
        assert_eq!(hint("runat", known), "; did you mean \"runAt\"?");
    }
}
