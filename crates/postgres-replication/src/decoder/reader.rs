//! Big-endian numbers, names and byte strings off the front of a message.

use bytes::Bytes;

use crate::DecodeError;

/// Postgres counts microseconds from 2000-01-01, everyone else from 1970-01-01.
pub(crate) const UNIX_MICROS_OF_PG_EPOCH: i64 = 946_684_800_000_000;

/// A position in `bytes`; every step checks that what it takes is there.
pub(crate) struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a Bytes) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A time, given as microseconds since 1970.
    pub(crate) fn unix_micros(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.array()?).saturating_add(UNIX_MICROS_OF_PG_EPOCH))
    }

    /// A name that ends with a zero byte.
    pub(crate) fn name(&mut self) -> Result<String, DecodeError> {
        let left = &self.bytes[self.at..];
        let length = left
            .iter()
            .position(|byte| *byte == 0)
            .ok_or(DecodeError::BadName)?;
        let name = std::str::from_utf8(&left[..length]).map_err(|_| DecodeError::BadName)?;
        self.at += length + 1;
        Ok(name.to_owned())
    }

    /// A length and as many bytes, shared with the message, not copied.
    pub(crate) fn counted_bytes(&mut self) -> Result<Bytes, DecodeError> {
        let length = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        let start = self.at;
        self.skip(length)?;
        Ok(self.bytes.slice(start..self.at))
    }

    pub(crate) fn skip(&mut self, count: usize) -> Result<(), DecodeError> {
        let left = self.bytes.len() - self.at;
        if count > left {
            return Err(DecodeError::Truncated {
                needed: count,
                left,
            });
        }
        self.at += count;
        Ok(())
    }

    /// Everything that is left.
    pub(crate) fn rest(&mut self) -> Bytes {
        let rest = self.bytes.slice(self.at..);
        self.at = self.bytes.len();
        rest
    }

    /// A message that goes on is not the message that we took it for.
    pub(crate) fn finish(&self) -> Result<(), DecodeError> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            left => Err(DecodeError::Trailing { left }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let left = &self.bytes[self.at..];
        let array = left.first_chunk::<N>();
        let array = array.ok_or(DecodeError::Truncated {
            needed: N,
            left: left.len(),
        })?;
        self.at += N;
        Ok(*array)
    }
}
