//! `kinglet quantize` with a choice of bits: what it says of it, and what it refuses.

#![cfg(feature = "quantizer")]

mod support;

use serde_json::Value;
use support::kinglet;

fn fixture(file: &str) -> String {
    format!("{}/../../tests/data/golden/v7/{file}", env!("CARGO_MANIFEST_DIR"))
}

/// What the program says of `quantize` with these arguments, and whether it left the folder empty.
fn refusal(args: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("model.kinglet");
    let model = model.to_str().expect("UTF-8");
    let output = kinglet(&[&["quantize", &fixture("model.pth"), "-o", model], args].concat());
    assert_eq!(output.status.code(), Some(2), "{args:?} was accepted");
    assert!(output.stdout.is_empty(), "{args:?}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0, "{args:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[test]
fn limits_that_are_none_are_refused() {
    for (args, said) in [
        (&["--size", "abc"][..], "`abc` is not a size"),
        (&["--size", "0"], "`0` is not a size"),
        (&["--size", "-5"], "`-5` is not a size"),
        (&["--size", "10"], "bytes or more, all matrices and tables of four bits; the limit is 10"),
        (&["--max-kl", "-1"], "not above 0"),
        (&["--max-kl", "0"], "not above 0"),
        (&["--max-kl", "nan"], "not a finite number"),
        (&["--max-kl", "x"], "not a number"),
        (&["--size", "1M", "--max-kl", "1e-3"], "cannot be used with"),
        (&["--bits", "8", "--size", "1M"], "--size chooses 4 or 8 bits"),
        (&["--bits", "4", "--max-kl", "1e-3"], "--max-kl chooses 4 or 8 bits"),
        (&["--bits", "5"], "invalid value '5'"),
        (&["--bits", "auto", "--calibration", "none"], "--calibration none is for --bits 4"),
        (&["--calibration", "x"], "pass --bits 4 or auto"),
        (
            &["--bits", "4", "--calibration", "-", "--report", "r.json", "--text", "-"],
            "--calibration and --text both name it",
        ),
    ] {
        let error = refusal(args);
        assert!(error.contains(said), "{args:?}: {error}");
    }
}

#[test]
fn a_choice_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let (model, report, tokens) = (path("m.kinglet"), path("r.json"), fixture("tokens.json"));
    let quantize = |args: &[&str]| {
        let checkpoint = fixture("model.pth");
        let all = ["quantize", &checkpoint, "-o", &model, "--calibration", &tokens];
        let output = kinglet(&[&all[..], args].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let notes = String::from_utf8(output.stderr).expect("UTF-8");
        (String::from_utf8(output.stdout).expect("UTF-8"), notes)
    };
    let (told, notes) = quantize(&[
        "--bits", "auto", "--max-kl", "0.2", "-v", "--report", &report, "--text", &tokens,
    ]);
    assert!(notes.contains("the calibration text has 48 tokens"), "{notes}");
    for said in ["int4 costs", " matrices and tables, ", "KL divergence from int8 "] {
        assert!(told.contains(said), "{said}: {told}");
    }
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).expect("JSON");
    assert_eq!((&report["mix"]["max_kl"], &report["mix"]["size"]), (&0.2.into(), &Value::Null));
    assert!(report["mix"]["kl"].as_f64().unwrap() <= 0.2, "{report}");
    assert!(report["tensors"][0]["int4_kl"].is_number(), "{report}");

    let int8 = kinglet(&["quantize", &fixture("model.pth"), "-o", &model, "--json"]).stdout;
    let int8: Value = serde_json::from_slice(&int8).expect("JSON");
    assert_eq!((&int8["mix"], &int8["int4"]["tensors"]), (&Value::Null, &0.into()));
    let size = int8["file_bytes"].as_u64().unwrap() * 3 / 4;
    let (json, _) = quantize(&["--size", &size.to_string(), "--json"]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert!(json["file_bytes"].as_u64().unwrap() <= size, "{json}");
    assert_eq!(json["mix"]["size"], size);
    let tensors = json["tensors"].as_array().unwrap();
    for bits in [4, 8] {
        let count = tensors.iter().filter(|tensor| tensor["bits"] == bits).count();
        assert_eq!(json[format!("int{bits}")]["tensors"], count);
    }

    // What others say of the file.
    let info = kinglet(&["info", "-m", &model, "--json"]);
    let info: Value = serde_json::from_slice(&info.stdout).expect("JSON");
    let provenance = info.to_string();
    assert!(provenance.contains("int8 for the others"), "{provenance}");
    let fit = kinglet(&["fit", "-m", &model, "--flash", "4M", "--ram", "512K"]);
    assert!(fit.status.success(), "{}", String::from_utf8_lossy(&fit.stderr));
}
