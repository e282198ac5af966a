//! Conversations with the built-in model, on a terminal of their own and through pipes.
#![cfg(unix)]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rexpect::process::Signal;
use rexpect::session::{Options, PtySession, spawn_with_options};

use support::{Folder, stories};

/// What a line editor writes when it begins to read, and when it has read.
const READING: &str = "\u{1b}[?2004h";
const READ: &str = "\u{1b}[?2004l";

/// The program with folders of its own.
fn chat(folder: &Folder, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinglet"));
    command.arg("chat").args(args);
    for (variable, name) in [
        ("XDG_DATA_HOME", "data"),
        ("XDG_STATE_HOME", "state"),
        ("XDG_CACHE_HOME", "cache"),
        ("HOME", "home"),
    ] {
        command.env(variable, folder.file(name));
    }
    for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "VISUAL", "EDITOR"] {
        command.env_remove(variable);
    }
    command.env("TERM", "xterm");
    // A shell without job control lets what it puts into the background ignore the signal.
    // SAFETY: `signal` may be called between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            Ok(())
        });
    }
    command
}

/// What a chat whose input is no terminal answers.
fn piped(folder: &Folder, args: &[&str], input: &str) -> Output {
    let mut command = chat(folder, args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("its input");
    // One that refuses its options may end before it reads.
    if let Err(error) = stdin.write_all(input.as_bytes()) {
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    }
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

#[track_caller]
fn text(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// What the program says when it refuses to talk.
#[track_caller]
fn refusal(folder: &Folder, args: &[&str]) -> String {
    let output = piped(folder, args, "Hello\n");
    assert_eq!(output.status.code(), Some(2), "{args:?} was accepted");
    assert!(output.stdout.is_empty(), "{args:?} answered");
    String::from_utf8(output.stderr).expect("UTF-8")
}

/// A chat on a terminal.
struct Terminal(PtySession);

impl Terminal {
    fn new(folder: &Folder, args: &[&str]) -> Self {
        Self::with(chat(folder, args))
    }

    fn with(command: Command) -> Self {
        Self::with_greeting(command).0
    }

    /// The terminal, and what it says first.
    fn with_greeting(command: Command) -> (Self, String) {
        let options = Options::new().timeout_ms(Some(30_000));
        let mut terminal = Self(spawn_with_options(command, options).expect("a terminal"));
        let greeting = terminal.wait();
        (terminal, greeting)
    }

    /// Waits until the program reads the next entry; what it wrote until then.
    #[track_caller]
    fn wait(&mut self) -> String {
        let written = self.0.exp_string(READING).expect("a prompt");
        written.replace('\r', "")
    }

    /// Enters a line; what it answers.
    #[track_caller]
    fn enter(&mut self, line: &str) -> String {
        self.begin(line);
        self.wait()
    }

    /// Enters a line, whose answer may be under way then.
    #[track_caller]
    fn begin(&mut self, line: &str) {
        self.0.send(&format!("{line}\r")).expect("a line");
        self.0.flush().expect("a line");
        self.0.exp_string(READ).expect("the line is read");
        self.0.exp_string("\n").expect("the line's end");
    }

    fn signal(&mut self, signal: Signal) {
        self.0.process_mut().signal(signal).expect("a signal");
    }

    /// Enters a line, lets the program run for a moment at a time until the answer has begun, and
    /// leaves it stopped; what of the answer it has written. A fast machine has the whole answer
    /// sooner than anybody looks.
    fn freeze_in_answer(&mut self, line: &str) -> String {
        self.0.send(&format!("{line}\r")).expect("a line");
        self.0.flush().expect("a line");
        let mut written = String::new();
        loop {
            self.signal(Signal::SIGCONT);
            sleep(Duration::from_millis(1));
            self.signal(Signal::SIGSTOP);
            sleep(Duration::from_millis(2));
            while let Some(c) = self.0.try_read() {
                written.push(c);
            }
            let after = written.split_once(READ).and_then(|(_, after)| after.split_once('\n'));
            if let Some((_, answer)) = after
                && answer.contains(|c: char| c.is_ascii_lowercase())
            {
                return answer.to_owned();
            }
        }
    }

    /// Ends with the key for the end of the input.
    fn end(mut self) -> String {
        self.0.send_control('d').expect("a key");
        self.0.exp_eof().expect("the end")
    }
}

/// Text without white space, which is shown in other ways on a terminal.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Slow enough to be stopped in the middle of an answer.
const SLOW: [&str; 8] = ["--kernel", "scalar", "--threads", "1", "--seed", "7", "--temp", "0.7"];

#[test]
fn a_chat_that_is_killed_goes_on_as_one_that_is_not() {
    let first = ["Once upon a time there was a", "The cat saw a dog.", "One day"];
    let talk = |folder: &Folder| {
        let mut terminal = Terminal::new(folder, &[&SLOW[..], &["-n", "12"]].concat());
        let told = first.map(|line| terminal.enter(line));
        assert_ne!(told[0], "");
        let undone = terminal.enter("/undo");
        assert!(undone.contains("2 turns") && undone.contains(first[1]), "{undone}");
        assert!(terminal.enter("/save pets").contains("kept as pets"));
        assert_ne!(terminal.enter("Then they"), "");
        terminal.enter("/set tokens 300");
        (terminal, told)
    };
    let uninterrupted = Folder::new("chat-uninterrupted");
    let (mut terminal, told) = talk(&uninterrupted);
    let expected = terminal.enter("The next day");
    assert!(expected.len() > 100, "{expected}");
    let after = terminal.enter("/set tokens 20") + &terminal.enter("And");
    assert!(terminal.end().contains("--resume"));

    let killed = Folder::new("chat-killed");
    let (mut terminal, same) = talk(&killed);
    assert_eq!(told, same);
    terminal.freeze_in_answer("The next day");
    terminal.0.process_mut().kill(Signal::SIGKILL).expect("it is killed");

    let mut terminal = Terminal(
        spawn_with_options(
            chat(&killed, &["--resume", "--kernel", "scalar"]),
            Options::new().timeout_ms(Some(30_000)),
        )
        .expect("a terminal"),
    );
    let greeting = terminal.wait();
    assert!(greeting.contains("3 turns") && greeting.contains("Then they"), "{greeting}");
    assert_eq!(terminal.enter("The next day"), expected);
    assert_eq!(terminal.enter("/set tokens 20") + &terminal.enter("And"), after);
    // The state that was saved is there, too.
    assert!(terminal.enter("/states").contains("pets"));
    let loaded = terminal.enter("/load pets");
    assert!(loaded.contains("2 turns") && loaded.contains(first[1]), "{loaded}");
}

#[test]
fn ctrl_c_keeps_what_there_is_of_an_answer() {
    let folder = Folder::new("chat-ctrl-c");
    let question = "Once upon a time there was a";
    let whole = Terminal::new(&folder, &SLOW).enter(question);
    let mut terminal = Terminal::new(&folder, &SLOW);
    let before = terminal.freeze_in_answer(question);
    // Not the key: with it a terminal drops what was written and nobody has read yet.
    terminal.signal(Signal::SIGINT);
    terminal.signal(Signal::SIGCONT);
    let rest = terminal.wait();
    let (rest, note) = rest.split_once("(stopped").expect("a note");
    assert!(note.contains("/continue"), "{note}");
    let partial = format!("{before}{rest}");
    let partial = words(&partial);
    assert!(
        words(&whole).starts_with(&partial) && partial.len() < words(&whole).len(),
        "{partial:?} of {whole:?}"
    );
    // It is on disk, and goes on as if it had not stopped.
    drop(terminal);
    let mut terminal = Terminal::new(&folder, &["--resume", "--kernel", "scalar"]);
    let continued = words(&terminal.enter("/continue"));
    assert!(terminal.enter("/continue").contains("no more to say"));
    let joined = [partial + &continued, words(&whole)].map(|text| text.replace(' ', ""));
    assert_eq!(joined[0], joined[1]);
    // At the prompt the second one ends the chat.
    terminal.0.send_control('c').expect("a key");
    assert!(terminal.wait().contains("Ctrl-C again"));
    terminal.0.send_control('c').expect("a key");
    terminal.0.exp_eof().expect("the end");
}

#[test]
fn another_try_is_another_answer() {
    let folder = Folder::new("chat-retry");
    let mut terminal = Terminal::new(&folder, &["--seed", "7", "-n", "20"]);
    let first = terminal.enter("Once upon a time there was a");
    let second = terminal.enter("/retry");
    assert_ne!(first, second);
    let edited = terminal.enter("/edit There was a bird");
    assert!(!edited.is_empty() && edited != second);
    terminal.begin("/edit");
    terminal.0.exp_string("/edit There was a bird").expect("the last question to edit");
    assert_ne!(terminal.enter(" and a dog"), edited);
    let undone = terminal.enter("/undo");
    assert!(undone.contains("at the beginning"), "{undone}");
}

#[test]
fn wrong_commands_say_what_is_right_and_end_nothing() {
    let folder = Folder::new("chat-wrong");
    let mut terminal = Terminal::new(&folder, &["-n", "4"]);
    for (line, part) in [
        ("/udno", "did you mean /undo?"),
        ("/frobnicate", "/help lists them"),
        ("/undo", "there are 0 turns"),
        ("/retry", "nothing was asked yet"),
        ("/continue", "nothing was asked yet"),
        ("/edit", "nothing was asked yet"),
        ("/load nothing", "nothing is not there"),
        ("/save", "/save NAME"),
        ("/save ../a", "no name"),
        ("/save last-1", "the program's own"),
        ("/set temp x", "temp x: not a number from 0"),
        ("/set tokens 0", "tokens 0 does nothing"),
        ("/set top-p 9", "top-p 9: not in 0 to 1"),
        ("/set colour 1", "there is no option colour"),
        ("/think full", "has no thoughts"),
        ("/think loudly", "there are none, fast"),
        ("/read nowhere.txt", "nowhere.txt"),
    ] {
        let said = terminal.enter(line);
        assert!(said.contains(part), "{line}: {said}");
    }
    assert!(terminal.enter("/help").contains("/undo [N]"));
    let retry = terminal.enter("/help retry");
    assert!(retry.contains("in another way") && !retry.contains("/undo"), "{retry}");
    assert!(!terminal.enter("A cat").is_empty());
    terminal.begin("/exit");
    terminal.0.exp_eof().expect("the end");
}

#[test]
fn the_line_editor_takes_several_lines_and_completes() {
    let folder = Folder::new("chat-editing");
    let mut terminal = Terminal::new(&folder, &["-n", "4"]);
    terminal.0.send("/st\t\t").expect("keys");
    terminal.0.flush().expect("keys");
    terminal.0.exp_string("/stats").expect("completions");
    assert!(terminal.enter("s").contains("template  plain: a vocabulary of 1024 ids"));
    terminal.0.send("\"\"\"\rA cat.\r").expect("lines");
    terminal.enter("A dog.\"\"\"");
    terminal.enter("\u{1b}[200~One\nTwo\u{1b}[201~");
    terminal.0.send("Red\\\r").expect("a line");
    terminal.enter("Blue");
    drop(terminal);
    let state = fs::read(session(&folder)).expect("the session");
    let state = String::from_utf8_lossy(&state);
    for text in ["A cat.\\nA dog.", "One\\nTwo", "Red\\nBlue"] {
        assert!(state.contains(&format!("\"user\":\"{text}\"")), "{text}");
    }
    let history = fs::read_to_string(folder.file("state/kinglet/chat-history")).expect("a history");
    assert!(history.contains("/stats") && history.contains("Blue"), "{history}");
}

/// The file of the conversation under way.
fn session(folder: &Folder) -> String {
    let models = fs::read_dir(folder.file("data/kinglet/chat")).expect("a folder for each model");
    let model = models.map(|entry| entry.expect("an entry").path()).next().expect("a model");
    model.join("session.state").to_str().expect("UTF-8").to_owned()
}

#[test]
fn an_editor_of_choice_writes_the_question() {
    let folder = Folder::new("chat-editor");
    let editor = folder.write("editor", "#!/bin/sh\nprintf 'A cow and' >\"$1\"\n");
    let mut permissions = fs::metadata(&editor).expect("the editor").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    fs::set_permissions(&editor, permissions).expect("the editor");
    let mut command = chat(&folder, &["-n", "4"]);
    command.env("EDITOR", &editor);
    let mut terminal = Terminal::with(command);
    terminal.0.send_control('g').expect("a key");
    assert!(terminal.wait().contains("A cow and"));
    terminal.enter("/edit");
    assert!(terminal.enter("/stats").contains("turns     1"));
}

#[test]
fn thoughts_are_dimmed_and_marked_without_colours() {
    let folder = Folder::new("chat-thoughts");
    let args = ["--template", "g1", "--think", "full", "--think-budget", "6", "-n", "16"];
    let args = [&args[..], &["--seed", "3"]].concat();
    let styled = Terminal::new(&folder, &args).enter("Why?");
    assert!(styled.contains("\u{1b}[2m") && !styled.contains("[thinking]"), "{styled}");
    let mut command = chat(&folder, &args);
    command.env("NO_COLOR", "1");
    let plain = Terminal::with(command).enter("Why?");
    assert!(!plain.contains("\u{1b}[") && plain.contains("[thinking]\n"), "{plain}");
    let (_, answer) = plain.split_once("[answer]\n").expect("an answer");
    let answer = answer.split('(').next().unwrap_or_default();
    // Where nobody looks there is the answer alone.
    let piped = text(&piped(&folder, &args, "Why?\n"));
    assert_eq!(words(&piped), words(answer));
    assert!(!piped.trim().is_empty());
}

#[test]
fn a_pipe_gets_what_run_tells() {
    let folder = Folder::new("chat-pipe");
    let prompt = "Once upon a time there was a";
    let options = ["--seed", "7", "-n", "24"];
    let told = support::succeed(&[&["run", prompt][..], &options].concat());
    let answered = text(&piped(&folder, &options, &format!("{prompt}\n")));
    assert_eq!(format!("{prompt}{answered}"), told);
    // Blocks, commands, and a last line without an end.
    let input = "\"\"\"\nA cat.\n\nA dog.\n\"\"\"\n/undo\n\n/retry\n/states\nOne day";
    let output = piped(&folder, &["-n", "4"], input);
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("kinglet: nothing was asked yet"), "{errors}");
    assert!(errors.contains("1 of the entries failed"), "{errors}");
    // Errors are told in any case, notes are not.
    let quiet = piped(&folder, &["-q", "-n", "4"], "One day\n/undo 2\n");
    assert_eq!(String::from_utf8_lossy(&quiet.stderr).lines().count(), 2, "{quiet:?}");
    let answers = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(!answers.contains('\u{1b}') && !answers.contains("> "), "{answers}");
    // No person's conversation moves for a script.
    assert!(!answers.contains("last-1"), "{answers}");
    assert!(!fs::exists(folder.file("data")).expect("a folder"));
}

#[test]
fn answers_are_lines_of_json() {
    let folder = Folder::new("chat-json");
    let args = ["--json", "--seed", "3", "-n", "24", "--template", "g1"];
    let args = [&args[..], &["--think", "full", "--think-budget", "6"]].concat();
    let lines = text(&piped(&folder, &args, "Why?\n/think\n"));
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let [answer, shown] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((&answer["question"], &answer["end"]), (&"Why?".into(), &"length".into()));
    assert!(
        answer["thought"] != "" && answer["answer"] != "" && answer["tokens"].as_u64() > Some(0)
    );
    assert_eq!(shown["shown"], "full");
}

#[test]
fn commands_change_the_conversation() {
    let folder = Folder::new("chat-commands");
    let file = folder.write("notes.txt", "A fox had a red coat.\n");
    let input = format!(
        "/system Be brief.\n/system\nHello.\n/fork left\nOne.\n/load last-1\n/clear\n/system off\n\
         /read {file}\nWhat coat?\n/stats\n/states\n/set temp 0\n/set\n"
    );
    let shown = text(&piped(&folder, &["-n", "4", "--template", "world", "--resume"], &input));
    for part in
        ["Be brief.\n", "turns     1", "template  world: as --template says", "left ", "temp 0 "]
    {
        let part = part.replace("world: as --template says", "world: that of the conversation");
        assert!(shown.contains(&part), "{part}: {shown}");
    }
    let state = fs::read(session(&folder)).expect("the session");
    let state = String::from_utf8_lossy(&state);
    assert!(state.contains("\"user\":\"A fox had a red coat.\\n\\nWhat coat?\""));
    assert!(!state.contains("Be brief."));
    let left = fs::read(session(&folder).replace("session", "left")).expect("the fork");
    let left = String::from_utf8_lossy(&left);
    assert!(left.contains("\"user\":\"Hello.\"") && left.contains("\"user\":\"One.\""));
    // What was set is set in the next chat, too.
    let shown = text(&piped(&folder, &["--resume"], "/set\n"));
    assert!(shown.contains("temp 0 ") && shown.contains("tokens 4 "), "{shown}");
}

#[test]
fn a_file_of_its_own_keeps_a_conversation() {
    let folder = Folder::new("chat-session");
    let file = folder.file("talk.state");
    let args = ["--session", &file, "-n", "8", "--seed", "1"];
    let whole = text(&piped(&folder, &["-n", "8", "--seed", "1"], "One day\nThen\n"));
    let first = text(&piped(&folder, &args, "One day\n"));
    assert!(refusal(&folder, &args).contains("--resume goes on with it"));
    let second = text(&piped(&folder, &["--session", &file, "--resume"], "Then\n"));
    assert_eq!(first + &second, whole);
    let foreign = folder.write("notes.txt", "mine");
    assert!(refusal(&folder, &["--session", &foreign]).contains("not a conversation"));
    let missing = folder.file("no/talk.state");
    assert!(refusal(&folder, &["--session", &missing]).contains("does not exist"));
    if cfg!(target_os = "linux") {
        let said = refusal(&folder, &["--session", "/proc/talk.state"]);
        assert!(said.contains("cannot write /proc/talk.state"), "{said}");
    }
    // Of another model.
    let model = folder.file("other.kinglet");
    let checkpoint = support::golden("v7/model.pth");
    support::succeed(&["quantize", &checkpoint, "--vocab", "bytes", "-o", &model, "-q"]);
    let said = refusal(&folder, &[&model, "--session", &file, "--resume"]);
    assert!(said.contains("talk.state: ") && said.contains("model"), "{said}");
    assert!(said.contains("another file of --session begins"), "{said}");
    assert!(!fs::exists(folder.file(".talk.state.lock")).unwrap(), "a lock of no chat");
    assert!(refusal(&folder, &["--session", "-"]).contains("no output for a pipe"));
    // Options that are given count for more than those of the conversation.
    let args = ["--session", &file, "--resume", "--temp", "0", "-n", "3", "--seed", "5"];
    let shown = text(&piped(&folder, &args, "/set\n"));
    for part in ["temp 0 ", "tokens 3 ", "seed 5 "] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn chats_do_not_write_over_each_other() {
    let folder = Folder::new("chat-two");
    let mut first = Terminal::new(&folder, &["-n", "4"]);
    first.enter("A cat");
    let mut second = Terminal::new(&folder, &["-n", "4"]);
    second.enter("A dog");
    assert!(second.enter("/stats").contains("session-2.state"));
    assert!(refusal(&folder, &["--resume"]).contains("open in another chat"));
    assert!(first.end().contains("--resume goes on with it"));
    // `--resume` would go on with the first.
    assert!(second.end().contains("(kept; /load session-2 goes on with it)"));
    let mut again = Terminal::new(&folder, &["--resume"]);
    assert!(again.enter("/load session-2").contains("A dog"));
    assert!(again.enter("/load last-1").contains("A cat"));
    again.end();
    // A new one leaves that of before where it can be loaded.
    let mut third = Terminal::new(&folder, &["-n", "4"]);
    third.enter("A cow");
    let loaded = third.enter("/load last-1");
    assert!(loaded.contains("A cat"), "{loaded}");
    let state = fs::read(session(&folder)).expect("the session");
    assert!(String::from_utf8_lossy(&state).contains("\"user\":\"A cat\""));
}

#[test]
fn a_file_of_its_own_is_of_one_chat_at_a_time() {
    let folder = Folder::new("chat-locked");
    let file = folder.file("talk.state");
    let args = ["--session", &file, "-n", "4"];
    let mut first = Terminal::new(&folder, &args);
    first.enter("A cat");
    let said = refusal(&folder, &["--session", &file, "--resume"]);
    assert!(said.contains("talk.state is in use by another chat"), "{said}");
    let left = first.end();
    assert!(left.contains("talk.state --resume goes on with it"), "{left}");
    // It is free again, and has what the first one kept.
    let resumed = Terminal::new(&folder, &["--session", &file, "--resume"]).enter("/stats");
    assert!(resumed.contains("turns     1"), "{resumed}");
}

#[test]
fn a_conversation_that_is_kept_by_name_is_not_kept_twice() {
    let folder = Folder::new("chat-twins");
    let mut terminal = Terminal::new(&folder, &["-n", "4"]);
    terminal.enter("A cat");
    terminal.enter("/fork tom");
    for _ in 0..3 {
        terminal.enter("/load tom");
    }
    assert!(terminal.enter("/stats").contains("kB of f32"));
    let states = terminal.enter("/states");
    assert!(states.contains("tom ") && !states.contains("last-2"), "{states}");
    // One that went on is another.
    terminal.enter("A dog");
    terminal.enter("/load tom");
    terminal.enter("/load last-1");
    let cleared = terminal.enter("/clear");
    assert!(cleared.contains("the one before is last-1"), "{cleared}");
    assert!(!terminal.enter("/states").contains("last-3"));
}

#[test]
fn a_conversation_that_is_loaded_answers_as_it_was_set() {
    let folder = Folder::new("chat-load-settings");
    let mut terminal = Terminal::new(&folder, &["-n", "4", "--temp", "0.5"]);
    terminal.enter("A cat");
    terminal.enter("/save cat");
    terminal.enter("/set temp 0.9");
    terminal.enter("/set tokens 6");
    terminal.enter("/load cat");
    let shown = terminal.enter("/set");
    assert!(shown.contains("temp 0.5 ") && shown.contains("tokens 4 "), "{shown}");
}

#[test]
fn templates_come_from_files() {
    let folder = Folder::new("chat-templates");
    let source = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}\
                  {% if add_generation_prompt %}<assistant>{% endif %}";
    let jinja = folder.write("a.jinja", source);
    let json = folder.write("b.json", serde_json::json!({ "chat_template": source }).to_string());
    let [a, b] = [&jinja, &json].map(|file| {
        let args = ["--template", file, "-n", "8", "--seed", "2"];
        text(&piped(&folder, &args, "Hello\n/stats\n"))
    });
    assert_eq!(a.lines().next(), b.lines().next());
    assert!(a.contains("template  chat_template: as --template says"), "{a}");
    let wrong = folder.write("wrong.jinja", "{% for");
    assert!(refusal(&folder, &["--template", &wrong]).contains("wrong.jinja: the chat template"));
    let empty = folder.write("c.json", "{}");
    assert!(refusal(&folder, &["--template", &empty]).contains("has no text \"chat_template\""));
    let named = |name: &str| {
        serde_json::json!({ "chat_template": [{ "name": name, "template": source }] }).to_string()
    };
    let default = folder.write("d.json", named("default"));
    let args = ["--template", &default, "-n", "8", "--seed", "2"];
    assert_eq!(a.lines().next(), text(&piped(&folder, &args, "Hello\n")).lines().next());
    let other = folder.write("e.json", named("tool_use"));
    let said = refusal(&folder, &["--template", &other]);
    assert!(said.contains("name \"default\"; there are tool_use"), "{said}");
    for (name, bytes) in [("plain.txt", "Hello there"), ("empty.txt", "")] {
        let said = refusal(&folder, &["--template", &folder.write(name, bytes)]);
        assert!(said.contains(name) && said.contains("never uses `messages`"), "{said}");
    }
    assert!(refusal(&folder, &["--template", "-"]).contains("cannot come from standard input"));
    assert!(refusal(&folder, &["--template", "g2"]).contains("none of g1, world"));
    assert!(refusal(&folder, &["--think", "full"]).contains("has no thoughts"));
    let model = stories("stories.kinglet");
    assert!(!text(&piped(&folder, &[&model, "-n", "3"], "Hi\n")).is_empty());
    assert!(refusal(&folder, &["-n", "0"]).contains("0 does nothing"));
}

#[test]
fn a_conversation_that_cannot_be_kept_is_talked_anyway() {
    let folder = Folder::new("chat-unkept");
    folder.write("data", "a file where a folder should be");
    let mut terminal = Terminal::with_greeting(chat(&folder, &["-n", "4"]));
    assert!(terminal.1.contains("this conversation is not kept"), "{}", terminal.1);
    assert!(!terminal.0.enter("One day").trim().is_empty());
    // Without a home folder, as for models: none is guessed.
    let mut command = chat(&folder, &["-n", "4", "--resume"]);
    for variable in ["HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"] {
        command.env_remove(variable);
    }
    let homeless = command.stdin(Stdio::null()).output().expect("it ends");
    let errors = String::from_utf8_lossy(&homeless.stderr);
    assert!(errors.contains("HOME is not set"), "{errors}");
    assert!(refusal(&folder, &["--resume"]).contains("cannot make"));
}

#[test]
fn ctrl_c_in_an_editor_is_the_editors() {
    let folder = Folder::new("chat-editor-ctrl-c");
    let script =
        "#!/bin/sh\ntrap : INT\nkill -INT $PPID\nkill -INT $PPID\nprintf 'A cow' >\"$1\"\n";
    let editor = folder.write("editor", script);
    let mut permissions = fs::metadata(&editor).expect("the editor").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    fs::set_permissions(&editor, permissions).expect("the editor");
    let mut command = chat(&folder, &["-n", "4"]);
    command.env("EDITOR", &editor);
    let mut terminal = Terminal::with(command);
    terminal.0.send_control('g').expect("a key");
    let answered = terminal.wait();
    assert!(answered.contains("A cow") && !answered.contains("(stopped; "), "{answered}");
    assert!(terminal.enter("/stats").contains("turns     1"));
    terminal.end();
    // What was typed is there again where no editor is.
    let mut command = chat(&folder, &["-n", "4"]);
    command.env("EDITOR", folder.file("no-editor"));
    let mut terminal = Terminal::with(command);
    terminal.0.send("A pig\u{7}").expect("keys");
    terminal.0.flush().expect("keys");
    assert!(terminal.wait().contains("no-editor"));
    terminal.enter("");
    let state = fs::read(session(&folder)).expect("the session");
    assert!(String::from_utf8_lossy(&state).contains("\"user\":\"A pig\""));
}

#[test]
fn ctrl_c_ends_a_chat_of_a_pipe_by_the_signal() {
    use std::os::unix::process::ExitStatusExt;

    let folder = Folder::new("chat-pipe-ctrl-c");
    let long = format!("{}\n", "One day a cat saw a dog. ".repeat(40_000));
    for input in ["Hello\n", &long] {
        let mut command = chat(&folder, &["-n", "1", "--kernel", "scalar", "--threads", "1"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the program starts");
        let mut stdin = child.stdin.take().expect("its input");
        // The first answer says that the handler is there; what comes then is idle, or is long.
        stdin.write_all(b"Hi\n").expect("it reads");
        let mut first = [0];
        let stdout = child.stdout.as_mut().expect("its output");
        std::io::Read::read_exact(stdout, &mut first).expect("an answer");
        if input.len() > 10 {
            stdin.write_all(input.as_bytes()).expect("it reads");
        }
        sleep(Duration::from_millis(200));
        let id = child.id().to_string();
        Command::new("kill").args(["-INT", &id]).status().expect("a signal");
        let status = child.wait().expect("it ends");
        assert_eq!(status.signal(), Some(2), "{status}");
    }
}

#[test]
fn files_with_spaces_and_of_home_are_read() {
    let folder = Folder::new("chat-read");
    fs::create_dir(folder.file("home")).expect("a home");
    folder.write("home/my notes.txt", "A red fox.");
    let mut terminal = Terminal::new(&folder, &["-n", "4"]);
    assert!(terminal.enter("/read ~/my n\t").contains("(10 bytes"));
    let said = terminal.enter("/read ~/my notes.txt");
    assert!(said.contains("(21 bytes"), "{said}");
}

#[test]
fn names_of_files_do_not_command_a_terminal() {
    let folder = Folder::new("chat-visible");
    let models = folder.file("models");
    fs::create_dir(&models).expect("a folder");
    fs::write(format!("{models}/a\u{1b}[2Jb.kinglet"), "no model").expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinglet"));
    let output = command.arg("list").env("KINGLET_MODELS", &models).output().expect("it ends");
    let shown = text(&output);
    assert!(shown.contains("a[2Jb") && !shown.contains('\u{1b}'), "{shown}");
}

#[test]
#[cfg(feature = "grammar")]
fn answers_are_held_to_a_grammar() {
    let folder = Folder::new("chat-grammar");
    let schema = folder.write(
        "led.json",
        r#"{"type": "object", "properties": {"led": {"enum": ["on", "off"]}}, "required": ["led"]}"#,
    );
    let is_led = |answer: &str| matches!(answer, "{\"led\":\"on\"}" | "{\"led\":\"off\"}");
    let args = ["--json", "--seed", "3", "-n", "40"];
    let held = [&args[..], &["--json-schema", &schema]].concat();
    let entries = "Hello\n/retry\n/grammar off\nHello\n";
    let shown = text(&piped(&folder, &held, entries));
    let answers: Vec<serde_json::Value> =
        shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 3, "{shown}");
    for answer in &answers[..2] {
        assert!(
            is_led(answer["answer"].as_str().unwrap()) && answer["end"] == "complete",
            "{shown}"
        );
    }
    assert!(!is_led(answers[2]["answer"].as_str().unwrap()), "{shown}");
    // By a command it is the same, and a saved conversation goes on with it.
    let file = folder.file("kept.state");
    let session = [&args[..], &["--session", &file]].concat();
    let shown = text(&piped(&folder, &session, &format!("/grammar {schema}\nHello\n")));
    let answer: serde_json::Value = serde_json::from_str(shown.trim_end()).unwrap();
    assert_eq!(answer["answer"], answers[0]["answer"]);
    let resumed = ["--json", "--session", &file, "--resume"];
    let shown = text(&piped(&folder, &resumed, "/grammar\nAnd now?\n"));
    assert!(shown.contains("held to a grammar of"), "{shown}");
    let answer: serde_json::Value = serde_json::from_str(shown.lines().last().unwrap()).unwrap();
    assert!(is_led(answer["answer"].as_str().unwrap()), "{shown}");
    let error = refusal(&folder, &["--json-schema", &schema, "-n", "5"]);
    assert!(error.contains("12 bytes"), "{error}");
}
