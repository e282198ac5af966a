//! `kinglet quantize --report`: the figures, and what is refused.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn stories(file: &str) -> String {
    format!("{}/../../models/stories/{file}", env!("CARGO_MANIFEST_DIR"))
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

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.file(name), text).expect("a file for the test");
        self.file(name)
    }

    /// `kinglet quantize` of the story teller to `model.kinglet`.
    fn quantize(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_kinglet"))
            .args(["quantize", &stories("stories.pth"), "-q", "-o", &self.file("model.kinglet")])
            .args(args)
            .output()
            .expect("the program starts")
    }

    /// The report of a run with `args`.
    fn report(&self, args: &[&str]) -> Value {
        let path = self.file("report.json");
        let output = self.quantize(&[&["--report", &path], args].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        let summary = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(summary.contains("KL divergence"), "{summary}");
        serde_json::from_slice(&std::fs::read(path).expect("a report")).expect("JSON")
    }

    /// What the program says when it refuses `args`; nothing may be left behind.
    fn refusal(&self, args: &[&str]) -> String {
        let files = || {
            let entries = std::fs::read_dir(&self.0).expect("a folder");
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let before = files();
        let output = self.quantize(args);
        assert_eq!(output.status.code(), Some(2), "{args:?} was accepted");
        assert!(output.stdout.is_empty(), "{args:?}");
        assert_eq!(files(), before, "{args:?}");
        String::from_utf8(output.stderr).expect("UTF-8")
    }
}

#[track_caller]
fn number(report: &Value, key: &str) -> f64 {
    report[key].as_f64().unwrap_or_else(|| panic!("{key} in {report}"))
}

/// The figures of a model that int8 barely changes.
#[track_caller]
fn assert_close(report: &Value) {
    assert!((1e-7..1e-3).contains(&number(report, "kl_mean")), "{report}");
    assert!(number(report, "kl_max") > number(report, "kl_mean"));
    // A short text may have one place where two tokens are nearly equal.
    let positions = number(report, "positions");
    let disagreements = positions * (1.0 - number(report, "top1_agreement"));
    assert!(disagreements < 1.5f64.max(0.02 * positions), "{report}");
    assert!((1e-8..1e-3).contains(&number(report, "cosine_loss")), "{report}");
    let [int8, checkpoint] =
        ["perplexity_int8", "perplexity_checkpoint"].map(|key| number(report, key));
    assert!((int8 / checkpoint - number(report, "perplexity_ratio")).abs() < 1e-9);
    assert!((int8 / checkpoint - 1.0).abs() < 0.01, "{report}");
}

#[test]
fn the_model_is_measured_on_texts_of_its_own() {
    let folder = Folder::new("report-own");
    let report = folder.report(&[]);
    assert_close(&report);
    assert_eq!(report["architecture"], "RWKV-7");
    assert_eq!(report["text"], Value::Null);
    assert_eq!(report["samples"]["count"], 8);
    assert_eq!((number(&report, "positions"), number(&report, "scored")), (1024.0, 1016.0));

    let tensors = report["tensors"].as_array().unwrap();
    let errors: Vec<_> = tensors.iter().map(|t| number(t, "relative_rms_error")).collect();
    assert!(errors.is_sorted_by(|a, b| a >= b) && errors[0] < 0.02, "{errors:?}");
    assert!(tensors.iter().any(|tensor| tensor["name"] == "head.weight"));
    assert!(tensors.iter().all(|t| number(t, "outlier_ratio") > 1.0));
    assert_eq!(folder.report(&[]), report, "the same seeds");
}

#[test]
fn a_text_is_scored_as_perplexity_scores_it() {
    let folder = Folder::new("report-text");
    let text = folder.write(
        "text",
        "Once upon a time there was a little bird.\n<|endoftext|>\nTom had a red ball. He lost it.",
    );
    let report = folder.report(&["--vocab", &stories("stories.vocab.txt"), "--text", &text]);
    assert_close(&report);
    assert_eq!((&report["samples"], number(&report, "sequences")), (&Value::Null, 2.0));
    let output = Command::new(env!("CARGO_BIN_EXE_kinglet"))
        .args(["perplexity", "--json", "-m", &folder.file("model.kinglet"), &text])
        .output()
        .expect("the program starts");
    let alone: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let (alone, report) = (number(&alone, "perplexity"), number(&report, "perplexity_int8"));
    assert!((alone - report).abs() < 1e-9 * alone, "{alone} {report}");
}

#[test]
fn without_a_vocabulary_a_text_is_a_list_of_ids() {
    let folder = Folder::new("report-ids");
    let ids = folder.write("ids.json", "[0, 10, 500, 3, 77, 1023]");
    let report = folder.report(&["--text", &ids]);
    assert_eq!((number(&report, "positions"), number(&report, "scored")), (6.0, 5.0));
}

#[test]
fn bad_input_leaves_nothing() {
    let folder = Folder::new("report-bad");
    let report = folder.file("report.json");
    let vocab = stories("stories.vocab.txt");
    let refuse = |text: &str, vocabulary: &[&str]| {
        let text = folder.write("text", text);
        folder.refusal(&[&["--report", &report, "--text", &text], vocabulary].concat())
    };
    for text in ["", "\n<|endoftext|>\n"] {
        let error = refuse(text, &["--vocab", &vocab]);
        assert!(error.contains("too short: 0 of the 2 tokens that are needed"), "{error}");
    }
    assert!(refuse("a", &["--vocab", &vocab]).contains("too short: 1"));
    assert!(refuse("[5]", &[]).contains("too short: 1"));
    assert!(refuse("Once", &[]).contains("pass its vocabulary as --vocab"));
    assert!(refuse("[5, 1024]", &[]).contains("token 1024"));

    let nowhere = folder.file("no/such/report.json");
    let error = folder.refusal(&["--report", &nowhere]);
    assert!(error.contains(&format!("cannot write {nowhere}")), "{error}");
    let directory = folder.file("");
    assert!(folder.refusal(&["--report", &directory]).contains("is a directory"));
    let error = folder.refusal(&["--report", &folder.file("model.kinglet")]);
    assert!(error.contains("would replace"), "{error}");
    let missing = folder.file("no.txt");
    let error = folder.refusal(&["--report", &report, "--text", &missing]);
    assert!(error.contains(&format!("cannot read {missing}")), "{error}");
}
