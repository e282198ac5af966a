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
    let build = || {
        let mut build = cc::Build::new();
        build.cpp(true).std("c++20").include("emulation").include("kernels").opt_level(2);
        // The contract has no fused multiply-add.
        build.flag("-ffp-contract=off").flag("-Wall").flag("-Wextra").warnings_into_errors(true);
        build
    };
    let (mut scheduler, mut kernels) = (build(), build());
    scheduler.file("emulation/emulator.cpp");
    kernels.file("emulation/kernels.cpp").file("emulation/tests.cpp");
    let sanitize = std::env::var(SANITIZE).unwrap_or_default();
    match &*sanitize {
        "" => {}
        "address" => {
            for build in [&mut scheduler, &mut kernels] {
                let sanitizers = "-fsanitize=address,undefined";
                build.flag(sanitizers).flag("-fno-sanitize-recover=all").flag("-g");
            }
            // rustc links without the compiler's own libraries.
            println!("cargo:rustc-link-lib=dylib=asan");
            println!("cargo:rustc-link-lib=dylib=ubsan");
        }
        // The scheduler tells what the kernels' threads wait for; its own memory is not theirs.
        "thread" => {
            scheduler.define("KINGLET_RACES", None).flag("-g");
            kernels.flag("-fsanitize=thread").flag("-g");
            println!("cargo:rustc-link-lib=dylib=tsan");
        }
        other => panic!("{SANITIZE}={other}; it is `address`, `thread` or not there"),
    }
    kernels.objects(scheduler.compile_intermediates()).compile("kinglet_emulation");
}
