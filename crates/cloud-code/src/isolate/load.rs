//! Loads the runtime and the application into the zygote.

use std::rc::Rc;
use std::time::Duration;

use rquickjs::{Ctx, Persistent, Promise, Value};

use super::engine::{self, Thrown};
use super::serve::{self, Entries};
use super::state::State;
use super::{Engine, LoadFailure, Settings, native};
use crate::clock::{nanos, now_ns};
use crate::frame::{FromZygote, ScriptForm, ScriptName};

impl From<Thrown> for LoadFailure {
    fn from(thrown: Thrown) -> Self {
        LoadFailure {
            message: thrown.message,
            stack: thrown.stack,
        }
    }
}

/// Compiles the script if it is source, and evaluates it.
pub(super) fn script(
    engine: &mut Engine,
    state: &Rc<State>,
    settings: &Settings,
    name: ScriptName,
    form: ScriptForm,
    bytes: &[u8],
) -> Result<(), LoadFailure> {
    let limit = now_ns() + nanos(Duration::from_millis(settings.load_timeout_ms));
    state.begin_burst(0, Some(limit));
    let kept = engine.entries.clone();
    let loaded = engine.context.with(|ctx| {
        let compiled;
        let bytecode = match form {
            ScriptForm::Bytecode => bytes,
            ScriptForm::Source => {
                compiled = compile(&ctx, name, bytes)?;
                state.output.put(|out| {
                    FromZygote::Compiled {
                        name,
                        bytecode: &compiled,
                    }
                    .put(out)
                });
                state.output.flush();
                &compiled
            }
        };
        match name {
            ScriptName::Runtime => load_runtime(&ctx, state, settings, bytecode),
            ScriptName::App => load_app(&ctx, kept, state, bytecode, limit).map(|()| None),
        }
    });
    let too_late = format!(
        "it did not finish loading within {} ms",
        settings.load_timeout_ms
    );
    match loaded {
        Err(failure) if state.burst.take_interrupted() => Err(LoadFailure {
            message: too_late,
            ..failure
        }),
        Err(failure) => Err(failure),
        Ok(entries) => {
            engine.entries = engine.entries.take().or(entries);
            Ok(())
        }
    }
}

fn compile(ctx: &Ctx, name: ScriptName, source: &[u8]) -> Result<Vec<u8>, LoadFailure> {
    let (file, keep_source) = match name {
        ScriptName::Runtime => (crate::source_map::RUNTIME_FILE, false),
        ScriptName::App => (crate::source_map::APP_FILE, true),
    };
    let text = || LoadFailure {
        message: format!("SyntaxError: {file} is not UTF-8"),
        stack: None,
    };
    let source = std::str::from_utf8(source).map_err(|_| text())?;
    Ok(engine::compile(ctx, source, file, keep_source)?)
}

fn load_runtime(
    ctx: &Ctx,
    state: &Rc<State>,
    settings: &Settings,
    bytecode: &[u8],
) -> Result<Option<Persistent<Entries<'static>>>, LoadFailure> {
    native::install(ctx, state, &settings.config).map_err(|_| engine::caught(ctx))?;
    engine::evaluate(ctx, bytecode)?;
    let entries = Entries::find(ctx)?;
    entries.run_jobs(ctx, state);
    Ok(Some(Persistent::save(ctx, entries)))
}

/// Evaluates the application, waits for it to settle, and sends what it registered.
fn load_app(
    ctx: &Ctx,
    entries: Option<Persistent<Entries<'static>>>,
    state: &Rc<State>,
    bytecode: &[u8],
    limit_ns: u64,
) -> Result<(), LoadFailure> {
    let entries = entries.and_then(|entries| entries.restore(ctx).ok());
    let entries = entries.ok_or(LoadFailure {
        message: "the runtime is not loaded".into(),
        stack: None,
    })?;
    let value = engine::evaluate(ctx, bytecode)?;
    entries.run_jobs(ctx, state);
    wait(ctx, &entries, state, &value, limit_ns)?;
    while !state.must_stop() && entries.answer_refused(ctx, state) {}
    let manifest = entries.manifest(ctx)?;
    serve::log_rejections(ctx, state);
    give_back_memory(ctx);
    state.output.put(|out| {
        FromZygote::Loaded {
            manifest: &manifest,
        }
        .put(out)
    });
    Ok(())
}

fn wait<'js>(
    ctx: &Ctx<'js>,
    entries: &Entries<'js>,
    state: &State,
    value: &Value<'js>,
    limit_ns: u64,
) -> Result<(), LoadFailure> {
    let Some(promise) = value.as_promise() else {
        return Ok(());
    };
    while promise.result::<Value>().is_none() {
        if state.must_stop() {
            return Err(LoadFailure {
                message: "interrupted".into(),
                stack: None,
            });
        }
        if entries.answer_refused(ctx, state) {
            continue;
        }
        let Some(due) = state.next_due_ns() else {
            return Err(LoadFailure {
                message: "its top-level await never settles".into(),
                stack: None,
            });
        };
        std::thread::sleep(Duration::from_nanos(
            due.min(limit_ns).saturating_sub(now_ns()),
        ));
        state.begin_burst(0, Some(limit_ns));
        while entries.fire_due(ctx, state, now_ns()).is_some() {}
    }
    settled(ctx, promise)
}

fn settled<'js>(ctx: &Ctx<'js>, promise: &Promise<'js>) -> Result<(), LoadFailure> {
    match promise.result::<Value>() {
        Some(Err(_)) => Err(engine::caught(ctx).into()),
        _ => Ok(()),
    }
}

/// What compiling left is of no use to the forks, which share these pages.
fn give_back_memory(ctx: &Ctx) {
    ctx.run_gc();
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
