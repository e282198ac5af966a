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
    let near = error(&["--board", "rp2530"]);
    assert!(near.contains("not known; did you mean `rp2350`? Known are nrf52840"), "{near}");
    let shape = error(&["--shape", "rwkv7-3b"]);
    assert!(shape.contains("known are stories, rwkv7-0.1b, rwkv7-0.4b"), "{shape}");
    assert!(!error(&["--board", "pi6"]).contains("did you mean"));
}

fn text(args: &[&str]) -> String {
    String::from_utf8(fit(args).stdout).expect("UTF-8")
}

#[test]
fn a_shape_is_answered_before_the_download() {
    assert_eq!(status(&["--shape", "rwkv7-0.4b", "--board", "pi4"]), Some(0));
    assert_eq!(status(&["--shape", "0.4B", "--board", "rp2350"]), Some(1));
    assert_eq!(status(&["--shape", "rwkv7-7.2b", "--board", "pi-5-4gb"]), Some(1));
    assert_eq!(status(&["--shape", "rwkv7-7.2b", "--board", "pi-5-8gb"]), Some(1), "too tight");
    assert_eq!(status(&["--shape", "rwkv7-7.2b", "--board", "Raspberry Pi 5, 16 GB"]), Some(0));
    assert_eq!(status(&["--shape", "0.1b", "-m", "x"]), Some(2), "a shape or a file");
    let fit = json(&["--shape", "rwkv7-1.5b", "--board", "pi-4"]);
    assert_eq!((&fit["model"], &fit["place"]["board"]), (&"1.5B".into(), &"pi-4-4gb".into()));
    assert_eq!(fit["place"]["largest_to_have"], "2.9B");
    let large = json(&["--shape", "rwkv7-13.3b", "--board", "pi-5-16gb"]);
    let place = &large["place"];
    assert_eq!(
        (&place["largest_known"], &place["largest_to_have"]),
        (&"13.3B".into(), &"7.2B".into())
    );
}

#[cfg(feature = "pull")]
#[test]
fn what_pull_lists_is_answered_before_the_download() {
    for args in [&["g1-0.4b"][..], &["-m", "g1-0.4b"], &["--shape", "g1-0.4b"]] {
        let json = json(&[args, &["--board", "pi-4"]].concat());
        assert_eq!(json["fits"], true, "{args:?}");
        assert!(json["model_bytes"].as_u64() > Some(450_000_000), "{args:?}");
    }
    let output = fit(&["world6-1.6b", "--ram", "4G"]);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(said.contains("not here yet") && said.contains("`kinglet pull world6-1.6b`"), "{said}");
    let told = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(told.contains("GB model") && told.contains("in all, of 4 GB"), "{told}");
    assert_eq!(status(&["--shape", "world4-7b", "--board", "pi-4"]), Some(1));
}

#[test]
fn the_table_is_no_wider_than_a_wide_terminal() {
    let all = text(&["--shape", "rwkv7-7.2b", "--penalties"]);
    let table = all.lines().skip_while(|line| !line.starts_with("--board"));
    let rows: Vec<_> = table.take_while(|line| !line.is_empty()).collect();
    let column = rows[0].find("largest").expect("a heading");
    assert!(rows.iter().all(|row| row.len() <= 120 && row.as_bytes()[column - 1] == b' '), "{all}");
}

#[test]
fn an_estimate_is_marked_and_has_its_source() {
    let args = ["--shape", "rwkv7-0.4b", "--board", "pi-4"];
    let place = json(&args)["place"].take();
    let rate = place["estimated_tokens_per_second"].as_f64().expect("a rate");
    let read = json(&args)["bytes_read_per_token"].as_f64().expect("bytes");
    assert_eq!(rate, place["memory_bytes_per_second"].as_f64().unwrap() / read);
    assert!((5.0..12.0).contains(&rate), "{rate}");
    let said = text(&args);
    let line = said.lines().find(|line| line.contains("tokens/s")).expect("a rate");
    assert!(line.contains("an estimate and not measured") && line.contains("llamafile"), "{line}");
    assert!(said.contains(" MB model") && said.contains("in all, of 4 GB"), "{said}");
    assert!(!said.contains("stack"), "{said}");
    // The caches may hold the model, and a microcontroller is bound by instructions.
    for args in [&["--board", "pi-4"][..], &["--board", "rp2350"]] {
        let place = json(args)["place"].take();
        assert!(place["estimated_tokens_per_second"].is_null(), "{args:?}");
    }
    assert!(!text(&["--shape", "rwkv7-7.2b", "--board", "pi-4"]).contains("tokens/s"), "no room");
}

#[test]
fn a_shape_without_a_model_is_said_to_be_one() {
    let said = text(&["--board", "rp2350"]);
    assert!(said.contains("largest model to be had that fits: stories"), "{said}");
    assert!(said.contains("6 x 192, bytes (none to download; train your own"), "{said}");
    let said = text(&["--board", "nrf52840"]);
    assert!(said.contains("largest model to be had that fits: none"), "{said}");
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
    assert_eq!(boards["boards"].as_array().expect("boards").len(), 21);
    let counts = json(&["--board", "rp2350", "--penalties"]);
    assert_eq!(counts["ram"]["sampler_counts_bytes"], 4096);
}

