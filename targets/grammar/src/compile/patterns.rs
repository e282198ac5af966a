//! Rules as a graph in which equal patterns are one, and what is known of each.

use std::collections::HashMap;

use crate::CompileError;
use crate::rules::{Node, RuleId, Rules};

/// A pattern, by its place in [`Patterns`].
pub(super) type PatternId = usize;

/// Patterns in patterns that are followed.
const NESTING: usize = 250;

/// A [`Node`] whose parts are looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pattern {
    Never,
    Bytes(Vec<u8>),
    /// Ranges of characters, ascending and apart.
    Class(Vec<(char, char)>),
    Concat(Vec<PatternId>),
    Alternate(Vec<PatternId>),
    /// Without a limit from none on, or with one.
    Repeat(PatternId, u32, Option<u32>),
    Rule(RuleId),
    Both(PatternId, PatternId),
}

/// All patterns of some rules.
pub(super) struct Patterns<'a> {
    rules: &'a Rules,
    patterns: Vec<Pattern>,
    ids: HashMap<Pattern, PatternId>,
    /// `[pattern]`: the rule in which it was met first.
    owners: Vec<RuleId>,
    /// `[rule]`
    bodies: Vec<PatternId>,
    /// `[pattern]`: whether the empty text is one of its texts.
    nullable: Vec<bool>,
    /// `[pattern]`: whether it has a text, intersections taken to have one.
    productive: Vec<bool>,
    /// `[pattern]`: its circle; patterns that contain each other are in the same.
    components: Vec<usize>,
    /// `[component]`: whether its patterns contain themselves.
    recursive: Vec<bool>,
    root: PatternId,
}

impl<'a> Patterns<'a> {
    pub(super) fn new(rules: &'a Rules) -> Result<Self, CompileError> {
        let count = rules.bodies.len();
        if rules.names.len() != count {
            return Err(CompileError::NoRule { rule: rules.names.len(), rules: count });
        }
        let mut this = Self {
            rules,
            patterns: Vec::new(),
            ids: HashMap::new(),
            owners: Vec::new(),
            bodies: Vec::with_capacity(count),
            nullable: Vec::new(),
            productive: Vec::new(),
            components: Vec::new(),
            recursive: Vec::new(),
            root: 0,
        };
        for (rule, body) in rules.bodies.iter().enumerate() {
            let body = this.read(body, RuleId(rule), 0)?;
            this.bodies.push(body);
        }
        this.root = this.read(&Node::Rule(rules.root), rules.root, 0)?;
        this.find_texts();
        this.refuse_left_recursion()?;
        this.find_circles();
        Ok(this)
    }

    fn read(
        &mut self,
        node: &Node,
        owner: RuleId,
        depth: usize,
    ) -> Result<PatternId, CompileError> {
        if depth > NESTING {
            return Err(self.nesting(owner));
        }
        let pattern = match node {
            Node::Never => Pattern::Never,
            Node::Bytes(bytes) => Pattern::Bytes(bytes.clone()),
            Node::Class(class) => match class.ranges() {
                [] => Pattern::Never,
                ranges => Pattern::Class(ranges.iter().map(|r| (r.start(), r.end())).collect()),
            },
            Node::Concat(parts) => {
                let mut all = Vec::with_capacity(parts.len());
                for part in parts {
                    let part = self.read(part, owner, depth + 1)?;
                    match &self.patterns[part] {
                        Pattern::Bytes(bytes) if bytes.is_empty() => {}
                        Pattern::Concat(inner) => all.extend_from_slice(inner),
                        _ => all.push(part),
                    }
                }
                match all[..] {
                    [] => Pattern::Bytes(Vec::new()),
                    [only] => return Ok(only),
                    _ => Pattern::Concat(all),
                }
            }
            Node::Alternate(parts) => {
                let mut all = Vec::with_capacity(parts.len());
                for part in parts {
                    all.push(self.read(part, owner, depth + 1)?);
                }
                match all[..] {
                    [] => Pattern::Never,
                    [only] => return Ok(only),
                    _ => Pattern::Alternate(all),
                }
            }
            Node::Repeat { node, least, most } => {
                let part = self.read(node, owner, depth + 1)?;
                return Ok(self.repeat(part, *least, *most, owner));
            }
            Node::Rule(rule) => {
                if rule.0 >= self.rules.bodies.len() {
                    let rules = self.rules.bodies.len();
                    return Err(CompileError::NoRule { rule: rule.0, rules });
                }
                Pattern::Rule(*rule)
            }
            Node::Both(left, right) => Pattern::Both(
                self.read(left, owner, depth + 1)?,
                self.read(right, owner, depth + 1)?,
            ),
        };
        Ok(self.intern(pattern, owner))
    }

