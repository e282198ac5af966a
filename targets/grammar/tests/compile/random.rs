//! Random rules and all their short texts.

use kinglet::grammar::Grammar;
use kinglet_grammar::rules::{Node, RuleId, Rules};
use kinglet_grammar::{CompileError, Options, compile};
use proptest::collection::vec;
use proptest::prelude::*;
use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

use crate::oracle::Oracle;
use crate::position;

/// All bytes of the texts. `ä` is two of them, of which `â` shares the first.
const BYTES: &[u8] = "ab()äâ".as_bytes();
/// Rules.
const RULES: usize = 4;

fn options() -> Options {
    let mut options = Options::default();
    options.depth = 32;
    options.budget = 2_000_000;
    options
}

fn leaf() -> impl Strategy<Value = Node> {
    let class = |ranges: &[(char, char)]| {
        let ranges = ranges.iter().map(|&(first, last)| ClassUnicodeRange::new(first, last));
        Node::Class(ClassUnicode::new(ranges))
    };
    prop_oneof![
        40 => vec(prop_oneof![Just(b'a'), Just(b'b')], 0..3).prop_map(Node::Bytes),
        1 => Just(Node::Never),
        10 => Just(Node::Bytes("ä".into())),
        10 => Just(class(&[('a', 'b')])),
        10 => Just(class(&[('a', 'a'), ('ä', 'ä'), ('â', 'â')])),
    ]
}

/// Patterns that refer to rules from `first` on anywhere, and to all in parentheses.
fn node(first: usize, has_both: bool, is_recursive: bool) -> BoxedStrategy<Node> {
    let reference = (first..RULES + 1).prop_map(|rule| match rule {
        RULES => Node::Bytes(b"b".to_vec()),
        rule => Node::Rule(RuleId(rule)),
    });
    let enclosed = (0..RULES).prop_map(|rule| {
        let (open, close) = (Node::Bytes(b"(".to_vec()), Node::Bytes(b")".to_vec()));
        Node::Concat(vec![open, Node::Rule(RuleId(rule)), close])
    });
    let leaf = if is_recursive {
        prop_oneof![3 => leaf(), 1 => reference, 2 => enclosed].boxed()
    } else {
        prop_oneof![4 => leaf(), 1 => reference].boxed()
    };
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let repeat = (inner.clone(), 0..3_u32, prop::option::of(0..3_u32)).prop_map(
            |(node, least, more)| Node::Repeat {
                node: Box::new(node),
                least,
                most: more.map(|more| least + more),
            },
        );
        let both = (inner.clone(), inner.clone())
            .prop_map(|(left, right)| Node::Both(Box::new(left), Box::new(right)));
        prop_oneof![
            4 => vec(inner.clone(), 0..4).prop_map(Node::Concat),
            3 => vec(inner, 1..4).prop_map(Node::Alternate),
            2 => repeat,
            if has_both { 1 } else { 0 } => both,
        ]
    })
    .boxed()
}

/// The root refers to the others several times, so that they are reached, and shared.
fn rules(has_both: bool, is_recursive: bool) -> impl Strategy<Value = Rules> {
    let rule = |rule| node(rule + 1, has_both, is_recursive);
    let bodies = (1..RULES).map(rule).collect::<Vec<_>>();
    let reference = (1..RULES, "[()]").prop_map(|(rule, mark)| {
        Node::Concat(vec![Node::Rule(RuleId(rule)), Node::Bytes(mark.into_bytes())])
    });
    let references = prop_oneof![
        vec(reference.clone(), 2..7).prop_map(Node::Concat),
        vec(reference, 2..7).prop_map(Node::Alternate),
        rule(0),
    ];
    (references, bodies).prop_map(|(root, others)| Rules {
        names: (0..RULES).map(|rule| format!("rule-{rule}")).collect(),
        bodies: [root].into_iter().chain(others).collect(),
        root: RuleId(0),
    })
}

