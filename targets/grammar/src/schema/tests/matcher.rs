//! Rules against texts, by sets of ends: slow, and sharing nothing with the compiler.

use std::collections::{BTreeMap, BTreeSet};

use crate::rules::{Node, Rules};

/// Whether a text is one of the rules'.
pub(super) fn accepts(rules: &Rules, text: &str) -> bool {
    let root = Node::Rule(rules.root);
    Matcher { rules, text: text.as_bytes(), known: BTreeMap::new() }
        .ends(&root, 0)
        .contains(&text.len())
}

struct Matcher<'a> {
    rules: &'a Rules,
    text: &'a [u8],
    known: BTreeMap<(usize, usize), BTreeSet<usize>>,
}

impl Matcher<'_> {
    /// Where texts of a pattern that begin at `from` end.
    fn ends(&mut self, node: &Node, from: usize) -> BTreeSet<usize> {
        match node {
            Node::Never => BTreeSet::new(),
            Node::Bytes(bytes) => self.text[from..]
                .starts_with(bytes)
                .then_some(from + bytes.len())
                .into_iter()
                .collect(),
            Node::Class(class) => {
                let rest = core::str::from_utf8(&self.text[from..]).unwrap_or_default();
                let first = rest.chars().next().filter(|first| {
                    class.iter().any(|range| (range.start()..=range.end()).contains(first))
                });
                first.map(|first| from + first.len_utf8()).into_iter().collect()
            }
            Node::Concat(nodes) => {
                let mut ends = BTreeSet::from([from]);
                for node in nodes {
                    ends = ends.into_iter().flat_map(|from| self.ends(node, from)).collect();
                }
                ends
            }
            Node::Alternate(nodes) => nodes.iter().flat_map(|node| self.ends(node, from)).collect(),
            Node::Repeat { node, least, most } => {
                let (mut ends, mut all) = (BTreeSet::from([from]), BTreeSet::new());
                let mut count = 0;
                while !ends.is_empty() && most.is_none_or(|most| count <= most) {
                    if count >= *least {
                        let before = all.len();
                        all.extend(ends.iter().copied());
                        if all.len() == before {
                            break;
                        }
                    }
                    ends = ends.into_iter().flat_map(|from| self.ends(node, from)).collect();
                    count += 1;
                }
                all
            }
            Node::Rule(rule) => {
                if let Some(ends) = self.known.get(&(rule.0, from)) {
                    return ends.clone();
                }
                let rules = self.rules;
                let ends = self.ends(&rules.bodies[rule.0], from);
                self.known.insert((rule.0, from), ends.clone());
                ends
            }
            Node::Both(a, b) => {
                let b = self.ends(b, from);
                self.ends(a, from).into_iter().filter(|end| b.contains(end)).collect()
            }
        }
    }
}
