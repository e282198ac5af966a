//! One voice: the same flags, forms and defaults in every command.

mod support;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::{Folder, kinglet, refusal, stories, succeed};

fn json(args: &[&str]) -> Value {
    let text = succeed(args);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
}

/// A command that reads `input` on standard input.
fn with_input(args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kinglet"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("a pipe").write_all(input).expect("it reads");
    child.wait_with_output().expect("it ends")
}

/// The objects of `run --json`.
fn objects(args: &[&str]) -> Vec<Value> {
    let text = succeed(&[&["run", "--json"], args].concat());
    text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

#[test]
fn run_streams_json() {
    let objects = objects(&["Once upon", "-n", "9", "--seed", "3"]);
    let (first, rest) = objects.split_first().unwrap();
    let (done, tokens) = rest.split_last().unwrap();
    assert_eq!(*first, serde_json::json!({ "prompt": "Once upon" }));
    assert_eq!(tokens.len(), 9);
    let done = &done["done"];
    assert_eq!((&done["tokens"], &done["ended"]), (&9.into(), &"length".into()));
    assert_eq!((&done["seed"], &done["sampling"]["top_k"]), (&3.into(), &0.into()));
    let told: String = tokens.iter().map(|token| token["text"].as_str().unwrap()).collect();
    let told = format!("Once upon{told}{}\n", done["text"].as_str().unwrap());
    assert_eq!(told, succeed(&["run", "Once upon", "-n", "9", "--seed", "3"]));
    // Nothing was drawn.
    for none in [&["x", "-n", "0"][..], &["x", "-n", "2", "--temp", "0"]] {
        let done = objects_of(none);
        assert_eq!(done["seed"], Value::Null, "{none:?}");
    }
    let ended = objects_of(&["--temp", "0", "--seed", "1"]);
    assert_eq!(ended["ended"], "end of text");
    assert_eq!(objects_of(&["--temp", "0", "--stop", "time"])["ended"], "stop string");
}

fn objects_of(args: &[&str]) -> Value {
    objects(args).pop().expect("an object")["done"].take()
}

#[test]
fn every_command_has_json() {
    let folder = Folder::new("voice-json");
    let digest = json(&["digest", "--json"]);
    assert_eq!((&digest["digest"], &digest["tokens"]), (&"5774c7a9".into(), &64.into()));
    let [weights, logits, model] =
        ["w.safetensors", "l.npy", "m.kinglet"].map(|name| folder.file(name));
    assert_eq!(json(&["export", "--json", "-o", &weights])["output"], weights);
    let ids = folder.write("ids.json", succeed(&["tokenize", "--json", "Once"]));
    let written = json(&["logits", "--json", "--ids", &ids, "-o", &logits]);
    assert_eq!(written["shape"][1], 1024);
    let checkpoint = stories("stories.pth");
    let vocab = stories("stories.vocab.txt");
    let quantize = ["quantize", &checkpoint, "--vocab", &vocab, "-o", &model];
    let written = json(&[&quantize[..], &["--json"]].concat());
    assert_eq!(written["parameters"], json(&["info", "--json"])["parameters"]);
    assert_eq!(written["file_bytes"], std::fs::metadata(&model).unwrap().len());
    assert!(written["tensors"].as_array().unwrap().len() > 30);
    // What none of these is run for.
    let help = succeed(&["help"]);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    for command in commands.take_while(|line| !line.is_empty()) {
        let name = command.split_whitespace().next().expect("a name");
        // A server speaks JSON to those who ask it.
        if !["completions", "man", "serve", "help"].contains(&name) {
            assert!(succeed(&["help", name]).contains("--json"), "{name}");
        }
    }
}

#[test]
fn quiet_is_results_and_errors_alone() {
    let folder = Folder::new("voice-quiet");
    let [state, model] = ["s.state", "m.kinglet"].map(|name| folder.file(name));
    let checkpoint = stories("stories.pth");
    for args in [
        &["run", "-n", "2", "--save-state", &state][..],
        &["quantize", &checkpoint, "-o", &model],
        &["digest", "-n", "2"],
        &["tokenize", "Once"],
        &["bench", "-p", "1", "-n", "1", "-r", "1", "-t", "1"],
    ] {
        for args in [[&["-q"], args].concat(), [args, &["--quiet"]].concat()] {
            let output = kinglet(&args);
            assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {output:?}");
        }
    }
    assert!(succeed(&["quantize", &checkpoint, "-o", &model, "-q"]).is_empty());
    assert!(refusal(&["info", "-q", "-m", &folder.file("none")]).contains("cannot read"));
}

#[test]
fn standard_input_is_a_hyphen_everywhere() {
    let folder = Folder::new("voice-stdin");
    let text = "Once upon a time there was a little bird.";
    let file = folder.write("text.txt", text);
    for args in [&["perplexity"][..], &["run", "-n", "3", "--temp", "0", "-f"]] {
        let of_file = succeed(&[args, &[&file]].concat());
        let output = with_input(&[args, &["-"]].concat(), text.as_bytes());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), of_file, "{args:?}");
    }
    let [a, b] = ["a.npy", "b.npy"].map(|name| folder.file(name));
    let ids = folder.write("ids.json", "[0, 5, 7]");
    succeed(&["logits", "--ids", &ids, "-o", &a]);
    assert!(with_input(&["logits", "--ids", "-", "-o", &b], b"[0, 5, 7]").status.success());
    assert!(std::fs::read(&a).unwrap() == std::fs::read(&b).unwrap());
    for command in ["quantize", "state"] {
        let error = refusal(&[command, "-", "-o", &folder.file("m.kinglet")]);
        assert!(error.contains("standard input"), "{command}: {error}");
    }
    // What is a file alone says so.
    let checkpoint = stories("stories.pth");
    for args in [
        &["info", "-"][..],
        &["run", "--state", "-"],
        &["quantize", &checkpoint, "--vocab", "-", "-o", &folder.file("m.kinglet")],
        &["quantize", &checkpoint, "--lora", "-", "-o", &folder.file("m.kinglet")],
    ] {
        let error = refusal(args);
        assert!(error.contains("cannot come from standard input; give a file"), "{error}");
    }
    for args in [
        &["quantize", &checkpoint, "-o", "-"][..],
        &["export", "-o", "-"],
        &["logits", "--ids", &ids, "-o", "-"],
        &["run", "--save-state", "-"],
    ] {
        let error = refusal(args);
        assert!(error.contains("give a file, or ./- for one of that name"), "{error}");
    }
}

