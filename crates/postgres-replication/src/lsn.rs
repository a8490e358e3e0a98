//! WAL positions as Postgres writes them in commands and answers: `16/B374D848`.

/// The text of a position.
pub(crate) fn format(position: u64) -> String {
    format!("{:X}/{:X}", position >> 32, position & 0xFFFF_FFFF)
}

/// The position a text names, or `None` if it is not one.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    let high = u32::from_str_radix(high, 16).ok()?;
    let low = u32::from_str_radix(low, 16).ok()?;
    Some(u64::from(high) << 32 | u64::from(low))
}

#[cfg(test)]
mod tests {
    #[test]
    fn text_and_number_name_the_same_position() {
        for (number, text) in [
            (0, "0/0"),
            (0x16_B374_D848, "16/B374D848"),
            (u64::MAX, "FFFFFFFF/FFFFFFFF"),
        ] {
            assert_eq!(super::format(number), text);
            assert_eq!(super::parse(text), Some(number));
        }
        for bad in ["", "0", "0/", "/0", "0/100000000", "x/1", "0/0/0"] {
            assert_eq!(super::parse(bad), None, "{bad}");
        }
    }
}
