//! Patterns to a nondeterministic automaton over bytes, with calls (Thompson's construction).
//!
//! It is built from the end: a pattern is given the node where it ends, and returns the one where
//! it begins. A pattern that contains itself is expanded where it is met, but
//!
//! * inside itself with the same end, it is a loop: `ws ::= " " ws | ""` takes no stack;
//! * inside itself elsewhere, the patterns of [`Plan`] are calls of an automaton of their own.

use std::collections::{BTreeSet, HashMap};

use regex_syntax::utf8::Utf8Sequences;

use super::dfa::{Dfa, Target};
use super::minimize::minimize;
use super::patterns::{Pattern, PatternId, Patterns};
use super::steps::Steps;
use super::{product, subsets};
use crate::CompileError;

pub(super) type NodeId = usize;

/// The end of every automaton.
pub(super) const END: NodeId = 0;
/// A node from which nothing leads to an end.
const DEAD: NodeId = 1;

#[derive(Clone, Debug)]
pub(super) enum Node {
    /// First and last byte, and where they lead.
    Bytes(Vec<(u8, u8, NodeId)>),
    /// Any of these, without a byte.
    Split(Vec<NodeId>),
    /// The texts of a procedure that are not empty.
    Call {
        procedure: usize,
        after: NodeId,
        /// How many calls around it were expanded.
        level: u8,
    },
    End,
}

/// The patterns that are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Where they are met inside themselves.
    pub(super) recursive: BTreeSet<PatternId>,
    /// Wherever they are met.
    pub(super) shared: BTreeSet<PatternId>,
}

/// An automaton that others call.
pub(super) struct Procedure {
    pub(super) pattern: PatternId,
    pub(super) start: NodeId,
}

pub(super) struct Nfa<'a> {
    patterns: &'a Patterns<'a>,
    plan: &'a Plan,
    steps: &'a Steps,
    pub(super) nodes: Vec<Node>,
    pub(super) procedures: Vec<Procedure>,
    by_pattern: HashMap<PatternId, usize>,
    /// Intersections, whose automata have no calls.
    both: HashMap<PatternId, Dfa>,
    pub(super) start: NodeId,
    /// Patterns that contain themselves and are being built: pattern, end, begin.
    active: Vec<(PatternId, NodeId, NodeId)>,
    depth: usize,
    level: u8,
}

impl<'a> Nfa<'a> {
    /// The automata of a pattern and of all it calls.
    pub(super) fn new(
        patterns: &'a Patterns<'a>,
        plan: &'a Plan,
        steps: &'a Steps,
        root: PatternId,
    ) -> Result<Self, CompileError> {
        Self::nested(patterns, plan, steps, root, 0)
    }

    fn nested(
        patterns: &'a Patterns<'a>,
        plan: &'a Plan,
        steps: &'a Steps,
        root: PatternId,
        depth: usize,
    ) -> Result<Self, CompileError> {
        let mut this = Self {
            patterns,
            plan,
            steps,
            nodes: vec![Node::End, Node::Split(Vec::new())],
            procedures: Vec::new(),
            by_pattern: HashMap::new(),
            both: HashMap::new(),
            start: DEAD,
            active: Vec::new(),
            depth,
            level: 0,
        };
        this.start = this.expand(root, END)?;
        let mut built = 0;
        while let Some(pattern) = this.procedures.get(built).map(|p| p.pattern) {
            this.procedures[built].start = this.expand(pattern, END)?;
            built += 1;
        }
        Ok(this)
    }

    /// Puts the pattern itself in the place of a call.
    pub(super) fn inline(&mut self, call: NodeId) -> Result<(), CompileError> {
        let Node::Call { procedure, after, level } = self.nodes[call] else { return Ok(()) };
        let pattern = self.procedures[procedure].pattern;
        self.level = level + u8::from(!self.plan.shared.contains(&pattern));
        let begin = self.expand(pattern, after)?;
        self.level = 0;
        self.nodes[call] = Node::Split(vec![begin]);
        let mut built = self.procedures.len();
        // New calls are of procedures that are there, unless they were never reached before.
        while built > 0 && self.procedures[built - 1].start == DEAD {
            built -= 1;
        }
        while let Some(pattern) = self.procedures.get(built).map(|p| p.pattern) {
            self.procedures[built].start = self.expand(pattern, END)?;
            built += 1;
        }
        Ok(())
    }

