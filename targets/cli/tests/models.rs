//! Models by name, and the models folder.

mod support;

use std::fs;
use std::process::Command;

use support::{Folder, stories};

/// A models folder with the shipped model under two names.
fn folder(name: &str) -> Folder {
    let folder = Folder::new(name);
    for model in ["tales", "stories"] {
        folder.copy(&stories("stories.kinglet"), &format!("{model}.kinglet"));
    }
    folder
}

/// Status, output and errors of the program with that models folder.
fn kinglet(folder: &Folder, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinglet"));
    let output = command.args(args).env("KINGLET_MODELS", &folder.0).output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_name_and_a_place_choose_the_model() {
    let folder = folder("models-names");
    let path = stories("stories.kinglet");
    for args in [
        &["digest", "-m", "tales"][..],
        &["digest", "tales"],
        &["digest", "-m", "tales.kinglet"],
        &["digest", &path],
        &["digest", "--model", &path],
        &["digest", "tales", "--preload"],
    ] {
        let (status, out, errors) = kinglet(&folder, args);
        assert_eq!((status, out.as_str()), (Some(0), "5774c7a9\n"), "{args:?}: {errors}");
    }
    let text = folder.write("text.txt", "Once upon a time there was a little girl.");
    for args in [
        &["info", "tales"][..],
        &["fit", "tales", "--board", "pi-5"],
        &["perplexity", &text, "tales"],
        &["bench", "tales", "-p", "1", "-n", "1", "-r", "1", "-t", "1"],
    ] {
        let (status, _, errors) = kinglet(&folder, args);
        assert_eq!(status, Some(0), "{args:?}: {errors}");
    }
    let (status, _, errors) = kinglet(&folder, &["info", "tales", "-m", "stories"]);
    assert_eq!(status, Some(2), "{errors}");
    assert!(errors.contains("cannot be used with"), "{errors}");
}

#[test]
fn a_path_that_is_there_goes_before_a_name() {
    let folder = folder("models-path-first");
    let here = Folder::new("models-path-first-here");
    here.write("tales", "not a model");
    let output = Command::new(env!("CARGO_BIN_EXE_kinglet"))
        .args(["digest", "-m", "tales"])
        .env("KINGLET_MODELS", &folder.0)
        .current_dir(&here.0)
        .output()
        .expect("it starts");
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2));
    assert!(errors.contains("tales: "), "{errors}");
}

#[test]
fn names_that_stand_for_nothing_say_what_is_near() {
    let folder = folder("models-near");
    let (status, _, errors) = kinglet(&folder, &["info", "-m", "taels"]);
    assert_eq!(status, Some(2));
    assert!(errors.contains("near is tales") && errors.contains("no such file"), "{errors}");
    let (_, _, errors) = kinglet(&folder, &["info", "-m", "sub/tales"]);
    assert!(errors.contains("cannot read sub/tales: No such file"), "{errors}");
    let (status, _, errors) = kinglet(&folder, &["rm", "--yes", "stories", "tale"]);
    assert_eq!(status, Some(2));
    assert!(errors.contains("near is tales"), "{errors}");
    // All names are looked up before anything is removed.
    assert!(fs::exists(folder.file("stories.kinglet")).expect("a folder"));
    for name in ["../models-near/tales", ".", "..", ""] {
        let (status, _, errors) = kinglet(&folder, &["rm", "--yes", name]);
        assert_eq!(status, Some(2), "{name}: {errors}");
    }
    assert!(fs::exists(folder.file("tales.kinglet")).expect("a folder"));
    #[cfg(feature = "pull")]
    {
        let (_, _, errors) = kinglet(&folder, &["info", "-m", "g1-0.1b"]);
        assert!(errors.contains("`kinglet pull g1-0.1b` gets it"), "{errors}");
        let (_, _, errors) = kinglet(&folder, &["info", "-m", "g1-0.1"]);
        assert!(errors.contains("`kinglet pull g1-0.1b` gets one"), "{errors}");
    }
}

