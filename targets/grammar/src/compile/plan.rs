//! Which patterns are called: those without which there would be no end of expanding, and those
//! that are met so often that calls may make a smaller table.

use std::collections::BTreeSet;

use super::nfa::Plan;
use super::patterns::{Pattern, PatternId, Patterns, circles, components};

/// Sets of patterns that are tried for a circle.
const TRIES: usize = 12;
/// Patterns that are tried as shared ones.
const SHARED: usize = 12;
/// The least nodes of a shared pattern: a call has about as many bytes.
const LEAST_SIZE: u64 = 4;
/// Nodes from which on patterns are shared untried.
const LARGE: u64 = 10_000;

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

/// How often patterns are expanded with a plan, and to how many nodes, roughly.
struct Expansion<'a> {
    patterns: &'a Patterns<'a>,
    plan: &'a Plan,
    /// Patterns with automata of their own.
    roots: BTreeSet<PatternId>,
    /// Parts before wholes.
    order: Vec<PatternId>,
    /// `[pattern]`
    sizes: Vec<u64>,
}

impl<'a> Expansion<'a> {
    fn new(patterns: &'a Patterns<'a>, plan: &'a Plan) -> Self {
        let mut roots = BTreeSet::from([patterns.root()]);
        roots.extend(plan.recursive.iter().chain(&plan.shared));
        let sizes = vec![1; patterns.len()];
        let mut this = Self { patterns, plan, roots, order: Vec::new(), sizes };
        this.order = depth_first(patterns.len(), &this.roots, |id| this.within(id));
        for at in 0..this.order.len() {
            let id = this.order[at];
            let own = match patterns.pattern(id) {
                Pattern::Bytes(bytes) => bytes.len() as u64,
                Pattern::Class(ranges) => 1 + 3 * u64::from(ranges.iter().any(|r| !r.1.is_ascii())),
                _ => 0,
            };
            let parts = this.within(id).into_iter().map(|part| this.sizes[part]);
            let all = parts.fold(0, u64::saturating_add).saturating_mul(this.times(id));
            this.sizes[id] = all.max(own).max(1);
        }
        this
    }

    /// The parts that are expanded.
    fn within(&self, id: PatternId) -> Vec<PatternId> {
        let patterns = self.patterns;
        let is_expanded = |&part: &PatternId| {
            let is_inside = patterns.component(part) == patterns.component(id);
            patterns.is_productive(part)
                && !self.plan.shared.contains(&part)
                && !(is_inside && self.plan.recursive.contains(&part))
        };
        patterns.parts(id).into_iter().filter(is_expanded).collect()
    }

    fn times(&self, id: PatternId) -> u64 {
        match *self.patterns.pattern(id) {
            Pattern::Repeat(_, _, Some(most)) => u64::from(most.max(1)),
            _ => 1,
        }
    }

    fn size(&self) -> u64 {
        self.roots.iter().fold(0, |sum, &root| self.sizes[root].saturating_add(sum))
    }

    fn uses(&self) -> Vec<u64> {
        let mut uses = vec![0_u64; self.patterns.len()];
        for &root in &self.roots {
            uses[root] = 1;
        }
        for &id in self.order.iter().rev() {
            for part in self.within(id) {
                let more = uses[id].saturating_mul(self.times(id));
                uses[part] = uses[part].saturating_add(more);
            }
        }
        uses
    }
}

/// Patterns that may be called wherever they are met, those first that would save the most nodes.
///
/// In a circle these are only the patterns that are called anyway: others would take more frames for
/// each level.
pub(super) fn shareable(patterns: &Patterns<'_>, plan: &Plan) -> Vec<PatternId> {
    let expansion = Expansion::new(patterns, plan);
    let (sizes, uses) = (&expansion.sizes, expansion.uses());
    let saved = |id: PatternId| (uses[id].saturating_sub(1)).saturating_mul(sizes[id]);
    let is_worth_it = |&id: &PatternId| {
        (!patterns.is_recursive(id) || plan.recursive.contains(&id))
            && !plan.shared.contains(&id)
            && !patterns.is_nullable(id)
            && uses[id] > 1
            && sizes[id] >= LEAST_SIZE
    };
    let mut found: Vec<PatternId> = expansion.order.iter().copied().filter(is_worth_it).collect();
    // A rule and its body are the same; the rule has the name.
    let body = |id: &PatternId| match *patterns.pattern(*id) {
        Pattern::Rule(rule) => Some(patterns.body(rule)),
        _ => None,
    };
    let bodies: BTreeSet<PatternId> = found.iter().chain(&plan.shared).filter_map(body).collect();
    found.retain(|id| !bodies.contains(id));
    found.sort_by_key(|&id| (std::cmp::Reverse(saved(id)), id));
    found.truncate(SHARED);
    found
}

/// Shares what has to be, so that the automata do not get too large to be looked at.
pub(super) fn share_largest(patterns: &Patterns<'_>, plan: &mut Plan) {
    while Expansion::new(patterns, plan).size() > LARGE {
        let Some(&largest) = shareable(patterns, plan).first() else { return };
        plan.shared.insert(largest);
    }
}

/// Patterns that can be reached, parts before wholes as far as there is such an order.
fn depth_first(
    count: usize,
    roots: &BTreeSet<PatternId>,
    within: impl Fn(PatternId) -> Vec<PatternId>,
) -> Vec<PatternId> {
    let mut is_found = vec![false; count];
    let mut order = Vec::new();
    for &root in roots {
        let mut path = vec![(root, false)];
        while let Some((id, is_done)) = path.pop() {
            if is_done {
                order.push(id);
            } else if !std::mem::replace(&mut is_found[id], true) {
                path.push((id, true));
                path.extend(within(id).into_iter().map(|part| (part, false)));
            }
        }
    }
    order
}

/// The most shared patterns that are called inside each other.
pub(super) fn shared_frames(patterns: &Patterns<'_>, shared: &BTreeSet<PatternId>) -> usize {
    // Components are numbered parts first.
    let mut members: Vec<Vec<PatternId>> = vec![Vec::new(); patterns.len()];
    for id in 0..patterns.len() {
        members[patterns.component(id)].push(id);
    }
    let mut frames = vec![0; patterns.len()];
    for (component, members) in members.iter().enumerate() {
        let own = usize::from(members.iter().any(|id| shared.contains(id)));
        let parts = members.iter().flat_map(|&id| patterns.parts(id));
        let others = parts.map(|part| patterns.component(part)).filter(|&c| c != component);
        frames[component] = own + others.map(|c| frames[c]).max().unwrap_or(0);
    }
    frames[patterns.component(patterns.root())]
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
        let members =
            (0..self.members.len()).filter(|&member| components[member] == components[at]);
        Some(members.map(|member| self.members[member]).collect())
    }
}
