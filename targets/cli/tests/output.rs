//! The files that commands write: never over what they read, whole or not at all, and whatever
//! becomes of the reader of the standard output.

mod support;

use std::fs;
use std::process::Command;

use support::{Folder, golden, refusal, stories, succeed};

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
    folder.write("tokenizer.json", "{}");
    folder.write("tokenizer_config.json", "{}");
    folder.write("rwkv_vocab_v20230424.txt", "1 'a' 1\n");
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

#[test]
fn a_folder_that_does_not_exist_is_named_before_any_work() {
    let folder = Folder::new("output-nowhere");
    let nowhere = folder.file("nowhere");
    let out = format!("{nowhere}/out");
    let tokens = folder.write("tk.json", "[0]");
    for args in [
        &["quantize", &stories("stories.pth"), "-o", &out][..],
        &["export", "-o", &out],
        &["logits", "--tokens", &tokens, "-o", &out],
        &["run", "Once", "-n", "1", "--save-state", &out],
    ] {
        // Nothing is written to the standard output either: not even the prompt.
        let error = refusal(args);
        assert!(error.contains(&format!("folder {nowhere} does not exist")), "{args:?}: {error}");
        assert!(error.starts_with("kinglet: cannot write ") || error.contains(&out), "{error}");
        assert!(!error.contains(".partial") && !error.contains("stories.pth"), "{error}");
    }
}

#[test]
fn an_export_is_quantized_to_the_same_model() {
    let folder = Folder::new("output-export");
    let [export, out] = ["weights.safetensors", "out.kinglet"].map(|name| folder.file(name));
    succeed(&["export", "-o", &export]);
    let said = succeed(&["quantize", &export, "-o", &out]);
    let hash = said.split("content hash ").nth(1).unwrap().lines().next().unwrap();
    assert!(succeed(&["info"]).contains(hash), "{said}");
    assert!(succeed(&["export", "--help"]).contains("ln0 is folded into emb.weight"));
}

/// Programs that write a file while nobody reads what they say.
#[cfg(unix)]
mod interrupted {
    use std::io::Read;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Child, ExitStatus, Stdio};
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    use super::*;

    /// Nothing takes longer.
    const PATIENCE: Duration = Duration::from_secs(120);

    /// The status of a program whose reader takes `taken` bytes and goes.
    fn read_briefly(args: &[&str], taken: usize) -> (Option<i32>, String) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kinglet"))
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut bytes = vec![0; taken];
        let mut stdout = child.stdout.take().expect("a pipe");
        stdout.read_exact(&mut bytes).expect("some output");
        drop(stdout);
        let output = child.wait_with_output().expect("the program ends");
        (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
    }

    #[test]
    fn a_state_is_saved_though_the_text_is_not_read() {
        let folder = Folder::new("output-pipe-state");
        let [read, unread] = ["read", "unread"].map(|name| folder.file(name));
        let run = |state| ["run", "--seed", "3", "-n", "300", "Hello", "--save-state", state];
        succeed(&run(&read));
        let (status, errors) = read_briefly(&run(&unread), 2);
        assert_eq!(status, Some(0), "{errors}");
        assert!(fs::read(read).unwrap() == fs::read(unread).expect("a state"));
        assert_eq!(folder.contents().len(), 2);
    }

    #[test]
    fn a_report_is_written_though_the_summary_is_not_read() {
        let folder = Folder::new("output-pipe-report");
        let [model, report] = ["model", "report"].map(|name| folder.file(name));
        let quantize = ["quantize", &stories("stories.pth"), "-o", &model, "--report", &report];
        let (status, errors) = read_briefly(&quantize, 1);
        assert_eq!(status, Some(0), "{errors}");
        assert_eq!(folder.contents().len(), 2);
        serde_json::from_slice::<serde_json::Value>(&fs::read(report).unwrap()).expect("JSON");
    }

    /// `kinglet run` with the file that it writes begun, stopped by an output that is not read
    /// and shorter than the prompt. It ignores `ignored`, whatever the tests are told to.
    fn waiting(folder: &Folder, ignored: Option<libc::c_int>) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinglet"));
        let set = move || {
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
                let action = if ignored == Some(signal) { libc::SIG_IGN } else { libc::SIG_DFL };
                // SAFETY: these two actions run no code of this process.
                unsafe { libc::signal(signal, action) };
            }
            Ok(())
        };
        // SAFETY: `set` calls nothing but `signal`, which a process may between `fork` and `exec`.
        let child = unsafe { command.pre_exec(set) }
            .args(["run", &"once\n".repeat(20_000), "--save-state", &folder.file("state")])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let start = Instant::now();
        while !is_begun(&child, folder) {
            assert!(start.elapsed() < PATIENCE, "no file was begun");
            sleep(Duration::from_millis(5));
        }
        child
    }

    /// Whether the process has begun its file: under a name in the folder or, on Linux, open
    /// in the folder without one (`O_TMPFILE`).
    fn is_begun(child: &Child, folder: &Folder) -> bool {
        let inside = folder.file("");
        let unnamed = fs::read_dir(format!("/proc/{}/fd", child.id())).is_ok_and(|open| {
            open.flatten()
                .filter_map(|entry| fs::read_link(entry.path()).ok())
                .any(|path| path.to_string_lossy().starts_with(&*inside))
        });
        unnamed || !folder.contents().is_empty()
    }

    fn end(mut child: Child) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("a child") {
                return status;
            }
            if start.elapsed() > PATIENCE {
                let _ = child.kill();
                panic!("the program does not end");
            }
            sleep(Duration::from_millis(5));
        }
    }

    fn send(signal: &str, child: &Child) {
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
    }

    #[test]
    fn a_signal_leaves_nothing_and_is_the_status() {
        for (signal, number) in [("INT", 2), ("TERM", 15), ("HUP", 1)] {
            let folder = Folder::new(&format!("output-signal-{signal}"));
            let mut child = waiting(&folder, None);
            send(signal, &child);
            if signal == "INT" {
                // `run` saves at the first one, which waits here for the output to be read.
                sleep(Duration::from_millis(300));
                let state = child.try_wait().expect("a child");
                assert!(state.is_none(), "ended without saving: {state:?}");
                send(signal, &child);
            }
            let status = end(child);
            assert_eq!(status.signal(), Some(number), "{signal}: {status}");
            assert_eq!(folder.contents(), [], "{signal}");
        }
    }

    #[test]
    fn an_ignored_signal_stays_ignored() {
        let folder = Folder::new("output-signal-ignored");
        let mut child = waiting(&folder, Some(libc::SIGHUP));
        send("HUP", &child);
        sleep(Duration::from_millis(300));
        assert!(child.try_wait().expect("a child").is_none(), "ended by a signal it was to ignore");
        assert!(is_begun(&child, &folder), "the file was given up");
        send("TERM", &child);
        assert_eq!(end(child).signal(), Some(15));
        assert_eq!(folder.contents(), []);
    }
}
