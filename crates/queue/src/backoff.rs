//! How long to leave Redis alone after it failed.

use std::time::Duration;

/// The first pause: short, because most losses are one dropped connection.
const FIRST: Duration = Duration::from_millis(50);

/// The longest pause. It bounds how late we notice that Redis is back.
const LONGEST: Duration = Duration::from_secs(1);

/// The pause after `failures` failures in a row. `luck`, from 0 to 1, spreads the processes of a
/// fleet over the upper half of it, so that they do not all come back at once.
pub(crate) fn pause(failures: u32, luck: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(10);
    let full = (FIRST * 2u32.pow(doublings)).min(LONGEST);
    full.mul_f64(0.5 + luck / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_cap() {
        let pauses: Vec<u128> = (1..8).map(|n| pause(n, 1.0).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(pause(u32::MAX, 0.0), LONGEST / 2);
        assert_eq!(pause(0, 1.0), FIRST);
    }
}
