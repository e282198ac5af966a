//! Compiles the emulation of the kernels, where the feature asks for it. The kernels of the device
//! are compiled by `.ci/cuda` and lie in the repository.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "emulation")]
    emulation();
}

#[cfg(feature = "emulation")]
fn emulation() {
    const SANITIZE: &str = "KINGLET_CUDA_SANITIZE";
    println!("cargo:rerun-if-changed=kernels");
    println!("cargo:rerun-if-changed=emulation");
    println!("cargo:rerun-if-env-changed={SANITIZE}");
    let mut build = cc::Build::new();
    build.cpp(true).std("c++20").file("emulation/emulator.cpp").file("emulation/tests.cpp");
    build.include("emulation").include("kernels").opt_level(2);
    // The contract has no fused multiply-add.
    build.flag("-ffp-contract=off").flag("-Wall").flag("-Wextra").warnings_into_errors(true);
    if std::env::var_os(SANITIZE).is_some() {
        let sanitizers = "-fsanitize=address,undefined";
        build.flag(sanitizers).flag("-fno-sanitize-recover=all").flag("-g");
        // rustc links without the compiler's own libraries.
        println!("cargo:rustc-link-lib=dylib=asan");
        println!("cargo:rustc-link-lib=dylib=ubsan");
    }
    build.compile("kinglet_emulation");
}
