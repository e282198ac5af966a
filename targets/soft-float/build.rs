//! Tells the crate whose assembly it has: the compiler shows no feature of Arm in stable Rust.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(assembly)");
    println!("cargo::rustc-check-cfg=cfg(isa, values(\"armv6m\", \"armv7m\", \"riscv32\"))");
    let target = std::env::var("TARGET").unwrap_or_default();
    let features = std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    let has = |feature| features.split(',').any(|name| name == feature);
    let isa = match target.split('-').next() {
        // An FPU computes floats where their ABI is that of its registers.
        _ if target.ends_with("eabihf") => return,
        Some("thumbv6m" | "thumbv8m.base") => "armv6m",
        Some("thumbv7m" | "thumbv7em" | "thumbv8m.main") => "armv7m",
        // E has half of the registers.
        Some(arch) if arch.starts_with("riscv32i") && has("m") && !has("e") && !has("f") => {
            "riscv32"
        }
        _ => return,
    };
    println!("cargo::rustc-cfg=assembly");
    println!("cargo::rustc-cfg=isa=\"{isa}\"");
}
