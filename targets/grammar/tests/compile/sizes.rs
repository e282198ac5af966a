//! Sizes of tables, which are flash of a device.

use kinglet::grammar::Grammar;
use kinglet_grammar::{from_gbnf, from_regex};

/// Bytes, states and frames.
fn size(table: &[u8]) -> (usize, usize, usize) {
    let grammar = Grammar::open(table).expect("a table");
    (table.len(), grammar.states(), grammar.depth())
}

#[test]
fn a_lamp_takes_358_bytes() {
    let table = from_regex(r#"\{"led":"(on|off)"\}"#, &Default::default()).unwrap();
    assert_eq!(size(&table), (358, 14, 0));
}

#[test]
fn a_date_takes_418_bytes() {
    let date = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])";
    assert_eq!(size(&from_regex(date, &Default::default()).unwrap()), (418, 14, 0));
}

#[test]
fn any_json_takes_less_than_1_kb() {
    let json = r#"
root   ::= space value
value  ::= object | array | string | number | ("true" | "false" | "null") space
object ::= "{" space (pair ("," space pair)*)? "}" space
pair   ::= string ":" space value
array  ::= "[" space (value ("," space value)*)? "]" space
string ::= "\"" ([^"\\\x7F\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}))* "\"" space
number ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]+)? ([eE] [-+]? [0-9]+)? space
space  ::= [ \t\r\n]*
"#;
    let (bytes, _, depth) = size(&from_gbnf(json, &Default::default()).unwrap());
    assert!(bytes < 1024, "{bytes}");
    assert_eq!(depth, 17, "16 levels, and what is called in the last");
}

#[test]
fn a_long_string_is_called_and_not_copied() {
    let list = r#"
root ::= "[" item ("," item){9,99} "]"
item ::= "{\"name\":\"" char{1,20} "\"}"
char ::= [^"\\\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4})
"#;
    let (bytes, states, depth) = size(&from_gbnf(list, &Default::default()).unwrap());
    assert!(bytes < 4700 && states < 250, "{bytes} bytes, {states} states");
    assert!(depth > 0);
}

/// The core has no compiler, so that its examples bring this table.
#[test]
fn the_table_of_the_cores_examples_is_current() {
    let date = "[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])";
    let table = from_regex(date, &Default::default()).unwrap();
    assert_eq!(table, include_bytes!("../../../../runtime/examples/date.grammar"));
}