#[test]
fn what_keeps_a_model_in_memory_needs_its_file() {
    for option in ["--preload", "--lock"] {
        for command in ["run", "digest", "bench"] {
            let error = refusal(&[command, option]);
            assert!(error.contains(&format!("{option} is for a model file; give")), "{error}");
        }
    }
}

#[test]
fn the_prompt_can_be_left_out() {
    let args = ["run", "Once upon a time", "-n", "5", "--temp", "0"];
    let whole = succeed(&args);
    let rest = succeed(&[&args[..], &["--no-echo"]].concat());
    assert_eq!(format!("Once upon a time{rest}"), whole);
}

#[test]
fn earlier_spellings_still_work() {
    let folder = Folder::new("voice-aliases");
    let ids = folder.write("ids.json", "[0]");
    succeed(&["logits", "--tokens", &ids, "-o", &folder.file("l.npy")]);
    assert_eq!(succeed(&["digest", "--tokens", "3"]), succeed(&["digest", "-n", "3"]));
    succeed(&["bench", "--prompt", "1", "-n", "1", "-r", "1", "-t", "1", "--md"]);
}

#[test]
fn numbers_are_refused_in_one_voice() {
    for (args, said) in [
        (&["run", "--seed", "abc"][..], "--seed <N>': not a whole number from 0"),
        (&["run", "-n", "-5"], "--tokens <N>': not a whole number from 0"),
        (&["run", "-n", "1e6"], "--tokens <N>': not a whole number from 0"),
        (&["run", "-t", "1,2"], "--threads <N>': not a number from 1 to 256"),
        (&["run", "-t", "0"], "--threads <N>': not a number from 1 to 256"),
        (&["bench", "-t", "1,0"], "--threads <LIST>': not a number from 1 to 256"),
        (&["run", "--top-k", "-1"], "--top-k <K>': not a whole number from 0"),
        (&["run", "--top-p", "90"], "--top-p <P>': not in 0 to 1"),
        (&["run", "--temp", "-1"], "--temp <T>': below 0"),
        (&["run", "--temp", "warm"], "--temp <T>': not a number"),
        (&["digest", "-n", "0"], "--tokens <N>': 0 does nothing; give 1 or more"),
        (&["digest", "--batch", "0"], "--batch <N>': 0 does nothing; give 1 or more"),
        (&["bench", "-n", "0"], "--tokens <N>': 0 does nothing; give 1 or more"),
    ] {
        let error = refusal(args);
        assert!(error.contains(said), "{args:?}: {error}");
    }
}

