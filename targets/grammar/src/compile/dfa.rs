//! Deterministic automata over bytes, with calls.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

pub(super) type StateId = usize;

/// A class that no byte has.
pub(super) const NO_CLASS: u16 = u16::MAX;

/// Where a byte leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Target {
    State(StateId),
    /// An index of [`Dfa::calls`].
    Call(usize),
}

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) ends: bool,
    /// Class and target, ascending.
    pub(super) edges: Vec<(u16, Target)>,
}

impl State {
    pub(super) fn target(&self, class: u16) -> Option<Target> {
        let at = self.edges.binary_search_by_key(&class, |edge| edge.0).ok()?;
        Some(self.edges[at].1)
    }
}

/// An automaton and those it calls.
#[derive(Clone, Debug)]
pub(super) struct Dfa {
    /// `[byte]`: its class, or [`NO_CLASS`].
    pub(super) class_of: [u16; 256],
    pub(super) states: Vec<State>,
    /// `[call]`: where it begins, and where it goes on afterwards.
    pub(super) calls: Vec<(StateId, StateId)>,
    /// `None` if there is no text.
    pub(super) start: Option<StateId>,
}

/// Bytes of a text, and frames it puts on the stack.
pub(super) type Cost = (u32, u32);

/// The shortest texts.
pub(super) struct Costs {
    /// `[state]`
    pub(super) states: Vec<Option<Cost>>,
    /// `[state][edge]`
    pub(super) edges: Vec<Vec<Option<Cost>>>,
}

impl Dfa {
    /// First byte, last byte and target of all runs of bytes with one target.
    pub(super) fn ranges(&self, state: &State) -> Vec<(u8, u8, Target)> {
        let mut ranges: Vec<(u8, u8, Target)> = Vec::new();
        for byte in 0..=u8::MAX {
            let Some(target) = state.target(self.class_of[usize::from(byte)]) else { continue };
            match ranges.last_mut() {
                Some((_, last, t)) if *t == target && *last + 1 == byte => *last = byte,
                _ => ranges.push((byte, byte, target)),
            }
        }
        ranges
    }

    /// Some byte of a class.
    pub(super) fn byte(&self, class: u16) -> u8 {
        let at = self.class_of.iter().position(|&c| c == class);
        at.and_then(|at| u8::try_from(at).ok()).unwrap_or_default()
    }

    /// The shortest texts from each state and through each edge, by Knuth's generalisation of
    /// Dijkstra's algorithm: a call costs its own text and that of the state after it.
    pub(super) fn costs(&self) -> Costs {
        let mut first_edge = Vec::with_capacity(self.states.len() + 1);
        let mut count = self.states.len();
        for state in &self.states {
            first_edge.push(count);
            count += state.edges.len();
        }
        first_edge.push(count);
        // Items are states, then edges. An edge's two parts: a state, and an edge of the callee.
        let mut users: Vec<Vec<usize>> = vec![Vec::new(); count];
        let mut parts: Vec<(usize, Option<usize>)> = vec![(0, None); count];
        let mut owner = vec![0; count];
        let mut best: Vec<Option<Cost>> = vec![None; count];
        let mut open = BinaryHeap::new();
        for (id, state) in self.states.iter().enumerate() {
            if state.ends {
                open.push(Reverse(((0, 0), id)));
            }
            for (at, &(class, target)) in state.edges.iter().enumerate() {
                let edge = first_edge[id] + at;
                owner[edge] = id;
                match target {
                    Target::State(next) => {
                        parts[edge] = (next, None);
                        users[next].push(edge);
                    }
                    Target::Call(call) => {
                        let (begin, after) = self.calls[call];
                        let edges = &self.states[begin].edges;
                        let Ok(inner) = edges.binary_search_by_key(&class, |edge| edge.0) else {
                            continue;
                        };
                        let inner = first_edge[begin] + inner;
                        parts[edge] = (after, Some(inner));
                        users[after].push(edge);
                        users[inner].push(edge);
                    }
                }
            }
        }
        while let Some(Reverse((cost, item))) = open.pop() {
            if best[item].is_some() {
                continue;
            }
            best[item] = Some(cost);
            if item >= self.states.len() {
                open.push(Reverse((cost, owner[item])));
            }
            for &user in &users[item] {
                let (state, inner) = parts[user];
                let Some((bytes, frames)) = best[state] else { continue };
                match inner {
                    None => open.push(Reverse(((bytes.saturating_add(1), frames), user))),
                    Some(inner) => {
                        let Some((first, inside)) = best[inner] else { continue };
                        let cost = (bytes.saturating_add(first), frames.max(inside + 1));
                        open.push(Reverse((cost, user)));
                    }
                }
            }
        }
        let edges = first_edge.windows(2).map(|at| best[at[0]..at[1]].to_vec()).collect();
        best.truncate(self.states.len());
        Costs { states: best, edges }
    }

