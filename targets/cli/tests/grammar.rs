//! Text that is held to a grammar, by `run` and `chat`, and the compiler of grammars.
#![cfg(all(feature = "grammar", any(unix, windows)))]

mod support;

use std::fs;

use serde_json::Value;
use support::{Folder, kinglet, refusal, stories, succeed};

const LED: &str = r#"{"type": "object", "properties": {"led": {"enum": ["on", "off"]}},
    "required": ["led"], "additionalProperties": false}"#;

const PERSON: &str = r#"{"type": "object", "properties": {"name": {"type": "string"},
    "age": {"type": "integer", "minimum": 0, "maximum": 150}},
    "required": ["name", "age"], "additionalProperties": false}"#;

const LIST: &str = "root ::= (\"- \" [a-z ]+ \"\\n\"){2}\n";

#[track_caller]
fn assert_person(text: &str) {
    let person: Value =
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(person["name"].is_string() && person["age"].as_u64().unwrap() <= 150, "{text}");
    assert_eq!(person.as_object().unwrap().len(), 2);
}

#[test]
fn a_schema_is_kept_greedy_and_sampled_on_any_threads() {
    let folder = Folder::new("grammar-schema");
    let file = folder.write("person.json", PERSON);
    let run = ["run", "Tell me of a cat.", "--no-echo", "--json-schema"];
    for sampling in [&["--temp", "0"][..], &["--seed", "1"], &["--seed", "2", "-n", "24"]] {
        let told = |schema: &str, threads: &str| {
            succeed(&[&run[..], &[schema, "-t", threads], sampling].concat())
        };
        let text = told(&file, "1");
        assert_person(&text);
        assert_eq!(told(&file, "2"), text);
        assert_eq!(told(PERSON, "1"), text, "the schema on the command line");
    }
}

#[test]
fn a_text_under_a_grammar_ends_with_it() {
    let folder = Folder::new("grammar-gbnf");
    let [list, led] =
        [("list.gbnf", LIST), ("led.json", LED)].map(|(name, text)| folder.write(name, text));
    let text = succeed(&["run", "--no-echo", "--grammar", &list, "--seed", "3", "-n", "60"]);
    let lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| line.starts_with("- ")), "{text}");
    let done = |args: &[&str]| -> Value {
        let text = succeed(&[&["run", "--json", "--seed", "3"], args].concat());
        serde_json::from_str(text.lines().last().unwrap()).unwrap()
    };
    let held = done(&["--json-schema", &led]);
    assert_eq!(held["done"]["ended"], "complete");
    // The same compiled, which is known by its first bytes.
    let table = folder.file("led.grammar");
    succeed(&["grammar", &led, "-o", &table]);
    assert!(fs::read(&table).unwrap().starts_with(b"kgrm"));
    let of_table = done(&["--grammar", &table]);
    assert_eq!(of_table["done"]["tokens"], held["done"]["tokens"]);
    // Complete within its tokens, whatever they are.
    for tokens in ["8", "9", "40"] {
        let text = succeed(&["run", "--no-echo", "--grammar", &list, "--seed", "3", "-n", tokens]);
        assert!(text.ends_with("\n\n"), "{tokens}: {text}");
        assert_eq!(text.matches('\n').count(), 3, "{tokens}: {text}");
    }
}

#[test]
fn a_grammar_is_compiled_to_the_same_bytes() {
    let folder = Folder::new("grammar-compile");
    let [led, list] =
        [("led.json", LED), ("list.gbnf", LIST)].map(|(name, text)| folder.write(name, text));
    let [a, b] = ["a.grammar", "b.grammar"].map(|name| folder.file(name));
    let shown: Value =
        serde_json::from_str(&succeed(&["grammar", &led, "-o", &a, "--json"])).unwrap();
    assert_eq!(shown["shortest"], "{\"led\":\"on\"}");
    assert_eq!(shown["bytes"], fs::metadata(&a).unwrap().len());
    assert!(shown["bytes"].as_u64().unwrap() < 1024);
    assert_eq!(shown["frames"], 0);
    succeed(&["grammar", &led, "-o", &b]);
    assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
    // With white space it is another, and the file is replaced.
    succeed(&["grammar", &led, "-o", &b, "--white-space", "1"]);
    assert_ne!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
    let output = kinglet(&["grammar", "--regex", "yes|no", "-o", &b]);
    let note = String::from_utf8(output.stderr).unwrap();
    assert!(note.contains("shortest text no (2 bytes)"), "{note}");
    succeed(&["grammar", &list, "-o", &b, "--kind", "gbnf"]);
    assert_eq!(folder.contents().len(), 4);
}

