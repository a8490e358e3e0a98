//! What a server and its zygote say to each other.

use super::Level;
use super::wire::{Frame, Malformed, Payload, byte_enum, frame};

/// What the server tells a zygote.
#[derive(Debug, PartialEq)]
pub(crate) enum ToZygote<'a> {
    Settings {
        json: &'a str,
    },
    Script {
        name: ScriptName,
        form: ScriptForm,
        bytes: &'a [u8],
    },
    /// Fork an isolate; its socket and its board come with the frame as file descriptors.
    Fork,
}

/// What a zygote tells the server.
#[derive(Debug, PartialEq)]
pub(crate) enum FromZygote<'a> {
    Log {
        level: Level,
        text: &'a str,
    },
    Compiled {
        name: ScriptName,
        bytecode: &'a [u8],
    },
    Loaded {
        manifest: &'a str,
    },
    LoadFailed {
        json: &'a str,
    },
    /// The process may not serve: its sandbox cannot be set up.
    Refused {
        why: &'a str,
    },
    Forked {
        pid: i32,
    },
}

byte_enum!(ScriptName { Runtime = 0, App = 1 });

byte_enum!(ScriptForm { Source = 0, Bytecode = 1 });

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
            32 => Ok(ToZygote::Settings {
                json: payload.rest_text()?,
            }),
            33 => Ok(ToZygote::Script {
                name: ScriptName::from_byte(payload.u8()?)?,
                form: ScriptForm::from_byte(payload.u8()?)?,
                bytes: payload.0,
            }),
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
            FromZygote::Loaded { manifest } => {
                frame(out, 50, |out| out.extend(manifest.as_bytes()))
            }
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
            48 => Ok(FromZygote::Log {
                level: Level::from_byte(payload.u8()?)?,
                text: payload.rest_text()?,
            }),
            49 => Ok(FromZygote::Compiled {
                name: ScriptName::from_byte(payload.u8()?)?,
                bytecode: payload.0,
            }),
            50 => Ok(FromZygote::Loaded {
                manifest: payload.rest_text()?,
            }),
            51 => Ok(FromZygote::LoadFailed {
                json: payload.rest_text()?,
            }),
            52 => Ok(FromZygote::Refused {
                why: payload.rest_text()?,
            }),
            53 => Ok(FromZygote::Forked {
                pid: payload.u32()?.cast_signed(),
            }),
            _ => Err(Malformed("unknown kind")),
        }
    }
}
