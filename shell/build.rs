//! Has the linker put the code that a daemon runs side by side, as `order.ld` lists it.
//!
//! A daemon runs less than a fifth of the program's code, here and there in all of it, and the
//! kernel maps 64 KiB around each page that is touched: most of the program would be resident.
//! Nothing else depends on the order, and a linker that takes no such script goes without.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

const SCRIPT: &str = "order.ld";

fn main() {
    println!("cargo::rerun-if-changed={SCRIPT}");
    println!("cargo::rerun-if-changed=build.rs");
    if var("CARGO_CFG_TARGET_OS") != "linux" || var("OPT_LEVEL") == "0" {
        return;
    }
    let argument = format!("-Wl,-T,{}/{SCRIPT}", var("CARGO_MANIFEST_DIR"));
    if links_with(&argument) {
        println!("cargo::rustc-link-arg-bins={argument}");
        println!("cargo::rustc-link-arg-benches={argument}");
    }
}

fn var(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// Whether a program is linked with this argument as this package will be.
fn links_with(argument: &str) -> bool {
    let out = var("OUT_DIR");
    let source = Path::new(&out).join("empty.rs");
    if fs::write(&source, "fn main() {}\n").is_err() {
        return false;
    }
    let flags = var("CARGO_ENCODED_RUSTFLAGS");
    let mut rustc = Command::new(var("RUSTC"));
    rustc
        .args(flags.split('\u{1f}').filter(|flag| !flag.is_empty()))
        .args(["--target", &var("TARGET"), "--crate-type", "bin"])
        .args(["--out-dir", &out, "-C", &format!("link-arg={argument}")])
        .arg(&source);
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.args(["-C", &format!("linker={linker}")]);
    }
    rustc.output().is_ok_and(|output| output.status.success())
}
