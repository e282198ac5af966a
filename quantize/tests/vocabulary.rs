//! Vocabularies from text form to packed section and back, against a naive longest match.

use std::collections::HashMap;
use std::fmt::Write;

use kinglet::tokenizer::{EncodeError, Tokenizer};
use kinglet_quantize::vocabulary::{LineError, Vocabulary, VocabularyError};
use proptest::prelude::*;

const STORIES: &[u8] = kinglet_stories::VOCABULARY.as_bytes();

/// Greedy longest match as its definition says it.
struct Naive<'v> {
    ids: HashMap<&'v [u8], u32>,
    longest: usize,
}

impl<'v> Naive<'v> {
    fn new(vocabulary: &'v Vocabulary) -> Self {
        let ids: HashMap<_, _> =
            all_ids(vocabulary).filter_map(|id| Some((vocabulary.token(id)?, id))).collect();
        let longest = ids.keys().map(|token| token.len()).max().unwrap();
        Self { ids, longest }
    }

    fn encode(&self, text: &[u8]) -> Result<Vec<u32>, EncodeError> {
        let mut tokens = Vec::new();
        let mut position = 0;
        while position < text.len() {
            let rest = &text[position..];
            let (len, id) = (1..=self.longest.min(rest.len()))
                .rev()
                .find_map(|len| Some((len, *self.ids.get(&rest[..len])?)))
                .ok_or(EncodeError { byte: rest[0], position })?;
            tokens.push(id);
            position += len;
        }
        Ok(tokens)
    }
}

fn all_ids(vocabulary: &Vocabulary) -> std::ops::Range<u32> {
    0..u32::try_from(vocabulary.vocab_len()).unwrap()
}

fn decode(tokenizer: &Tokenizer<'_>, ids: &[u32]) -> Vec<u8> {
    ids.iter().flat_map(|&id| tokenizer.token(id).unwrap()).copied().collect()
}

/// Checks that the packed vocabulary has the same ids and tokens, each of which encodes to itself.
fn check_round_trip(vocabulary: &Vocabulary, tokenizer: &Tokenizer<'_>) {
    assert_eq!(tokenizer.vocab_len(), vocabulary.vocab_len());
    for id in all_ids(vocabulary) {
        assert_eq!(tokenizer.token(id), vocabulary.token(id), "{id}");
        if let Some(token) = tokenizer.token(id) {
            assert!(tokenizer.encode(token).eq([Ok(id)]), "{id}");
            assert!(token.len() <= tokenizer.max_token_len());
        }
    }
    assert_eq!(tokenizer.token(tokenizer.vocab_len() as u32), None);
}

/// The text form, its literals as Python's `repr` has them.
fn rwkv_text(vocabulary: &Vocabulary, line_end: &str) -> String {
    let mut text = String::new();
    for (id, token) in all_ids(vocabulary).filter_map(|id| Some((id, vocabulary.token(id)?))) {
        write!(text, "{id} {} {}{line_end}", literal(token), token.len()).unwrap();
    }
    text
}

fn literal(token: &[u8]) -> String {
    let Ok(string) = std::str::from_utf8(token) else {
        return format!(
            "b'{}'",
            token.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>()
        );
    };
    let quote = if string.contains('\'') && !string.contains('"') { '"' } else { '\'' };
    let escaped = string.chars().map(|c| match c {
        '\\' | '\n' | '\t' | '\r' => c.escape_default().to_string(),
        _ if c == quote => format!("\\{c}"),
        '\0'..='\x1F' | '\x7F'..='\u{A0}' => format!("\\x{:02x}", u32::from(c)),
        '\u{2000}'..='\u{20FF}' => format!("\\u{:04x}", u32::from(c)),
        _ => c.to_string(),
    });
    format!("{quote}{}{quote}", escaped.collect::<String>())
}

/// A byte of a small alphabet, so that tokens share prefixes and texts find them.
fn letter() -> impl Strategy<Value = u8> {
    prop::sample::select(b"ab\0\xFF".to_vec())
}

