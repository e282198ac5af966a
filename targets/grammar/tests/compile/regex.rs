//! Regular expressions.

use kinglet_grammar::{Error, from_regex};

use crate::accepts;

fn check(pattern: &str, yes: &[&str], no: &[&str]) {
    let table = from_regex(pattern, &Default::default()).unwrap();
    for text in yes {
        assert!(accepts(&table, text.as_bytes()), "{pattern} and {text:?}");
    }
    for text in no {
        assert!(!accepts(&table, text.as_bytes()), "{pattern} but {text:?}");
    }
}

#[test]
fn patterns_are_of_the_whole_text() {
    check("ab?", &["a", "ab"], &["", "abb", "xa", "b"]);
    check("^ab?$", &["a", "ab"], &["", "abb", "xa", "b"]);
    check("^(?:a|b$)|^c", &["a", "b", "c"], &["", "ab", "cc"]);
    check("(?i-u:on)|x{2,3}?", &["ON", "oN", "xx", "xxx"], &["x", "xxxx"]);
}

#[test]
fn classes_are_those_of_ecmascript() {
    check(r"\d\w\s", &["0_ ", "9z\u{3000}", "1A\u{feff}"], &["٣a ", "1ä ", "1a\u{180e}"]);
    check(r"[^\D5]\S\W", &["4x-", "0ä€"], &["5x-", "4 -", "4xx"]);
    check(".", &["a", "€", "😀", "\u{85}"], &["", "\n", "\r", "\u{2028}", "ab"]);
    check("(?s:.)", &["\n", "\u{2029}", "a"], &["", "ab"]);
    check("[α-ω&&[^λ]]+", &["αβγ", "ω"], &["λ", "αλ"]);
}

#[test]
fn what_looks_around_is_refused_by_name() {
    for (pattern, found) in
        [(r"a\bc", r"`\b`"), (r"\Ba", r"`\B`"), ("a^b", "`^`"), ("(a$)*", "`$`")]
    {
        let error = from_regex(pattern, &Default::default()).unwrap_err();
        assert!(matches!(error, Error::Regex(_)) && error.to_string().contains(found), "{error}");
    }
    for pattern in ["(?=a)b", r"(a)\1", "[a-", "(?-u:\\xff)", "a{3,1}"] {
        assert!(
            matches!(from_regex(pattern, &Default::default()), Err(Error::Regex(_))),
            "{pattern}"
        );
    }
}
