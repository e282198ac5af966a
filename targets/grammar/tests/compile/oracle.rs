//! A recogniser of rules that shares nothing with the compiler: sets of ends, found by trying.

use std::collections::{BTreeSet, HashMap, HashSet};

use kinglet_grammar::rules::{Node, RuleId, Rules};

/// What a pattern can do with the rest of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where it may end.
    pub(crate) ends: BTreeSet<usize>,
    /// Whether it reads all that is left and may go on, or end there.
    pub(crate) is_open: bool,
}

/// The rules, and a text that is held to them. Patterns must not begin with themselves.
pub(crate) struct Oracle<'a> {
    rules: &'a Rules,
    /// Rules that have a text.
    has_text: HashSet<RuleId>,
}

impl<'a> Oracle<'a> {
    pub(crate) fn new(rules: &'a Rules) -> Self {
        let mut this = Self { rules, has_text: HashSet::new() };
        for _ in 0..=rules.bodies.len() {
            for (rule, body) in rules.bodies.iter().enumerate() {
                if this.has_text(body) {
                    this.has_text.insert(RuleId(rule));
                }
            }
        }
        this
    }

    /// An intersection is taken to have one.
    fn has_text(&self, node: &Node) -> bool {
        match node {
            Node::Never => false,
            Node::Bytes(_) => true,
            Node::Class(class) => !class.ranges().is_empty(),
            Node::Concat(parts) => parts.iter().all(|part| self.has_text(part)),
            Node::Alternate(parts) => parts.iter().any(|part| self.has_text(part)),
            Node::Repeat { node, least, most } => {
                most.is_none_or(|most| most >= *least) && (*least == 0 || self.has_text(node))
            }
            Node::Rule(rule) => self.has_text.contains(rule),
            Node::Both(left, right) => self.has_text(left) && self.has_text(right),
        }
    }

    pub(crate) fn has_any_text(&self) -> bool {
        self.has_text.contains(&self.rules.root)
    }

    /// Whether a text is complete.
    pub(crate) fn accepts(&self, text: &[u8]) -> bool {
        self.look(text).ends.contains(&text.len())
    }

    /// Whether a text is the beginning of one. Not for rules with intersections.
    pub(crate) fn begins(&self, text: &[u8]) -> bool {
        self.look(text).is_open
    }

    pub(crate) fn look(&self, text: &[u8]) -> Found {
        let mut look = Look { oracle: self, text, known: HashMap::new() };
        look.rule(self.rules.root, 0)
    }
}

struct Look<'a> {
    oracle: &'a Oracle<'a>,
    text: &'a [u8],
    known: HashMap<(RuleId, usize), Found>,
}

impl Look<'_> {
    fn rule(&mut self, rule: RuleId, at: usize) -> Found {
        if let Some(found) = self.known.get(&(rule, at)) {
            return found.clone();
        }
        let oracle = self.oracle;
        let found = self.node(&oracle.rules.bodies[rule.0], at);
        self.known.insert((rule, at), found.clone());
        found
    }

    fn node(&mut self, node: &Node, at: usize) -> Found {
        if !self.oracle.has_text(node) {
            return Found::default();
        }
        let rest = &self.text[at..];
        match node {
            Node::Never => Found::default(),
            Node::Bytes(bytes) => {
                let ends = rest.starts_with(bytes).then_some(at + bytes.len());
                Found { ends: ends.into_iter().collect(), is_open: bytes.starts_with(rest) }
            }
            Node::Class(class) => {
                let characters = class.iter().flat_map(|range| range.start()..=range.end());
                let mut found = Found::default();
                for character in characters {
                    let mut buffer = [0; 4];
                    let bytes = character.encode_utf8(&mut buffer).as_bytes();
                    if rest.starts_with(bytes) {
                        found.ends.insert(at + bytes.len());
                    }
                    found.is_open |= bytes.starts_with(rest);
                }
                found
            }
            Node::Concat(parts) => {
                let mut found = Found { ends: BTreeSet::from([at]), is_open: rest.is_empty() };
                for part in parts {
                    found = self.after(&found, part);
                }
                found
            }
            Node::Alternate(parts) => {
                let mut all = Found::default();
                for part in parts {
                    let found = self.node(part, at);
                    all.ends.extend(found.ends);
                    all.is_open |= found.is_open;
                }
                all
            }
            Node::Repeat { node, least, most } => {
                let mut found = Found { ends: BTreeSet::from([at]), is_open: rest.is_empty() };
                let mut all = Found::default();
                let mut times = 0;
                loop {
                    if times >= *least {
                        let before = all.clone();
                        all.ends.extend(&found.ends);
                        all.is_open |= found.is_open;
                        if before == all && times > *least {
                            return all;
                        }
                    } else if found.is_open {
                        all.is_open = true;
                    }
                    if *most == Some(times) {
                        return all;
                    }
                    found = self.after(&found, node);
                    times += 1;
                }
            }
            Node::Rule(rule) => self.rule(*rule, at),
            Node::Both(left, right) => {
                let (left, right) = (self.node(left, at), self.node(right, at));
                Found {
                    ends: left.ends.intersection(&right.ends).copied().collect(),
                    is_open: left.is_open && right.is_open,
                }
            }
        }
    }

    /// A pattern wherever the one before it may end.
    fn after(&mut self, before: &Found, node: &Node) -> Found {
        // What is open before it stays so, since the pattern has a text.
        let mut all = Found { ends: BTreeSet::new(), is_open: before.is_open };
        for &at in &before.ends {
            let found = self.node(node, at);
            all.ends.extend(found.ends);
            all.is_open |= found.is_open;
        }
        all
    }
}
