//! What a person enters: a line, lines that a backslash joins, or a block between `"""`.
//!
//! A line that begins with `/` is a command. One with a space before it is a question.

use std::path::PathBuf;

const QUOTE: &str = "\"\"\"";

/// The command's name without its `/`, where there is one, and the rest.
pub(super) fn split(text: &str) -> (Option<&str>, &str) {
    let Some(command) = text.strip_prefix('/') else { return (None, text) };
    let (name, rest) = command.split_at(command.find(char::is_whitespace).unwrap_or(command.len()));
    (Some(name), rest.trim_start())
}

/// Whether more lines belong to it.
pub(super) fn is_incomplete(text: &str) -> bool {
    let (_, body) = split(text);
    match body.trim_start().strip_prefix(QUOTE) {
        Some(block) => !block.trim_end().ends_with(QUOTE),
        None => body.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1,
    }
}

/// The text that is meant: the block, or the lines without what joins them.
pub(super) fn meant(body: &str) -> String {
    let block = body.trim().strip_prefix(QUOTE).and_then(|block| block.strip_suffix(QUOTE));
    let Some(block) = block else { return body.replace("\\\n", "\n") };
    let block = block.strip_prefix('\n').unwrap_or(block);
    block.strip_suffix('\n').unwrap_or(block).to_owned()
}

/// A path as a person writes it: `~/` is the home folder.
pub(super) fn path(written: &str) -> PathBuf {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    match (written.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(written),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined() {
        assert!(is_incomplete("a\\") && is_incomplete("a\\\nb\\"));
        assert!(!is_incomplete("a\\\\") && !is_incomplete("a\\\nb") && !is_incomplete(""));
        assert_eq!(meant("a\\\nb"), "a\nb");
    }

    #[test]
    fn blocks_are_taken_as_they_are() {
        for part in ["\"\"\"", "\"\"\"a", " \"\"\"a\n\"\"\"b", "/system \"\"\"a\n"] {
            assert!(is_incomplete(part), "{part}");
        }
        for (whole, text) in
            [("\"\"\"a\\\n\nb\n\"\"\"", "a\\\n\nb"), ("\"\"\"a\"\"\" ", "a"), ("\"\"\"\"\"\"", "")]
        {
            assert!(!is_incomplete(whole), "{whole}");
            assert_eq!(meant(whole), text);
        }
    }

    #[test]
    fn commands_begin_with_a_slash() {
        assert_eq!(split("/undo 2"), (Some("undo"), "2"));
        assert_eq!(split("/"), (Some(""), ""));
        assert_eq!(split("/edit\nb"), (Some("edit"), "b"));
        assert_eq!(split(" /etc is a folder"), (None, " /etc is a folder"));
    }
}
