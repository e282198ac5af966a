//! The files that commands write: never over what they read, whole or not at all, and whatever
//! becomes of the reader of the standard output.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn kinglet(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kinglet")).args(args).output().expect("the program starts")
}

#[track_caller]
fn succeed(args: &[&str]) -> String {
    let output = kinglet(args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What the program says when it refuses `args`.
#[track_caller]
fn refusal(args: &[&str]) -> String {
    let output = kinglet(args);
    assert_eq!(output.status.code(), Some(2), "{args:?} was accepted");
    assert!(output.stdout.is_empty(), "{args:?} wrote to the standard output");
    String::from_utf8(output.stderr).expect("UTF-8")
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        fs::write(self.file(name), bytes).expect("a file for the test");
        self.file(name)
    }

    fn copy(&self, from: &str, name: &str) -> String {
        self.write(name, fs::read(from).expect("a file to copy"))
    }

    /// Names and contents of all files.
    fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(&self.0).expect("the folder");
        let mut files: Vec<_> = entries
            .map(|entry| entry.expect("an entry").path())
            .map(|path| (path.clone(), fs::read(path).expect("a file")))
            .collect();
        files.sort();
        files
    }
}

fn golden(file: &str) -> String {
    format!("{}/../../tests/data/golden/{file}", env!("CARGO_MANIFEST_DIR"))
}

fn stories(file: &str) -> String {
    format!("{}/../../models/stories/{file}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_model_or_a_list_is_not_replaced() {
    let folder = Folder::new("output-inputs");
    let model = folder.copy(&stories("stories.kinglet"), "c.kinglet");
    let tokens = folder.write("tk.json", "[0, 1, 2]");
    let other_name = folder.file("../output-inputs/c.kinglet");
    let before = folder.contents();
    let logits = ["logits", "-m", &model, "--tokens", &tokens, "-o"];
    for (args, input) in [
        (&["run", "-n", "1", "-m", &model, "--save-state", &model][..], &model),
        (&["run", "-n", "1", "-m", &model, "--save-state", &other_name], &model),
        (&["export", "-m", &model, "-o", &model], &model),
        (&["export", "-m", &other_name, "-o", &model], &other_name),
        (&[&logits[..], &[&model]].concat(), &model),
        (&[&logits[..], &[&tokens]].concat(), &tokens),
    ] {
        let error = refusal(args);
        assert!(error.contains(&format!("would replace {input}")), "{args:?}: {error}");
        assert!(folder.contents() == before, "{args:?} changed a file");
    }
}

#[test]
fn a_state_may_be_taken_further() {
    let folder = Folder::new("output-state");
    let state = folder.file("a.state");
    succeed(&["run", "-n", "2", "Once", "--save-state", &state]);
    let before = folder.contents();
    succeed(&["run", "-n", "2", "--state", &state, "--save-state", &state]);
    assert!(folder.contents() != before);
}

#[test]
fn nothing_that_quantize_reads_is_replaced() {
    let folder = Folder::new("output-quantize");
    for entry in fs::read_dir(golden("v7_formats/hf")).expect("a checkpoint") {
        let path = entry.expect("an entry").path();
        folder.copy(path.to_str().unwrap(), path.file_name().unwrap().to_str().unwrap());
    }
    for name in ["tokenizer.json", "tokenizer_config.json", "rwkv_vocab_v20230424.txt"] {
        folder.write(name, "{}");
    }
    let text = folder.write("text.json", "[1, 2, 3, 4]");
    let names: Vec<_> = folder.contents().into_iter().map(|(path, _)| path).collect();
    let directory = folder.file("");
    let elsewhere = Folder::new("output-quantize-elsewhere");
    let out = elsewhere.file("out.kinglet");
    let before = folder.contents();
    let quantize = ["quantize", &directory, "--vocab", "bytes", "--text", &text];
    for name in &names {
        let name = name.to_str().unwrap();
        let report = elsewhere.file("r.json");
        for args in [["-o", name, "--report", &report], ["-o", &out, "--report", name]] {
            let args = [&quantize[..], &args].concat();
            let error = refusal(&args);
            assert!(error.contains("would replace") && error.contains(name), "{args:?}: {error}");
            assert!(folder.contents() == before, "{args:?} changed a file");
        }
    }
    assert_eq!(elsewhere.contents(), []);
    let error = refusal(&["quantize", &directory, "-o", &out, "--report", &out]);
    assert!(error.contains("would replace"), "{error}");
    // What else lies in the directory is the user's.
    let mine = folder.write("mine.kinglet", "");
    succeed(&["quantize", &directory, "-q", "-o", &mine]);
}
