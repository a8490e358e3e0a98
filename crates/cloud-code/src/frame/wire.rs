//! The bytes of a frame: how one is put together, cut out of a stream, and read.

use std::io;

/// The longest frame either side accepts. The server ends an isolate that announces a longer one.
pub(crate) const MAX_FRAME_BYTES: usize = 64 * 1024 * 1024;

const HEADER_BYTES: usize = 4;
pub(super) const READ_BYTES: usize = 64 * 1024;

/// An enum that travels as one byte.
macro_rules! byte_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $byte:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$variant_doc])* $variant = $byte),* }

        impl $name {
            pub(crate) fn from_byte(byte: u8) -> Result<Self, $crate::frame::Malformed> {
                match byte {
                    $($byte => Ok($name::$variant),)*
                    _ => Err($crate::frame::Malformed(concat!("unknown ", stringify!($name)))),
                }
            }
        }
    };
}

pub(super) use byte_enum;

/// The peer sent something that is no frame.
#[derive(Debug, thiserror::Error)]
#[error("malformed frame ({0})")]
pub(crate) struct Malformed(pub &'static str);

/// Appends a frame to `out`; `fill` appends its payload.
pub(super) fn frame(out: &mut Vec<u8>, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; HEADER_BYTES]);
    out.push(kind);
    fill(out);
    let length = (out.len() - start - HEADER_BYTES) as u32;
    out[start..start + HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
}

/// One frame as it lies in the reader's buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(super) kind: u8,
    pub(super) payload: &'a [u8],
}

/// Cuts a byte stream into frames.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Reader {
    /// Where the next read may put bytes; at least [`READ_BYTES`] long, and all of an announced frame.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            // One huge frame must not hold its memory for the life of the isolate.
            if self.buffer.len() > 16 * READ_BYTES {
                self.buffer = Vec::new();
            }
        }
        let announced = self.announced().unwrap_or(0);
        let wanted = announced.clamp(READ_BYTES, MAX_FRAME_BYTES + HEADER_BYTES);
        if self.buffer.len() - self.end < READ_BYTES.min(wanted)
            || self.buffer.len() - self.start < wanted
        {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            self.buffer
                .resize(self.buffer.len().max(self.end + wanted), 0);
        }
        &mut self.buffer[self.end..]
    }

    /// Tells how many bytes of [`Self::space`] were filled.
    pub(crate) fn filled(&mut self, bytes: usize) {
        self.end += bytes;
    }

    /// The next whole frame, if there is one.
    pub(crate) fn next(&mut self) -> Result<Option<Frame<'_>>, Malformed> {
        let Some(total) = self.announced() else {
            return Ok(None);
        };
        if total <= HEADER_BYTES {
            return Err(Malformed("empty frame"));
        }
        if total > MAX_FRAME_BYTES + HEADER_BYTES {
            return Err(Malformed("frame over the limit"));
        }
        if self.end - self.start < total {
            return Ok(None);
        }
        let body = &self.buffer[self.start + HEADER_BYTES..self.start + total];
        self.start += total;
        Ok(Some(Frame {
            kind: body[0],
            payload: &body[1..],
        }))
    }

    /// Header and body bytes of the frame that begins at `start`.
    fn announced(&self) -> Option<usize> {
        let header = self.buffer.get(self.start..self.end)?.get(..HEADER_BYTES)?;
        let length = u32::from_le_bytes(header.try_into().expect("four bytes"));
        Some(length as usize + HEADER_BYTES)
    }
}

/// What is left of a payload that is being read.
pub(super) struct Payload<'a>(pub(super) &'a [u8]);

impl<'a> Payload<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self
            .0
            .split_at_checked(bytes)
            .ok_or(Malformed("too short"))?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        Ok(self
            .take(N)?
            .try_into()
            .expect("take gives exactly that many"))
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn counted_text(&mut self) -> Result<&'a str, Malformed> {
        let length = self.u32()? as usize;
        text(self.take(length)?)
    }

    pub(super) fn rest_text(&mut self) -> Result<&'a str, Malformed> {
        text(self.0)
    }
}

fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed("not UTF-8"))
}

impl From<Malformed> for io::Error {
    fn from(error: Malformed) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}