#[test]
fn four_bits_are_offered_where_eight_do_not_fit() {
    let eight = json(&["--shape", "rwkv7-2.9b", "--ram", "2500M"]);
    assert_eq!(eight["fits"], false);
    let four = json(&["--shape", "rwkv7-2.9b", "--ram", "2500M", "--bits", "4"]);
    assert_eq!(four["fits"], true);
    assert_eq!(four["in_4_bits"], serde_json::Value::Null);
    assert_eq!(eight["in_4_bits"]["model_bytes"], four["model_bytes"]);
    let share = four["model_bytes"].as_f64().unwrap() / eight["model_bytes"].as_f64().unwrap();
    assert!((0.52..0.54).contains(&share), "{share}");

    let text = text(&["--shape", "rwkv7-2.9b", "--ram", "2500M"]);
    assert!(text.contains("it fits in 4 bits"), "{text}");
    // A file is asked about as it is, or as it would be.
    assert_eq!(status(&["--board", "stm32f746"]), Some(1));
    let smaller = json(&["--flash", "1200K", "--ram", "256K", "--bits", "4"]);
    assert_eq!(smaller["fits"], true);
}

/// The number of a `#define` of a header.
fn number(header: &str, name: &str) -> usize {
    let define = format!("#define KINGLET_MODEL_{name} ");
    let line = header.lines().find_map(|line| line.strip_prefix(&define)).expect(name);
    line.parse().expect("a number")
}

#[test]
fn the_header_has_what_the_c_library_asks_for() {
    use kinglet_c as c;
    let mut model = c::KingletModel { opaque: [0; _] };
    let file = kinglet_stories::MODEL;
    // SAFETY: the handle and the bytes are what they say.
    let status = unsafe { c::kinglet_model_open(&mut model, file.as_ptr(), file.len()) };
    assert_eq!(status, c::KingletStatus::Ok);
    let mut info = std::mem::MaybeUninit::uninit();
    // SAFETY: an open model; the information is written.
    let info = unsafe {
        assert_eq!(c::kinglet_model_info(&model, info.as_mut_ptr()), c::KingletStatus::Ok);
        info.assume_init()
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.h");
    let path = path.to_str().expect("UTF-8");
    for (f16, batch) in [(false, 1), (true, 1), (false, 7), (true, c::KINGLET_MAX_BATCH)] {
        let state_type = if f16 { "f16" } else { "f32" };
        let count = batch.to_string();
        let args = ["--header", path, "--batch", &count, "--state-type", state_type];
        assert_eq!(text(&args), "", "a file, and no table");
        let header = std::fs::read_to_string(path).expect("the header");
        // SAFETY: an open model.
        let (state, saved, workspace, logits, counts) = unsafe {
            let (state, saved) = if f16 {
                (c::kinglet_state_size_f16(&model), c::kinglet_state_file_size_f16(&model))
            } else {
                (c::kinglet_state_size(&model), c::kinglet_state_file_size(&model))
            };
            let workspace = c::kinglet_workspace_size(&model, batch);
            (
                state,
                saved,
                workspace,
                c::kinglet_logits_size(&model),
                c::kinglet_counts_size(&model),
            )
        };
        for (name, expected) in [
            ("SIZE", file.len()),
            ("BATCH", batch),
            ("STATE_F16", usize::from(f16)),
            ("STATE_SIZE", state),
            ("WORKSPACE_SIZE", workspace),
            ("LOGITS_SIZE", logits),
            ("COUNTS_SIZE", counts),
            ("STATE_FILE_SIZE", saved),
            ("VOCAB", info.vocab as usize),
            ("DRAWABLE", info.drawable as usize),
        ] {
            assert_eq!(number(&header, name), expected, "{name} of {args:?}");
        }
        let hash = info.content_hash.map(|byte| format!("{byte:02x}")).concat();
        assert!(header.contains(&format!("#define KINGLET_MODEL_HASH \\\n    \"{hash}\"\n")));
        let bytes = header.split("_HASH_BYTES").nth(1).expect("bytes");
        let bytes: String = bytes.split("0x").skip(1).map(|byte| &byte[..2]).collect();
        assert_eq!(bytes, hash);
    }
}

#[test]
fn the_header_of_the_example_is_current() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_kinglet"))
        .args(["fit", "--header", "stories.h"])
        .current_dir(&folder)
        .output()
        .expect("the program starts");
    assert!(output.status.success());
    let current = std::fs::read_to_string(folder.path().join("stories.h")).expect("the header");
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/../c/examples/stories.h");
    let committed = std::fs::read_to_string(committed).expect("the header");
    assert_eq!(committed, current, "kinglet fit --header targets/c/examples/stories.h writes it");
}

#[test]
fn a_header_replaces_its_like_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.h");
    let name = path.to_str().expect("UTF-8");
    std::fs::write(&path, "#define MINE 1\n").expect("a file");
    assert_eq!(status(&["--header", name]), Some(2));
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), "#define MINE 1\n");
    assert_eq!(status(&["--header", name, "--force"]), Some(0));
    assert_eq!(status(&["--header", name]), Some(0), "one of its own");
    // The answer for a board, and the header beside it.
    assert_eq!(status(&["--header", name, "--flash", "1M", "--ram", "256K"]), Some(1));
    for wrong in [
        &["--header", "-"][..],
        &["--header", name, "--shape", "rwkv7-0.1b"],
        &["--header", name, "--batch", "0"],
        &["--header", name, "--batch", "257"],
        &["--header", name, "-m", name],
        &["--batch", "2"],
        &["--force"],
    ] {
        assert_eq!(status(wrong), Some(2), "{wrong:?}");
    }
}
