//! Minimal automata: Hopcroft's algorithm, in which a call is two letters, for where it begins and
//! where it goes on.

use super::dfa::{Dfa, State, StateId, Target};
use super::steps::Steps;
use crate::CompileError;

pub(super) struct Minimal {
    /// Its states are numbered in the order in which they are met from the start.
    pub(super) dfa: Dfa,
    /// `[state]`: the state that has become of it; `None` if nothing leads there.
    pub(super) state_of: Vec<Option<StateId>>,
}

/// The minimal automaton of one that is [trimmed](Dfa::trim).
pub(super) fn minimize(dfa: &Dfa, steps: &Steps) -> Result<Minimal, CompileError> {
    let mut dfa = dfa.clone();
    dfa.merge_classes();
    let block_of = blocks(&dfa, steps)?;
    let mut minimal = Minimal::new(&dfa, &block_of);
    minimal.dfa.merge_classes();
    Ok(minimal)
}

impl Minimal {
    fn new(dfa: &Dfa, block_of: &[usize]) -> Self {
        let mut number: Vec<Option<StateId>> = vec![None; dfa.states.len()];
        let mut order: Vec<StateId> = Vec::new();
        let mut meet = |state: StateId, order: &mut Vec<StateId>| {
            *number[block_of[state]].get_or_insert_with(|| {
                order.push(state);
                order.len() - 1
            })
        };
        let start = dfa.start.map(|start| meet(start, &mut order));
        let (mut states, mut calls) = (Vec::new(), Vec::new());
        let mut call_ids = std::collections::HashMap::new();
        while let Some(&state) = order.get(states.len()) {
            let state = &dfa.states[state];
            let mut edges = Vec::with_capacity(state.edges.len());
            for &(class, target) in &state.edges {
                let target = match target {
                    Target::State(next) => Target::State(meet(next, &mut order)),
                    Target::Call(call) => {
                        let (begin, after) = dfa.calls[call];
                        let pair = (meet(begin, &mut order), meet(after, &mut order));
                        Target::Call(*call_ids.entry(pair).or_insert_with(|| {
                            calls.push(pair);
                            calls.len() - 1
                        }))
                    }
                };
                edges.push((class, target));
            }
            states.push(State { ends: state.ends, edges });
        }
        let state_of = block_of.iter().map(|&block| number[block]).collect();
        Self { dfa: Dfa { class_of: dfa.class_of, states, calls, start }, state_of }
    }
}

/// `[state]`: its block; states of one block have the same texts and calls.
fn blocks(dfa: &Dfa, steps: &Steps) -> Result<Vec<usize>, CompileError> {
    // `[state]`: letter and origin of what leads there.
    let mut sources: Vec<Vec<(u32, StateId)>> = vec![Vec::new(); dfa.states.len()];
    for (id, state) in dfa.states.iter().enumerate() {
        for &(class, target) in &state.edges {
            let letter = 3 * u32::from(class);
            match target {
                Target::State(next) => sources[next].push((letter, id)),
                Target::Call(call) => {
                    let (begin, after) = dfa.calls[call];
                    sources[begin].push((letter + 1, id));
                    sources[after].push((letter + 2, id));
                }
            }
        }
    }
    let mut partition = Partition::new(dfa.states.len());
    let ending = (0..dfa.states.len()).filter(|&id| dfa.states[id].ends);
    ending.for_each(|id| partition.mark(id));
    let mut open: Vec<usize> = Vec::new();
    partition.split(|_, _| ());
    open.extend(0..partition.blocks.len());
    let mut is_open = vec![true; dfa.states.len() + 1];
    let mut incoming = Vec::new();
    while let Some(block) = open.pop() {
        is_open[block] = false;
        incoming.clear();
        for &state in partition.members(block) {
            incoming.extend_from_slice(&sources[state]);
        }
        steps.take(incoming.len())?;
        incoming.sort_unstable();
        for same in incoming.chunk_by(|a, b| a.0 == b.0) {
            for &(_, state) in same {
                partition.mark(state);
            }
            // `is_open` of a block that is not there yet is true, because it is opened with it.
            partition.split(|old, new| {
                let (smaller, other) = (new.0, old.0);
                if is_open[other] {
                    is_open[smaller] = true;
                    open.push(smaller);
                } else {
                    let chosen = if new.1 <= old.1 { smaller } else { other };
                    is_open[smaller] = false;
                    is_open[chosen] = true;
                    open.push(chosen);
                }
            });
        }
    }
    Ok(partition.block_of)
}

/// Blocks of elements that can be marked, and split into those marked and the others.
struct Partition {
    /// Elements by block, in each block the marked ones first.
    elements: Vec<usize>,
    /// `[element]`: where it is.
    place: Vec<usize>,
    block_of: Vec<usize>,
    /// First element, end of the marked ones, end.
    blocks: Vec<(usize, usize, usize)>,
    /// Blocks with marks.
    touched: Vec<usize>,
}

impl Partition {
    fn new(count: usize) -> Self {
        Self {
            elements: (0..count).collect(),
            place: (0..count).collect(),
            block_of: vec![0; count],
            blocks: vec![(0, 0, count)],
            touched: Vec::new(),
        }
    }

    fn members(&self, block: usize) -> &[usize] {
        let (first, _, end) = self.blocks[block];
        &self.elements[first..end]
    }

    fn mark(&mut self, element: usize) {
        let block = self.block_of[element];
        let (first, marked, _) = self.blocks[block];
        let place = self.place[element];
        if place < marked {
            return;
        }
        if marked == first {
            self.touched.push(block);
        }
        let other = self.elements[marked];
        self.elements.swap(place, marked);
        self.place[other] = place;
        self.place[element] = marked;
        self.blocks[block].1 += 1;
    }

    /// Makes blocks of the marked elements, and calls with number and length of the block that is
    /// left, and of the new one.
    fn split(&mut self, mut each: impl FnMut((usize, usize), (usize, usize))) {
        while let Some(block) = self.touched.pop() {
            let (first, marked, end) = self.blocks[block];
            self.blocks[block].1 = first;
            if marked == end {
                continue;
            }
            let new = self.blocks.len();
            self.blocks[block] = (marked, marked, end);
            self.blocks.push((first, first, marked));
            for &element in &self.elements[first..marked] {
                self.block_of[element] = new;
            }
            each((block, end - marked), (new, marked - first));
        }
    }
}
