//! The vocabulary against what is known of it.

use std::collections::HashSet;

use kinglet::tokenizer::Tokenizer;
use kinglet_quantize::vocabulary::Vocabulary;

/// The vocabulary with id 0, which ends a text.
fn vocabulary() -> Vocabulary {
    let end_of_text = std::iter::once(Vec::new());
    let tokens = end_of_text.chain(kinglet_world::tokens().map(<[u8]>::to_vec));
    Vocabulary::from_tokens(tokens.collect()).expect("a vocabulary")
}

#[test]
fn ids_ascend_with_length_and_bytes() {
    let tokens: Vec<_> = kinglet_world::tokens().collect();
    assert_eq!(tokens.len(), 65_529);
    assert_eq!(tokens.iter().map(|token| token.len()).sum::<usize>(), 373_358);
    assert!(tokens.is_sorted_by_key(|token| (token.len(), *token)));
    assert_eq!(tokens.iter().collect::<HashSet<_>>().len(), tokens.len());
    for (at, byte) in (0..=u8::MAX).enumerate() {
        assert_eq!(tokens[at], [byte]);
    }
}

#[test]
fn the_iterator_knows_its_length() {
    let mut tokens = kinglet_world::tokens();
    for left in (0..65_529).rev() {
        assert!(tokens.next().is_some());
        assert_eq!(tokens.len(), left);
    }
    assert_eq!(tokens.next(), None);
    assert_eq!(tokens.next(), None);
}

/// Ids that the official tokenizer gives.
#[test]
fn texts_have_the_official_ids() {
    let packed = vocabulary().pack().expect("a packed vocabulary");
    assert_eq!(packed.len(), 1_001_496);
    let tokenizer = Tokenizer::parse(&packed).expect("a tokenizer");
    assert_eq!(tokenizer.end_of_text(), Some(0));
    for (text, ids) in [
        ("\n", &[11][..]),
        ("\n\n", &[261]),
        ("\n\n\n", &[3328]),
        (" \n\n", &[3336]),
        ("User:", &[24281, 59]),
        (" <think>", &[295, 35762, 63]),
        ("</", &[754]),
        ("></think", &[5439, 35762]),
        ("。\n\n", &[28329, 11]),
        ("，\n\n", &[28331, 11]),
        ("…\n\n", &[28324, 11]),
    ] {
        let found: Result<Vec<_>, _> = tokenizer.encode(text.as_bytes()).collect();
        assert_eq!(found.expect("ids"), ids, "{text:?}");
    }
}
