//! Byte-level BPE against Hugging Face's `tokenizers`, which defines it.

#![expect(clippy::print_stderr, reason = "a skipped test says so")]
use kinglet::tokenizer::Tokenizer;
use kinglet_quantize::vocabulary::{Vocabulary, VocabularyError};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokenizers::Tokenizer as Reference;

/// The NeoX tokenizer of the Pile models with 4,096 of its merges; see `licences/README.md`.
const NEOX: &[u8] = include_bytes!("data/neox_4096.tokenizer.json");

/// A tokenizer file, read by both.
struct Both {
    reference: Reference,
    vocabulary: Vocabulary,
    section: Vec<u8>,
}

impl Both {
    fn new(json: &[u8]) -> Self {
        let vocabulary = Vocabulary::read(json).unwrap();
        let section = vocabulary.pack().unwrap();
        Self { reference: Reference::from_bytes(json).unwrap(), vocabulary, section }
    }

    fn ids(&self, text: &[u8]) -> Vec<u32> {
        let tokenizer = Tokenizer::parse(&self.section).unwrap();
        tokenizer.encode(text).map(Result::unwrap).collect()
    }

    fn reference_ids(&self, text: &str) -> Vec<u32> {
        self.reference.encode(text, false).unwrap().get_ids().to_vec()
    }

    fn check(&self, text: &str) {
        let ids = self.ids(text.as_bytes());
        assert_eq!(ids, self.reference_ids(text), "{text:?}");
        let tokenizer = Tokenizer::parse(&self.section).unwrap();
        let bytes: Vec<u8> =
            ids.iter().flat_map(|&id| tokenizer.token(id).unwrap_or_default()).copied().collect();
        let decoded = self.reference.decode(&ids, true).unwrap();
        assert_eq!(String::from_utf8_lossy(&bytes), decoded, "{text:?}");
    }
}

#[test]
fn a_section_has_the_ids_and_the_bytes_of_its_vocabulary() {
    let both = Both::new(NEOX);
    let tokenizer = Tokenizer::parse(&both.section).unwrap();
    assert_eq!(tokenizer.vocab_len(), 4364);
    assert_eq!(tokenizer.end_of_text(), Some(0));
    for id in 0..4400 {
        assert_eq!(tokenizer.token(id), both.vocabulary.token(id), "{id}");
    }
    assert_eq!(tokenizer.token(0), None);
    assert_eq!(tokenizer.token(187), Some(&b"\n"[..]));
    assert_eq!(tokenizer.token(4363), Some(&b"  "[..]));
    let longest = (0..4364).filter_map(|id| tokenizer.token(id)).map(<[u8]>::len).max();
    assert_eq!(Some(tokenizer.max_token_len()), longest);
}

/// Whether to test a character: all but most of those that are in long runs of one kind.
fn is_tested(c: char) -> bool {
    match c as u32 {
        // Ideographs and Hangul syllables.
        0x3400..0xA000 | 0xAC00..0xD7A4 | 0x17000..0x18D00 | 0x20000..0x40000 => {
            (c as u32).is_multiple_of(61)
        }
        // Private use and what is not assigned.
        0xE000..0xF900 | 0x40000.. => (c as u32).is_multiple_of(4093),
        _ => true,
    }
}

/// Every character alone, among letters, after a space and with marks.
#[test]
fn every_character_is_classed_and_normalized_as_in_the_reference() {
    let both = Both::new(NEOX);
    let characters: Vec<char> = ('\0'..=char::MAX)
        .filter(|&c| is_tested(c) || ('\u{2F800}'..='\u{2FA1F}').contains(&c))
        .collect();
    let around = |c: &char| format!("a{c}b {c}1{c}\u{301}\u{323}{c}\u{11A8} {c}\n");
    for characters in characters.chunks(64) {
        let text: String = characters.iter().map(around).collect();
        if both.ids(text.as_bytes()) != both.reference_ids(&text) {
            // Names the character.
            characters.iter().for_each(|c| both.check(&around(c)));
            both.check(&text);
        }
    }
}

