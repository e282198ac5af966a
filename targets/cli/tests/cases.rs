//! What users do and what others write: inputs that once ended in silence, in a panic, or without
//! what was asked for. The files of a case lie in `data/<case>`.

mod support;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use support::{Folder, kinglet, refusal, stories, succeed};

fn case(file: &str) -> String {
    format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"))
}

/// A file that the workspace's tests have.
fn shared(file: &str) -> String {
    format!("{}/../../tests/data/cases/{file}", env!("CARGO_MANIFEST_DIR"))
}

/// The model of a case's checkpoint.
fn quantized(folder: &Folder, name: &str, vocab: Option<&str>) -> String {
    let (checkpoint, model) = (case(&format!("{name}/model.pth")), folder.file("m.kinglet"));
    let mut args = vec!["quantize", &checkpoint, "-o", &model, "-q"];
    let vocab = vocab.map(|vocab| match vocab {
        "bytes" => vocab.to_owned(),
        file => case(&format!("{name}/{file}")),
    });
    if let Some(vocab) = &vocab {
        args.extend(["--vocab", vocab]);
    }
    succeed(&args);
    model
}

#[test]
fn a_text_ends_at_a_stop_string_that_is_not_shown() {
    let folder = Folder::new("no-stop-string");
    let model = quantized(&folder, "no-stop-string", Some("vocab.txt"));
    let run = |more: &[&str]| {
        let args = ["run", "-m", &model, "Assistant:", "-n", "12", "--temp", "0"];
        succeed(&[&args[..], more].concat())
    };
    assert_eq!(run(&["--stop", r"\n\n"]), "Assistant: yes\n");
    assert_eq!(run(&["--stop", "never", "--stop", "User:"]), "Assistant: yes\n\n\n");
    assert_eq!(run(&["--stop", "es"]), "Assistant: y\n");
    // What began a stop and did not become one is shown.
    assert!(run(&["--stop", r"\n\nUser; "]).starts_with("Assistant: yes\n\nUser:"));
    let error = refusal(&["run", "--stop", ""]);
    assert!(error.contains("an empty text stops everything"), "{error}");
}

/// The model of that case as llama.cpp's converter writes an RWKV-7, with its vocabulary and
/// `eot_token_id`, the blank line.
#[test]
fn the_end_of_turn_of_a_gguf_file_ends_a_text() {
    let folder = Folder::new("end-of-turn");
    let (gguf, model) = (case("end-of-turn/model.gguf"), folder.file("m.kinglet"));
    succeed(&["quantize", &gguf, "-o", &model, "-q"]);
    let args = ["run", "-m", &model, "Assistant:", "-n", "12", "--temp", "0"];
    assert_eq!(succeed(&args), "Assistant: yes\n");
    let past = succeed(&[&args[..], &["--ignore-turns"]].concat());
    assert!(past.starts_with("Assistant: yes\n\nUser:"), "{past}");
    // A state goes on after the turn.
    let state = folder.file("s.state");
    succeed(&[&args[..], &["--save-state", &state]].concat());
    let rest = ["run", "-m", &model, "--state", &state, "-n", "1", "--temp", "0"];
    assert_eq!(succeed(&rest), "User:\n");
}

#[test]
fn base_and_adapter_in_one_file_need_their_alpha() {
    let folder = Folder::new("base-and-lora");
    let full = shared("base-and-lora-in-one/full.pth");
    let (model, same) = (folder.file("m.kinglet"), folder.file("same.kinglet"));
    let error = refusal(&["quantize", &full, "-o", &model]);
    assert!(error.contains("rank 4 in one") && error.contains("`--alpha N`"), "{error}");
    let hash = |args: &[&str]| {
        let said = succeed(&[&["quantize"], args].concat());
        said.split("content hash ").nth(1).unwrap().lines().next().unwrap().to_owned()
    };
    let lora = shared("lora.pth");
    assert_eq!(
        hash(&[&full, "--alpha", "8", "-o", &model]),
        hash(&[&shared("base.pth"), "--lora", &lora, "--alpha", "8", "-o", &same]),
    );
}

#[test]
fn a_list_of_tokens_may_begin_with_a_byte_order_mark() {
    let folder = Folder::new("byte-order-mark");
    let (tokens, out) = (shared("byte-order-mark/tokens.json"), folder.file("logits.npy"));
    assert!(fs::read(&tokens).unwrap().starts_with(b"\xEF\xBB\xBF"));
    succeed(&["logits", "--tokens", &tokens, "-o", &out]);
}

