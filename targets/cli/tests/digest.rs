//! The digest does not depend on how it is computed, with either type of state.

use std::process::Command;

fn digest(args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinglet"));
    let output = command.arg("digest").args(args).output().expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8").trim_end().to_owned()
}

/// Every way to compute, for a type of state.
fn check(element: &str, expected: &str) {
    let state = ["--state-type", element];
    assert_eq!(digest(&state), expected);
    for kernel in kernels() {
        for chunk in ["1", "2", "7", "64"] {
            for threads in ["1", "3"] {
                let how = ["--kernel", &kernel, "--chunk", chunk, "--threads", threads];
                let found = digest(&[&state[..], &how].concat());
                assert_eq!(found, expected, "{how:?}");
                let found = digest(&[&state[..], &how, &["--restore"]].concat());
                assert_eq!(found, expected, "{how:?}, restored");
            }
        }
    }
}

/// The kernel sets of this machine, as the refusal of an unknown one lists them.
fn kernels() -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinglet"));
    let output = command.args(["digest", "--kernel", "?"]).output().expect("the program starts");
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    let (_, names) = errors.trim_end().rsplit_once("has: ").expect("a list of kernel sets");
    names.split(", ").map(str::to_owned).collect()
}

#[test]
fn an_f32_state_gives_one_digest() {
    check("f32", "5774c7a9");
}

#[test]
fn an_f16_state_gives_one_digest_of_its_own() {
    check("f16", "f16:2a6f0c98");
}
