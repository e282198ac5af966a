//! The committed header is the one that cbindgen writes from the source.

use std::path::Path;

/// Set to write the header instead of checking it.
const UPDATE: &str = "KINGLET_UPDATE_HEADER";

#[test]
fn the_header_is_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).expect("the config");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in ["limits", "status", "model", "engine", "step", "pieces", "sampler", "text"] {
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

/// The header without what is only for Rust: notes on safety, whose place is
/// the header's introduction, and comments on private fields.
fn for_c(header: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    let mut in_safety = false;
    for line in header.trim_start().lines() {
        in_safety = line.starts_with("//") && (in_safety || line == "// # Safety");
        if in_safety {
            lines.pop_if(|line| *line == "//");
        } else if line.trim_start() != "// Private." {
            lines.push(line);
        }
    }
    lines.join("\n") + "\n"
}
