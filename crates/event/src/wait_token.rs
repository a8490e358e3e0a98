//! What a client holds to be answered only after the after-triggers of an earlier write.

use std::fmt;
use std::str::FromStr;

use crate::Lsn;

/// Names one committed transaction and says what to wait for. Opaque to clients; holds no secret, and forging one
/// buys a bounded wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitToken {
    /// Of the transaction: the low 32 bits, as the WAL has them.
    pub xid: u32,
    /// A position of the WAL that the transaction had not yet committed at.
    pub lsn: Lsn,
    /// How many deliveries its events were to have.
    pub deliveries: u32,
}

/// The text is no wait token, or one that was cut or changed on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a wait token as an X-Tidegate-Token header of an answer carries it")]
pub struct ParseWaitTokenError;

/// Of the form below; a reader refuses others.
const VERSION: &str = "1";

/// Characters of a token: version, xid, LSN, deliveries, checksum.
const LENGTH: usize = 1 + 8 + 16 + 8 + 8;

impl fmt::Display for WaitToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lsn(lsn) = self.lsn;
        let text = format!("{VERSION}{:08x}{lsn:016x}{:08x}", self.xid, self.deliveries);
        write!(f, "{text}{:08x}", checksum(&text))
    }
}

impl FromStr for WaitToken {
    type Err = ParseWaitTokenError;

    fn from_str(token: &str) -> Result<Self, Self::Err> {
        let is_plain = token.len() == LENGTH
            && token
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !is_plain || !token.starts_with(VERSION) {
            return Err(ParseWaitTokenError);
        }
        let (text, sum) = token.split_at(LENGTH - 8);
        let number = |text: &str| u64::from_str_radix(text, 16).map_err(|_| ParseWaitTokenError);
        if number(sum)? != u64::from(checksum(text)) {
            return Err(ParseWaitTokenError);
        }
        Ok(WaitToken {
            xid: number(&text[1..9])? as u32,
            lsn: Lsn(number(&text[9..25])?),
            deliveries: number(&text[25..33])? as u32,
        })
    }
}

/// FNV-1a, folded: finds what was mangled, not what was forged.
fn checksum(text: &str) -> u32 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    (hash ^ (hash >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_text_form_and_no_change_of_a_character() {
        let token = WaitToken {
            xid: u32::MAX - 1,
            lsn: Lsn(0x16_B374_D848),
            deliveries: 3,
        };
        let text = token.to_string();
        assert_eq!(text.parse(), Ok(token));
        for at in 0..text.len() {
            let other = if &text[at..=at] == "7" { "8" } else { "7" };
            let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            assert!(changed.parse::<WaitToken>().is_err(), "{changed}");
        }
        for bad in [
            "",
            "1",
            &text[1..],
            &format!("{text}0"),
            &text.to_uppercase(),
            "ä",
        ] {
            assert!(bad.parse::<WaitToken>().is_err(), "{bad}");
        }
    }
}
