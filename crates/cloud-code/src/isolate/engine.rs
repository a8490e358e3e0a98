//! One QuickJS runtime with one context: compiles scripts to bytecode, evaluates them, runs jobs.
//!
//! Invariant: only bytecode that a process of this server compiled is ever loaded; QuickJS does not verify it.

use std::ffi::CString;

use rquickjs::{Context, Ctx, Runtime, Value, qjs};

use super::memory;

/// How deep JavaScript may recurse, in bytes of C stack: about as many frames as Node allows, and a quarter of the
/// usual process stack, so that native functions below the check still have room.
const MAX_STACK_BYTES: usize = 2 * 1024 * 1024;

/// An error that left JavaScript.
#[derive(Debug, Default)]
pub(crate) struct Thrown {
    /// `name: message` of an Error, else the value as text.
    pub message: String,
    pub stack: Option<String>,
}

/// Creates the engine, with the heap limited to `memory_limit_bytes`.
pub(crate) fn create(memory_limit_bytes: usize) -> rquickjs::Result<(Runtime, Context)> {
    memory::set_limit(memory_limit_bytes);
    let runtime = Runtime::new_with_alloc(memory::Limited)?;
    runtime.set_max_stack_size(MAX_STACK_BYTES);
    let context = Context::full(&runtime)?;
    Ok((runtime, context))
}

/// Compiles a classic, sloppy script. `keep_source` lets `Function.prototype.toString` work, which some packages need.
pub(crate) fn compile(
    ctx: &Ctx,
    source: &str,
    file: &str,
    keep_source: bool,
) -> Result<Vec<u8>, Thrown> {
    let length = source.len();
    let nul = |_| Thrown {
        message: format!("SyntaxError: {file} contains a NUL character"),
        stack: None,
    };
    let source = CString::new(source).map_err(nul)?;
    let file = CString::new(file).map_err(nul)?;
    let flags = (qjs::JS_EVAL_TYPE_GLOBAL | qjs::JS_EVAL_FLAG_COMPILE_ONLY) as i32;
    let strip = if keep_source {
        0
    } else {
        qjs::JS_WRITE_OBJ_STRIP_SOURCE
    };
    let context = ctx.as_raw().as_ptr();
    // SAFETY: QuickJS copies what it keeps of source and name; the value it returns is ours and becomes a Value, which
    // frees it; the buffer is copied before it is freed.
    unsafe {
        let function = qjs::JS_Eval(context, source.as_ptr(), length as _, file.as_ptr(), flags);
        let function = own(ctx, function)?;
        let mut size = 0;
        let write = (qjs::JS_WRITE_OBJ_BYTECODE | strip) as i32;
        let buffer = qjs::JS_WriteObject(context, &mut size, function.as_raw(), write);
        if buffer.is_null() {
            return Err(caught(ctx));
        }
        let bytecode = std::slice::from_raw_parts(buffer, size as usize).to_vec();
        qjs::js_free(context, buffer.cast());
        Ok(bytecode)
    }
}

/// Evaluates what [`compile`] made and returns the script's completion value.
pub(crate) fn evaluate<'js>(ctx: &Ctx<'js>, bytecode: &[u8]) -> Result<Value<'js>, Thrown> {
    let context = ctx.as_raw().as_ptr();
    // SAFETY: the bytecode is this server's own (see the module's invariant); JS_EvalFunction consumes the function.
    unsafe {
        let read = qjs::JS_READ_OBJ_BYTECODE as i32;
        let function = qjs::JS_ReadObject(context, bytecode.as_ptr(), bytecode.len() as _, read);
        if qjs::JS_VALUE_GET_NORM_TAG(function) == qjs::JS_TAG_EXCEPTION {
            return Err(caught(ctx));
        }
        own(ctx, qjs::JS_EvalFunction(context, function))
    }
}

/// Takes ownership of a value from a raw call, or of the exception in its place.
///
/// # Safety
/// `value` must belong to the caller and to `ctx`.
unsafe fn own<'js>(ctx: &Ctx<'js>, value: qjs::JSValue) -> Result<Value<'js>, Thrown> {
    if unsafe { qjs::JS_VALUE_GET_NORM_TAG(value) } == qjs::JS_TAG_EXCEPTION {
        return Err(caught(ctx));
    }
    Ok(unsafe { Value::from_raw(ctx.clone(), value) })
}

/// Takes the pending exception.
pub(crate) fn caught(ctx: &Ctx) -> Thrown {
    thrown(&ctx.catch())
}

/// Describes a thrown value. Looking at it can run the script's own getters; what they throw is ignored.
pub(crate) fn thrown(value: &Value) -> Thrown {
    let description = value.as_exception().map(|error| {
        let name: String = error
            .as_object()
            .get("name")
            .unwrap_or_else(|_| "Error".into());
        let message = error.message().unwrap_or_default();
        let text = if message.is_empty() {
            name
        } else {
            format!("{name}: {message}")
        };
        Thrown {
            message: text,
            stack: error.stack(),
        }
    });
    let description = description.or_else(|| {
        let text: rquickjs::Coerced<String> = value.get().ok()?;
        Some(Thrown {
            message: text.0,
            stack: None,
        })
    });
    if value.ctx().has_exception() {
        value.ctx().catch();
    }
    description.unwrap_or_else(|| Thrown {
        message: "a value that cannot be shown".into(),
        stack: None,
    })
}

/// A JavaScript string as Rust text; unpaired surrogates become U+FFFD.
pub(crate) fn text(string: &rquickjs::String) -> rquickjs::Result<String> {
    let string = string.clone().to_cstring()?;
    // SAFETY: pointer and length describe the C string, which lives until the end of this function.
    let bytes = unsafe { std::slice::from_raw_parts(string.as_ptr().cast::<u8>(), string.len()) };
    Ok(match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => String::from_utf8_lossy(&without_surrogates(bytes)).into_owned(),
    })
}

/// QuickJS writes an unpaired surrogate as the three bytes ED A0..BF xx, which are no UTF-8.
fn without_surrogates(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in 0..bytes.len().saturating_sub(2) {
        if bytes[at] == 0xed && bytes[at + 1] >= 0xa0 {
            bytes[at..at + 3].copy_from_slice("\u{fffd}".as_bytes());
        }
    }
    bytes
}
