//! Regular expressions to rules, in the syntax of the crate `regex-syntax`.
//!
//! A pattern is of the whole text, whether it begins with `^` and ends with `$` or not. `\d` and
//! `\w` are of ASCII, and `\s` is white space as ECMAScript has it, so that a text is one for
//! ECMAScript too; `.` is any character but `\n`, `\r`, U+2028 and U+2029, unless a flag `s` is set
//! in the pattern. Lazy repetitions have the same texts as others. Not to be had are look-around
//! other than `^` and `$` at the ends, back references, and, without the features of `regex-syntax`
//! that bring their tables, `\p` and the flag `i`.

use std::fmt;

use regex_syntax::ast::{self, Ast, ClassSet, ClassSetItem, parse::ParserBuilder};
use regex_syntax::hir::translate::Translator;
use regex_syntax::hir::{Class, Hir, HirKind, Look};

use crate::rules::{Node, RuleId, Rules};

/// Groups and repetitions in each other.
const NESTING: u32 = 200;

/// Why a text is no regular expression that can be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegexError {
    /// It is none, or has what `regex-syntax` does not know.
    Syntax {
        /// Where, and why.
        message: String,
    },
    /// It looks at what is around a place that is not an end of the text.
    Look {
        /// As it is written.
        found: &'static str,
    },
    /// It allows bytes that are in no character.
    Bytes,
}

impl fmt::Display for RegexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { message } => f.write_str(message),
            Self::Look { found } => write!(
                f,
                "found `{found}`, but only `^` at the beginning and `$` at the end may be there: \
                 write what may stand around it instead"
            ),
            Self::Bytes => f.write_str("the pattern allows bytes that are not UTF-8"),
        }
    }
}

impl std::error::Error for RegexError {}

/// Reads a pattern as the one rule `root`.
///
/// # Errors
///
/// If it is no regular expression, or has more than one.
///
/// # Examples
///
/// ```
/// let rules = kinglet_grammar::regex::rules("^(on|off)$")?;
/// assert_eq!(rules.names, ["root"]);
///
/// let error = kinglet_grammar::regex::rules(r"a\bc").unwrap_err();
/// assert!(error.to_string().starts_with(r"found `\b`"));
/// # Ok::<(), kinglet_grammar::regex::RegexError>(())
/// ```
pub fn rules(pattern: &str) -> Result<Rules, RegexError> {
    let body = node(&parse(pattern)?, true, true)?;
    Ok(Rules { names: vec!["root".to_owned()], bodies: vec![body], root: RuleId(0) })
}

fn parse(pattern: &str) -> Result<Hir, RegexError> {
    let syntax = |message: String| RegexError::Syntax { message };
    let mut ast = ParserBuilder::new()
        .nest_limit(NESTING)
        .build()
        .parse(pattern)
        .map_err(|error| syntax(error.to_string()))?;
    let has_flag_s = sets_flag_s(&ast);
    replace_classes(&mut ast, has_flag_s);
    Translator::new().translate(pattern, &ast).map_err(|error| syntax(error.to_string()))
}

/// A pattern that has nothing before or nothing after it, or may have.
fn node(hir: &Hir, is_first: bool, is_last: bool) -> Result<Node, RegexError> {
    Ok(match hir.kind() {
        HirKind::Empty => Node::Bytes(Vec::new()),
        HirKind::Literal(literal) => Node::Bytes(literal.0.to_vec()),
        HirKind::Class(Class::Unicode(class)) => Node::Class(class.clone()),
        HirKind::Class(Class::Bytes(class)) => {
            let class = class.to_unicode_class().ok_or(RegexError::Bytes)?;
            Node::Class(class)
        }
        HirKind::Look(Look::Start | Look::StartLF | Look::StartCRLF) if is_first => {
            Node::Bytes(Vec::new())
        }
        HirKind::Look(Look::End | Look::EndLF | Look::EndCRLF) if is_last => {
            Node::Bytes(Vec::new())
        }
        HirKind::Look(look) => return Err(RegexError::Look { found: written(*look) }),
        HirKind::Repetition(repetition) => Node::Repeat {
            node: Box::new(node(&repetition.sub, false, false)?),
            least: repetition.min,
            most: repetition.max,
        },
        HirKind::Capture(capture) => node(&capture.sub, is_first, is_last)?,
        HirKind::Concat(parts) => {
            let is_empty = |part: &Hir| part.properties().maximum_len() == Some(0);
            let first = parts.iter().take_while(|part| is_empty(part)).count();
            let last = parts.len() - parts.iter().rev().take_while(|part| is_empty(part)).count();
            let part = |(at, part)| node(part, is_first && at <= first, is_last && at + 1 >= last);
            Node::Concat(parts.iter().enumerate().map(part).collect::<Result<_, _>>()?)
        }
        HirKind::Alternation(parts) => {
            let part = |part| node(part, is_first, is_last);
            Node::Alternate(parts.iter().map(part).collect::<Result<_, _>>()?)
        }
    })
}

