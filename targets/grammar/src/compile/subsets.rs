//! The subset construction, with calls.
//!
//! A state is a set of nodes. By a byte it leads to
//!
//! * the set of nodes behind the byte, if it begins no callee;
//! * a call, if it begins callees only and all of them go on at the same nodes: the call begins at
//!   the set of their beginnings;
//! * a [`Clash`] otherwise.

use std::collections::HashMap;

use super::dfa::{Dfa, NO_CLASS, State, StateId, Target};
use super::nfa::{END, Nfa, Node, NodeId};
use super::steps::Steps;
use crate::CompileError;

/// A byte that could be two things.
pub(super) struct Clash {
    pub(super) state: StateId,
    pub(super) class: u16,
    /// The calls concerned.
    pub(super) sites: Vec<NodeId>,
}

pub(super) struct Subsets {
    pub(super) dfa: Dfa,
    /// `[call]`: the nodes it was made from.
    pub(super) sites: Vec<Vec<NodeId>>,
    pub(super) clashes: Vec<Clash>,
}

/// The deterministic automaton, without transitions where there are clashes.
pub(super) fn determinize(nfa: &Nfa<'_>, steps: &Steps) -> Result<Subsets, CompileError> {
    let firsts = first_bytes(nfa);
    let (class_of, classes) = classes(nfa);
    let mut builder = Builder {
        nfa,
        steps,
        visited: vec![0; nfa.nodes.len()],
        visit: 0,
        ids: HashMap::new(),
        sets: Vec::new(),
    };
    let start = builder.state(&[nfa.start])?;
    let mut states: Vec<State> = Vec::new();
    let mut calls: Vec<(StateId, StateId)> = Vec::new();
    let mut call_ids: HashMap<(StateId, StateId), usize> = HashMap::new();
    let mut sites: Vec<Vec<NodeId>> = Vec::new();
    let mut clashes = Vec::new();
    // `[class]`: nodes behind it, and calls it begins.
    let mut moves: Vec<Vec<NodeId>> = vec![Vec::new(); classes.len()];
    let mut begins: Vec<Vec<NodeId>> = vec![Vec::new(); classes.len()];
    while let Some(set) = builder.sets.get(states.len()).cloned() {
        let mut state = State { ends: set.first() == Some(&END), edges: Vec::new() };
        for &node in &set {
            match &nfa.nodes[node] {
                Node::Bytes(ranges) => {
                    for &(first, last, next) in ranges {
                        let class = usize::from(class_of[usize::from(first)]);
                        let end = usize::from(class_of[usize::from(last)]);
                        for moves in &mut moves[class..=end] {
                            moves.push(next);
                        }
                    }
                }
                Node::Call { procedure, .. } => {
                    for (class, &byte) in classes.iter().enumerate() {
                        if firsts[*procedure][usize::from(byte)] {
                            begins[class].push(node);
                        }
                    }
                }
                Node::Split(_) | Node::End => {}
            }
        }
        for class in 0..classes.len() {
            let (mut moves, begins) = (std::mem::take(&mut moves[class]), std::mem::take(&mut begins[class]));
            // Bytes have fewer classes than a `u16` has values.
            let label = class as u16;
            steps.take(moves.len() + begins.len())?;
            if moves.is_empty() && begins.is_empty() {
                continue;
            }
            if begins.is_empty() {
                moves.sort_unstable();
                moves.dedup();
                state.edges.push((label, Target::State(builder.state(&moves)?)));
                continue;
            }
            let Some((callees, afters)) = joined(nfa, &begins).filter(|_| moves.is_empty()) else {
                clashes.push(Clash { state: states.len(), class: label, sites: begins });
                continue;
            };
            let pair = (builder.state(&callees)?, builder.state(&afters)?);
            let call = *call_ids.entry(pair).or_insert_with(|| {
                calls.push(pair);
                sites.push(Vec::new());
                calls.len() - 1
            });
            for site in begins {
                if !sites[call].contains(&site) {
                    sites[call].push(site);
                }
            }
            state.edges.push((label, Target::Call(call)));
        }
        states.push(state);
    }
    let dfa = Dfa { class_of, states, calls, start: Some(start) };
    Ok(Subsets { dfa, sites, clashes })
}