    /// Removes edges through which no text gets to an end.
    pub(super) fn trim(&mut self) {
        let costs = self.costs();
        for (state, costs) in self.states.iter_mut().zip(&costs.edges) {
            let mut costs = costs.iter();
            state.edges.retain(|_| costs.next().is_some_and(Option::is_some));
        }
        self.start = self.start.filter(|&start| costs.states[start].is_some());
    }

    /// The shortest text from a state to its end.
    pub(super) fn shortest_text(&self, costs: &Costs, state: StateId, text: &mut Vec<u8>) {
        let mut at = state;
        while !self.states[at].ends {
            let edges = self.states[at].edges.iter().zip(&costs.edges[at]);
            let best = edges.filter_map(|(&edge, &cost)| Some((cost?, edge))).min();
            let Some((_, (class, target))) = best else { return };
            let Some(next) = self.text_through(costs, class, target, text) else { return };
            at = next;
        }
    }

    /// The shortest text through an edge, but not beyond; returns where it leads.
    pub(super) fn text_through(
        &self,
        costs: &Costs,
        class: u16,
        target: Target,
        text: &mut Vec<u8>,
    ) -> Option<StateId> {
        let mut afters = Vec::new();
        let mut target = target;
        loop {
            match target {
                Target::State(next) => {
                    text.push(self.byte(class));
                    let Some((outermost, inner)) = afters.split_first() else { return Some(next) };
                    self.shortest_text(costs, next, text);
                    for &after in inner.iter().rev() {
                        self.shortest_text(costs, after, text);
                    }
                    return Some(*outermost);
                }
                Target::Call(call) => {
                    let (begin, after) = self.calls[call];
                    afters.push(after);
                    target = self.states[begin].target(class)?;
                }
            }
        }
    }

    /// `[state]`: a text that leads there, through whatever calls it.
    pub(super) fn texts_to(&self, costs: &Costs, goal: StateId) -> Vec<u8> {
        // Backwards from the goal once every state knows from where it was reached first.
        let mut from: Vec<Option<(StateId, u16, Target)>> = vec![None; self.states.len()];
        let mut found = vec![false; self.states.len()];
        let mut open: Vec<StateId> = self.start.into_iter().collect();
        for &start in &open {
            found[start] = true;
        }
        let mut at = 0;
        while let Some(&state) = open.get(at) {
            at += 1;
            for &(class, target) in &self.states[state].edges {
                let nexts = match target {
                    Target::State(next) => [Some(next), None],
                    Target::Call(call) => [Some(self.calls[call].1), Some(self.calls[call].0)],
                };
                for next in nexts.into_iter().flatten() {
                    if !found[next] {
                        found[next] = true;
                        from[next] = Some((state, class, target));
                        open.push(next);
                    }
                }
            }
        }
        let mut path = Vec::new();
        let mut at = goal;
        while let Some((state, class, target)) = from[at] {
            let begins = matches!(target, Target::Call(call) if self.calls[call].0 == at);
            if !begins {
                path.push((class, target));
            }
            at = state;
        }
        let mut text = Vec::new();
        for (class, target) in path.into_iter().rev() {
            self.text_through(costs, class, target, &mut text);
        }
        text
    }

    /// Joins classes that lead to the same targets from every state.
    pub(super) fn merge_classes(&mut self) {
        let count = self.class_of.iter().filter(|&&c| c != NO_CLASS).max();
        let count = count.map_or(0, |&largest| usize::from(largest) + 1);
        let mut group = vec![0_usize; count];
        let mut groups = 1;
        for state in &self.states {
            if state.edges.is_empty() {
                continue;
            }
            let mut numbers: HashMap<(usize, Option<Target>), usize> = HashMap::new();
            let mut edges = state.edges.iter().peekable();
            for (class, group) in group.iter_mut().enumerate() {
                let edge = edges.next_if(|edge| usize::from(edge.0) == class);
                let key = (*group, edge.map(|edge| edge.1));
                let next = numbers.len();
                *group = *numbers.entry(key).or_insert(next);
            }
            groups = numbers.len();
        }
        // Numbers by the first byte; none for a group without edges.
        let mut is_used = vec![false; groups];
        for state in &self.states {
            for edge in &state.edges {
                is_used[group[usize::from(edge.0)]] = true;
            }
        }
        let mut numbers = vec![NO_CLASS; groups];
        let mut next = 0;
        for class in &mut self.class_of {
            let Some(&group) = group.get(usize::from(*class)) else {
                *class = NO_CLASS;
                continue;
            };
            if is_used[group] && numbers[group] == NO_CLASS {
                numbers[group] = next;
                next += 1;
            }
            *class = numbers[group];
        }
        for state in &mut self.states {
            for edge in &mut state.edges {
                edge.0 = numbers[group[usize::from(edge.0)]];
            }
            state.edges.sort_unstable();
            state.edges.dedup();
        }
    }
}