    /// `x{2,}` is `x x x*`, so that the endless part is the same pattern wherever it is.
    fn repeat(
        &mut self,
        part: PatternId,
        least: u32,
        most: Option<u32>,
        owner: RuleId,
    ) -> PatternId {
        match (least, most) {
            (_, Some(most)) if most < least => self.intern(Pattern::Never, owner),
            (_, Some(0)) => self.intern(Pattern::Bytes(Vec::new()), owner),
            (1, Some(1)) => part,
            (0, _) | (_, Some(_)) => self.intern(Pattern::Repeat(part, least, most), owner),
            (_, None) => {
                let first = self.repeat(part, least, Some(least), owner);
                let others = self.intern(Pattern::Repeat(part, 0, None), owner);
                self.intern(Pattern::Concat(vec![first, others]), owner)
            }
        }
    }

    fn intern(&mut self, pattern: Pattern, owner: RuleId) -> PatternId {
        if let Some(&id) = self.ids.get(&pattern) {
            return id;
        }
        let id = self.patterns.len();
        self.ids.insert(pattern.clone(), id);
        self.patterns.push(pattern);
        self.owners.push(owner);
        id
    }

    /// Finds the patterns that have a text, and those that have the empty one.
    fn find_texts(&mut self) {
        let all = |known: &[bool], parts: &[PatternId]| parts.iter().all(|&part| known[part]);
        let any = |known: &[bool], parts: &[PatternId]| parts.iter().any(|&part| known[part]);
        self.nullable = self.settle(|this, pattern, known| match pattern {
            Pattern::Never | Pattern::Class(_) => false,
            Pattern::Bytes(bytes) => bytes.is_empty(),
            Pattern::Concat(parts) => all(known, parts),
            Pattern::Alternate(parts) => any(known, parts),
            Pattern::Repeat(part, least, _) => *least == 0 || known[*part],
            Pattern::Rule(rule) => known[this.bodies[rule.0]],
            Pattern::Both(left, right) => known[*left] && known[*right],
        });
        self.productive = self.settle(|this, pattern, known| match pattern {
            Pattern::Never => false,
            Pattern::Bytes(_) | Pattern::Class(_) => true,
            Pattern::Concat(parts) => all(known, parts),
            Pattern::Alternate(parts) => any(known, parts),
            Pattern::Repeat(part, least, _) => *least == 0 || known[*part],
            Pattern::Rule(rule) => known[this.bodies[rule.0]],
            Pattern::Both(left, right) => known[*left] && known[*right],
        });
    }

    /// The least solution of a property that patterns take from their parts.
    fn settle(&self, holds: impl Fn(&Self, &Pattern, &[bool]) -> bool) -> Vec<bool> {
        let mut users: Vec<Vec<PatternId>> = vec![Vec::new(); self.patterns.len()];
        for id in 0..self.patterns.len() {
            for part in self.parts(id) {
                users[part].push(id);
            }
        }
        let mut known = vec![false; self.patterns.len()];
        let mut open: Vec<PatternId> = (0..self.patterns.len()).collect();
        while let Some(id) = open.pop() {
            if !known[id] && holds(self, &self.patterns[id], &known) {
                known[id] = true;
                open.extend_from_slice(&users[id]);
            }
        }
        known
    }

    fn refuse_left_recursion(&self) -> Result<(), CompileError> {
        let firsts = |id: PatternId| -> Vec<PatternId> {
            match &self.patterns[id] {
                Pattern::Concat(parts) => {
                    let read = parts.iter().position(|&part| !self.nullable[part]);
                    parts[..read.map_or(parts.len(), |at| at + 1)].to_vec()
                }
                _ => self.parts(id),
            }
        };
        let components = components(self.patterns.len(), firsts);
        let Some(&circle) = circles(&components, firsts).first() else { return Ok(()) };
        let is_in = |rule: &usize| {
            let id = self.ids.get(&Pattern::Rule(RuleId(*rule)));
            id.is_some_and(|&id| components[id] == circle)
        };
        let rules = (0..self.bodies.len()).filter(is_in);
        let rules = rules.map(|rule| self.rules.names[rule].clone()).collect();
        Err(CompileError::LeftRecursion { rules })
    }

    fn find_circles(&mut self) {
        let components = components(self.patterns.len(), |id| self.parts(id));
        self.recursive = vec![false; self.patterns.len()];
        for circle in circles(&components, |id| self.parts(id)) {
            self.recursive[circle] = true;
        }
        self.components = components;
    }

