//! Tells the kernels which instructions the assembler of the target takes, and whether floats are
//! soft.
//!
//! The compiler's own `target_feature = "dsp"` is not visible in stable Rust,
//! and ARMv8-M leaves it out though nearly every core has the extension. Nor is RISC-V's `"f"`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(dsp)");
    println!("cargo::rustc-check-cfg=cfg(armv8m)");
    println!("cargo::rustc-check-cfg=cfg(armv6m)");
    println!("cargo::rustc-check-cfg=cfg(riscv_fpu)");
    let target = std::env::var("TARGET").unwrap_or_default();
    let armv8m = target.starts_with("thumbv8m.main");
    if armv8m {
        println!("cargo::rustc-cfg=armv8m");
    }
    println!("cargo::rustc-check-cfg=cfg(soft_float)");
    let features = std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    let arm = target.starts_with("thumb") && !target.ends_with("eabihf");
    if arm || target.starts_with("riscv32") && !features.split(',').any(|name| name == "f") {
        println!("cargo::rustc-cfg=soft_float");
    }
    if armv8m || target.starts_with("thumbv7em") {
        println!("cargo::rustc-cfg=dsp");
    }
    if target.starts_with("thumbv6m") {
        println!("cargo::rustc-cfg=armv6m");
    }
    // The extensions in one letter each; G stands for several, F among them.
    let extensions = target.split_once('-').map_or("", |(architecture, _)| architecture);
    if extensions.strip_prefix("riscv").is_some_and(|letters| letters.contains(['f', 'g'])) {
        println!("cargo::rustc-cfg=riscv_fpu");
    }
}