fn vocabulary() -> impl Strategy<Value = Vocabulary> {
    let short = prop::collection::vec(letter(), 1..8);
    // Runs longer than a leaf's tail may be.
    let long = (letter(), 1_usize..400, prop::collection::vec(letter(), 0..3))
        .prop_map(|(letter, len, end)| [vec![letter; len], end].concat());
    let unused = Just(Vec::new());
    let token = prop_oneof![8 => short, 2 => long, 1 => unused];
    prop::collection::vec(token, 1..80).prop_filter_map("no token", |tokens| {
        let mut seen = std::collections::HashSet::new();
        let once = |token: Vec<u8>| if seen.insert(token.clone()) { token } else { Vec::new() };
        Vocabulary::from_tokens([vec![Vec::new()], tokens.into_iter().map(once).collect()].concat())
            .ok()
    })
}

/// A text of letters and of tokens, whole or cut.
fn text(vocabulary: &Vocabulary) -> impl Strategy<Value = Vec<u8>> + use<> {
    let tokens: Vec<_> =
        all_ids(vocabulary).filter_map(|id| Some(vocabulary.token(id)?.to_vec())).collect();
    let token = (prop::sample::select(tokens), any::<prop::sample::Index>(), any::<bool>());
    let piece = prop_oneof![
        prop::collection::vec(letter(), 0..4),
        token.prop_map(|(mut token, cut, whole)| {
            token.truncate(if whole { usize::MAX } else { cut.index(token.len()) });
            token
        }),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn encoding_is_the_naive_longest_match(
        (vocabulary, text) in vocabulary().prop_flat_map(|v| { let t = text(&v); (Just(v), t) }),
    ) {
        let section = vocabulary.pack().unwrap();
        let tokenizer = Tokenizer::parse(&section).unwrap();
        check_round_trip(&vocabulary, &tokenizer);
        let tokens: Result<Vec<_>, _> = tokenizer.encode(&text).collect();
        prop_assert_eq!(&tokens, &Naive::new(&vocabulary).encode(&text));
        if let Ok(tokens) = tokens {
            prop_assert_eq!(decode(&tokenizer, &tokens), text);
        }
    }

    #[test]
    fn damage_to_a_section_gives_errors_or_wrong_tokens(
        (vocabulary, text) in vocabulary().prop_flat_map(|v| { let t = text(&v); (Just(v), t) }),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..32),
    ) {
        let mut section = vocabulary.pack().unwrap();
        for (at, difference) in damage {
            let at = at.index(section.len());
            section[at] ^= difference;
        }
        if let Ok(tokenizer) = Tokenizer::parse(&section) {
            let tokens: Vec<_> = tokenizer.encode(&text).flatten().collect();
            prop_assert!(tokens.len() <= text.len());
            prop_assert!(tokens.into_iter().all(|id| (id as usize) < tokenizer.vocab_len()));
            for id in 0..100 {
                prop_assert!(tokenizer.token(id).is_none_or(|token| token.len() <= section.len()));
            }
        }
    }

    #[test]
    fn a_cut_section_is_refused(vocabulary in vocabulary(), len in any::<prop::sample::Index>()) {
        let section = vocabulary.pack().unwrap();
        prop_assert!(Tokenizer::parse(&section[..len.index(section.len())]).is_err());
    }

    #[test]
    fn the_text_form_is_read_back(
        strings in prop::collection::hash_set("[ \\\\'\"\\PC\\x00-\\xA0\u{2028}]{1,6}", 1..20),
        bytes in prop::collection::hash_set(prop::collection::vec(0x80_u8.., 1..5), 0..10),
        line_end in prop::sample::select(vec!["\n", "\r\n"]),
    ) {
        let bytes = bytes.into_iter().filter(|bytes| std::str::from_utf8(bytes).is_err());
        let tokens = strings.into_iter().map(String::into_bytes).chain(bytes);
        let tokens = std::iter::once(Vec::new()).chain(tokens).collect();
        let vocabulary = Vocabulary::from_tokens(tokens).unwrap();
        let text = rwkv_text(&vocabulary, line_end);
        prop_assert_eq!(Vocabulary::from_rwkv_text(text.as_bytes()), Ok(vocabulary.clone()));
        let mut lines: Vec<_> = text.lines().collect();
        lines.reverse();
        let reversed = lines.join("\n");
        prop_assert_eq!(Vocabulary::from_rwkv_text(reversed.as_bytes()), Ok(vocabulary));
    }

    #[test]
    fn any_text_form_is_read_or_refused(
        text in "([1-4] b?['\"][ab\\\\x0-9]{0,4}['\"] [0-5]\r?\n?){0,4}",
    ) {
        if let Ok(vocabulary) = Vocabulary::from_rwkv_text(text.as_bytes()) {
            prop_assert_eq!(vocabulary.vocab_len(), text.lines().count() + 1);
        }
    }
}

