//! `kinglet digest` is one value for every kernel set of the machine, number of
//! threads and size of a batch, with and without a saved state in between; for
//! each type of state one of its own.

use std::process::Command;

#[cfg(not(target_arch = "aarch64"))]
use kinglet_desktop::KernelSet;
#[cfg(target_arch = "aarch64")]
use kinglet_neon::KernelSet;

/// What the shipped model's digest is on every machine.
const DIGEST: &str = "5774c7a9";
/// The same with an f16 state.
const DIGEST_F16: &str = "f16:2a6f0c98";
/// No multiple of any batch but 1 and 2, and more than the largest.
const TOKENS: &str = "130";
const BATCHES: [&str; 6] = ["1", "2", "7", "16", "64", "100"];
const THREADS: [&str; 4] = ["1", "2", "3", "4"];

fn digest(args: &[&str]) -> String {
    let program = env!("CARGO_BIN_EXE_kinglet");
    let output = Command::new(program).arg("digest").args(args).output().expect("the program");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8").trim_end().to_owned()
}

#[test]
fn the_digest_is_that_of_every_machine() {
    assert_eq!(digest(&[]), DIGEST);
    assert_ne!(digest(&["--tokens", "63"]), DIGEST);
    assert_eq!(digest(&["--state-type", "f32"]), DIGEST);
    assert_eq!(digest(&["--state-type", "f16"]), DIGEST_F16);
}

/// Every way to compute, with states of a type; `model` are the arguments that name it.
fn check(model: &[&str], state: &str) {
    let state = [model, &["--state-type", state, "--tokens", TOKENS]].concat();
    let one = [&state[..], &["--kernel", "scalar", "-t", "1", "--batch", "1"]].concat();
    let expected = digest(&one);
    let mut sets = 0;
    for set in KernelSet::names() {
        sets += 1;
        for threads in THREADS {
            for batch in BATCHES {
                let how = ["--kernel", set, "-t", threads, "--batch", batch];
                let plain = [&state[..], &how].concat();
                assert_eq!(digest(&plain), expected, "{plain:?}");
                let restored = [&plain[..], &["--restore"]].concat();
                assert_eq!(digest(&restored), expected, "{restored:?}");
            }
        }
    }
    assert!(sets >= 1, "every machine has the scalar set");
}

#[test]
fn the_digest_does_not_depend_on_how_it_is_computed() {
    check(&[], "f32");
}

#[test]
fn the_digest_of_an_f16_state_does_not_either() {
    check(&[], "f16");
}

/// The shipped model with weights of four bits.
#[cfg(feature = "quantizer")]
#[test]
fn the_digest_of_four_bits_does_not_either() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let (weights, model) = (path("weights.safetensors"), path("q4.kinglet"));
    let kinglet = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_kinglet")).args(args).output();
        let output = output.expect("the program");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    kinglet(&["export", "-o", &weights]);
    kinglet(&["quantize", &weights, "-o", &model, "--bits", "4"]);
    assert_ne!(digest(&["-m", &model]), DIGEST);
    check(&["-m", &model], "f32");
}

/// A model of both types of weights.
#[cfg(feature = "quantizer")]
#[test]
fn the_digest_of_four_and_eight_bits_does_not_either() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("mixed.kinglet").to_str().expect("UTF-8").to_owned();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/golden/v7");
    let [checkpoint, tokens] = ["model.pth", "tokens.json"].map(|name| format!("{fixture}/{name}"));
    let quantize = ["quantize", &checkpoint, "--json", "-o", &model, "--calibration", &tokens];
    let output = Command::new(env!("CARGO_BIN_EXE_kinglet"))
        .args([&quantize[..], &["--max-kl", "0.2"]].concat())
        .output()
        .expect("the program");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let tensors = |bits: &str| told[bits]["tensors"].as_u64().expect("a number");
    assert!(tensors("int4") > 0 && tensors("int8") > 0, "{told}");
    check(&["-m", &model], "f32");
}

#[cfg(unix)]
#[test]
fn too_large_a_number_says_so() {
    // What a machine with much memory would give; the time ends what computes for ever.
    const LIMITS: &str = "ulimit -v 2000000 && ulimit -t 1 && exec \"$@\"";
    let run = |args: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", LIMITS, "sh", env!("CARGO_BIN_EXE_kinglet"), "digest", "-t", "1"]);
        command.args(args).output().expect("sh starts")
    };
    for tokens in ["1000000000000", "18446744073709551615"] {
        let endless = run(&["--tokens", tokens]);
        let errors = String::from_utf8_lossy(&endless.stderr);
        // It computes until its time is up.
        assert_eq!((endless.status.code(), &*errors), (None, ""), "{tokens}");
    }
    for (batch, said) in [
        ("100000000", "needs "),
        ("18446744073709551615", "needs more bytes than there are addresses"),
    ] {
        let refused = run(&["--tokens", "18446744073709551615", "--batch", batch]);
        let errors = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{batch}: {errors}");
        let what = format!("the workspace for {batch} tokens together (a smaller --batch");
        assert!(errors.contains(&what) && errors.contains(said), "{errors}");
    }
}

#[test]
fn a_negative_number_is_an_argument() {
    for args in [
        &["digest", "--tokens", "-1"][..],
        &["digest", "--batch", "-1"],
        &["fit", "--ram", "-5"],
        &["run", "--temp", "-inf"],
        &["run", "--temp", "1e40"],
        &["run", "--top-p", "nan"],
        &["perplexity", "x", "-t", "-2"],
        &["quantize", "x", "-o", "y", "--lora", "z", "--alpha", "-inf"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_kinglet")).args(args).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {errors}");
        assert!(errors.contains(&format!("invalid value '{}'", args.last().unwrap())), "{errors}");
    }
}

/// A record that people send each other says what computed what, and how fast.
#[test]
fn a_record_is_a_line_with_the_digest() {
    let program = env!("CARGO_BIN_EXE_kinglet");
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/stories/stories.kinglet");
    let args = ["bench", "--record", "-m", model, "-p", "4", "-n", "2", "-r", "1", "-t", "1,2"];
    let output = Command::new(program).args(args).output().expect("the program");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    let records: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(records.len(), 2, "one for each thread count: {lines}");
    for (record, threads) in records.iter().zip([1, 2]) {
        assert_eq!(record["digest"], DIGEST);
        assert_eq!(record["threads"], threads);
        assert_eq!(record["model"], "stories.kinglet", "no path of this machine");
        assert_eq!(record["arch"], std::env::consts::ARCH);
        for rate in ["prefill_tps", "decode_tps", "load_ms", "first_token_ms", "memory_gbps"] {
            assert!(record[rate].as_f64().is_some_and(|rate| rate > 0.0), "{rate}: {lines}");
        }
        for told in ["board", "cpu", "mhz", "celsius", "throttled", "peak_memory", "model_hash"] {
            assert!(record.get(told).is_some(), "{told} is told, if as unknown: {lines}");
        }
    }
}
