//! What may follow the text of a callee, and where that leaves two ways.
//!
//! A machine that may go on inside a callee does so, and looks at the frames beneath only if it
//! may not. That is right if nothing beneath reads the byte as well, and if it does no harm: the
//! callee may end after the byte too, and the frame stands where it stood, as for white space that
//! both allow.

use std::collections::{BTreeMap, BTreeSet};

use super::dfa::{Dfa, StateId, Target};
use super::minimize::Minimal;
use super::nfa::NodeId;
use super::steps::Steps;
use super::subsets::Clash;
use crate::CompileError;

/// A frame, and the automaton that pushed it by where it begins.
type Frame = (StateId, StateId);

/// Clashes of a trimmed automaton.
pub(super) fn clashes(
    dfa: &Dfa,
    minimal: &Minimal,
    sites: &[Vec<NodeId>],
    steps: &Steps,
) -> Result<Vec<Clash>, CompileError> {
    let Some(start) = dfa.start else { return Ok(Vec::new()) };
    if dfa.calls.is_empty() {
        return Ok(Vec::new());
    }
    // Automata by where they begin: their states, and what may lie beneath.
    let mut members: BTreeMap<StateId, Vec<StateId>> = BTreeMap::new();
    let mut beneath: BTreeMap<StateId, BTreeSet<Frame>> = BTreeMap::new();
    let mut open = vec![start];
    while let Some(begin) = open.pop() {
        if members.contains_key(&begin) {
            continue;
        }
        let states = reached(dfa, begin);
        steps.take(states.len())?;
        for &state in &states {
            for &(_, target) in &dfa.states[state].edges {
                if let Target::Call(call) = target {
                    let (callee, after) = dfa.calls[call];
                    beneath.entry(callee).or_default().insert((after, begin));
                    open.push(callee);
                }
            }
        }
        members.insert(begin, states);
    }
    // A frame that may end leaves what lies beneath it.
    loop {
        let mut has_grown = false;
        for callee in members.keys() {
            let Some(frames) = beneath.get(callee) else { continue };
            let ended = frames.iter().filter(|frame| dfa.states[frame.0].ends);
            let callers: BTreeSet<StateId> = ended.map(|frame| frame.1).collect();
            let mut more = frames.clone();
            for caller in callers {
                more.extend(beneath.get(&caller).into_iter().flatten());
            }
            steps.take(more.len())?;
            if more.len() > frames.len() {
                beneath.insert(*callee, more);
                has_grown = true;
            }
        }
        if !has_grown {
            break;
        }
    }
    let mut found: BTreeMap<(StateId, u16), BTreeSet<NodeId>> = BTreeMap::new();
    for (begin, states) in &members {
        let Some(frames) = beneath.get(begin) else { continue };
        let frames: BTreeSet<StateId> = frames.iter().map(|frame| frame.0).collect();
        for &state in states.iter().filter(|&&state| dfa.states[state].ends) {
            for &(class, target) in &dfa.states[state].edges {
                steps.take(frames.len())?;
                for &frame in &frames {
                    let Some(other) = dfa.states[frame].target(class) else { continue };
                    if is_harmless(dfa, minimal, target, frame, other) {
                        continue;
                    }
                    let calls = (0..dfa.calls.len()).filter(|&call| dfa.calls[call].1 == frame);
                    let sites = calls.flat_map(|call| sites[call].iter().copied());
                    found.entry((state, class)).or_default().extend(sites);
                }
            }
        }
    }
    let clash = |((state, class), sites): (_, BTreeSet<NodeId>)| Clash {
        state,
        class,
        sites: sites.into_iter().collect(),
    };
    Ok(found.into_iter().map(clash).collect())
}

fn is_harmless(
    dfa: &Dfa,
    minimal: &Minimal,
    on: Target,
    frame: StateId,
    other: Target,
) -> bool {
    let (Target::State(on), Target::State(other)) = (on, other) else { return false };
    dfa.states[on].ends && minimal.state_of[other] == minimal.state_of[frame]
}

/// The states of the automaton that begins here.
fn reached(dfa: &Dfa, begin: StateId) -> Vec<StateId> {
    let mut is_found = vec![false; dfa.states.len()];
    is_found[begin] = true;
    let mut states = vec![begin];
    let mut at = 0;
    while let Some(&state) = states.get(at) {
        at += 1;
        for &(_, target) in &dfa.states[state].edges {
            let next = match target {
                Target::State(next) => next,
                Target::Call(call) => dfa.calls[call].1,
            };
            if !std::mem::replace(&mut is_found[next], true) {
                states.push(next);
            }
        }
    }
    states
}