#[test]
fn the_stories_vocabulary_encodes_english() {
    let vocabulary = Vocabulary::from_rwkv_text(STORIES).unwrap();
    assert_eq!(vocabulary.vocab_len(), 1024);
    let section = vocabulary.pack().unwrap();
    let tokenizer = Tokenizer::parse(&section).unwrap();
    check_round_trip(&vocabulary, &tokenizer);

    let text = "Once upon a time, there was a girl named Lily. \"Let's play!\" – café 🐦\n";
    let tokens: Vec<_> = tokenizer.encode(text.as_bytes()).map(Result::unwrap).collect();
    assert_eq!(tokens, Naive::new(&vocabulary).encode(text.as_bytes()).unwrap());
    assert_eq!(decode(&tokenizer, &tokens), text.as_bytes());
    assert!(tokens.len() < text.len() / 2, "{} tokens", tokens.len());
    let every_byte: Vec<_> = (0..=u8::MAX).collect();
    assert!(tokenizer.encode(&every_byte).all(|token| token.is_ok()));
}

#[test]
fn the_text_form_of_the_stories_vocabulary_may_have_crlf() {
    let text = std::str::from_utf8(STORIES).unwrap();
    let crlf = text.replace('\n', "\r\n");
    assert_eq!(Vocabulary::from_rwkv_text(crlf.as_bytes()), Vocabulary::from_rwkv_text(STORIES));
}

