//! Frames: what the server and its child processes say to each other over a socket pair.
//!
//! ```text
//! u32 length of what follows │ u8 kind │ payload
//! ```
//!
//! Numbers are little-endian; a text in the middle of a payload has its u32 length before it, the last one runs to
//! the end. Both sides gather frames in one buffer and write it at once: at 16 calls in flight that is worth a third
//! of the CPU time of a call.
//!
//! Invariant: a frame from an isolate is hostile until decoded here. Decoding never panics and never trusts a length.

use std::io;

/// The longest frame either side accepts. The server ends an isolate that announces a longer one.
pub(crate) const MAX_FRAME_BYTES: usize = 64 * 1024 * 1024;

const HEADER_BYTES: usize = 4;
const READ_BYTES: usize = 64 * 1024;

/// What the server tells an isolate.
#[derive(Debug, PartialEq)]
pub(crate) enum ToIsolate<'a> {
    /// Run a handler, unless its slot on the board says that it was taken back.
    Run { run: u32, slot: u16, soft_deadline_ns: u64, handler: &'a str, request: &'a str },
    /// The answer to a host call.
    Answer { call: u32, ok: bool, json: &'a str },
    /// Forget a run; it is answered with [`FromIsolate::End`].
    Cancel { run: u32 },
}

/// What an isolate tells the server.
#[derive(Debug, PartialEq)]
pub(crate) enum FromIsolate<'a> {
    Call { run: u32, call: u32, json: &'a str },
    Log { run: u32, level: Level, text: &'a str },
    Done { run: u32, json: &'a str },
    /// Nothing of this run is left: its outcome is known or no longer wanted, and no call or timer is open.
    End { run: u32 },
    /// The isolate stopped this run itself.
    Failed { run: u32, why: Failure },
    /// Something happened after which no new run must be given to this isolate.
    Poisoned { why: &'a str },
}

/// What the server tells a zygote.
#[derive(Debug, PartialEq)]
pub(crate) enum ToZygote<'a> {
    Settings { json: &'a str },
    Script { name: ScriptName, form: ScriptForm, bytes: &'a [u8] },
    /// Fork an isolate; its socket and its board come with the frame as file descriptors.
    Fork,
}

/// What a zygote tells the server.
#[derive(Debug, PartialEq)]
pub(crate) enum FromZygote<'a> {
    Log { level: Level, text: &'a str },
    Compiled { name: ScriptName, bytecode: &'a [u8] },
    Loaded { manifest: &'a str },
    LoadFailed { json: &'a str },
    /// The process may not serve: its sandbox cannot be set up.
    Refused { why: &'a str },
    Forked { pid: i32 },
}

macro_rules! byte_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $byte:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$variant_doc])* $variant = $byte),* }

        impl $name {
            fn from_byte(byte: u8) -> Option<Self> {
                match byte { $($byte => Some($name::$variant),)* _ => None }
            }
        }
    };
}

byte_enum!(
    /// How serious a log line is.
    Level { Error = 0, Warn = 1, Info = 2, Debug = 3 }
);
byte_enum!(
    /// Why an isolate stopped a run.
    Failure {
        /// It was still computing at its soft deadline.
        Interrupted = 0,
        /// The memory limit was reached and the run had nothing left that could finish it.
        OutOfMemory = 1,
    }
);
byte_enum!(ScriptName { Runtime = 0, App = 1 });
byte_enum!(ScriptForm { Source = 0, Bytecode = 1 });

/// The peer sent something that is no frame.
#[derive(Debug, thiserror::Error)]
#[error("malformed frame ({0})")]
pub(crate) struct Malformed(pub &'static str);

impl ToIsolate<'_> {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match *self {
            ToIsolate::Run { run, slot, soft_deadline_ns, handler, request } => frame(out, 1, |out| {
                out.extend(run.to_le_bytes());
                out.extend(slot.to_le_bytes());
                out.extend(soft_deadline_ns.to_le_bytes());
                out.extend((handler.len() as u32).to_le_bytes());
                out.extend(handler.as_bytes());
                out.extend(request.as_bytes());
            }),
            ToIsolate::Answer { call, ok, json } => frame(out, 2, |out| {
                out.extend(call.to_le_bytes());
                out.push(u8::from(ok));
                out.extend(json.as_bytes());
            }),
            ToIsolate::Cancel { run } => frame(out, 3, |out| out.extend(run.to_le_bytes())),
        }
    }
}

impl<'a> ToIsolate<'a> {
    pub(crate) fn decode(frame: Frame<'a>) -> Result<Self, Malformed> {
        let mut payload = Payload(frame.payload);
        match frame.kind {
            1 => Ok(ToIsolate::Run {
                run: payload.u32()?,
                slot: payload.u16()?,
                soft_deadline_ns: payload.u64()?,
                handler: payload.counted_text()?,
                request: payload.rest_text()?,
            }),
            2 => Ok(ToIsolate::Answer { call: payload.u32()?, ok: payload.u8()? != 0, json: payload.rest_text()? }),
            3 => Ok(ToIsolate::Cancel { run: payload.u32()? }),
            _ => Err(Malformed("unknown kind")),
        }
    }
}

