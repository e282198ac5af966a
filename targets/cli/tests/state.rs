//! A state saved by one run and continued by another gives the text of an
//! uninterrupted run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kinglet::format::model::Model;

const PROMPT: &str = "Once upon a time, there was a little fox";

fn kinglet(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kinglet")).args(args).output().expect("the program starts")
}

/// What `kinglet run --temp 0` writes, without the line end after the text.
fn text(args: &[&str]) -> String {
    let output = kinglet(&[&["run", "--temp", "0"], args].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.strip_suffix('\n').expect("a line end").to_owned()
}

/// What the program says when it refuses `args`.
fn refusal(args: &[&str]) -> String {
    let output = kinglet(&[&["run", "--temp", "0", "-n", "4"], args].concat());
    assert_eq!(output.status.code(), Some(2), "{args:?} was accepted");
    assert!(output.stdout.is_empty(), "{args:?} wrote text");
    String::from_utf8(output.stderr).expect("UTF-8")
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }
}

#[test]
fn a_text_in_two_runs_is_the_text_of_one() {
    let folder = Folder::new("state-two-runs");
    let state = folder.file("fox.state");
    let whole = text(&[PROMPT, "-n", "60"]);
    for first in ["1", "25", "59"] {
        let rest = (60 - first.parse::<usize>().unwrap()).to_string();
        let start = text(&[PROMPT, "-n", first, "--save-state", &state]);
        let end = text(&["-n", &rest, "--state", &state]);
        assert_eq!(start + &end, whole, "{first} tokens, then {rest}");
    }
}

#[test]
fn a_prompt_is_computed_once() {
    let folder = Folder::new("state-prompt");
    let state = folder.file("fox.state");
    let whole = text(&[PROMPT, "-n", "40"]);
    assert_eq!(text(&[PROMPT, "-n", "0", "--save-state", &state]), PROMPT);
    for _ in 0..2 {
        let end = text(&["-n", "40", "--state", &state]);
        assert_eq!(format!("{PROMPT}{end}"), whole);
    }
    let more = " who lived";
    let end = text(&[more, "-n", "40", "--state", &state]);
    assert_eq!(format!("{PROMPT}{end}"), text(&[&format!("{PROMPT}{more}"), "-n", "40"]));
    let left = std::fs::read_dir(&folder.0).expect("the folder").count();
    assert_eq!(left, 1, "only the state file is left");
}

#[test]
fn a_state_that_is_not_the_models_is_refused() {
    let folder = Folder::new("state-refused");
    let state = folder.file("fox.state");
    text(&[PROMPT, "-n", "25", "--save-state", &state]);
    let good = std::fs::read(&state).expect("the state");
    let damage = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        std::fs::write(&state, bytes).expect("the damaged state");
        refusal(&["--state", &state])
    };
    assert!(damage(&|bytes| bytes[1000] ^= 1).contains("is damaged"));
    assert!(damage(&|bytes| bytes.truncate(5000)).contains("5000 bytes"));
    assert!(damage(&|bytes| bytes[0] = b'X').contains("not a Kinglet state"));
    let missing = refusal(&["--state", &folder.file("absent")]);
    assert!(missing.contains("absent"), "{missing}");
}

#[test]
fn an_f16_state_is_continued_as_f16_alone() {
    let folder = Folder::new("state-f16");
    let state = folder.file("fox.state");
    let f16 = ["--state-type", "f16"];
    let whole = text(&[&[PROMPT, "-n", "60"], &f16[..]].concat());
    let start = text(&[&[PROMPT, "-n", "25", "--save-state", &state], &f16[..]].concat());
    let f16_bytes = std::fs::read(&state).expect("the state").len();
    let end = text(&[&["-n", "35", "--state", &state], &f16[..]].concat());
    assert_eq!(start + &end, whole);
    let as_f32 = refusal(&["--state", &state]);
    assert!(as_f32.contains("has an f16 state, the engine keeps f32"), "{as_f32}");
    assert!(as_f32.contains("--state-type f16"), "{as_f32}");
    text(&[PROMPT, "-n", "25", "--save-state", &state]);
    let f32_bytes = std::fs::read(&state).expect("the state").len();
    // Half of the state; header and sections are of the same length.
    let model = Model::open(kinglet_stories::MODEL).expect("the model");
    assert_eq!(f32_bytes - f16_bytes, 2 * model.shape().state_len());
    let as_f16 = refusal(&["--state", &state, "--state-type", "f16"]);
    assert!(as_f16.contains("has an f32 state, the engine keeps f16"), "{as_f16}");
    assert!(as_f16.contains("--state-type f32"), "{as_f16}");
}

#[test]
fn a_state_that_overflows_is_named() {
    let folder = Folder::new("state-huge");
    let state = folder.file("huge.state");
    text(&[PROMPT, "-n", "2", "--save-state", &state]);
    let mut bytes = std::fs::read(&state).expect("the state");
    let model = Model::open(kinglet_stories::MODEL).expect("the model");
    for value in bytes[64..][..4 * model.shape().state_len()].chunks_exact_mut(4) {
        value.copy_from_slice(&f32::MAX.to_le_bytes());
    }
    let crc = kinglet::format::crc32::crc32(&[&bytes[..60], &bytes[64..]].concat());
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&state, bytes).expect("the huge state");
    let output = kinglet(&["run", "--temp", "0", "-n", "4", "--state", &state, "More"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains(&format!("from the state in {state}: ")), "{errors}");
    assert_eq!(output.stdout, b"More\n");
}