#[test]
fn words_spaces_and_added_tokens_are_split_as_in_the_reference() {
    let both = Both::new(NEOX);
    for text in [
        "",
        " ",
        "\n",
        "  ",
        "Hello, world! It's 2026; we'll've 'seen' 'twasn't I'M 'RE.",
        "a\n\n  b\n \t c  \r\n",
        "one<|endoftext|>two <|padding|> <|endoftext <|endoftext|><|endoftext|>",
        "e\u{301}e\u{301}\u{323}\u{1e69}\u{1100}\u{1161}\u{11a8} <\u{338}<|endoftext|>\u{338}",
        "\u{301}\u{301} \u{301}  \u{301}",
        "def f(x):\n        if x:\n                return  1\n",
        "\u{3000}\u{a0}\u{2003}x\u{85}\u{2028}y",
        "Ⅷ ²³ ½ १२३ 漢字かな交じり文、中文没有空格。ภาษาไทยไม่มีช่องว่าง 한국어",
        "👩‍👩‍👧‍👦 🏳️‍🌈 \u{1F1E6}\u{1F1FA}",
    ] {
        both.check(text);
    }
    for len in 1..60 {
        both.check(&" ".repeat(len));
        both.check(&format!("x{}y", " ".repeat(len)));
        both.check(&format!("x\n{}y{}\n", " ".repeat(len), "\t".repeat(len)));
        both.check(&"-".repeat(len * 7));
    }
    both.check(include_str!("byte_pair.rs"));
    both.check(include_str!("../src/vocabulary/byte_pair.rs"));
}

#[test]
fn words_of_any_length_are_encoded() {
    let both = Both::new(NEOX);
    both.check(&"a".repeat(10_000));
    both.check(&"-=".repeat(5_000));
    both.check(&"abcdefghijklmnopqrstuvwxyzthequickbrownfox".repeat(200));
    both.check(&"日本語の文".repeat(1_000));
    // A run of marks that canonical ordering turns round.
    both.check(&format!("e{}", "\u{301}\u{323}\u{5b0}".repeat(1_000)));
}

#[test]
fn bytes_outside_utf8_are_their_own_tokens_or_errors() {
    let both = Both::new(NEOX);
    let tokenizer = Tokenizer::parse(&both.section).unwrap();
    // What every byte of UTF-8 has, even where it does not stand in a character.
    let text = b"ab\xE2\x82 \xA9\x80\xF0c";
    let bytes: Vec<u8> =
        both.ids(text).iter().flat_map(|&id| tokenizer.token(id).unwrap()).copied().collect();
    assert_eq!(bytes, text);
    // The tokenizer has no token for bytes that UTF-8 never has.
    let tokens: Vec<_> = tokenizer.encode(b"ab \xFFc").collect();
    let error = tokens.last().unwrap().as_ref().unwrap_err();
    assert_eq!((error.byte, error.position), (0xFF, 3));
    assert_eq!(tokens.iter().filter(|token| token.is_err()).count(), 1);
}

#[test]
fn positions_are_those_of_the_text() {
    let both = Both::new(NEOX);
    let tokenizer = Tokenizer::parse(&both.section).unwrap();
    let text = "The unquestionable <|endoftext|>   hippopotamus";
    let mut tokens = tokenizer.encode(text.as_bytes());
    let mut decoded = String::new();
    while let Some(id) = tokens.next() {
        decoded +=
            std::str::from_utf8(tokenizer.token(id.unwrap()).unwrap_or(b"<|endoftext|>")).unwrap();
        assert_eq!(decoded, text[..tokens.position()]);
    }
    assert_eq!(decoded, text);
}