/// Needs the RWKV World vocabulary (`rwkv_vocab_v20230424.txt`), which is not in the repository.
#[test]
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
fn the_world_vocabulary_round_trips() {
    let Some(path) = std::env::var_os("KINGLET_WORLD_VOCAB") else {
        eprintln!("skipped: KINGLET_WORLD_VOCAB does not name the World vocabulary's text form");
        return;
    };
    let vocabulary = Vocabulary::from_rwkv_text(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(vocabulary.vocab_len(), 65_530);
    let section = vocabulary.pack().unwrap();
    assert!(section.len() < 1_010_000, "{} bytes", section.len());
    let tokenizer = Tokenizer::parse(&section).unwrap();
    assert_eq!(tokenizer.max_token_len(), 128);
    check_round_trip(&vocabulary, &tokenizer);

    let known =
        [("\n", 11), ("\n\n", 261), ("\n\n\n", 3328), ("User", 24281), (":", 59), (" <", 295)];
    for (text, id) in known.into_iter().chain([("think", 35762), (">", 63), ("</", 754)]) {
        assert!(tokenizer.encode(text.as_bytes()).eq([Ok(id)]), "{text:?}");
    }
    let every_byte = (0..=u8::MAX).map(|byte| tokenizer.encode(&[byte]).next());
    assert!(every_byte.eq((1..=256).map(|id| Some(Ok(id)))));

    // Neighbours join to longer tokens, and long runs are cut at the longest.
    let naive = Naive::new(&vocabulary);
    let joined: Vec<u8> = (0..20_000_u32)
        .flat_map(|i| vocabulary.token(1 + i * 7919 % 65_529).unwrap().to_vec())
        .collect();
    let runs = [vec![b' '; 1000], vec![b'-'; 333], vec![b'\n'; 99]].concat();
    for text in [joined, runs, include_bytes!("vocabulary.rs").to_vec()] {
        assert_eq!(tokenizer.encode(&text).collect::<Result<Vec<_>, _>>(), naive.encode(&text));
    }
}

#[test]
fn the_largest_vocabulary_and_the_longest_tokens_fit() {
    // Every id from 1 to 65,535, and every node of the trie but the root full.
    let pairs = (1..=u16::MAX).map(|id| id.to_be_bytes().to_vec());
    let full: Vec<_> = std::iter::once(Vec::new()).chain(pairs).collect();
    // A block whose strings start as far apart as they may, and tails far longer than a leaf's.
    let longest = (0..40_u8).map(|last| [vec![b'x'; 4094], vec![last]].concat());
    let long: Vec<_> = std::iter::once(Vec::new()).chain(longest).collect();
    for tokens in [full, long] {
        let vocabulary = Vocabulary::from_tokens(tokens).unwrap();
        let section = vocabulary.pack().unwrap();
        check_round_trip(&vocabulary, &Tokenizer::parse(&section).unwrap());
    }
}

#[test]
fn byte_vocabularies_encode_every_text() {
    for offset in [0, 1, 3, u16::MAX] {
        let vocabulary = Vocabulary::bytes(offset);
        let section = vocabulary.pack().unwrap();
        let tokenizer = Tokenizer::parse(&section).unwrap();
        check_round_trip(&vocabulary, &tokenizer);
        assert_eq!(tokenizer.end_of_text().is_none(), offset == 0);
        let ids = [b'h', b'i', 0xFF].map(|byte| Ok(u32::from(byte) + u32::from(offset)));
        assert!(tokenizer.encode(b"hi\xFF").eq(ids));
    }
}

#[test]
fn an_unencodable_byte_is_named_with_its_position() {
    let vocabulary = Vocabulary::from_rwkv_text(b"1 'ab' 2\n2 'abc' 3").unwrap();
    let section = vocabulary.pack().unwrap();
    let tokens: Vec<_> = Tokenizer::parse(&section).unwrap().encode(b"abcabxab").collect();
    assert_eq!(tokens, [Ok(2), Ok(1), Err(EncodeError { byte: b'x', position: 5 })]);
}

/// What reading a text form reports.
fn report(text: &[u8]) -> String {
    Vocabulary::from_rwkv_text(text).unwrap_err().to_string()
}

#[test]
fn a_wrong_line_is_named_with_what_was_expected() {
    let found = |line: &str| report(format!("1 'a' 1\n{line}\n").as_bytes());
    let cases = [
        ("", "found ``, expected `id literal length`"),
        ("2 'b'", "found `2 'b'`, expected `id literal length`"),
        ("x 'b' 1", "found id `x`, expected a number from 1 to 65535"),
        ("+2 'b' 1", "found id `+2`, expected a number from 1 to 65535"),
        (" 'b' 1", "found id ``, expected a number from 1 to 65535"),
        ("0 'b' 1", "found id `0`, expected a number from 1 to 65535"),
        ("65536 'b' 1", "found id `65536`, expected a number from 1 to 65535"),
        ("99999999999 'b' 1", "found id `99999999999`, expected a number from 1 to 65535"),
        (
            "2 'b 1",
            "found `'b`, expected a Python string or bytes literal: its closing quote is missing",
        ),
        ("2 'b' 2", "found length `2`, expected 1, the number of the token's bytes"),
        ("2 'é' 1", "found length `1`, expected 2, the number of the token's bytes"),
        (
            "2 'b' 1 ",
            "found `'b' 1`, expected a Python string or bytes literal: \
             text follows its closing quote",
        ),
        ("2 'b' -1", "found length `-1`, expected 1, the number of the token's bytes"),
        ("2 '' 0", "found a token of 0 bytes, expected 1 to 4095"),
        ("1 'b' 1", "found id 1 again, expected an id other than that of line 1"),
        ("2 'a' 1", "found the token of line 1 again, expected every token once"),
        (r"2 b'\x61' 1", "found the token of line 1 again, expected every token once"),
    ];
    for (line, expected) in cases {
        assert_eq!(found(line), format!("vocabulary line 2: {expected}"));
    }
    let long = format!("2 '{}' 4096", "b".repeat(4096));
    assert_eq!(found(&long), "vocabulary line 2: found a token of 4096 bytes, expected 1 to 4095");
    assert_eq!(
        Vocabulary::from_rwkv_text(b"1 'a' 1\r\n2 '\xFF' 1\r\n"),
        Err(VocabularyError::Line { line: 2, error: LineError::NotUtf8 })
    );
}

#[test]
fn a_missing_id_is_named() {
    let gap = "the vocabulary has no line for id 2, expected every id from 1 to 4";
    assert_eq!(report(b"1 'a' 1\n4 'd' 1\n3 'c' 1\n"), gap);
    assert_eq!(report(b""), "the vocabulary is empty, expected at least one token");
    assert_eq!(report(b"\n"), "the vocabulary is empty, expected at least one token");
    let lines = STORIES.split_inclusive(|&byte| byte == b'\n');
    let without_line_500: Vec<_> = lines.enumerate().filter(|(i, _)| *i != 499).collect();
    let text: Vec<_> = without_line_500.into_iter().flat_map(|(_, line)| line).copied().collect();
    let missing = VocabularyError::Gap { missing: 500, last: 1023 };
    assert_eq!(Vocabulary::from_rwkv_text(&text), Err(missing));
}

#[test]
fn a_wrong_list_of_tokens_is_refused() {
    let from = |tokens: &[&[u8]]| {
        Vocabulary::from_tokens(tokens.iter().map(|token| token.to_vec()).collect()).unwrap_err()
    };
    assert_eq!(from(&[]), VocabularyError::NoTokens);
    assert_eq!(from(&[b"", b"", b""]), VocabularyError::NoTokens);
    let end_of_text = VocabularyError::EndOfTextHasBytes { found: b"<s>".to_vec() };
    assert_eq!(from(&[b"<s>", b"a"]), end_of_text);
    let duplicate = VocabularyError::Duplicate { first: 1, second: 4 };
    assert_eq!(from(&[b"", b"a", b"", b"b", b"a"]), duplicate);
    let too_long = VocabularyError::TooLong { id: 1, found: 4096, most: 4095 };
    assert_eq!(from(&[b"", &[b'a'; 4096]]), too_long);
    let too_many = VocabularyError::TooMany { found: 65_537, most: 65_536 };
    assert_eq!(Vocabulary::from_tokens(vec![Vec::new(); 65_537]), Err(too_many));
}

#[test]
fn transformers_lines_are_numbered_from_zero() {
    let lines = b"<s>\nb'\\x00'\nb' a'\nb\"it's\"\n'\xe4\xbd\xa0'\n";
    let rwkv = "1 b'\\x00' 1\n2 ' a' 2\n3 \"it's\" 4\n4 '\u{4f60}' 3\n";
    assert_eq!(Vocabulary::read(lines).unwrap(), Vocabulary::read(rwkv.as_bytes()).unwrap());
    let quoted = [&b"b'<s>'\n"[..], &lines[4..]].concat();
    assert_eq!(Vocabulary::read(&quoted).unwrap(), Vocabulary::read(lines).unwrap());
    let error = Vocabulary::read(b"<s>\nb'a\n").unwrap_err().to_string();
    assert!(error.starts_with("vocabulary line 2"), "{error}");
    let error = Vocabulary::read(b"b'a'\nb'b'\n").unwrap_err().to_string();
    assert!(error.starts_with("token 0 has the bytes"), "{error}");
}

#[test]
fn id_json_takes_text_and_bytes() {
    let json = br#"{"1": "a", "3": [228, 189], "2": "\u00e9"}"#;
    let rwkv = "1 'a' 1\n2 '\u{e9}' 2\n3 b'\\xe4\\xbd' 2\n";
    assert_eq!(Vocabulary::read(json).unwrap(), Vocabulary::read(rwkv.as_bytes()).unwrap());
    for wrong in [&br#"{"1": 5}"#[..], br#"{"70000": "a"}"#, br#"{"1": [256]}"#, br#"{"1": "a""#] {
        let error = Vocabulary::read(wrong).unwrap_err();
        assert!(matches!(error, VocabularyError::Json { .. }), "{error}");
    }
}

/// The music models' vocabulary in the small: RWKV Runner's `tokenizer-midipiano.json` with fewer
/// words.
fn music() -> serde_json::Value {
    let added = |id: u16, content: &str| {
        serde_json::json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        })
    };
    serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [added(0, "<pad>"), added(1, "<start>"), added(2, "<end>")],
        "normalizer": { "type": "Lowercase" },
        "pre_tokenizer": { "type": "WhitespaceSplit" },
        "post_processor": null, "decoder": null,
        "model": {
            "type": "WordLevel", "unk_token": "<pad>",
            "vocab": {
                "<pad>": 0, "<start>": 1, "<end>": 2, "t1": 3, "t12": 4, "t125": 5, "p:0:0": 6,
                "p:0:a": 7, "p:7f:f": 8,
            },
        },
    })
}

