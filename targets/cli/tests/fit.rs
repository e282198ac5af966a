//! `kinglet fit` answers with its status.

use std::process::{Command, Output};

fn fit(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kinglet"))
        .arg("fit")
        .args(args)
        .output()
        .expect("the program starts")
}

fn status(args: &[&str]) -> Option<i32> {
    fit(args).status.code()
}

fn json(args: &[&str]) -> serde_json::Value {
    serde_json::from_slice(&fit(&[args, &["--json"]].concat()).stdout).expect("JSON")
}

#[test]
fn the_status_is_the_answer() {
    assert_eq!(status(&[]), Some(0));
    assert_eq!(status(&["--flash", "2M", "--ram", "256K"]), Some(0));
    assert_eq!(status(&["--flash", "1M", "--ram", "256K"]), Some(1), "the model has 1.8 MB");
    assert_eq!(status(&["--flash", "2M", "--ram", "192K"]), Some(1), "the state has 198 KB");
    assert_eq!(status(&["--flash", "2M", "--ram", "128K"]), Some(1));
    let f16 = ["--state-type", "f16", "--flash", "2M", "--ram"];
    assert_eq!(status(&[&f16[..], &["128K"]].concat()), Some(0));
    assert_eq!(status(&[&f16[..], &["96K"]].concat()), Some(1), "the state has 99 KB");
    assert_eq!(status(&["--board", "rp2350"]), Some(0));
    assert_eq!(status(&["--board", "stm32f746"]), Some(1));
    for wrong in [
        &["--board", "abacus"][..],
        &["--flash", "2X", "--ram", "1M"],
        &["--flash", "2M"],
        &["--board", "rp2350", "--ram", "1M"],
    ] {
        assert_eq!(status(wrong), Some(2), "{wrong:?}");
    }
}

#[test]
fn errors_say_what_is_accepted() {
    let error = |args| String::from_utf8(fit(args).stderr).expect("UTF-8");
    assert!(error(&["--board", "abacus"]).contains("rp2350, stm32u585"));
    assert!(error(&["--ram", "2X"]).contains("512K or 1.5G"));
}

#[test]
fn the_numbers_are_those_of_the_model() {
    let info = Command::new(env!("CARGO_BIN_EXE_kinglet"))
        .args(["info", "--json"])
        .output()
        .expect("the program starts");
    let info: serde_json::Value = serde_json::from_slice(&info.stdout).expect("JSON");
    let fit = json(&["--board", "rp2350"]);
    assert_eq!(fit["model_bytes"], info["file_bytes"]);
    assert_eq!(fit["ram"]["state_bytes"], info["state_bytes"]);
    assert_eq!(fit["ram"]["workspace_bytes"], info["workspace_bytes"]);
    assert_eq!(fit["fits"], true);
    assert_eq!(fit["place"]["largest_known"], "6 x 192, bytes");
    let halved = json(&["--board", "rp2350", "--state-type", "f16"]);
    let state_bytes = |json: &serde_json::Value| json["ram"]["state_bytes"].as_u64();
    assert_eq!(state_bytes(&halved).map(|bytes| 2 * bytes), state_bytes(&fit));
    let boards = json(&[]);
    assert_eq!(boards["boards"].as_array().expect("boards").len(), 13);
    let counts = json(&["--board", "rp2350", "--penalties"]);
    assert_eq!(counts["ram"]["sampler_counts_bytes"], 4096);
}