/// Rules that refer to each other anywhere, which are seldom what a table can hold.
fn tangled() -> impl Strategy<Value = Rules> {
    vec(node(0, false, false), RULES).prop_map(|bodies| Rules {
        names: (0..RULES).map(|rule| format!("rule-{rule}")).collect(),
        bodies,
        root: RuleId(0),
    })
}

/// Compares table and oracle on all texts that begin with `text` and have a few bytes more.
fn compare(
    grammar: &Grammar<'_>,
    oracle: &Oracle<'_>,
    text: &mut Vec<u8>,
    left: &mut u32,
    depth: usize,
) {
    for &byte in BYTES {
        text.push(byte);
        let position = position(grammar, text);
        let found = oracle.look(text);
        assert_eq!(
            position.is_some(),
            found.is_open,
            "beginning {:?}",
            text.escape_ascii().to_string()
        );
        let may_end = position.is_some_and(|position| position.may_end(grammar));
        let ends = found.ends.contains(&text.len());
        assert_eq!(may_end, ends, "text {:?}", text.escape_ascii().to_string());
        if position.is_some() && depth > 1 && *left > 0 {
            *left -= 1;
            compare(grammar, oracle, text, left, depth - 1);
        }
        text.pop();
    }
}

/// Compares all texts of up to eight bytes, as far as there are not too many.
fn check(rules: &Rules) -> Result<(), TestCaseError> {
    let oracle = Oracle::new(rules);
    match compile(rules, &options()) {
        Ok(table) => {
            prop_assert_eq!(&table, &compile(rules, &options()).expect("the same again"));
            let grammar = Grammar::open(&table).expect("a table that the core reads");
            prop_assert_eq!(grammar.start().may_end(&grammar), oracle.accepts(b""));
            compare(&grammar, &oracle, &mut Vec::new(), &mut 300, 8);
        }
        Err(CompileError::Empty { .. }) => prop_assert!(!oracle.has_any_text()),
        Err(CompileError::Conflict(conflict)) => {
            let table = conflict.after;
            prop_assert!(oracle.begins(&table), "after {:?}", table.escape_ascii().to_string());
        }
        Err(CompileError::LeftRecursion { rules }) => prop_assert!(!rules.is_empty()),
        Err(error) => prop_assert!(false, "{}", error),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tables_have_the_texts_of_their_rules(rules in rules(false, false)) {
        prop_assert!(compile(&rules, &options()).is_ok() || !Oracle::new(&rules).has_any_text());
        check(&rules)?;
    }

    #[test]
    fn tables_have_the_texts_of_rules_that_contain_themselves(rules in rules(false, true)) {
        check(&rules)?;
    }

    #[test]
    fn tables_have_the_texts_of_tangled_rules(rules in tangled()) {
        check(&rules)?;
    }

    #[test]
    fn tables_have_the_texts_of_intersections(rules in rules(true, false), texts in vec(vec(prop::sample::select(BYTES), 0..6), 50)) {
        let oracle = Oracle::new(&rules);
        let table = match compile(&rules, &options()) {
            Ok(table) => table,
            Err(error) => {
                prop_assert!(matches!(error, CompileError::Empty { .. }), "{}", error);
                for text in texts {
                    prop_assert!(!oracle.accepts(&text));
                }
                return Ok(());
            }
        };
        let grammar = Grammar::open(&table).expect("a table that the core reads");
        for text in texts {
            let may_end = position(&grammar, &text).is_some_and(|position| position.may_end(&grammar));
            prop_assert_eq!(may_end, oracle.accepts(&text));
        }
        // Random texts are seldom complete; those that the table leads to are.
        let mut position = grammar.start();
        let mut text = Vec::new();
        while !position.may_end(&grammar) {
            let shortest = position.shortest(&grammar);
            let nearer = |&byte: &u8| {
                let mut next = position;
                next.advance(&grammar, byte) && next.shortest(&grammar) < shortest
            };
            let byte = BYTES.iter().copied().find(nearer).expect("a byte that leads nearer to the end");
            position.advance(&grammar, byte);
            text.push(byte);
        }
        prop_assert!(oracle.accepts(&text));
    }
}
