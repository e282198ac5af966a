//! Puts the model's address where the linker finds it.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by Cargo"));
    fs::copy("model.x", out.join("model.x")).expect("the model's address");
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rustc-link-arg-bins=-Tlinkall.x");
    println!("cargo::rustc-link-arg-bins=-Tmodel.x");
    println!("cargo::rerun-if-changed=model.x");
}