    pub(super) fn nesting(&self, owner: RuleId) -> CompileError {
        CompileError::Nesting { rule: self.rules.names[owner.0].clone(), limit: NESTING }
    }

    pub(super) const fn nesting_limit(&self) -> usize {
        NESTING
    }

    pub(super) const fn len(&self) -> usize {
        self.patterns.len()
    }

    pub(super) const fn root(&self) -> PatternId {
        self.root
    }

    pub(super) fn pattern(&self, id: PatternId) -> &Pattern {
        &self.patterns[id]
    }

    pub(super) fn body(&self, rule: RuleId) -> PatternId {
        self.bodies[rule.0]
    }

    pub(super) fn is_nullable(&self, id: PatternId) -> bool {
        self.nullable[id]
    }

    pub(super) fn is_productive(&self, id: PatternId) -> bool {
        self.productive[id]
    }

    pub(super) fn component(&self, id: PatternId) -> usize {
        self.components[id]
    }

    /// Whether a pattern contains itself.
    pub(super) fn is_recursive(&self, id: PatternId) -> bool {
        self.recursive[self.components[id]]
    }

    pub(super) fn owner(&self, id: PatternId) -> RuleId {
        self.owners[id]
    }

    /// The rule a pattern is, or is in.
    pub(super) fn name(&self, id: PatternId) -> &str {
        match self.patterns[id] {
            Pattern::Rule(rule) => &self.rules.names[rule.0],
            _ => &self.rules.names[self.owners[id].0],
        }
    }

    /// The patterns of which a pattern is made.
    pub(super) fn parts(&self, id: PatternId) -> Vec<PatternId> {
        match &self.patterns[id] {
            Pattern::Never | Pattern::Bytes(_) | Pattern::Class(_) => Vec::new(),
            Pattern::Concat(parts) | Pattern::Alternate(parts) => parts.clone(),
            Pattern::Repeat(part, ..) => vec![*part],
            Pattern::Rule(rule) => vec![self.bodies[rule.0]],
            Pattern::Both(left, right) => vec![*left, *right],
        }
    }

    /// The parts whose texts may end where the pattern's do, only there, and without a loop.
    pub(super) fn last_parts(&self, id: PatternId) -> Vec<PatternId> {
        match &self.patterns[id] {
            Pattern::Concat(parts) => match parts.split_last() {
                Some((last, others)) if !others.contains(last) => vec![*last],
                _ => Vec::new(),
            },
            Pattern::Repeat(part, 0, Some(1)) => vec![*part],
            Pattern::Repeat(..) | Pattern::Both(..) => Vec::new(),
            _ => self.parts(id),
        }
    }
}

/// `[node]`: the strongly connected component of each, by Tarjan's algorithm without recursion.
pub(super) fn components(count: usize, successors: impl Fn(usize) -> Vec<usize>) -> Vec<usize> {
    const OPEN: usize = usize::MAX;
    let mut component = vec![OPEN; count];
    // Order of discovery from 1 on, and the earliest that can be reached.
    let (mut found, mut earliest) = (vec![0_usize; count], vec![0_usize; count]);
    let (mut time, mut number) = (0, 0);
    let mut open = Vec::new();
    for root in 0..count {
        if found[root] != 0 {
            continue;
        }
        let mut path: Vec<(usize, std::vec::IntoIter<usize>)> = Vec::new();
        let mut enter = Some(root);
        loop {
            if let Some(node) = enter.take() {
                time += 1;
                (found[node], earliest[node]) = (time, time);
                open.push(node);
                path.push((node, successors(node).into_iter()));
            }
            let Some((node, next)) = path.last_mut() else { break };
            let node = *node;
            if let Some(next) = next.next() {
                if found[next] == 0 {
                    enter = Some(next);
                } else if component[next] == OPEN {
                    earliest[node] = earliest[node].min(found[next]);
                }
                continue;
            }
            path.pop();
            if let Some((parent, _)) = path.last() {
                earliest[*parent] = earliest[*parent].min(earliest[node]);
            }
            if earliest[node] == found[node] {
                while let Some(member) = open.pop() {
                    component[member] = number;
                    if member == node {
                        break;
                    }
                }
                number += 1;
            }
        }
    }
    component
}

/// Components in which something reaches itself, ascending.
pub(super) fn circles(
    components: &[usize],
    successors: impl Fn(usize) -> Vec<usize>,
) -> Vec<usize> {
    let mut circles: Vec<usize> = (0..components.len())
        .filter(|&node| {
            successors(node).into_iter().any(|next| components[next] == components[node])
        })
        .map(|node| components[node])
        .collect();
    circles.sort_unstable();
    circles.dedup();
    circles
}