#[test]
fn a_state_of_another_version_is_noticed() {
    let folder = Folder::new("other-state");
    let (base, model) = (shared("base.pth"), folder.file("m.kinglet"));
    let state = folder.copy(&shared("state-st-orientation/state.st"), "rwkv-x060-chat.state");
    let output = Command::new(env!("CARGO_BIN_EXE_kinglet"))
        .args(["quantize", &base, "--state", &state, "-o", &model])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("says that it is one of RWKV-6"), "{said}");
}

#[test]
fn a_state_at_a_stop_goes_on_after_it() {
    let folder = Folder::new("state-at-a-stop");
    let model = quantized(&folder, "no-stop-string", Some("vocab.txt"));
    let state = folder.file("s.state");
    let args = ["run", "-m", &model, "--temp", "0"];
    let all = succeed(&[&args[..], &["Assistant:", "-n", "12"]].concat());
    let more = ["Assistant:", "-n", "12", "--stop", r"\n\n", "--save-state", &state];
    succeed(&[&args[..], &more].concat());
    let rest = succeed(&[&args[..], &["--state", &state, "-n", "10"]].concat());
    assert_eq!(format!("Assistant: yes\n\n{rest}"), all);
}

#[test]
fn pieces_of_a_text_are_that_text_also_inside_a_character() {
    let folder = Folder::new("character-cut");
    let model = quantized(&folder, "character-cut-at-n", Some("vocab.txt"));
    let state = folder.file("s.state");
    let whole = succeed(&["run", "-m", &model, "a", "-n", "13", "--temp", "0"]);
    succeed(&["run", "-m", &model, "a", "-n", "0", "--save-state", &state]);
    let mut pieces = "a".to_owned();
    for _ in 0..13 {
        let args = ["run", "-m", &model, "--state", &state, "-n", "1", "--temp", "0"];
        let piece = succeed(&[&args[..], &["--save-state", &state]].concat());
        pieces.push_str(piece.strip_suffix('\n').unwrap());
    }
    assert_eq!(format!("{pieces}\n"), whole);
    assert!(whole.contains('€') && whole.contains('😀'), "{whole}");
}

#[test]
fn a_saved_state_goes_on_with_the_same_draws_and_penalties() {
    let folder = Folder::new("same-draws");
    let state = folder.file("s.state");
    let options = ["run", "--temp", "1.5", "--top-p", "1", "--frequency", "0.7"];
    let seeded = [&options[..], &["--seed", "5"]].concat();
    let whole = succeed(&[&seeded[..], &["Once", "-n", "24"]].concat());
    let first = succeed(&[&seeded[..], &["Once", "-n", "9", "--save-state", &state]].concat());
    let rest = succeed(&[&options[..], &["--state", &state, "-n", "15"]].concat());
    let joined = format!("{}{rest}", first.strip_suffix('\n').unwrap());
    assert_eq!(joined, whole);
    // Another seed is another text.
    let other = succeed(&[&options[..], &["--state", &state, "-n", "15", "--seed", "6"]].concat());
    assert_ne!(other, rest);
}

