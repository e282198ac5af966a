//! Chooses the memory map and the model.
//!
//! * `KINGLET_MEMORY`: a file of `memory/`, without `.x`; the QEMU machine of
//!   the target if not given.
//! * `KINGLET_MODEL`: the model file that goes into the image; the shipped one
//!   if not given.
//! * `KINGLET_MODEL_ADDRESS`: where in memory a model lies that is not in the
//!   image. `KINGLET_MODEL` then only sizes the buffers.
//! * `KINGLET_SHORT`: set, the story ends after a few tokens.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by Cargo"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by Cargo"));
    let target = env::var("TARGET").expect("set by Cargo");

    let memory = variable("KINGLET_MEMORY").unwrap_or_else(|| machine(&target).to_owned());
    place(&root.join("memory").join(memory + ".x"), &root.join("memory/model.x"), &out);
    println!("cargo::rustc-link-search={}", out.display());
    if target.starts_with("riscv") {
        // The linker script of cortex-m-rt includes it, that of riscv-rt does not.
        println!("cargo::rustc-link-arg=-Tmemory.x");
    }
    println!("cargo::rustc-link-arg=-Tlink.x");
    println!("cargo::rustc-link-arg=-Tmodel.x");
    if env::var_os("CARGO_FEATURE_DEFMT").is_some() {
        println!("cargo::rustc-link-arg=-Tdefmt.x");
    }

    println!("cargo::rustc-check-cfg=cfg(shipped_model)");
    match variable("KINGLET_MODEL").map(PathBuf::from) {
        Some(model) => {
            println!("cargo::rerun-if-changed={}", model.display());
            println!("cargo::rustc-env=KINGLET_MODEL={}", model.display());
        }
        None => println!("cargo::rustc-cfg=shipped_model"),
    }

    println!("cargo::rustc-check-cfg=cfg(external_model)");
    if let Some(address) = variable("KINGLET_MODEL_ADDRESS") {
        println!("cargo::rustc-cfg=external_model");
        println!("cargo::rustc-link-arg=--defsym=_kinglet_model={address}");
    }
    println!("cargo::rustc-check-cfg=cfg(armv6m)");
    if target.starts_with("thumbv6m") {
        println!("cargo::rustc-cfg=armv6m");
    }
    let short = variable("KINGLET_SHORT").is_some();
    println!("cargo::rustc-env=KINGLET_SHORT={short}");
    println!("cargo::rustc-env=KINGLET_TARGET={target}");
}

fn variable(name: &str) -> Option<String> {
    println!("cargo::rerun-if-env-changed={name}");
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn machine(target: &str) -> &'static str {
    if target.starts_with("riscv") {
        "virt"
    } else if target.starts_with("thumbv8m") {
        "an505"
    } else {
        "mps2"
    }
}

fn place(memory: &Path, model: &Path, out: &Path) {
    for (from, to) in [(memory, "memory.x"), (model, "model.x")] {
        println!("cargo::rerun-if-changed={}", from.display());
        if let Err(error) = fs::copy(from, out.join(to)) {
            panic!("{}: {error}", from.display());
        }
    }
}
