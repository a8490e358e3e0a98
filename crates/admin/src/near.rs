//! The name that was meant.

/// Up to three of `known` that differ from `name` by little, the nearest first.
pub(crate) fn nearest<'a>(name: &str, known: &'a [String]) -> Vec<&'a str> {
    let wanted = name.to_lowercase();
    let most = (wanted.chars().count() / 3).max(2);
    let mut near: Vec<(usize, &str)> = known
        .iter()
        .map(|one| {
            let lower = one.to_lowercase();
            // `Order` for `afterSave:Order` is a part of the name, and as near as can be.
            let is_part =
                !wanted.is_empty() && lower.split([':', '@', '.']).any(|part| part == wanted);
            (
                if is_part {
                    0
                } else {
                    distance(&wanted, &lower)
                },
                one.as_str(),
            )
        })
        .filter(|(distance, _)| *distance <= most)
        .collect();
    near.sort();
    near.into_iter().take(3).map(|(_, name)| name).collect()
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
        let known = ["afterSave:Order", "afterDelete:Order", "afterSave:Shipment"];
        let known = known.map(str::to_owned);
        assert_eq!(nearest("afterSave:Ordr", &known), ["afterSave:Order"]);
        assert_eq!(nearest("aftersave:order", &known)[0], "afterSave:Order");
        assert_eq!(
            nearest("Order", &known),
            ["afterDelete:Order", "afterSave:Order"]
        );
        assert!(nearest("beforeFind:Customer", &known).is_empty());
    }

    #[test]
    fn distances_are_counted_in_characters() {
        for (one, other, expected) in [("", "abc", 3), ("kitten", "sitting", 3), ("ä", "a", 1)] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
    }
}
