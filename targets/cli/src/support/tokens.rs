//! Token ids that commands feed, and the documents of a text.

/// A line of its own between two documents.
pub(crate) const SEPARATOR: &str = "<|endoftext|>";

/// The bytes without the byte order mark that some editors put before UTF-8.
pub(crate) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)
}

/// Token `i` of the text that is fed: (7919 i + 1) mod vocab.
pub(crate) fn token(i: usize, vocab: usize) -> u32 {
    ((7919 * (i % vocab) as u64 + 1) % vocab as u64) as u32
}

/// The documents of a text: what stands between lines that are separators, without the end
/// of the line before one, if not empty. Lines end in `\n`.
pub(crate) fn documents(text: &str) -> Vec<&str> {
    let mut documents = Vec::new();
    let (mut start, mut line_start) = (0, 0);
    for line in text.split_inclusive('\n') {
        let line_end = line_start + line.len();
        if line.strip_suffix('\n').unwrap_or(line) == SEPARATOR {
            let document = &text[start..line_start];
            documents.push(document.strip_suffix('\n').unwrap_or(document));
            start = line_end;
        }
        line_start = line_end;
    }
    documents.push(&text[start..]);
    documents.retain(|document| !document.is_empty());
    documents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_any_index_are_those_of_the_formula() {
        for (i, vocab) in [(0, 1), (5, 1024), (usize::MAX, 65536), (usize::MAX - 1, 1 << 20)] {
            let expected = (7919 * i as u128 + 1) % vocab as u128;
            assert_eq!(u128::from(token(i, vocab)), expected, "token {i} of {vocab}");
        }
    }

    #[test]
    fn separators_are_lines() {
        let text = "one\n<|endoftext|>\ntwo <|endoftext|> still\n<|endoftext|>\n";
        assert_eq!(documents(text), ["one", "two <|endoftext|> still"]);
    }

    #[test]
    fn separators_are_found_at_either_end_and_side_by_side() {
        const LINE: &str = "<|endoftext|>\n";
        for (text, expected) in [
            (format!("{LINE}one\n"), &["one\n"][..]),
            ("one\n<|endoftext|>".to_owned(), &["one"]),
            (format!("one\n{LINE}{LINE}two"), &["one", "two"]),
            (format!("one\n{LINE}\n{LINE}two"), &["one", "two"]),
            (format!("one\n\n{LINE}\ntwo\n\n"), &["one\n", "\ntwo\n\n"]),
            (format!("one {LINE}<|endoftext|> two"), &["one <|endoftext|>\n<|endoftext|> two"]),
            (LINE.repeat(3), &[]),
            (String::new(), &[]),
        ] {
            assert_eq!(documents(&text), expected, "{text:?}");
        }
    }
}