/// Text of what the tokenizer treats in its own way.
fn text() -> impl Strategy<Value = String> {
    let token = {
        let vocabulary = Vocabulary::read(NEOX).unwrap();
        let tokens: Vec<String> = (0..4364)
            .filter_map(|id| Some(String::from_utf8_lossy(vocabulary.token(id)?).into_owned()))
            .collect();
        prop::sample::select(tokens)
    };
    let special = prop::sample::select(vec![
        "<|endoftext|>",
        "<|padding|>",
        "<|end",
        "'s",
        "'ll",
        "'",
        " '",
        "'re",
        "\r\n",
        "\n\n",
        "\t",
        "  ",
        "   ",
        "\u{a0}",
        "\u{3000}",
        "½",
        "²",
        "Ⅷ",
        "_",
        "...",
        "é",
        "e\u{301}",
        "\u{323}",
        "\u{301}",
        "\u{5b0}",
        "\u{344}",
        "\u{f71}\u{f72}",
        "\u{1100}",
        "\u{1161}",
        "\u{11a8}",
        "가",
        "각",
        "\u{9c7}\u{9be}",
        "\u{212b}",
        "\u{2126}",
        "\u{fb1d}",
        "\u{1d15e}",
        "\u{2f800}",
        "\u{110a5}\u{110ba}",
        "ạ̈",
        "漢",
        "ไ",
        "\u{200d}",
        "👩",
    ]);
    let piece = prop_oneof![
        6 => token,
        6 => special.prop_map(str::to_owned),
        2 => any::<char>().prop_map(String::from),
        2 => "[a-z]{1,12}",
        1 => "[ \\n\\t]{1,30}",
        1 => "\\PC{1,8}",
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// The file of a vocabulary with the bytes and these merges, each of two earlier tokens by number.
fn file(merges: &[(prop::sample::Index, prop::sample::Index)]) -> Value {
    let mut tokens: Vec<String> = ["a", "b", "Ġ"].map(String::from).to_vec();
    let mut lines = Vec::new();
    for (left, right) in merges {
        let (left, right) = (&tokens[left.index(tokens.len())], &tokens[right.index(tokens.len())]);
        let merged = format!("{left}{right}");
        if !tokens.contains(&merged) && merged.len() <= 40 {
            lines.push(format!("{left} {right}"));
            tokens.push(merged);
        }
    }
    let vocab: serde_json::Map<_, _> =
        (0..).zip(tokens).map(|(id, token)| (token, json!(id))).collect();
    json!({
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true },
        "decoder": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true },
        "model": { "type": "BPE", "vocab": vocab, "merges": lines },
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn text_has_the_references_tokens(text in text()) {
        thread_local!(static BOTH: Both = Both::new(NEOX));
        BOTH.with(|both| both.check(&text));
    }

    /// Merges that no training would make, in text where they compete.
    #[test]
    fn every_order_of_merges_is_kept(
        merges in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 1..40),
        texts in prop::collection::vec("[ab]{0,60}", 1..20),
        run in 0_usize..300,
    ) {
        let both = Both::new(file(&merges).to_string().as_bytes());
        texts.iter().for_each(|text| both.check(text));
        both.check(&"a".repeat(run));
        both.check(&"ab".repeat(run));
    }

    #[test]
    fn damage_gives_errors_or_wrong_tokens(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..2000),
        text in text(),
    ) {
        thread_local!(static SECTION: Vec<u8> = Vocabulary::read(NEOX).unwrap().pack().unwrap());
        let mut section = SECTION.with(Vec::clone);
        for (at, value) in damage {
            let at = at.index(section.len());
            section[at] = value;
        }
        if let Ok(tokenizer) = Tokenizer::parse(&section) {
            let count = tokenizer.encode(text.as_bytes()).take_while(Result::is_ok).count();
            prop_assert!(count <= 4 * text.len());
            let longest = (0..5000).filter_map(|id| tokenizer.token(id)).map(<[u8]>::len).max();
            prop_assert!(longest.is_none_or(|longest| longest <= section.len()));
        }
    }
}

/// Sets a member of the file at a path like `model/dropout`.
fn changed(path: &str, value: Value) -> Result<Vocabulary, VocabularyError> {
    let mut file: Value = serde_json::from_slice(NEOX).unwrap();
    let mut member = &mut file;
    for key in path.split('/') {
        member = match key.parse::<usize>() {
            Ok(index) => &mut member[index],
            Err(_) => &mut member[key],
        };
    }
    *member = value;
    Vocabulary::read(file.to_string().as_bytes())
}