const fn written(look: Look) -> &'static str {
    match look {
        Look::Start | Look::StartLF | Look::StartCRLF => "^",
        Look::End | Look::EndLF | Look::EndCRLF => "$",
        Look::WordAscii | Look::WordUnicode => r"\b",
        Look::WordAsciiNegate | Look::WordUnicodeNegate => r"\B",
        Look::WordStartAscii | Look::WordStartUnicode => r"\b{start}",
        Look::WordEndAscii | Look::WordEndUnicode => r"\b{end}",
        Look::WordStartHalfAscii | Look::WordStartHalfUnicode => r"\b{start-half}",
        Look::WordEndHalfAscii | Look::WordEndHalfUnicode => r"\b{end-half}",
    }
}

fn sets_flag_s(ast: &Ast) -> bool {
    let sets = |flags: &ast::Flags| flags.flag_state(ast::Flag::DotMatchesNewLine).is_some();
    match ast {
        Ast::Flags(flags) => sets(&flags.flags),
        Ast::Group(group) => group.flags().is_some_and(sets) || sets_flag_s(&group.ast),
        Ast::Repetition(repetition) => sets_flag_s(&repetition.ast),
        Ast::Alternation(alternation) => alternation.asts.iter().any(sets_flag_s),
        Ast::Concat(concat) => concat.asts.iter().any(sets_flag_s),
        _ => false,
    }
}

/// Writes out the classes that are not those of Unicode here.
fn replace_classes(ast: &mut Ast, has_flag_s: bool) {
    match ast {
        Ast::ClassPerl(class) => {
            *ast = Ast::ClassBracketed(Box::new(perl(class)));
        }
        Ast::Dot(span) if !has_flag_s => {
            let ends = [('\n', '\n'), ('\r', '\r'), ('\u{2028}', '\u{2029}')];
            *ast = Ast::ClassBracketed(Box::new(bracketed(**span, true, &ends)));
        }
        Ast::ClassBracketed(class) => replace_in_set(&mut class.kind),
        Ast::Group(group) => replace_classes(&mut group.ast, has_flag_s),
        Ast::Repetition(repetition) => replace_classes(&mut repetition.ast, has_flag_s),
        Ast::Alternation(alternation) => {
            alternation.asts.iter_mut().for_each(|ast| replace_classes(ast, has_flag_s));
        }
        Ast::Concat(concat) => {
            concat.asts.iter_mut().for_each(|ast| replace_classes(ast, has_flag_s));
        }
        _ => {}
    }
}

fn replace_in_set(set: &mut ClassSet) {
    match set {
        ClassSet::Item(item) => replace_in_item(item),
        ClassSet::BinaryOp(operation) => {
            replace_in_set(&mut operation.lhs);
            replace_in_set(&mut operation.rhs);
        }
    }
}

fn replace_in_item(item: &mut ClassSetItem) {
    match item {
        ClassSetItem::Perl(class) => *item = ClassSetItem::Bracketed(Box::new(perl(class))),
        ClassSetItem::Bracketed(class) => replace_in_set(&mut class.kind),
        ClassSetItem::Union(union) => union.items.iter_mut().for_each(replace_in_item),
        _ => {}
    }
}

fn perl(class: &ast::ClassPerl) -> ast::ClassBracketed {
    let ranges: &[(char, char)] = match class.kind {
        ast::ClassPerlKind::Digit => &[('0', '9')],
        ast::ClassPerlKind::Word => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        ast::ClassPerlKind::Space => &[
            ('\t', '\r'),
            (' ', ' '),
            ('\u{a0}', '\u{a0}'),
            ('\u{1680}', '\u{1680}'),
            ('\u{2000}', '\u{200a}'),
            ('\u{2028}', '\u{2029}'),
            ('\u{202f}', '\u{202f}'),
            ('\u{205f}', '\u{205f}'),
            ('\u{3000}', '\u{3000}'),
            ('\u{feff}', '\u{feff}'),
        ],
    };
    bracketed(class.span, class.negated, ranges)
}

fn bracketed(span: ast::Span, negated: bool, ranges: &[(char, char)]) -> ast::ClassBracketed {
    let literal = |c| ast::Literal { span, kind: ast::LiteralKind::Verbatim, c };
    let range = |&(start, end): &(char, char)| {
        ClassSetItem::Range(ast::ClassSetRange { span, start: literal(start), end: literal(end) })
    };
    let items = ranges.iter().map(range).collect();
    let kind = ClassSet::union(ast::ClassSetUnion { span, items });
    ast::ClassBracketed { span, negated, kind }
}