impl FromIsolate<'_> {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match *self {
            FromIsolate::Call { run, call, json } => frame(out, 16, |out| {
                out.extend(run.to_le_bytes());
                out.extend(call.to_le_bytes());
                out.extend(json.as_bytes());
            }),
            FromIsolate::Log { run, level, text } => frame(out, 17, |out| {
                out.extend(run.to_le_bytes());
                out.push(level as u8);
                out.extend(text.as_bytes());
            }),
            FromIsolate::Done { run, json } => frame(out, 18, |out| {
                out.extend(run.to_le_bytes());
                out.extend(json.as_bytes());
            }),
            FromIsolate::End { run } => frame(out, 19, |out| out.extend(run.to_le_bytes())),
            FromIsolate::Failed { run, why } => frame(out, 20, |out| {
                out.extend(run.to_le_bytes());
                out.push(why as u8);
            }),
            FromIsolate::Poisoned { why } => frame(out, 21, |out| out.extend(why.as_bytes())),
        }
    }
}

impl<'a> FromIsolate<'a> {
    pub(crate) fn decode(frame: Frame<'a>) -> Result<Self, Malformed> {
        let mut payload = Payload(frame.payload);
        match frame.kind {
            16 => Ok(FromIsolate::Call { run: payload.u32()?, call: payload.u32()?, json: payload.rest_text()? }),
            17 => Ok(FromIsolate::Log { run: payload.u32()?, level: payload.level()?, text: payload.rest_text()? }),
            18 => Ok(FromIsolate::Done { run: payload.u32()?, json: payload.rest_text()? }),
            19 => Ok(FromIsolate::End { run: payload.u32()? }),
            20 => {
                let run = payload.u32()?;
                let why = Failure::from_byte(payload.u8()?).ok_or(Malformed("unknown failure"))?;
                Ok(FromIsolate::Failed { run, why })
            }
            21 => Ok(FromIsolate::Poisoned { why: payload.rest_text()? }),
            _ => Err(Malformed("unknown kind")),
        }
    }
}

impl ToZygote<'_> {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match *self {
            ToZygote::Settings { json } => frame(out, 32, |out| out.extend(json.as_bytes())),
            ToZygote::Script { name, form, bytes } => frame(out, 33, |out| {
                out.push(name as u8);
                out.push(form as u8);
                out.extend(bytes);
            }),
            ToZygote::Fork => frame(out, 34, |_| ()),
        }
    }
}

impl<'a> ToZygote<'a> {
    pub(crate) fn decode(frame: Frame<'a>) -> Result<Self, Malformed> {
        let mut payload = Payload(frame.payload);
        match frame.kind {
            32 => Ok(ToZygote::Settings { json: payload.rest_text()? }),
            33 => Ok(ToZygote::Script { name: payload.script()?, form: payload.form()?, bytes: payload.0 }),
            34 => Ok(ToZygote::Fork),
            _ => Err(Malformed("unknown kind")),
        }
    }
}

impl FromZygote<'_> {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match *self {
            FromZygote::Log { level, text } => frame(out, 48, |out| {
                out.push(level as u8);
                out.extend(text.as_bytes());
            }),
            FromZygote::Compiled { name, bytecode } => frame(out, 49, |out| {
                out.push(name as u8);
                out.extend(bytecode);
            }),
            FromZygote::Loaded { manifest } => frame(out, 50, |out| out.extend(manifest.as_bytes())),
            FromZygote::LoadFailed { json } => frame(out, 51, |out| out.extend(json.as_bytes())),
            FromZygote::Refused { why } => frame(out, 52, |out| out.extend(why.as_bytes())),
            FromZygote::Forked { pid } => frame(out, 53, |out| out.extend(pid.to_le_bytes())),
        }
    }
}

impl<'a> FromZygote<'a> {
    pub(crate) fn decode(frame: Frame<'a>) -> Result<Self, Malformed> {
        let mut payload = Payload(frame.payload);
        match frame.kind {
            48 => Ok(FromZygote::Log { level: payload.level()?, text: payload.rest_text()? }),
            49 => Ok(FromZygote::Compiled { name: payload.script()?, bytecode: payload.0 }),
            50 => Ok(FromZygote::Loaded { manifest: payload.rest_text()? }),
            51 => Ok(FromZygote::LoadFailed { json: payload.rest_text()? }),
            52 => Ok(FromZygote::Refused { why: payload.rest_text()? }),
            53 => Ok(FromZygote::Forked { pid: payload.u32()?.cast_signed() }),
            _ => Err(Malformed("unknown kind")),
        }
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) {
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
    kind: u8,
    payload: &'a [u8],
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
        let wanted = self.announced().unwrap_or(0).min(MAX_FRAME_BYTES + HEADER_BYTES).max(READ_BYTES);
        if self.buffer.len() - self.end < READ_BYTES.min(wanted) || self.buffer.len() - self.start < wanted {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            self.buffer.resize(self.buffer.len().max(self.end + wanted), 0);
        }
        &mut self.buffer[self.end..]
    }