#[test]
fn a_kernel_is_known_by_the_end_of_its_name() {
    let error = refusal(&["digest", "--kernel", "none"]);
    let known = error.split("machine has: ").nth(1).unwrap().trim();
    for name in known.split(", ") {
        let end = name.rsplit_once('-').map_or(name, |(_, end)| end);
        let ambiguous = known.split(", ").filter(|other| other.ends_with(end)).count() > 1;
        if !ambiguous {
            assert_eq!(succeed(&["digest", "--kernel", end]), "5774c7a9\n", "{end}");
        }
        assert_eq!(succeed(&["digest", "--kernel", name]), "5774c7a9\n", "{name}");
    }
    // No piece of a name that does not begin at a hyphen.
    assert!(refusal(&["digest", "--kernel", "alar"]).contains("not known"));
}

#[test]
fn info_tells_what_a_state_file_holds() {
    let folder = Folder::new("voice-info-state");
    let state = folder.file("s.state");
    succeed(&["run", "Once", "-n", "4", "--seed", "1", "--save-state", &state]);
    let told = json(&["info", "--json", "-m", &state]);
    assert_eq!(told["content_hash"], json(&["info", "--json"])["content_hash"]);
    assert_eq!((&told["state_type"], &told["sampler"]), (&"f32".into(), &true.into()));
    assert!(told["next_token"].is_u64());
    let text = succeed(&["info", "-m", &state]);
    assert!(text.contains("goes on with token") && text.contains("sampler"), "{text}");
    let mut bytes = std::fs::read(&state).unwrap();
    bytes[100] ^= 1;
    let damaged = folder.write("d.state", bytes);
    assert!(refusal(&["info", "-m", &damaged]).contains("the state is damaged"));
}

#[test]
fn quantize_says_what_matters_and_what_comes_next() {
    let folder = Folder::new("voice-quantize");
    let model = folder.file("m.kinglet");
    let (checkpoint, vocab) = (stories("stories.pth"), stories("stories.vocab.txt"));
    let args = ["quantize", &checkpoint, "--vocab", &vocab, "-o", &model];
    let output = kinglet(&args);
    let [said, noted] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(said.lines().count() < 10 && !said.contains("blocks.0.att.key"), "{said}");
    assert!(noted.contains(&format!("next: kinglet run -m {model}")), "{noted}");
    // One count, in one form.
    let info = succeed(&["info", "-m", &model]);
    let count = info.lines().find(|line| line.ends_with(" parameters")).unwrap().trim();
    assert!(said.contains(count), "{count}: {said}");
    let table = succeed(&[&args[..], &["-v"]].concat());
    assert!(table.contains("blocks.0.att.key.weight"), "{table}");
    let error = refusal(&["quantize", &model, "-o", &folder.file("b.kinglet")]);
    assert!(error.contains("a model file of kinglet already"), "{error}");
    // A file that is in the place of two is named once.
    let pth = stories("stories.pth");
    let error = refusal(&["quantize", &pth, "--tuned-state", &pth, "-o", &folder.file("c")]);
    assert_eq!(error.matches("stories.pth").count(), 1, "{error}");
}

