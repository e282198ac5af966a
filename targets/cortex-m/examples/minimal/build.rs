//! Puts the memory map where the linker finds it, and names the model: the shipped one, or the file
//! in the variable `KINGLET_MODEL`.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by Cargo"));
    fs::copy("memory.x", out.join("memory.x")).expect("the memory map");
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
    println!("cargo::rerun-if-changed=memory.x");
    println!("cargo::rerun-if-env-changed=KINGLET_MODEL");
    let shipped = "../../../../models/stories/stories.kinglet".into();
    let model = env::var_os("KINGLET_MODEL").map_or(shipped, PathBuf::from);
    let model = fs::canonicalize(&model)
        .unwrap_or_else(|error| panic!("KINGLET_MODEL is {}: {error}", model.display()));
    println!("cargo::rustc-env=KINGLET_MODEL={}", model.display());
    println!("cargo::rerun-if-changed={}", model.display());
}