#[test]
fn parts_of_another_kind_are_refused_by_name() {
    let llama = json!({ "type": "Sequence", "pretokenizers": [{ "type": "Split" }] });
    for (path, value, part) in [
        ("model/type", json!("Unigram"), "model Unigram"),
        ("model/dropout", json!(0.1), "model option dropout"),
        ("model/unk_token", json!("<unk>"), "model option unk_token"),
        ("model/end_of_word_suffix", json!("</w>"), "model option end_of_word_suffix"),
        ("model/byte_fallback", json!(true), "model option byte_fallback"),
        ("model/ignore_merges", json!(true), "model option ignore_merges"),
        ("normalizer", json!({ "type": "Lowercase" }), "normalizer Lowercase"),
        (
            "normalizer",
            json!({ "type": "Sequence", "normalizers": [{ "type": "NFKC" }] }),
            "normalizer NFKC",
        ),
        ("pre_tokenizer", llama, "pre_tokenizer Sequence"),
        ("pre_tokenizer", Value::Null, "pre_tokenizer without a type"),
        ("pre_tokenizer/add_prefix_space", json!(true), "pre_tokenizer option add_prefix_space"),
        ("pre_tokenizer/use_regex", json!(false), "pre_tokenizer without use_regex"),
        ("decoder/type", json!("WordPiece"), "decoder WordPiece"),
        ("added_tokens/3/lstrip", json!(true), "added token option lstrip (id 4342)"),
        ("added_tokens/0/content", json!(""), "empty added token (id 0)"),
    ] {
        let error = changed(path, value).unwrap_err();
        assert_eq!(error, VocabularyError::Unsupported { part: part.to_owned() });
        assert!(error.to_string().contains("20B_tokenizer.json"));
    }
}

#[test]
fn parts_that_change_nothing_are_accepted() {
    let original = Vocabulary::read(NEOX).unwrap();
    let pairs: Value = {
        let file: Value = serde_json::from_slice(NEOX).unwrap();
        let merges = file["model"]["merges"].as_array().unwrap();
        merges
            .iter()
            .map(|merge| json!(merge.as_str().unwrap().split(' ').collect::<Vec<_>>()))
            .collect()
    };
    for (path, value) in [
        ("model/merges", pairs),
        ("model/continuing_subword_prefix", json!("")),
        ("model/ignore_merges", json!(false)),
        ("normalizer", json!({ "type": "Sequence", "normalizers": [{ "type": "NFC" }] })),
        ("post_processor", Value::Null),
        ("pre_tokenizer/use_regex", json!(true)),
    ] {
        assert_eq!(changed(path, value).as_ref(), Ok(&original), "{path}");
    }
    assert_ne!(changed("normalizer", Value::Null).unwrap(), original);
}

#[test]
fn merges_out_of_order_are_refused() {
    let refused = |number: usize, merge: &str| {
        let error = changed(&format!("model/merges/{number}"), json!(merge)).unwrap_err();
        error.to_string()
    };
    assert_eq!(
        refused(3, "h"),
        "merge 4 is not two tokens of the byte alphabet with a space between"
    );
    assert_eq!(refused(3, "h zq"), "merge 4 names a token that the vocabulary lacks");
    assert_eq!(refused(3, "Ġt he"), "merge 4 uses a token that no earlier merge makes");
    assert_eq!(refused(30, "Ġ t"), "merge 31 makes a lower id than an earlier one");
    assert_eq!(changed("model/merges", json!([])), Err(VocabularyError::NoMerges));
    let error = Vocabulary::read(b"{\"model\": 1").unwrap_err().to_string();
    assert!(error.starts_with("not the JSON of a tokenizer: "), "{error}");
}

/// Needs the whole NeoX tokenizer (`20B_tokenizer.json`), which is not in the repository.
/// `KINGLET_20B_TOKENIZER` names it; without it the test does nothing.
#[test]
fn the_neox_tokenizer_has_the_references_tokens() {
    let Some(path) = std::env::var_os("KINGLET_20B_TOKENIZER") else {
        eprintln!("skipped: KINGLET_20B_TOKENIZER does not name 20B_tokenizer.json");
        return;
    };
    let both = Both::new(&std::fs::read(path).unwrap());
    assert_eq!(both.vocabulary.vocab_len(), 50_277);
    assert!(both.section.len() < 1_300_000, "{} bytes", both.section.len());
    assert_eq!(both.ids(b"\n\n"), [535]);
    let joined: Vec<u8> = (0..40_000_u32)
        .flat_map(|i| both.vocabulary.token(2 + i * 7919 % 50_275).unwrap().to_vec())
        .collect();
    both.check(&String::from_utf8_lossy(&joined));
    both.check(include_str!("byte_pair.rs"));
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    runner
        .run(&text(), |text| {
            both.check(&text);
            Ok(())
        })
        .unwrap();
}
