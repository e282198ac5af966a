//! GBNF: all of its notation, grammars as people write them, and errors with their places.

use kinglet_grammar::gbnf::{GbnfError, Problem, rules};
use kinglet_grammar::{Error, from_gbnf};

use crate::accepts;

fn check(grammar: &str, yes: &[&str], no: &[&str]) {
    let table =
        from_gbnf(grammar, &Default::default()).unwrap_or_else(|e| panic!("{grammar}: {e}"));
    for text in yes {
        assert!(accepts(&table, text.as_bytes()), "{grammar} and {text:?}");
    }
    for text in no {
        assert!(!accepts(&table, text.as_bytes()), "{grammar} but {text:?}");
    }
}

#[test]
fn items_are_characters() {
    check(r#"root ::= "a\n\r\t\\\"\[\]\x41\u00e4\U0001F600""#, &["a\n\r\t\\\"[]Aä😀"], &["a", ""]);
    check("root ::= \"日本\"", &["日本"], &["日"]);
    check(
        r"root ::= [a-cX\]\\\-^]",
        &["a", "b", "c", "X", "]", "\\", "-", "^"],
        &["d", "x", "", "aa"],
    );
    check("root ::= [-+] [+-] [a-c-e]", &["-+a", "+--", "+-e"], &["-+d"]);
    check(r#"root ::= [^"\x00-\x1F]"#, &["a", "ä", "😀"], &["\"", "\n", "\0", ""]);
    check("root ::= [^a]", &["b", "\n", "\u{10ffff}"], &["a", "\0"]);
    check("root ::= .", &["a", "\n", "ä"], &["", "ab", "\0"]);
    check(r"root ::= [\uD7F0-\uE010]", &["\u{d7ff}", "\u{e000}"], &["\u{e011}"]);
    check("root ::= [ぁ-ゟ]+", &["ひらがな"], &["カ"]);
    check(r#"root ::= "" | "a""#, &["", "a"], &["b"]);
}

#[test]
fn items_are_repeated() {
    check("root ::= \"a\"* \"b\"+ \"c\"?", &["b", "aabb", "abc"], &["", "ac", "bcc"]);
    check("root ::= \"a\"{2}", &["aa"], &["a", "aaa"]);
    check("root ::= \"ab\"{ 2 , }", &["abab", "ababab"], &["ab"]);
    check("root ::= (\"a\" | \"b\"){1,2}", &["a", "ba"], &["", "aaa"]);
    check("root ::= x{0,2}\nx ::= \"x\"", &["", "x", "xx"], &["xxx"]);
    check("root ::= \"a\"{2}* \"b\"", &["b", "aab", "aaaab"], &["ab"]);
    check("root ::= \"a\" + \"b\"", &["ab", "aab"], &["b"]);
}

#[test]
fn lines_end_where_they_may() {
    check(
        "# a comment\n\nroot ::= # another\n  (\n \"a\" # in parentheses\n  rule_2 )\n\r\nrule_2 ::= \"b\" |\n  \"c\" | # and here\n  \"d\"",
        &["ab", "ac", "ad"],
        &["a"],
    );
    check("root ::= one-Two3\r\none-Two3 ::= | \"x\"\r", &["", "x"], &["xx"]);
    check("root ::= (\"a\"\n{2}\n| ) \"b\"", &["aab", "b"], &["ab"]);
}

#[test]
fn rules_contain_themselves() {
    // At the end it is a loop, which takes no stack.
    let table =
        from_gbnf("root ::= \"a\" space \"b\"\nspace ::= (\" \" space)?", &Default::default())
            .unwrap();
    assert_eq!(kinglet::grammar::Grammar::open(&table).unwrap().depth(), 0);
    assert!(accepts(&table, format!("a{}b", " ".repeat(1000)).as_bytes()));
    let nested = |depth| format!("{}x{}", "(".repeat(depth), ")".repeat(depth));
    let table = from_gbnf("root ::= \"(\" root \")\" | \"x\"", &Default::default()).unwrap();
    assert!(accepts(&table, nested(16).as_bytes()));
    assert!(!accepts(&table, nested(17).as_bytes()), "deeper than the options allow");
}

/// Arithmetic: `space` is both at the end of a term and behind what is in parentheses.
#[test]
fn terms() {
    check(
        r#"
root  ::= (sum "=" space term "\n")+
sum   ::= term ([-+*/] term)*
term  ::= name | [0-9]+ space | "(" space sum ")" space
name  ::= [a-z] [a-z0-9_]* space
space ::= [ \t\n]*
"#,
        &["1 +(2*x) = y\n", "((1)) =  2  \n\n", "a=b\nc=d\n"],
        &["1+(2=y\n", "1+=2\n", "=1\n", "1=1"],
    );
}

/// Statements: `else` may follow one of them, and so may another one whose name begins with it.
#[test]
fn statements() {
    check(
        r#"
root       ::= function*
function   ::= type name "()" block
type       ::= ("int" | "float") " "
block      ::= "{" statement* "}"
statement  ::= type? name "=" expression ";" | name "(" (expression ("," expression)*)? ");" |
               "while(" expression ")" block |
               "if(" expression ")" block ("else" block)?
expression ::= product ([-+] product)*
product    ::= factor ([*/] factor)*
factor     ::= name | [0-9]+ | "-" factor | name "(" expression ")" | "(" expression ")"
name       ::= [a-zA-Z_] [a-zA-Z_0-9]*
"#,
        &[
            "",
            "int main(){x=1;int y=x*(2+-3);f();g(x,y);}",
            "int f(){if(x){while(1){a=f(b);}}else{c=1;}elsewhere=2;}float g(){}",
        ],
        &["int f(){if(x){}else c=1;}", "int f(){x=1}", "f(){}"],
    );
}

#[test]
fn moves_and_lists() {
    check(
        r#"
root   ::= "1. " move " " move "\n" ([1-9] [0-9]? ". " move " " move "\n")*
move   ::= (piece | pawn | castle) [+#]?
piece  ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
pawn   ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
castle ::= "O-O" "-O"?
"#,
        &["1. e4 e5\n2. Nf3 Nc6\n", "1. O-O-O Qa1xb2#\n"],
        &["1. e4\n", "1. e9 e5\n"],
    );
    check(
        r"root ::= item+
item ::= [-] [ ] [^\r\n\x0b\x0c\x85\u2028\u2029]+ [\n]",
        &["- a\n- ä b\n"],
        &["- \n", "a\n", "- a\u{85}\n"],
    );
}

fn refused(grammar: &str) -> GbnfError {
    match rules(grammar) {
        Err(error) => error,
        Ok(rules) => panic!("{grammar} is {rules:?}"),
    }
}

#[test]
fn tokens_are_refused_by_name() {
    for (grammar, token) in [
        ("root ::= <think> .*", "<think>"),
        ("root ::= (\n \"a\" <[1000]> )", "<[1000]>"),
        ("root ::= x\nx ::= !</think>*", "!</think>"),
        ("root ::= !<[7]>", "!<[7]>"),
    ] {
        let error = refused(grammar);
        assert_eq!(error.problem, Problem::Token { text: token.to_owned() });
        assert!(error.to_string().contains(token), "{error}");
    }
}

#[test]
fn errors_have_places() {
    for (grammar, message) in [
        ("", "line 1, column 1: no rule is called `root`, which is the whole text"),
        ("x ::= \"a\"\n", "line 2, column 1: no rule is called `root`, which is the whole text"),
        ("root ::= a\na ::= \"x\" | bb", "line 2, column 13: no rule is called `bb`"),
        ("root = \"a\"", "line 1, column 6, in rule `root`: found `=`, expected `::=`"),
        (
            "root ::= \"ä\" é",
            "line 1, column 14, in rule `root`: found `é`, expected an item, `|` or the end of the line",
        ),
        (
            "root ::= \"a\"\n  | \"b\"",
            "line 2, column 3: found `|`, expected the name of a rule; a line that ends with `|`, or parentheses, go on with the next",
        ),
        (
            "root ::= \"a",
            "line 1, column 12, in rule `root`: found the end of the text, expected `\"`",
        ),
        (
            "root ::= [a",
            "line 1, column 12, in rule `root`: found the end of the text, expected `]`",
        ),
        (
            "root ::= (\"a\"",
            "line 1, column 14, in rule `root`: found the end of the text, expected an item, `|` or `)`",
        ),
        (
            "root ::= * \"a\"",
            "line 1, column 10, in rule `root`: found `*`, expected an item to repeat",
        ),
        ("root ::= \"a\"{,3}", "line 1, column 14, in rule `root`: found `,`, expected a number"),
        (
            "root ::= \"a\"{1",
            "line 1, column 15, in rule `root`: found the end of the text, expected `,` or `}`",
        ),
        (
            "root ::= \"a\"{1,x}",
            "line 1, column 16, in rule `root`: found `x`, expected a number or `}`",
        ),
        (
            "root ::= \"a\"{1,2\n}",
            "line 1, column 17, in rule `root`: found the end of the line, expected `}`",
        ),
        (
            "root ::= \"a\"{5,4}",
            "line 1, column 13, in rule `root`: found at least 5 and at most 4 times, expected at most as many or more",
        ),
        (
            "root ::= \"a\"{99999999999}",
            "line 1, column 14, in rule `root`: found the number 99999999999, expected at most 4294967295",
        ),
        (
            "root ::= \"\\x4\"",
            "line 1, column 14, in rule `root`: found `\"`, expected two hexadecimal digits after `\\x`",
        ),
        ("root ::= \"\\ud800\"", "line 1, column 11, in rule `root`: U+D800 is no character"),
        ("root ::= [\\ud800]", "line 1, column 11, in rule `root`: U+D800 is no character"),
        ("root ::= [a-\\U00110000]", "line 1, column 11, in rule `root`: U+110000 is no character"),
        (
            "root ::= [z-a]",
            "line 1, column 11, in rule `root`: the range ends before it begins: U+007A to U+0061",
        ),
        ("root ::= []", "line 1, column 10, in rule `root`: the class has no character"),
        (
            "root ::= [^\\x00-\\U0010FFFF]",
            "line 1, column 10, in rule `root`: the class has no character",
        ),
        (
            "root ::= a\na ::= \"x\"\r\n\na ::= \"y\"",
            "line 4, column 1, in rule `a`: the rule is defined in line 2 already: join both with `|`",
        ),
    ] {
        assert_eq!(refused(grammar).to_string(), message, "{grammar}");
    }
    assert!(
        refused(r#"root ::= "\q""#).to_string().contains(r"found the escape `\q`, expected `\n`")
    );
    let nested = format!("root ::= {}\"a\"{}", "(".repeat(300), ")".repeat(300));
    assert!(refused(&nested).to_string().contains("more than 200 parentheses"));
    assert!(matches!(from_gbnf("root ::= x", &Default::default()), Err(Error::Gbnf(_))));
}