    fn add(&mut self, node: Node) -> Result<NodeId, CompileError> {
        self.steps.take(1)?;
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    /// A pattern as part of one in the component `around`.
    fn part(
        &mut self,
        id: PatternId,
        end: NodeId,
        around: usize,
    ) -> Result<NodeId, CompileError> {
        self.steps.take(1)?;
        if !self.patterns.is_productive(id) {
            return Ok(DEAD);
        }
        if self.patterns.is_recursive(id)
            && let Some(&(.., begin)) =
                self.active.iter().find(|&&(pattern, e, _)| (pattern, e) == (id, end))
        {
            return Ok(begin);
        }
        let is_called = self.plan.shared.contains(&id)
            || self.patterns.component(id) == around && self.plan.recursive.contains(&id);
        if !is_called {
            return self.expand(id, end);
        }
        let procedure = match self.by_pattern.get(&id) {
            Some(&procedure) => procedure,
            None => {
                let procedure = self.procedures.len();
                self.procedures.push(Procedure { pattern: id, start: DEAD });
                self.by_pattern.insert(id, procedure);
                procedure
            }
        };
        let call = self.add(Node::Call { procedure, after: end, level: self.level })?;
        if self.patterns.is_nullable(id) { self.add(Node::Split(vec![call, end])) } else { Ok(call) }
    }

    /// A pattern in full.
    fn expand(&mut self, id: PatternId, end: NodeId) -> Result<NodeId, CompileError> {
        if !self.patterns.is_productive(id) {
            return Ok(DEAD);
        }
        if self.depth > self.patterns.nesting_limit() {
            return Err(self.patterns.nesting(self.patterns.owner(id)));
        }
        self.depth += 1;
        let begin = if self.patterns.is_recursive(id) {
            let begin = self.add(Node::Split(Vec::new()))?;
            self.active.push((id, end, begin));
            let body = self.body(id, end)?;
            self.active.pop();
            self.nodes[begin] = Node::Split(vec![body]);
            begin
        } else {
            self.body(id, end)?
        };
        self.depth -= 1;
        Ok(begin)
    }

    fn body(&mut self, id: PatternId, end: NodeId) -> Result<NodeId, CompileError> {
        let patterns = self.patterns;
        let around = patterns.component(id);
        match patterns.pattern(id) {
            Pattern::Never => Ok(DEAD),
            Pattern::Bytes(bytes) => {
                let mut at = end;
                for &byte in bytes.iter().rev() {
                    at = self.add(Node::Bytes(vec![(byte, byte, at)]))?;
                }
                Ok(at)
            }
            Pattern::Class(ranges) => self.class(ranges, end),
            Pattern::Concat(parts) => {
                let mut at = end;
                for &part in parts.iter().rev() {
                    at = self.part(part, at, around)?;
                }
                Ok(at)
            }
            Pattern::Alternate(parts) => {
                let mut begins = Vec::with_capacity(parts.len());
                for &part in parts {
                    begins.push(self.part(part, end, around)?);
                }
                self.add(Node::Split(begins))
            }
            &Pattern::Repeat(part, _, None) => {
                let again = self.add(Node::Split(Vec::new()))?;
                let begin = self.part(part, again, around)?;
                self.nodes[again] = Node::Split(vec![begin, end]);
                Ok(again)
            }
            &Pattern::Repeat(part, least, Some(most)) => {
                let mut at = end;
                for _ in least..most {
                    let begin = self.part(part, at, around)?;
                    at = self.add(Node::Split(vec![begin, end]))?;
                }
                for _ in 0..least {
                    at = self.part(part, at, around)?;
                }
                Ok(at)
            }
            &Pattern::Rule(rule) => self.part(patterns.body(rule), end, around),
            &Pattern::Both(left, right) => self.both(id, left, right, end),
        }
    }

    /// Characters in UTF-8; sequences with the same last bytes share them.
    fn class(&mut self, ranges: &[(char, char)], end: NodeId) -> Result<NodeId, CompileError> {
        let mut shared: HashMap<(u8, u8, NodeId), NodeId> = HashMap::new();
        let mut firsts = Vec::new();
        for &(first, last) in ranges {
            for sequence in Utf8Sequences::new(first, last) {
                let mut at = end;
                for range in sequence.as_slice()[1..].iter().rev() {
                    let edge = (range.start, range.end, at);
                    at = match shared.get(&edge) {
                        Some(&node) => node,
                        None => {
                            let node = self.add(Node::Bytes(vec![edge]))?;
                            shared.insert(edge, node);
                            node
                        }
                    };
                }
                let range = sequence.as_slice()[0];
                firsts.push((range.start, range.end, at));
            }
        }
        self.add(Node::Bytes(firsts))
    }

    /// The texts of both, as a copy of their automaton.
    fn both(
        &mut self,
        id: PatternId,
        left: PatternId,
        right: PatternId,
        end: NodeId,
    ) -> Result<NodeId, CompileError> {
        if self.patterns.is_recursive(id) {
            return Err(CompileError::RecursiveBoth { rule: self.patterns.name(id).to_owned() });
        }
        let dfa = match self.both.remove(&id) {
            Some(dfa) => dfa,
            None => product::both(&self.regular(left)?, &self.regular(right)?, self.steps)?,
        };
        let first = self.nodes.len();
        for state in &dfa.states {
            // The end of a state that may end is its own node, after all states.
            self.add(Node::Split(Vec::new()))?;
            self.steps.take(state.edges.len())?;
        }
        for (at, state) in dfa.states.iter().enumerate() {
            let mut bytes = Vec::new();
            for (low, high, target) in dfa.ranges(state) {
                let Target::State(next) = target else { continue };
                bytes.push((low, high, first + next));
            }
            let bytes = self.add(Node::Bytes(bytes))?;
            let mut ways = vec![bytes];
            if state.ends {
                ways.push(end);
            }
            self.nodes[first + at] = Node::Split(ways);
        }
        let begin = dfa.start.map_or(DEAD, |start| first + start);
        self.both.insert(id, dfa);
        Ok(begin)
    }

    /// The minimal automaton of a pattern that calls nothing.
    fn regular(&self, id: PatternId) -> Result<Dfa, CompileError> {
        let plan = Plan { recursive: self.plan.recursive.clone(), shared: BTreeSet::new() };
        let nfa = Nfa::nested(self.patterns, &plan, self.steps, id, self.depth)?;
        if let Some(procedure) = nfa.procedures.first() {
            let rule = self.patterns.name(procedure.pattern).to_owned();
            return Err(CompileError::RecursiveBoth { rule });
        }
        let mut dfa = subsets::determinize(&nfa, self.steps)?.dfa;
        dfa.trim();
        Ok(minimize(&dfa, self.steps)?.dfa)
    }
}
