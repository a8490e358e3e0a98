//! In which order the nodes of a graph can run.

use std::collections::{BTreeMap, BTreeSet};

/// Names, each after those that it needs; among those that could be next, the first by name.
///
/// `needs`: for each name, the names that it needs; each of these is a key too.
///
/// # Errors
/// A cycle, as `a → b → a`: each is needed by the next.
pub fn topological<'a>(needs: &BTreeMap<&'a str, Vec<&'a str>>) -> Result<Vec<&'a str>, String> {
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    let mut needed_by: BTreeMap<&str, Vec<&'a str>> = BTreeMap::new();
    for (name, needed) in needs {
        left.insert(name, needed.len());
        for one in needed {
            needed_by.entry(one).or_default().push(name);
        }
    }
    let mut ready: BTreeSet<&'a str> = needs
        .keys()
        .copied()
        .filter(|name| left[name] == 0)
        .collect();
    let mut ordered = Vec::with_capacity(needs.len());
    while let Some(name) = ready.pop_first() {
        ordered.push(name);
        for dependent in needed_by.get(name).into_iter().flatten() {
            let count = left.get_mut(dependent).expect("every name is a key");
            *count -= 1;
            if *count == 0 {
                ready.insert(dependent);
            }
        }
    }
    match ordered.len() == needs.len() {
        true => Ok(ordered),
        false => Err(cycle(needs, &ordered.into_iter().collect())),
    }
}

/// One cycle among the names that are not in `ordered`: every one of these needs another of them.
fn cycle(needs: &BTreeMap<&str, Vec<&str>>, ordered: &BTreeSet<&str>) -> String {
    let stuck = |name: &&str| !ordered.contains(name);
    let mut path: Vec<&str> = Vec::new();
    let mut next = needs.keys().copied().find(stuck);
    while let Some(name) = next {
        if let Some(start) = path.iter().position(|one| *one == name) {
            // The path went from each to what it needs; told the other way round, it is the order of running.
            let mut cycle: Vec<&str> = path[start..].iter().rev().copied().collect();
            let least = (0..cycle.len()).min_by_key(|at| cycle[*at]).unwrap_or(0);
            cycle.rotate_left(least);
            cycle.push(cycle[0]);
            return cycle.join(" → ");
        }
        path.push(name);
        next = needs[name].iter().copied().find(stuck);
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order<'a>(edges: &[(&'a str, &[&'a str])]) -> Result<Vec<&'a str>, String> {
        topological(
            &edges
                .iter()
                .map(|(name, needs)| (*name, needs.to_vec()))
                .collect(),
        )
    }

    #[test]
    fn each_comes_after_what_it_needs() {
        let diamond: &[(&str, &[&str])] = &[
            ("a", &["z"]),
            ("b", &["z"]),
            ("end", &["a", "b"]),
            ("z", &[]),
        ];
        assert_eq!(order(diamond), Ok(vec!["z", "a", "b", "end"]));
    }

    #[test]
    fn a_cycle_is_told_in_the_order_of_running() {
        let own: &[(&str, &[&str])] = &[("a", &["a"])];
        assert_eq!(order(own), Err("a → a".to_owned()));
        let three: &[(&str, &[&str])] = &[
            ("a", &["c"]),
            ("b", &["a"]),
            ("c", &["b"]),
            ("d", &["c"]),
            ("e", &[]),
        ];
        assert_eq!(order(three), Err("a → b → c → a".to_owned()));
    }
}