#[test]
fn a_model_file_states_how_it_is_best_drawn_from() {
    let folder = Folder::new("voice-sampling");
    let (checkpoint, vocab) = (stories("stories.pth"), stories("stories.vocab.txt"));
    let [plain, stated] = ["plain.kinglet", "stated.kinglet"].map(|name| folder.file(name));
    succeed(&["quantize", &checkpoint, "--vocab", &vocab, "-o", &plain]);
    let options = ["--temp", "0.9", "--top-p", "0.95", "--top-k", "40"];
    let quantize = ["quantize", &checkpoint, "--vocab", &vocab, "-o", &stated];
    succeed(&[&quantize[..], &options].concat());
    let tell = |model: &str, more: &[&str]| {
        succeed(&[&["run", "-m", model, "-n", "60", "--seed", "5"], more].concat())
    };
    assert_eq!(tell(&stated, &[]), tell(&plain, &options));
    assert_ne!(tell(&stated, &[]), tell(&plain, &[]));
    // What is given counts more.
    assert_eq!(tell(&stated, &["--temp", "0"]), tell(&plain, &["--temp", "0"]));
    let info = json(&["info", "--json", "-m", &stated]);
    assert_eq!(info["sampling"]["temperature"], 0.9);
    assert_eq!(info["sampling_stated"], true);
    // The weights are the same: so are hash and digest.
    let hash = |model: &str| json(&["info", "--json", "-m", model])["content_hash"].clone();
    assert_eq!(hash(&stated), hash(&plain));
    assert_eq!(succeed(&["digest", "-m", &stated]), "5774c7a9\n");
    let refused = refusal(&[&quantize[..], &["--temp", "0.33333334"]].concat());
    assert!(refused.contains("at most 7 digits"), "{refused}");
}

#[test]
fn a_summary_has_the_flags_that_give_the_text_again() {
    let first = kinglet(&["run", "-n", "30"]);
    let summary = String::from_utf8(first.stderr).unwrap();
    let flags = summary.trim_end().trim_end_matches(']').split(" · ").last().unwrap();
    let flags: Vec<_> = flags.split(' ').collect();
    assert!(flags.contains(&"--seed") && flags.contains(&"--temp"), "{summary}");
    let again = kinglet(&[&["run", "-n", "30"], &flags[..]].concat());
    assert_eq!(first.stdout, again.stdout, "{summary}");
    let nothing = kinglet(&["run", "-n", "0"]);
    let summary = String::from_utf8(nothing.stderr).unwrap();
    assert!(!summary.contains("--seed") && !summary.contains("0 tokens/s"), "{summary}");
}

#[test]
fn the_status_is_documented() {
    let help = succeed(&["--help"]);
    assert!(help.contains("Status:") && help.contains("the model does not fit"), "{help}");
    assert!(succeed(&["bench", "--help"]).contains("ratio"), "the columns have a legend");
}

#[cfg(feature = "manual")]
#[test]
fn shells_and_man_know_the_command_line() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = succeed(&["completions", shell]);
        assert!(script.contains("perplexity") && script.contains("save-state"), "{shell}");
    }
    let folder = Folder::new("voice-man");
    succeed(&["man", &folder.file("")]);
    let pages = folder.contents();
    let page = |name: &str| {
        let page = pages.iter().find(|(path, _)| path.file_name().unwrap() == name);
        String::from_utf8(page.unwrap_or_else(|| panic!("no {name}")).1.clone()).unwrap()
    };
    assert!(page("kinglet.1").contains("Status:"));
    let run = page("kinglet-run.1");
    assert!(run.contains("save\\-state") && run.contains("kinglet\\-run"), "{run}");
    succeed(&["man", &folder.file("new/man1")]);
    assert!(std::fs::exists(folder.file("new/man1/kinglet.1")).unwrap());
    let file = folder.write("file", "");
    assert!(refusal(&["man", &file]).contains("cannot make the folder"));
}

#[cfg(not(feature = "quantizer"))]
#[test]
fn what_a_build_leaves_out_is_said() {
    for command in ["quantize", "state", "export", "pull", "list", "rm"] {
        let error = refusal(&[command, "a", "--json"]);
        assert!(error.contains("Left out of this build: `quantize`"), "{command}: {error}");
    }
    #[cfg(not(feature = "chat"))]
    assert!(refusal(&["chat", "g1-0.1b"]).contains("`chat`"));
    #[cfg(not(feature = "manual"))]
    assert!(refusal(&["man", "folder"]).contains("`completions`, `man`"));
    #[cfg(not(feature = "decay"))]
    assert!(refusal(&["info", "--decay"]).contains("`info --decay` is left out"));
    #[cfg(not(feature = "built-in-model"))]
    assert!(!succeed(&["run", "--help"]).contains("tells a story"));
}

#[test]
fn perplexity_counts_one_document() {
    let folder = Folder::new("voice-plural");
    let one = folder.write("one.txt", "Once upon a time");
    let two = folder.write("two.txt", "Once\n<|endoftext|>\nTwice");
    assert!(succeed(&["perplexity", &one]).starts_with("1 document, "));
    assert!(succeed(&["perplexity", &two]).starts_with("2 documents, "));
}