/// Beginnings of callees and the nodes after them, if these are the same for all callees.
fn joined(nfa: &Nfa<'_>, calls: &[NodeId]) -> Option<(Vec<NodeId>, Vec<NodeId>)> {
    let mut afters: Vec<(usize, NodeId)> = calls
        .iter()
        .filter_map(|&call| match nfa.nodes[call] {
            Node::Call { procedure, after, .. } => Some((procedure, after)),
            _ => None,
        })
        .collect();
    afters.sort_unstable();
    afters.dedup();
    let mut groups = afters.chunk_by(|a, b| a.0 == b.0);
    let first: Vec<NodeId> = groups.next()?.iter().map(|pair| pair.1).collect();
    for group in groups {
        if !group.iter().map(|pair| &pair.1).eq(&first) {
            return None;
        }
    }
    let mut starts: Vec<NodeId> =
        afters.iter().map(|pair| nfa.procedures[pair.0].start).collect();
    starts.sort_unstable();
    starts.dedup();
    Some((starts, first))
}

/// `[procedure][byte]`: whether one of its texts begins with it.
fn first_bytes(nfa: &Nfa<'_>) -> Vec<[bool; 256]> {
    // Nothing begins with itself, so that the deepest callee is done first, whatever the order.
    let mut firsts: Vec<Option<[bool; 256]>> = vec![None; nfa.procedures.len()];
    for procedure in 0..firsts.len() {
        let mut open = vec![procedure];
        while let Some(&at) = open.last() {
            if firsts[at].is_some() {
                open.pop();
                continue;
            }
            let mut bytes = [false; 256];
            let mut missing = Vec::new();
            let mut visited = std::collections::HashSet::new();
            let mut nodes = vec![nfa.procedures[at].start];
            while let Some(node) = nodes.pop() {
                if !visited.insert(node) {
                    continue;
                }
                match &nfa.nodes[node] {
                    Node::Split(ways) => nodes.extend_from_slice(ways),
                    Node::Bytes(ranges) => {
                        for &(first, last, _) in ranges {
                            bytes[usize::from(first)..=usize::from(last)].fill(true);
                        }
                    }
                    Node::Call { procedure, .. } => match &firsts[*procedure] {
                        Some(inner) => {
                            for (byte, inner) in bytes.iter_mut().zip(inner) {
                                *byte |= inner;
                            }
                        }
                        None => missing.push(*procedure),
                    },
                    Node::End => {}
                }
            }
            if missing.is_empty() {
                firsts[at] = Some(bytes);
                open.pop();
            } else {
                open.append(&mut missing);
            }
        }
    }
    firsts.into_iter().map(|bytes| bytes.unwrap_or([false; 256])).collect()
}

/// Runs of bytes that no edge tells apart: the run of each byte, and a byte of each run.
fn classes(nfa: &Nfa<'_>) -> ([u16; 256], Vec<u8>) {
    let mut begins = [false; 257];
    for node in &nfa.nodes {
        if let Node::Bytes(ranges) = node {
            for &(first, last, _) in ranges {
                begins[usize::from(first)] = true;
                begins[usize::from(last) + 1] = true;
            }
        }
    }
    let mut class_of = [NO_CLASS; 256];
    let mut classes = Vec::new();
    for byte in 0..=u8::MAX {
        if byte == 0 || begins[usize::from(byte)] {
            classes.push(byte);
        }
        class_of[usize::from(byte)] = classes.len() as u16 - 1;
    }
    (class_of, classes)
}

struct Builder<'a> {
    nfa: &'a Nfa<'a>,
    steps: &'a Steps,
    /// `[node]`: the visit in which it was seen last.
    visited: Vec<u32>,
    visit: u32,
    ids: HashMap<Vec<NodeId>, StateId>,
    sets: Vec<Vec<NodeId>>,
}

impl Builder<'_> {
    /// The state of all nodes that these lead to without a byte.
    fn state(&mut self, nodes: &[NodeId]) -> Result<StateId, CompileError> {
        self.visit += 1;
        let mut open = nodes.to_vec();
        let mut set = Vec::new();
        while let Some(node) = open.pop() {
            if std::mem::replace(&mut self.visited[node], self.visit) == self.visit {
                continue;
            }
            self.steps.take(1)?;
            match &self.nfa.nodes[node] {
                Node::Split(ways) => open.extend_from_slice(ways),
                _ => set.push(node),
            }
        }
        set.sort_unstable();
        if let Some(&id) = self.ids.get(&set) {
            return Ok(id);
        }
        let id = self.sets.len();
        self.sets.push(set.clone());
        self.ids.insert(set, id);
        Ok(id)
    }
}
