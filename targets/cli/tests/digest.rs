//! `kinglet digest` is one value for every kernel set of the machine, number of
//! threads and size of a chunk, with and without a saved state in between.

use std::process::Command;

#[cfg(not(target_arch = "aarch64"))]
use kinglet_desktop::Set;
#[cfg(target_arch = "aarch64")]
use kinglet_neon::Set;

/// What the shipped model's digest is on every machine.
const DIGEST: &str = "5774c7a9";
/// No multiple of any chunk but 1 and 2, and more than the largest.
const TOKENS: &str = "130";
const CHUNKS: [&str; 6] = ["1", "2", "7", "16", "64", "100"];
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
}

#[test]
fn the_digest_does_not_depend_on_how_it_is_computed() {
    let expected = digest(&["--tokens", TOKENS, "--kernel", "scalar", "-t", "1", "--chunk", "1"]);
    let mut sets = 0;
    for set in Set::names() {
        sets += 1;
        for threads in THREADS {
            for chunk in CHUNKS {
                let plain = ["--tokens", TOKENS, "--kernel", set, "-t", threads, "--chunk", chunk];
                assert_eq!(digest(&plain), expected, "{plain:?}");
                let restored = [&plain[..], &["--restore"]].concat();
                assert_eq!(digest(&restored), expected, "{restored:?}");
            }
        }
    }
    assert!(sets >= 1, "every machine has the scalar set");
}
