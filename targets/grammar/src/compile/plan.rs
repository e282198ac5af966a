//! Which patterns are called.

use std::collections::BTreeSet;

use super::patterns::{Pattern, PatternId, Patterns, circles, components};

/// Sets of patterns that are tried for a circle.
const TRIES: usize = 12;

/// For each circle of patterns that contain each other: the sets of patterns of which each breaks
/// the circle if they are called, in the order in which they are tried. A circle in which patterns
/// contain themselves only at their own end needs none, since it is a loop.
pub(super) fn choices(patterns: &Patterns<'_>) -> Vec<Vec<BTreeSet<PatternId>>> {
    let of_patterns = (0..patterns.len()).map(|id| patterns.component(id)).collect::<Vec<_>>();
    circles(&of_patterns, |id| patterns.parts(id))
        .into_iter()
        .filter_map(|circle| {
            let members: Vec<PatternId> =
                (0..patterns.len()).filter(|&id| of_patterns[id] == circle).collect();
            Circle { patterns, members }.choices()
        })
        .collect()
}

struct Circle<'a> {
    patterns: &'a Patterns<'a>,
    /// Ascending.
    members: Vec<PatternId>,
}

impl Circle<'_> {
    /// `None` if nothing has to be called.
    fn choices(&self) -> Option<Vec<BTreeSet<PatternId>>> {
        self.unbroken(&BTreeSet::new())?;
        // Rules in their order, then what is repeated without end, which ends where the list does.
        let rule = |id: &PatternId| match self.patterns.pattern(*id) {
            Pattern::Rule(rule) => Some((0, rule.0)),
            Pattern::Repeat(_, _, None) => Some((1, *id)),
            _ => None,
        };
        let mut candidates: Vec<PatternId> =
            self.members.iter().copied().filter(|id| rule(id).is_some()).collect();
        candidates.sort_unstable_by_key(|id| rule(id));
        let mut choices: Vec<BTreeSet<PatternId>> = candidates
            .iter()
            .map(|&id| BTreeSet::from([id]))
            .filter(|called| self.unbroken(called).is_none())
            .take(TRIES)
            .collect();
        if choices.is_empty() {
            choices.push(self.most_met(&candidates));
        }
        Some(choices)
    }

    /// Breaks every circle at the pattern that is met most often.
    fn most_met(&self, candidates: &[PatternId]) -> BTreeSet<PatternId> {
        let mut called = BTreeSet::new();
        while let Some(circle) = self.unbroken(&called) {
            let met = |id: PatternId| {
                let parts = circle.iter().flat_map(|&member| self.patterns.parts(member));
                parts.filter(|&part| part == id).count()
            };
            let in_circle = candidates.iter().rev().copied().filter(|id| circle.contains(id));
            match in_circle.max_by_key(|&id| met(id)) {
                Some(id) => called.insert(id),
                None => break,
            };
        }
        called
    }

    /// A circle that is more than a loop, if these are called.
    fn unbroken(&self, called: &BTreeSet<PatternId>) -> Option<BTreeSet<PatternId>> {
        let place = |id: PatternId| self.members.binary_search(&id).ok();
        let next = |at: usize| -> Vec<usize> {
            let parts = self.patterns.parts(self.members[at]).into_iter();
            parts.filter(|part| !called.contains(part)).filter_map(place).collect()
        };
        let components = components(self.members.len(), next);
        let calls = |at: usize| {
            let last = self.patterns.last_parts(self.members[at]);
            next(at).into_iter().any(|part| {
                components[part] == components[at] && !last.contains(&self.members[part])
            })
        };
        let at = (0..self.members.len()).find(|&at| calls(at))?;
        let members = (0..self.members.len()).filter(|&member| components[member] == components[at]);
        Some(members.map(|member| self.members[member]).collect())
    }
}
