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

mod wire;
mod zygote;

pub(crate) use wire::{Frame, MAX_FRAME_BYTES, Malformed, Reader};
pub(crate) use zygote::{FromZygote, ScriptForm, ScriptName, ToZygote};

use wire::{Payload, byte_enum, frame};

/// What the server tells an isolate.
#[derive(Debug, PartialEq)]
pub(crate) enum ToIsolate<'a> {
    /// Run a handler, unless its slot on the board says that it was taken back.
    Run {
        run: u32,
        slot: u16,
        soft_deadline_ns: u64,
        handler: &'a str,
        request: &'a str,
    },
    /// The answer to a host call.
    Answer { call: u32, ok: bool, json: &'a str },
    /// Forget a run; it is answered with [`FromIsolate::End`].
    Cancel { run: u32 },
    /// Tell a run that it is to end.
    Abort { run: u32 },
}

/// What an isolate tells the server.
#[derive(Debug, PartialEq)]
pub(crate) enum FromIsolate<'a> {
    Call {
        run: u32,
        call: u32,
        json: &'a str,
    },
    Log {
        run: u32,
        level: Level,
        text: &'a str,
    },
    Done {
        run: u32,
        json: &'a str,
    },
    /// Nothing of this run is left: its outcome is known or no longer wanted, and no call or timer is open.
    End {
        run: u32,
        /// What JavaScript holds now.
        heap_bytes: u64,
    },
    /// The isolate stopped this run itself.
    Failed {
        run: u32,
        why: Failure,
    },
    /// Something happened after which no new run must be given to this isolate.
    Poisoned {
        why: &'a str,
    },
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

impl ToIsolate<'_> {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match *self {
            ToIsolate::Run {
                run,
                slot,
                soft_deadline_ns,
                handler,
                request,
            } => frame(out, 1, |out| {
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
            ToIsolate::Abort { run } => frame(out, 4, |out| out.extend(run.to_le_bytes())),
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
            2 => Ok(ToIsolate::Answer {
                call: payload.u32()?,
                ok: payload.u8()? != 0,
                json: payload.rest_text()?,
            }),
            3 => Ok(ToIsolate::Cancel {
                run: payload.u32()?,
            }),
            4 => Ok(ToIsolate::Abort {
                run: payload.u32()?,
            }),
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
            FromIsolate::End { run, heap_bytes } => frame(out, 19, |out| {
                out.extend(run.to_le_bytes());
                out.extend(heap_bytes.to_le_bytes());
            }),
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
            16 => Ok(FromIsolate::Call {
                run: payload.u32()?,
                call: payload.u32()?,
                json: payload.rest_text()?,
            }),
            17 => Ok(FromIsolate::Log {
                run: payload.u32()?,
                level: Level::from_byte(payload.u8()?)?,
                text: payload.rest_text()?,
            }),
            18 => Ok(FromIsolate::Done {
                run: payload.u32()?,
                json: payload.rest_text()?,
            }),
            19 => Ok(FromIsolate::End {
                run: payload.u32()?,
                heap_bytes: payload.u64()?,
            }),
            20 => {
                let run = payload.u32()?;
                let why = Failure::from_byte(payload.u8()?)?;
                Ok(FromIsolate::Failed { run, why })
            }
            21 => Ok(FromIsolate::Poisoned {
                why: payload.rest_text()?,
            }),
            _ => Err(Malformed("unknown kind")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::wire::READ_BYTES;
    use super::*;

    fn feed(reader: &mut Reader, bytes: &[u8]) {
        reader.space()[..bytes.len()].copy_from_slice(bytes);
        reader.filled(bytes.len());
    }

    #[test]
    fn frames_survive_any_cut_of_the_stream() {
        let frames = [
            ToIsolate::Run {
                run: 7,
                slot: 3,
                soft_deadline_ns: u64::MAX,
                handler: "{\"job\":\"ä\"}",
                request: "{}",
            },
            ToIsolate::Answer {
                call: u32::MAX,
                ok: true,
                json: "",
            },
            ToIsolate::Cancel { run: 0 },
            ToIsolate::Abort { run: 1 },
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
        FromIsolate::Done {
            run: 1,
            json: &json,
        }
        .put(&mut stream);
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
        assert_eq!(
            FromIsolate::decode(frame).unwrap(),
            FromIsolate::Done {
                run: 1,
                json: &json
            }
        );
        assert!(reader.next().unwrap().is_none());
        assert_eq!(reader.space().len(), READ_BYTES);
    }

    #[test]
    fn hostile_bytes_are_refused_and_never_panic() {
        let mut noise = 0x9E37_79B9_7F4A_7C15_u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..noise % 40)
                .map(|_| {
                    noise = noise
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    (noise >> 33) as u8
                })
                .collect();
            noise = noise.wrapping_add(1);
            let Some((&kind, payload)) = bytes.split_first() else {
                continue;
            };
            for kind in [
                kind,
                kind % 6 + 1,
                kind % 6 + 16,
                kind % 3 + 32,
                kind % 6 + 48,
            ] {
                let frame = Frame { kind, payload };
                let _ = (ToIsolate::decode(frame), FromIsolate::decode(frame));
                let _ = (ToZygote::decode(frame), FromZygote::decode(frame));
            }
        }
        for (bytes, expected) in [
            (&[0, 0, 0, 0][..], "empty frame"),
            (&[255, 255, 255, 255], "frame over the limit"),
        ] {
            let mut reader = Reader::default();
            feed(&mut reader, bytes);
            assert_eq!(reader.next().unwrap_err().0, expected);
        }
    }
}