#[test]
fn bytes_go_in_and_come_out_of_a_vocabulary_of_bytes() {
    let folder = Folder::new("byte-model");
    let model = quantized(&folder, "byte-model-text-only", Some("bytes"));
    let prompt = fs::read(case("byte-model-text-only/prompt.bin")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_kinglet"))
        .args(["run", "-m", &model, "-", "-n", "4", "--temp", "0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&prompt).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, [&prompt[..], b"\x80\xFF\x00\x0A"].concat());
}

#[test]
fn text_becomes_tokens_and_tokens_text() {
    let ids = succeed(&["tokenize", "Lily and Tom", "--json"]);
    assert_eq!(succeed(&["tokenize", "--decode", &ids]), "Lily and Tom");
    let lines = succeed(&["tokenize", "Lily and Tom"]);
    let first = lines.lines().next().unwrap();
    assert!(first.trim_start().starts_with(&ids[1..ids.find(',').unwrap()]), "{lines}");
    assert!(refusal(&["tokenize", "-d", "x"]).contains("no token id"));
    assert!(refusal(&["tokenize", "-d", "999999"]).contains("has no text"));
}

#[test]
fn a_model_file_is_no_prompt() {
    let error = refusal(&["run", &stories("stories.kinglet"), "-n", "3"]);
    assert!(error.contains("did you mean `-m "), "{error}");
    let error = refusal(&["run", "world.kinglet", "-n", "3"]);
    assert!(error.contains("names a model file, and there is none; see `-m MODEL`"), "{error}");
    #[cfg(feature = "pull")]
    {
        let error = refusal(&["run", "g1-0.1b", "-n", "3"]);
        assert!(error.contains("the name of a model; did you mean `-m g1-0.1b`?"), "{error}");
    }
}

#[test]
fn a_text_file_is_a_prompt_only_where_it_is_asked_for() {
    let folder = Folder::new("prompt-file");
    let file = folder.write("prompt.txt", b"Once upon a time");
    let output = kinglet(&["run", &file, "-n", "1"]);
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("--file {file} takes that file's")), "{said}");
}

#[test]
fn each_version_has_its_own_ranks() {
    let folder = Folder::new("info-ranks");
    let model = quantized(&folder, "info-ranks", None);
    let text = succeed(&["info", "-m", &model]);
    assert!(text.contains("ranks: decay 8, token shift 4\n"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&succeed(&["info", "-m", &model, "--json"])).unwrap();
    assert_eq!(json["ranks"], serde_json::json!({ "decay": 8, "shift": 4 }));
}

#[test]
fn forged_models_are_refused_when_they_are_opened() {
    let folder = Folder::new("forged");
    for (file, said) in [
        ("aliased-tensors/alias1024.kinglet.gz", "overlaps the tensor before it"),
        (
            "start-state-not-finite/storm-1.kinglet.gz",
            "start state: has a value that is not finite",
        ),
        (
            "start-state-not-finite/storm-2.kinglet.gz",
            "start state: has a value that is not finite",
        ),
    ] {
        let unpacked = Command::new("gzip").args(["-dc", &case(file)]).output().unwrap();
        let model = folder.write("forged.kinglet", unpacked.stdout);
        for command in ["info", "digest", "fit"] {
            let error = refusal(&[command, "-m", &model]);
            assert!(error.contains(said), "{file}: {error}");
        }
    }
    let model = case("perplexity-index/smallvocab.kinglet");
    for text in ["p1.txt", "p33.txt"] {
        let text = case(&format!("perplexity-index/{text}"));
        let error = refusal(&["perplexity", "-m", &model, &text]);
        assert!(error.contains("257 ids, more than the model's vocabulary of 40"), "{error}");
    }
}

#[test]
fn verify_computes_the_content_hash() {
    let model = case("content-hash-unverified/good.kinglet");
    let error = refusal(&["info", "-m", &model, "--verify"]);
    assert!(error.contains("the weights have the content hash"), "{error}");
    let stories = stories("stories.kinglet");
    succeed(&["info", "-m", &stories, "--verify"]);
}

#[test]
fn files_of_another_kind_are_not_replaced() {
    let folder = Folder::new("foreign");
    let notes = folder.write("notes.txt", "do not lose");
    let error = refusal(&["run", "-n", "1", "--save-state", &notes]);
    assert!(error.contains("not a state file") && error.contains("--force"), "{error}");
    assert_eq!(fs::read_to_string(&notes).unwrap(), "do not lose");
    succeed(&["run", "-n", "1", "--save-state", &notes, "--force"]);
    // A state may be taken further, and an empty file has nothing to lose.
    succeed(&["run", "-n", "1", "--state", &notes, "--save-state", &notes]);
    let empty = folder.write("empty", "");
    succeed(&["run", "-n", "1", "--save-state", &empty]);
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, Instant};

    use super::*;

    /// What a command says and its status, with standard output on a device that is always full.
    fn on_a_full_disk(args: &[&str]) -> (Option<i32>, String) {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output =
            Command::new(env!("CARGO_BIN_EXE_kinglet")).args(args).stdout(full).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_standard_output_is_one_line_and_no_panic() {
        let folder = Folder::new("full-output");
        let text = folder.write("text.txt", "Once upon a time");
        let model = folder.file("m.kinglet");
        let checkpoint = case("no-stop-string/model.pth");
        for args in [
            &["info"][..],
            &["info", "--json"],
            &["fit"],
            &["fit", "--json", "--board", "rp2350"],
            &["digest", "--tokens", "1"],
            &["perplexity", &text],
            &["run", "-n", "1"],
            &["tokenize", "Lily"],
            &["tokenize", "-d", "7"],
            &["bench", "-p", "1", "-n", "1", "-r", "1", "-t", "1"],
            &["quantize", &checkpoint, "-o", &model],
        ] {
            let (code, said) = on_a_full_disk(args);
            assert_eq!(code, Some(2), "{args:?}: {said}");
            assert!(said.contains("cannot write to standard output"), "{args:?}: {said}");
            assert!(!said.contains("panicked"), "{args:?}: {said}");
        }
    }

    fn mode(path: &str) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_state_begins_private_and_keeps_its_permissions() {
        let folder = Folder::new("state-mode");
        let state = folder.file("s.state");
        succeed(&["run", "Once", "-n", "1", "--save-state", &state]);
        assert_eq!(mode(&state), 0o600);
        fs::set_permissions(&state, fs::Permissions::from_mode(0o640)).unwrap();
        succeed(&["run", "--state", &state, "-n", "1", "--save-state", &state]);
        assert_eq!(mode(&state), 0o640);
        fs::set_permissions(&state, fs::Permissions::from_mode(0o444)).unwrap();
        let error = refusal(&["run", "-n", "1", "--save-state", &state]);
        assert!(error.contains("read-only"), "{error}");
    }

    #[test]
    fn no_signal_leaves_a_partial_file() {
        let folder = Folder::new("partial-files");
        let state = folder.file("s.state");
        // A text that takes longer to be read than any signal takes to come.
        let texts = Folder::new("partial-files-prompt");
        let prompt = texts.file("long.txt");
        fs::write(&prompt, "Once upon a time there was a cat. ".repeat(100_000)).unwrap();
        // HUP is ignored under `nohup`, and has its own test with the files of `output.rs`; INT and
        // QUIT are where a shell without job control put the test into the background.
        for signal in ["USR2", "ALRM", "USR1", "KILL", "TERM"] {
            let mut child = Command::new(env!("CARGO_BIN_EXE_kinglet"))
                .args(["run", "-n", "0", "-f", &prompt])
                .args(["--save-state", &state])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(150));
            let id = child.id().to_string();
            Command::new("kill").args(["-s", signal, &id]).status().unwrap();
            assert!(!child.wait().unwrap().success(), "{signal}");
            assert_eq!(folder.contents(), [], "{signal}");
        }
    }

    #[test]
    fn the_first_interrupt_saves_the_state() {
        let folder = Folder::new("interrupt");
        let state = folder.file("s.state");
        let child = Command::new(env!("CARGO_BIN_EXE_kinglet"))
            .args(["run", "--temp", "5", "--top-p", "1", "--seed", "3", "-n", "10000000"])
            .args(["--save-state", &state])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(300));
        Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status().unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && said.contains("tokens/s"), "{said}");
        succeed(&["run", "--state", &state, "-n", "3"]);
    }

    /// A checkpoint of zeros, RWKV-4, of which the file system keeps the header alone.
    fn zeros(folder: &Folder, width: usize, vocab: usize) -> String {
        let mut header = serde_json::Map::new();
        let mut end = 0u64;
        let mut add = |name: &str, dims: &[usize]| {
            let start = end;
            end += 4 * dims.iter().product::<usize>() as u64;
            let entry =
                serde_json::json!({ "dtype": "F32", "shape": dims, "data_offsets": [start, end] });
            header.insert(name.to_owned(), entry);
        };
        add("emb.weight", &[vocab, width]);
        add("head.weight", &[vocab, width]);
        for norm in ["blocks.0.ln0", "blocks.0.ln1", "blocks.0.ln2", "ln_out"] {
            add(&format!("{norm}.weight"), &[width]);
            add(&format!("{norm}.bias"), &[width]);
        }
        for name in ["att.time_decay", "att.time_first", "att.time_mix_k", "att.time_mix_v"] {
            add(&format!("blocks.0.{name}"), &[width]);
        }
        for name in ["att.time_mix_r", "ffn.time_mix_k", "ffn.time_mix_r"] {
            add(&format!("blocks.0.{name}"), &[width]);
        }
        for name in ["att.key", "att.value", "att.receptance", "att.output", "ffn.receptance"] {
            add(&format!("blocks.0.{name}.weight"), &[width, width]);
        }
        add("blocks.0.ffn.key.weight", &[4 * width, width]);
        add("blocks.0.ffn.value.weight", &[width, 4 * width]);
        let header = serde_json::to_vec(&header).unwrap();
        let path = folder.file("zeros.safetensors");
        let mut file = fs::File::create(&path).unwrap();
        file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
        file.write_all(&header).unwrap();
        file.set_len(8 + header.len() as u64 + end).unwrap();
        path
    }

    #[test]
    fn scarce_memory_is_a_message_and_leaves_nothing() {
        let folder = Folder::new("scarce-memory");
        let checkpoint = zeros(&folder, 768, 16384);
        let out = folder.file("out.kinglet");
        let mut refused = 0;
        // In KiB; the checkpoint's map alone takes 133 MB of the address space.
        for limit in [140_000, 150_000, 170_000, 200_000, 2_000_000] {
            let limited = format!("ulimit -v {limit} && exec \"$@\"");
            let output = Command::new("sh")
                .args(["-c", &limited, "sh", env!("CARGO_BIN_EXE_kinglet"), "quantize"])
                .args([&checkpoint, "-o", &out, "-q"])
                .output()
                .unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            if output.status.success() {
                fs::remove_file(&out).unwrap();
                continue;
            }
            refused += 1;
            assert!(said.contains("memory"), "{limit}: {said}");
            assert!(!said.contains("panicked"), "{limit}: {said}");
            let left = fs::read_dir(folder.file("")).unwrap().count();
            assert_eq!(left, 1, "{limit}: more than the checkpoint is there");
        }
        assert!((1..5).contains(&refused), "{refused} of 5 had too little memory");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn refused_threads_make_fewer_threads() {
        use std::os::unix::process::CommandExt;
        let folder = Folder::new("refused-threads");
        let checkpoint = case("no-stop-string/model.pth");
        let out = folder.file("out.kinglet");
        fs::set_permissions(folder.file(""), fs::Permissions::from_mode(0o777)).unwrap();
        for limit in [1, 2, 3, 4, 5] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_kinglet"));
            command.args(["quantize", &checkpoint, "-o", &out, "-q", "--force"]);
            // SAFETY: between fork and exec only system calls are made, on a local value.
            unsafe {
                // The limit does not count for the superuser, who becomes nobody.
                if libc::geteuid() == 0 {
                    command.uid(65534);
                }
                command.pre_exec(move || {
                    let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
                    match libc::setrlimit(libc::RLIMIT_NPROC, &limit) {
                        0 => Ok(()),
                        _ => Err(std::io::Error::last_os_error()),
                    }
                });
            }
            let output = command.output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(!said.contains("panicked"), "{limit}: {said}");
            let told = output.status.success()
                || output.status.code() == Some(2) && said.contains("thread");
            assert!(told, "{limit}: {said}");
        }
    }

    #[test]
    fn no_file_is_read_without_bound_or_waited_for() {
        let folder = Folder::new("unbounded");
        let (huge, pipe) = (folder.file("huge"), folder.file("pipe"));
        fs::File::create(&huge).unwrap().set_len(3 << 30).unwrap();
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let start = Instant::now();
        let checkpoint = case("no-stop-string/model.pth");
        let output = folder.file("out");
        for file in [huge.as_str(), &pipe, "/dev/zero"] {
            for args in [
                &["run", "x", "-n", "1", "--state", file][..],
                &["logits", "--tokens", file, "-o", &output],
                &["perplexity", file],
                &["quantize", &checkpoint, "--vocab", file, "-o", &output],
                &["info", "-m", file],
            ] {
                let said = refusal(args);
                assert!(said.contains(file), "{args:?}: {said}");
            }
        }
        assert!(start.elapsed() < Duration::from_secs(60), "it was read or waited for");
    }

    #[test]
    fn a_model_that_is_cut_short_while_it_runs_is_a_message() {
        let folder = Folder::new("cut-short");
        let model = folder.copy(&stories("stories.kinglet"), "m.kinglet");
        let child = Command::new(env!("CARGO_BIN_EXE_kinglet"))
            .args(["digest", "-m", &model, "--tokens", "10000000"])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(300));
        fs::File::options().write(true).open(&model).unwrap().set_len(0).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("cut short while it was read"), "{said}");
    }

    #[test]
    fn a_model_that_changes_while_it_runs_does_not_panic() {
        let folder = Folder::new("changes");
        let model = folder.copy(&stories("stories.kinglet"), "m.kinglet");
        let mut child = Command::new(env!("CARGO_BIN_EXE_kinglet"))
            .args(["digest", "-m", &model, "--tokens", "10000000"])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let len = fs::metadata(&model).unwrap().len() as usize;
        let mut file = fs::File::options().write(true).open(&model).unwrap();
        file.write_all(&vec![0xA5; len]).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("panicked"), "{said}");
    }
}
