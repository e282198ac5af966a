//! Puts the memory map where the linker finds it.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by Cargo"));
    fs::copy("memory.x", out.join("memory.x")).expect("the memory map");
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
    // The second stage of the boot loader.
    println!("cargo::rustc-link-arg-bins=-Tlink-rp.x");
    println!("cargo::rerun-if-changed=memory.x");
}