#[test]
fn the_list_has_models_and_what_is_none() {
    let folder = folder("models-list");
    folder.write("broken.kinglet", "not a model");
    folder.write("notes.txt", "no model either");
    let (status, out, errors) = kinglet(&folder, &["list"]);
    assert_eq!(status, Some(0), "{errors}");
    let lines: Vec<_> = out.lines().collect();
    assert!(lines[1].starts_with("broken ") && lines[1].contains("not usable"), "{out}");
    assert!(lines[2].starts_with("stories ") && lines[2].contains("RWKV-7"), "{out}");
    assert!(lines[2].contains("1.79 MB") && lines[2].contains("203 kB"), "{out}");
    assert!(lines[3].starts_with("tales "), "{out}");
    let (_, out, _) = kinglet(&folder, &["list", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(json["models"].as_array().map(Vec::len), Some(3));
    assert_eq!(json["models"][1]["bytes"], 1_788_876);
    let empty = Folder::new("models-list-empty");
    let (status, out, _) = kinglet(&empty, &["list"]);
    assert_eq!(status, Some(0));
    assert!(out.starts_with("no models in "), "{out}");
}

#[test]
fn models_are_removed() {
    let folder = folder("models-rm");
    let (status, _, errors) = kinglet(&folder, &["rm", "tales"]);
    assert_eq!(status, Some(2));
    assert!(errors.contains("`--yes`"), "{errors}");
    // No prompt either, unless a model is chosen.
    let (status, _, errors) = kinglet(&folder, &["run", "tales"]);
    assert_eq!(status, Some(2));
    assert!(errors.contains("did you mean `-m tales`?"), "{errors}");
    let (status, out, _) = kinglet(&folder, &["run", "-m", "stories", "tales", "-n", "1"]);
    assert!(status == Some(0) && out.starts_with("tales"), "{out}");
    let (status, out, _) = kinglet(&folder, &["rm", "tales", "stories.kinglet", "-y"]);
    assert_eq!(status, Some(0));
    assert_eq!(out.lines().count(), 2, "{out}");
    assert!(folder.contents().is_empty());
}

#[test]
fn a_folder_hides_no_model() {
    let folder = folder("models-hidden");
    let here = Folder::new("models-hidden-here");
    fs::create_dir(here.file("tales")).expect("a folder");
    fs::create_dir(here.file("fables")).expect("a folder");
    let digest = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinglet"));
        command.args(["digest", "-m", name]).env("KINGLET_MODELS", &folder.0).current_dir(&here.0);
        command.output().expect("it starts")
    };
    assert_eq!(digest("tales").stdout, b"5774c7a9\n");
    let output = digest("fables");
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(errors.contains("cannot read fables"), "{errors}");
}

#[test]
fn a_name_that_is_given_twice_is_removed_once() {
    let folder = folder("models-rm-twice");
    let (status, out, errors) =
        kinglet(&folder, &["rm", "tales", "tales.kinglet", "tales", "--yes"]);
    assert_eq!((status, out.lines().count()), (Some(0), 1), "{errors}");
}

#[test]
fn a_download_is_removed_without_its_model() {
    let folder = folder("models-rm-part");
    folder.write("tales.download", "part");
    folder.write("tales.download.json", "{}");
    let (_, out, _) = kinglet(&folder, &["list"]);
    assert!(out.contains("`kinglet rm tales.download`"), "{out}");
    let (status, out, errors) = kinglet(&folder, &["rm", "tales.download", "-y"]);
    assert_eq!((status, out.lines().count()), (Some(0), 2), "{errors}");
    assert!(fs::exists(folder.file("tales.kinglet")).expect("a folder"));
    let (status, _, _) = kinglet(&folder, &["rm", "tales.download", "-y"]);
    assert_eq!(status, Some(2));
}