#[test]
fn words_are_those_of_the_tokenizers_library() {
    let json = serde_json::to_vec(&music()).unwrap();
    let vocabulary = Vocabulary::read(&json).unwrap();
    assert_eq!(vocabulary.vocab_len(), 9);
    let section = vocabulary.pack().unwrap();
    let ours = Tokenizer::parse(&section).unwrap();
    let theirs = tokenizers::Tokenizer::from_bytes(&json).unwrap();
    for text in ["t1 t12 t125", "P:0:A\n\tp:7f:F  t1 ", " <start> p:0:0 t125 <end>", "t1", "", " "]
    {
        let ids: Vec<u32> = ours.encode(text.as_bytes()).map(Result::unwrap).collect();
        assert_eq!(ids, theirs.encode(text, false).unwrap().get_ids(), "{text:?}");
        let told: Vec<u8> = ids.iter().flat_map(|&id| ours.token(id).unwrap()).copied().collect();
        let told = String::from_utf8(told).unwrap();
        assert_eq!(told.trim_start(), theirs.decode(&ids, false).unwrap(), "{text:?}");
    }
    assert_eq!((ours.end_of_text(), ours.token(0)), (Some(0), None));
    // What the library takes id 0 for is said instead.
    let error = |text: &str| ours.encode(text.as_bytes()).find_map(Result::err).unwrap();
    assert_eq!(error("t1 t13"), EncodeError { byte: b't', position: 3 });
    for other in ["t", "t1252", "t1t1", "<pad>", "P:0"] {
        assert_eq!(error(other).position, 0, "{other}");
    }
    for at in 0..section.len() {
        let mut damaged = section.clone();
        damaged[at] ^= 0x41;
        if let Ok(tokenizer) = Tokenizer::parse(&damaged) {
            tokenizer.encode(b"t1 p:7f:f t125 <start> x").for_each(drop);
        }
    }
}

#[test]
fn words_that_are_split_or_joined_otherwise_are_refused() {
    for (pointer, value, part) in [
        ("/pre_tokenizer", serde_json::json!({ "type": "Whitespace" }), "pre_tokenizer Whitespace"),
        ("/decoder", serde_json::json!({ "type": "Fuse" }), "decoder Fuse"),
        ("/normalizer", serde_json::json!({ "type": "NFC" }), "normalizer NFC"),
        ("/model/vocab/t1", serde_json::json!(70000), "not the JSON"),
        ("/model/type", serde_json::json!("Unigram"), "model Unigram"),
    ] {
        let mut json = music();
        *json.pointer_mut(pointer).unwrap() = value;
        let error = Vocabulary::read(&serde_json::to_vec(&json).unwrap()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let mut json = music();
    json["normalizer"] = serde_json::Value::Null;
    let section = Vocabulary::read(&serde_json::to_vec(&json).unwrap()).unwrap().pack().unwrap();
    let tokenizer = Tokenizer::parse(&section).unwrap();
    assert!(
        tokenizer.encode(b"p:0:a").eq([Ok(7)]) && tokenizer.encode(b"p:0:A").any(|id| id.is_err())
    );
}
