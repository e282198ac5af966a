//! Long texts of grammars as people write them: wherever a walk comes, table and oracle allow the same
//! bytes.

use kinglet::grammar::Grammar;
use kinglet_grammar::{Options, compile, gbnf};

use crate::gbnf::{STATEMENTS, TERMS};
use crate::oracle::Oracle;
use crate::position;

/// Objects in lists, with space at the ends of values, which is both at the end of a value and behind
/// what contains it.
const JSON: &str = r#"
root   ::= list
value  ::= object | list | string | number | ("true" | "false" | "null") space
object ::= "{" space (string space ":" space value ("," space string ":" space value)*)? "}" space
list   ::= "[" space (value space ("," space value)*)? "]" space
string ::= "\"" ([^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}))* "\"" space
number ::= "-"? ("0" | [1-9] [0-9]{0,3}) ("." [0-9]+)? space
space  ::= ([ \n] space)?
"#;

/// The same item often, with a bounded string in it.
const ITEMS: &str = r#"
root ::= "[" item ("," item){2,5} "]"
item ::= "{\"a\":\"" char{1,4} "\"" (",\"b\":" number)? "}"
char ::= [^"\\\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4})
number ::= "-"? ([0-9] | [1-9] [0-9]{1,4})
"#;

/// Numbers from 0 to `below`: a congruential generator, so that the walks are always the same.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }
}

fn walk(grammar: &str) {
    let rules = gbnf::rules(grammar).expect("rules");
    let mut options = Options::default();
    options.depth = 32;
    let table = compile(&rules, &options).expect("a table");
    let grammar = Grammar::open(&table).expect("a table that the core reads");
    let oracle = Oracle::new(&rules);
    let mut numbers = Numbers(1);
    for _ in 0..6 {
        let mut text = Vec::new();
        for _ in 0..30 {
            let mut live = Vec::new();
            for byte in 0..=u8::MAX {
                text.push(byte);
                let next = position(&grammar, &text);
                let found = oracle.look(&text);
                let shown = text.escape_ascii().to_string();
                assert_eq!(next.is_some(), found.is_open, "beginning {shown}");
                let may_end = next.is_some_and(|next| next.may_end(&grammar));
                assert_eq!(may_end, found.ends.contains(&text.len()), "text {shown}");
                text.pop();
                live.extend(next.map(|_| byte));
            }
            // Rather punctuation, so that texts do not stay in one name or string.
            let marks: Vec<u8> = live.iter().copied().filter(u8::is_ascii_punctuation).collect();
            let choices = if marks.is_empty() || numbers.next(3) == 0 { &live } else { &marks };
            if choices.is_empty() {
                break;
            }
            text.push(choices[numbers.next(choices.len())]);
        }
    }
}

#[test]
fn json() {
    walk(JSON);
}

#[test]
fn items() {
    walk(ITEMS);
}

#[test]
fn terms() {
    walk(TERMS);
}

#[test]
fn statements() {
    walk(STATEMENTS);
}