    /// Tells how many bytes of [`Self::space`] were filled.
    pub(crate) fn filled(&mut self, bytes: usize) {
        self.end += bytes;
    }

    /// The next whole frame, if there is one.
    pub(crate) fn next(&mut self) -> Result<Option<Frame<'_>>, Malformed> {
        let Some(total) = self.announced() else { return Ok(None) };
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
        Ok(Some(Frame { kind: body[0], payload: &body[1..] }))
    }

    /// Header and body bytes of the frame that begins at `start`.
    fn announced(&self) -> Option<usize> {
        let header = self.buffer.get(self.start..self.end)?.get(..HEADER_BYTES)?;
        let length = u32::from_le_bytes(header.try_into().expect("four bytes"));
        Some(length as usize + HEADER_BYTES)
    }
}

struct Payload<'a>(&'a [u8]);

impl<'a> Payload<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.0.split_at_checked(bytes).ok_or(Malformed("too short"))?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        Ok(self.take(N)?.try_into().expect("take gives exactly that many"))
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    fn level(&mut self) -> Result<Level, Malformed> {
        Level::from_byte(self.u8()?).ok_or(Malformed("unknown level"))
    }

    fn script(&mut self) -> Result<ScriptName, Malformed> {
        ScriptName::from_byte(self.u8()?).ok_or(Malformed("unknown script"))
    }

    fn form(&mut self) -> Result<ScriptForm, Malformed> {
        ScriptForm::from_byte(self.u8()?).ok_or(Malformed("unknown form"))
    }

    fn counted_text(&mut self) -> Result<&'a str, Malformed> {
        let length = self.u32()? as usize;
        text(self.take(length)?)
    }

    fn rest_text(&mut self) -> Result<&'a str, Malformed> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(reader: &mut Reader, bytes: &[u8]) {
        reader.space()[..bytes.len()].copy_from_slice(bytes);
        reader.filled(bytes.len());
    }

    #[test]
    fn frames_survive_any_cut_of_the_stream() {
        let frames = [
            ToIsolate::Run { run: 7, slot: 3, soft_deadline_ns: u64::MAX, handler: "{\"job\":\"ä\"}", request: "{}" },
            ToIsolate::Answer { call: u32::MAX, ok: true, json: "" },
            ToIsolate::Cancel { run: 0 },
        ];
        let mut stream = Vec::new();
        frames.iter().for_each(|frame| frame.put(&mut stream));
        for cut in 0..stream.len() {
            let mut reader = Reader::default();
            let mut seen = 0;
            for part in [&stream[..cut], &stream[cut..]] {
                feed(&mut reader, part);
                while let Some(frame) = reader.next().unwrap() {
                    assert_eq!(ToIsolate::decode(frame).unwrap(), frames[seen]);
                    seen += 1;
                }
            }
            assert_eq!(seen, frames.len(), "cut at {cut}");
        }
    }

    #[test]
    fn a_frame_longer_than_the_buffer_arrives_and_its_memory_is_given_back() {
        let json = "x".repeat(3_000_000);
        let mut stream = Vec::new();
        FromIsolate::Done { run: 1, json: &json }.put(&mut stream);
        let mut reader = Reader::default();
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let space = reader.space();
            let part = space.len().min(rest.len()).min(100_000);
            space[..part].copy_from_slice(&rest[..part]);
            reader.filled(part);
            rest = &rest[part..];
        }
        let frame = reader.next().unwrap().unwrap();
        assert_eq!(FromIsolate::decode(frame).unwrap(), FromIsolate::Done { run: 1, json: &json });
        assert!(reader.next().unwrap().is_none());
        assert_eq!(reader.space().len(), READ_BYTES);
    }

    #[test]
    fn hostile_bytes_are_refused_and_never_panic() {
        let mut noise = 0x9E37_79B9_7F4A_7C15_u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..noise % 40)
                .map(|_| {
                    noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (noise >> 33) as u8
                })
                .collect();
            noise = noise.wrapping_add(1);
            let Some((&kind, payload)) = bytes.split_first() else { continue };
            for kind in [kind, kind % 6 + 1, kind % 6 + 16, kind % 3 + 32, kind % 6 + 48] {
                let frame = Frame { kind, payload };
                let _ = (ToIsolate::decode(frame), FromIsolate::decode(frame));
                let _ = (ToZygote::decode(frame), FromZygote::decode(frame));
            }
        }
        for (bytes, expected) in [(&[0, 0, 0, 0][..], "empty frame"), (&[255, 255, 255, 255], "frame over the limit")] {
            let mut reader = Reader::default();
            feed(&mut reader, bytes);
            assert_eq!(reader.next().unwrap_err().0, expected);
        }
    }
}
