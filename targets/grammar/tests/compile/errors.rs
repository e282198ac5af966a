//! Rules that have no table, and why.

use kinglet_grammar::rules::{Node, RuleId, Rules};
use kinglet_grammar::{CompileError, Options, compile, from_gbnf, gbnf};

use crate::accepts;

fn refused(text: &str) -> String {
    from_gbnf(text, &Default::default()).unwrap_err().to_string()
}

#[test]
fn two_things_that_begin_alike_are_named() {
    // An even palindrome: the middle is nowhere to be seen.
    let error = refused("root ::= (\"a\" root \"a\" | \"b\" root \"b\")?");
    assert!(error.contains("`a` may begin rule `root`"), "{error}");
    let error = refused(
        "root ::= x \"c\" | y \"d\"\nx ::= \"(\" x \")\" | \"a\"\ny ::= \"(\" y \")\" | \"a\"",
    );
    assert!(error.starts_with("after `(`, `(` may begin rule `y`"), "{error}");
}

#[test]
fn a_rule_that_begins_with_itself_is_named() {
    let error = refused("root ::= list\nlist ::= item | list \",\" item\nitem ::= \"x\"");
    assert!(error.starts_with("rule `list` begins with itself"), "{error}");
    let error = refused("root ::= a\na ::= \" \"* b\nb ::= c \"x\" | \"y\"\nc ::= \"\" a");
    assert!(error.starts_with("rule `a` begins with itself, by way of `b`, `c`"), "{error}");
}

#[test]
fn rules_without_a_text_are_refused() {
    assert!(refused("root ::= \"a\" root").starts_with("rule `root` allows no text"));
    let both =
        Node::Both(Box::new(Node::Bytes(b"a".to_vec())), Box::new(Node::Bytes(b"b".to_vec())));
    let rules = Rules { names: vec!["root".into()], bodies: vec![both], root: RuleId(0) };
    let error = compile(&rules, &Options::default()).unwrap_err();
    assert_eq!(error, CompileError::Empty { rule: "root".into() });
}

#[test]
fn an_intersection_with_recursion_is_refused() {
    let rules = gbnf::rules("root ::= x\nx ::= \"(\" x \")\" | \"a\"").unwrap();
    let both = Node::Both(Box::new(Node::Rule(RuleId(1))), Box::new(Node::Bytes(b"a".to_vec())));
    let rules = Rules { bodies: vec![both, rules.bodies[1].clone()], ..rules };
    let error = compile(&rules, &Options::default()).unwrap_err();
    assert_eq!(error, CompileError::RecursiveBoth { rule: "x".into() });
}

#[test]
fn sizes_end_with_an_error() {
    let error = refused("root ::= ([a-z] [0-9]? \"x\"*){4000000000}");
    assert!(error.contains("needs more than 40000000 steps"), "{error}");
    let error = refused("root ::= \"ab\"{40000}");
    assert!(error.contains("80001 states and calls"), "{error}");
    // No matter how it is written.
    let doubled = (1..40).fold("root ::= r1\n".to_owned(), |text, rule| {
        text + &format!("r{rule} ::= r{0} r{0}\n", rule + 1)
    }) + "r40 ::= \"a\"?\n";
    let error = refused(&doubled);
    assert!(error.contains("steps"), "{error}");
    let chain = (1..3000).fold("root ::= r1\n".to_owned(), |text, rule| {
        text + &format!("r{rule} ::= \"(\" r{} \")\"\n", rule + 1)
    }) + "r3000 ::= \"a\"\n";
    let error = refused(&chain);
    assert!(error.contains("nested more than 250 deep"), "{error}");
}

#[test]
fn the_depth_is_between_1_and_32() {
    for (depth, expected) in [(0, 1), (3, 3), (32, 32), (200, 32)] {
        let mut options = Options::default();
        options.depth = depth;
        let table = from_gbnf("root ::= \"(\" root \")\" | \"x\"", &options).unwrap();
        let nested = |levels| "(".repeat(levels) + "x" + &")".repeat(levels);
        assert!(accepts(&table, nested(expected).as_bytes()), "{depth}");
        assert!(!accepts(&table, nested(expected + 1).as_bytes()), "{depth}");
    }
}

#[test]
fn places_that_are_no_rules_are_refused() {
    let rules =
        Rules { names: vec!["root".into()], bodies: vec![Node::Rule(RuleId(7))], root: RuleId(0) };
    assert_eq!(
        compile(&rules, &Options::default()),
        Err(CompileError::NoRule { rule: 7, rules: 1 })
    );
    let rules = Rules { names: Vec::new(), ..rules };
    assert!(matches!(compile(&rules, &Options::default()), Err(CompileError::NoRule { .. })));
}
