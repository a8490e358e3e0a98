//! `globalThis.__native`: the functions by which the JavaScript runtime reaches this process and, through it, the server.
//!
//! Invariant: nothing here reaches outside the process but by a frame to the server, which checks it again.

use std::rc::Rc;

use rquickjs::prelude::{Func, Opt};
use rquickjs::{ArrayBuffer, Ctx, Exception, Object, Result, String as JsString, Value};

use crate::clock::now_ns;
use crate::frame::Level;

use super::engine::text;
use super::state::State;
use super::timers::Timer;
use super::{digest, random};

/// The most random bytes one call gives; what browsers allow.
const MAX_RANDOM_BYTES: f64 = 65_536.0;

/// Installs `__native`, and a `Math.random` that differs in every fork. `config` is handed on as it is.
pub(crate) fn install(ctx: &Ctx, state: &Rc<State>, config: &str) -> Result<()> {
    let native = Object::new(ctx.clone())?;
    native.set("config", config)?;
    install_host(&native, state)?;
    install_timers(&native, state)?;
    install_bytes(&native)?;
    ctx.globals().set("__native", native)?;
    let state = state.clone();
    let math: Object = ctx.globals().get("Math")?;
    math.set("random", Func::from(move || state.random.next()))
}

fn install_host(native: &Object, state: &Rc<State>) -> Result<()> {
    let own = state.clone();
    let call = move |ctx: Ctx<'_>, run: f64, call: f64, json: JsString<'_>| -> Result<()> {
        let sent = own.call(run as u32, call as u32, &text(&json)?);
        sent.map_err(|why| Exception::throw_range(&ctx, &why))
    };
    native.set("call", Func::from(call))?;
    let own = state.clone();
    let done = move |run: f64, outcome: JsString<'_>| -> Result<()> {
        own.done(run as u32, &text(&outcome)?);
        Ok(())
    };
    native.set("done", Func::from(done))?;
    let own = state.clone();
    let log = move |run: f64, level: String, line: JsString<'_>| -> Result<()> {
        own.log(run as u32, level_of(&level), &text(&line)?);
        Ok(())
    };
    native.set("log", Func::from(log))?;
    let own = state.clone();
    native.set("currentRun", Func::from(move || own.burst.run()))
}

fn level_of(name: &str) -> Level {
    match name {
        "error" => Level::Error,
        "warn" => Level::Warn,
        "debug" => Level::Debug,
        _ => Level::Info,
    }
}

fn install_timers(native: &Object, state: &Rc<State>) -> Result<()> {
    let own = state.clone();
    let set = move |id: f64, delay_ms: f64, run: Opt<f64>, unref: Opt<bool>| {
        let (run, keeps_open) = (run.0.unwrap_or(0.0) as u32, unref.0 != Some(true));
        own.set_timer(
            Timer {
                id: id as u32,
                run,
                keeps_open,
            },
            delay_ms,
        );
    };
    native.set("setTimer", Func::from(set))?;
    let own = state.clone();
    native.set(
        "clearTimer",
        Func::from(move |id: f64| own.clear_timer(id as u32)),
    )?;
    native.set("now", Func::from(|| now_ns() as f64 / 1e6))
}

fn install_bytes(native: &Object) -> Result<()> {
    native.set("random", Func::from(random_bytes))?;
    native.set("digest", Func::from(native_digest))?;
    native.set("hmac", Func::from(native_hmac))?;
    native.set("timingSafeEqual", Func::from(timing_safe_equal))?;
    native.set("utf8Encode", Func::from(utf8_encode))?;
    native.set("utf8Decode", Func::from(utf8_decode))?;
    native.set(
        "base64Encode",
        Func::from(|data: Bytes| digest::base64_encode(&data.0)),
    )?;
    native.set("base64Decode", Func::from(base64_decode))
}

