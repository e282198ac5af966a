//! The intersection of two automata.

use std::collections::HashMap;

use super::dfa::{Dfa, NO_CLASS, State, Target};
use super::minimize::minimize;
use super::steps::Steps;
use crate::CompileError;

/// The minimal automaton of the texts of both. Neither has calls.
pub(super) fn both(left: &Dfa, right: &Dfa, steps: &Steps) -> Result<Dfa, CompileError> {
    let mut class_of = [NO_CLASS; 256];
    let mut pairs: Vec<(u16, u16)> = Vec::new();
    for (class, pair) in class_of.iter_mut().zip(left.class_of.iter().zip(&right.class_of)) {
        let pair = (*pair.0, *pair.1);
        let at = pairs.iter().position(|&p| p == pair).unwrap_or_else(|| {
            pairs.push(pair);
            pairs.len() - 1
        });
        *class = at as u16;
    }
    let mut product = Dfa { class_of, states: Vec::new(), calls: Vec::new(), start: None };
    let (Some(a), Some(b)) = (left.start, right.start) else { return Ok(product) };
    let mut ids = HashMap::from([((a, b), 0)]);
    let mut open = vec![(a, b)];
    while let Some(&(a, b)) = open.get(product.states.len()) {
        let (a, b) = (&left.states[a], &right.states[b]);
        let mut state = State { ends: a.ends && b.ends, edges: Vec::new() };
        for (label, &(left_class, right_class)) in pairs.iter().enumerate() {
            steps.take(1)?;
            let (Some(Target::State(x)), Some(Target::State(y))) =
                (a.target(left_class), b.target(right_class))
            else {
                continue;
            };
            let id = *ids.entry((x, y)).or_insert_with(|| {
                open.push((x, y));
                open.len() - 1
            });
            state.edges.push((label as u16, Target::State(id)));
        }
        product.states.push(state);
    }
    product.start = Some(0);
    product.trim();
    Ok(minimize(&product, steps)?.dfa)
}
