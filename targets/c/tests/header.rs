//! The committed header is the one that cbindgen writes from the source, and compilers take it.

use std::path::Path;
#[cfg(unix)]
use std::process::Command;

/// Set to write the header instead of checking it.
const UPDATE: &str = "KINGLET_UPDATE_HEADER";

#[test]
fn the_header_is_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).expect("the config");
    config.after_includes = Some(version_macros());
    let mut builder = cbindgen::Builder::new().with_config(config);
    let files = ["limits", "status", "model", "engine", "step", "pieces", "sampler", "grammar"];
    for file in files.into_iter().chain(["text"]) {
        builder = builder.with_src(folder.join(format!("src/{file}.rs")));
    }
    let mut current = Vec::new();
    builder.generate().expect("the bindings").write(&mut current);
    let current = for_c(&String::from_utf8(current).expect("UTF-8"));
    let path = folder.join("include/kinglet.h");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, &current).expect("the header is written");
    }
    let committed = std::fs::read_to_string(&path).expect("the header");
    assert!(committed == current, "kinglet.h is not current: run this test with {UPDATE}=1");
}

/// The version of the package, for the preprocessor.
fn version_macros() -> String {
    let parts = [
        ("MAJOR", env!("CARGO_PKG_VERSION_MAJOR")),
        ("MINOR", env!("CARGO_PKG_VERSION_MINOR")),
        ("PATCH", env!("CARGO_PKG_VERSION_PATCH")),
    ];
    let mut macros =
        String::from("\n// The version of this header; kinglet_version tells the library's.\n");
    for (name, value) in parts {
        macros += &format!("#define KINGLET_VERSION_{name} {value}\n");
    }
    macros
        + "\n// Whether the version is this one or a later: for #if.\n\
         #define KINGLET_VERSION_AT_LEAST(major, minor, patch) \\\n    \
             (KINGLET_VERSION_MAJOR > (major) || \\\n     \
              (KINGLET_VERSION_MAJOR == (major) && \\\n      \
               (KINGLET_VERSION_MINOR > (minor) || \\\n       \
                (KINGLET_VERSION_MINOR == (minor) && KINGLET_VERSION_PATCH >= (patch)))))"
}

/// The header without what is only for Rust: notes on safety, whose place is
/// the header's introduction, and comments on private fields. Old compilers know
/// neither comments to the end of a line nor a comma after the last enumerator.
fn for_c(header: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut in_safety = false;
    for line in header.trim_start().lines() {
        in_safety = line.starts_with("//") && (in_safety || line == "// # Safety");
        if in_safety {
            lines.pop_if(|line| line == "//");
        } else if line.trim_start() != "// Private." {
            if line == "};" {
                let last = lines.last_mut().expect("a line before");
                last.truncate(last.trim_end_matches(',').len());
            }
            lines.push(line.to_owned());
        }
    }
    block_comments(&lines) + "\n"
}

/// The lines, with `/* */` for `//`.
fn block_comments(lines: &[String]) -> String {
    let is_comment =
        |line: Option<&String>| line.is_some_and(|it| it.trim_start().starts_with("//"));
    let mut blocks = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let Some((code, text)) = line.split_once("//") else {
            blocks.push(line.clone());
            continue;
        };
        assert!(!text.contains("*/"), "{line}");
        let alone = is_comment(Some(line));
        let goes_on = alone && i > 0 && is_comment(lines.get(i - 1));
        let ends = !alone || !is_comment(lines.get(i + 1));
        let start = if goes_on { "  " } else { "/*" };
        let end = if ends { " */" } else { "" };
        blocks.push(format!("{code}{start}{text}{end}").trim_end().to_owned());
    }
    blocks.join("\n")
}

/// Compiles a program of the header alone; `None` where there is no such compiler.
#[cfg(unix)]
fn compile(compiler: &str, options: &[&str], program: &str) -> Option<String> {
    use std::io::Write;
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let mut child = Command::new(compiler)
        .args(options)
        .args(["-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I"])
        .arg(include)
        .arg("-")
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take().expect("a pipe").write_all(program.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Some(if output.status.success() { String::new() } else { said })
}

#[cfg(unix)]
#[test]
fn compilers_of_all_ages_take_the_header() {
    let [major, minor, patch] = [
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR"),
        env!("CARGO_PKG_VERSION_PATCH"),
    ]
    .map(|part| part.parse::<u32>().expect("a number"));
    let mut program = String::from("#include \"kinglet.h\"\n");
    for (given, at_least) in [
        ((major, minor, patch), true),
        ((major, minor, patch + 1), false),
        ((major, minor + 1, 0), false),
        ((major + 1, 0, 0), false),
        ((0, 0, 0), true),
    ] {
        let (major, minor, patch) = given;
        let wrong = if at_least { "!" } else { "" };
        program += &format!(
            "#if {wrong}KINGLET_VERSION_AT_LEAST({major}, {minor}, {patch})\n#error {given:?}\n#endif\n"
        );
    }
    program += "int handles(void);\nint handles(void) { KingletEngine *e = 0; return e != 0; }\n";
    // A C compiler links every Rust program here.
    for standard in ["-std=c89", "-std=c99", "-std=c11"] {
        let said = compile("cc", &["-x", "c", standard, "-pedantic"], &program);
        assert_eq!(said.as_deref(), Some(""), "{standard}");
    }
    let said = compile("c++", &["-x", "c++", "-std=c++11", "-pedantic"], &program);
    assert_eq!(said.unwrap_or_default(), "", "C++");
    // It finds what it is there to find.
    let said = compile("cc", &["-x", "c", "-std=c89", "-pedantic"], "// no comment of C89\n");
    assert_ne!(said.as_deref(), Some(""));
}