fn random_bytes(ctx: Ctx<'_>, count: f64) -> Result<ArrayBuffer<'_>> {
    if !(0.0..=MAX_RANDOM_BYTES).contains(&count) {
        return Err(Exception::throw_range(
            &ctx,
            "at most 65536 random bytes can be had at a time",
        ));
    }
    let mut bytes = vec![0; count as usize];
    random::fill(&mut bytes)
        .map_err(|error| Exception::throw_internal(&ctx, &error.to_string()))?;
    ArrayBuffer::new_copy(ctx, bytes)
}

fn native_digest<'js>(ctx: Ctx<'js>, algorithm: String, data: Bytes) -> Result<ArrayBuffer<'js>> {
    match digest::digest(&algorithm, &data.0) {
        Some(digest) => ArrayBuffer::new_copy(ctx, digest),
        None => Err(unknown_algorithm(&ctx, &algorithm)),
    }
}

fn native_hmac<'js>(
    ctx: Ctx<'js>,
    algorithm: String,
    key: Bytes,
    data: Bytes,
) -> Result<ArrayBuffer<'js>> {
    match digest::hmac(&algorithm, &key.0, &data.0) {
        Some(mac) => ArrayBuffer::new_copy(ctx, mac),
        None => Err(unknown_algorithm(&ctx, &algorithm)),
    }
}

fn unknown_algorithm(ctx: &Ctx, algorithm: &str) -> rquickjs::Error {
    let message = format!(
        "hash {algorithm} is not supported; there are md5, sha1, sha256, sha384 and sha512"
    );
    Exception::throw_type(ctx, &message)
}

fn timing_safe_equal(a: Bytes, b: Bytes) -> bool {
    use subtle::ConstantTimeEq;
    a.0.ct_eq(&b.0).into()
}

fn utf8_encode<'js>(ctx: Ctx<'js>, string: JsString<'js>) -> Result<ArrayBuffer<'js>> {
    ArrayBuffer::new_copy(ctx, text(&string)?)
}

fn utf8_decode(ctx: Ctx<'_>, data: Bytes, fatal: Opt<bool>) -> Result<String> {
    match String::from_utf8(data.0) {
        Ok(text) => Ok(text),
        Err(_) if fatal.0 == Some(true) => Err(Exception::throw_type(
            &ctx,
            "The encoded data was not valid utf-8",
        )),
        Err(error) => Ok(String::from_utf8_lossy(error.as_bytes()).into_owned()),
    }
}

fn base64_decode<'js>(ctx: Ctx<'js>, encoded: JsString<'js>) -> Result<ArrayBuffer<'js>> {
    match digest::base64_decode(&text(&encoded)?) {
        Some(bytes) => ArrayBuffer::new_copy(ctx, bytes),
        None => Err(Exception::throw_type(&ctx, "the text is not base64")),
    }
}

/// The bytes of an ArrayBuffer or of any view on one, copied: a script can shrink its buffer at any time.
struct Bytes(Vec<u8>);

impl<'js> rquickjs::FromJs<'js> for Bytes {
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> Result<Self> {
        let wrong = || Exception::throw_type(ctx, "an ArrayBuffer or a view on one is wanted");
        if let Some(buffer) = ArrayBuffer::from_value(value.clone()) {
            return copy(&buffer, 0, buffer.len()).map(Bytes).ok_or_else(wrong);
        }
        let view = value.into_object().ok_or_else(wrong)?;
        let buffer: ArrayBuffer = view.get("buffer").map_err(|_| wrong())?;
        let (offset, length): (f64, f64) = (view.get("byteOffset")?, view.get("byteLength")?);
        copy(&buffer, offset as usize, length as usize)
            .map(Bytes)
            .ok_or_else(wrong)
    }
}

fn copy(buffer: &ArrayBuffer, offset: usize, length: usize) -> Option<Vec<u8>> {
    // SAFETY: no JavaScript runs while the slice is alive; it is copied at once.
    let bytes = unsafe { buffer.as_bytes() }?;
    bytes
        .get(offset..offset.checked_add(length)?)
        .map(<[u8]>::to_vec)
}
