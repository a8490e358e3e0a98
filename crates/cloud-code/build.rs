//! Puts the built JavaScript runtime where `zygote.rs` includes it from.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let built = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"))
        .join("js/dist/runtime.js");
    println!("cargo::rerun-if-changed={}", built.display());
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join("runtime.js");
    if let Err(error) = fs::copy(&built, &out) {
        println!(
            "cargo::error=the JavaScript runtime is not built ({}: {error}); run ops/setup",
            built.display()
        );
    }
}