#[test]
fn what_is_no_grammar_is_refused_with_its_place() {
    let folder = Folder::new("grammar-refused");
    let out = folder.file("out.grammar");
    let none = folder.file("none.gbnf");
    let led = folder.write("led.json", LED);
    let not = folder.write("not.json", r#"{"not": {}}"#);
    let broken = folder.write("broken.json", "{\n  \"type\": \"string\",,\n}");
    let gbnf = folder.write("wrong.gbnf", "root ::= \"a\"\n  | [b\n");
    let undefined = folder.write("undefined.gbnf", "root ::= thing\n");
    let text = folder.write("text.txt", "root ::= \"a\"");
    let binary = folder.write("binary.gbnf", b"root ::= \"\xff\"");
    let table = folder.file("led.grammar");
    succeed(&["grammar", &led, "-o", &table]);
    let mut damaged = fs::read(&table).unwrap();
    damaged[40] ^= 1;
    let damaged = folder.write("damaged.grammar", damaged);
    let files = folder.contents();
    let cases: &[(&[&str], &[&str])] = &[
        (&["grammar", &none, "-o", &out], &["cannot read", "none.gbnf"]),
        (&["grammar", &not, "-o", &out], &["not.json", "`not`", "#"]),
        (&["grammar", &broken, "-o", &out], &["broken.json:2:"]),
        (&["grammar", &gbnf, "-o", &out], &["wrong.gbnf:"]),
        (&["grammar", &undefined, "-o", &out], &["undefined.gbnf:1:10", "thing"]),
        (&["grammar", &text, "-o", &out], &["text.txt", "--kind"]),
        (&["grammar", "-", "-o", &out], &["standard input", "--kind"]),
        (&["grammar", &binary, "-o", &out], &["binary.gbnf", "UTF-8"]),
        (&["grammar", "--regex", "(a", "-o", &out], &["--regex"]),
        (&["grammar", &led, "-o", &led], &["would replace"]),
        (&["grammar", &led, "-o", &text], &["not a compiled grammar", "--force"]),
        (&["grammar", &led, "-o", "-"], &["whole or not at all"]),
        (&["grammar", "--regex", "a", "--white-space", "2", "-o", &out], &["JSON Schema"]),
        (&["run", "--grammar", &none], &["cannot read"]),
        (&["run", "--grammar", &damaged], &["damaged.grammar", "checksum"]),
        (&["run", "--grammar", &led], &["--json-schema"]),
        (&["run", "--grammar", &gbnf], &["wrong.gbnf:"]),
        (&["run", "--json-schema", &not], &["`not`"]),
        (&["run", "--json-schema", r#"{"minimum": 1, "maximum": 0}"#], &["--json-schema", "#"]),
        (&["run", "--json-schema", LED, "-n", "11"], &["12 bytes", "-n 12"]),
        (&["run", "--json-schema", LED, "--stop", "x"], &["--stop"]),
        (&["run", "--json-schema", LED, "--grammar", &table], &["cannot be used with"]),
    ];
    for (args, parts) in cases {
        let error = refusal(args);
        for part in *parts {
            assert!(error.contains(*part), "{args:?}: {error}");
        }
    }
    assert_eq!(folder.contents(), files, "a refused command wrote something");
}

#[test]
#[cfg(feature = "quantizer")]
fn a_vocabulary_that_lacks_a_byte_of_the_grammar_is_refused() {
    let folder = Folder::new("grammar-vocabulary");
    let vocabulary = fs::read_to_string(stories("stories.vocab.txt")).unwrap();
    let vocabulary = vocabulary.replace("'}' 1", "'}}}' 3");
    let vocabulary = folder.write("vocab.txt", vocabulary);
    let model = folder.file("model.kinglet");
    succeed(&["quantize", &stories("stories.pth"), "--vocab", &vocabulary, "-o", &model]);
    let error = refusal(&["run", "-m", &model, "--json-schema", LED]);
    assert!(error.contains("0x7d") && error.contains("another model"), "{error}");
}
