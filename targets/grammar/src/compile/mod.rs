//! Rules to a table.
//!
//! ```text
//! patterns = rules, equal ones once; refuse left recursion
//! for each way to break the circles of patterns that contain themselves by calls
//!     loop
//!         nondeterministic automata, with calls
//!         subsets of their nodes; trim; minimize
//!         if one byte tells what comes next everywhere: break
//!         put what is called in the place of the calls concerned, some levels deep
//! the smallest table of all
//! ```
//!
//! Nothing depends on the order of a hash table, on an address or on time.

mod dfa;
mod follow;
mod minimize;
mod nfa;
mod patterns;
mod plan;
mod product;
mod steps;
mod subsets;
mod table;

use std::collections::BTreeSet;

use self::dfa::Dfa;
use self::nfa::{Nfa, Node, Plan};
use self::patterns::{PatternId, Patterns};
use self::steps::Steps;
use self::subsets::Clash;
use crate::rules::Rules;
use crate::{CompileError, Conflict, ConflictKind, Options};

/// Levels of a rule that contains itself that are expanded to tell what it begins with, and what
/// follows it. The latter is seldom of use, because the innermost call is left as it was.
const LEVELS: (u8, u8) = (3, 1);

/// Compiles rules to a table that `kinglet::grammar::Grammar` opens. The same rules and options
/// give the same bytes.
///
/// # Errors
///
/// If no text follows the rules, if one byte is not enough to tell what comes next in a rule that
/// contains itself, or if the table is too large.
pub fn compile(rules: &Rules, options: &Options) -> Result<Vec<u8>, CompileError> {
    let patterns = Patterns::new(rules)?;
    let mut search = Search {
        patterns: &patterns,
        options,
        steps: Steps::new(options.budget),
        best: Err(CompileError::Empty { rule: patterns.name(patterns.root()).to_owned() }),
    };
    if patterns.is_productive(patterns.root()) {
        search.run();
    }
    search.best
}

/// The smallest table so far, and what else may be tried.
struct Search<'a> {
    patterns: &'a Patterns<'a>,
    options: &'a Options,
    steps: Steps,
    best: Result<Vec<u8>, CompileError>,
}

impl Search<'_> {
    fn run(&mut self) {
        let choices = plan::choices(self.patterns);
        let mut chosen = vec![0; choices.len()];
        let recursive = |chosen: &[usize]| -> BTreeSet<_> {
            choices.iter().zip(chosen).flat_map(|(sets, &at)| sets[at].clone()).collect()
        };
        let patterns = self.patterns;
        let plan = |chosen: &[usize]| {
            let mut plan = Plan { recursive: recursive(chosen), shared: BTreeSet::new() };
            plan::share_largest(patterns, &mut plan);
            plan
        };
        self.best = self.table(&plan(&chosen));
        for circle in 0..choices.len() {
            for other in 1..choices[circle].len() {
                let before = std::mem::replace(&mut chosen[circle], other);
                if !self.improve(&plan(&chosen)) {
                    chosen[circle] = before;
                }
            }
        }
        let mut plan = plan(&chosen);
        for shared in plan::shareable(self.patterns, &plan) {
            plan.shared.insert(shared);
            if !self.improve(&plan) && !self.is_too_large() {
                plan.shared.remove(&shared);
            }
        }
    }

    /// Whether a plan gives a smaller table, if there is reason and budget to try.
    fn improve(&mut self, plan: &Plan) -> bool {
        if self.best.is_ok() && !self.steps.are_plenty() {
            return false;
        }
        let table = self.table(plan);
        let is_better = match (&table, &self.best) {
            (Ok(table), Ok(best)) => table.len() < best.len(),
            (Ok(_), Err(_)) => true,
            (Err(_), _) => false,
        };
        if is_better {
            self.best = table;
        }
        is_better
    }

    /// Whether there is no table yet because all were too large, so that more has to be shared.
    const fn is_too_large(&self) -> bool {
        matches!(self.best, Err(CompileError::Size { .. } | CompileError::Budget { .. }))
    }

    fn table(&self, plan: &Plan) -> Result<Vec<u8>, CompileError> {
        self.steps.try_out(|steps| {
            let dfa = Compiler { patterns: self.patterns, plan, steps }.automaton()?;
            let name = self.patterns.name(self.patterns.root());
            let start = dfa.start.ok_or_else(|| CompileError::Empty { rule: name.to_owned() })?;
            let shared = plan::shared_frames(self.patterns, &plan.shared);
            table::encode(&dfa, start, usize::from(self.options.depth) + shared)
        })
    }
}

struct Compiler<'a> {
    patterns: &'a Patterns<'a>,
    plan: &'a Plan,
    steps: &'a Steps,
}

impl Compiler<'_> {
    /// The minimal automaton in which one byte tells what comes next.
    fn automaton(&self) -> Result<Dfa, CompileError> {
        let mut conflict = None;
        let result = self.resolved(&mut conflict);
        match (result, conflict) {
            // Expanding calls has taken the budget, and a larger one would go the same way.
            (Err(CompileError::Budget { .. }), Some(conflict)) => Err(conflict.into()),
            (result, _) => result,
        }
    }

    /// Leaves the first conflict of a pattern that contains itself, whether it is resolved or not.
    fn resolved(&self, conflict: &mut Option<Conflict>) -> Result<Dfa, CompileError> {
        let mut nfa = Nfa::new(self.patterns, self.plan, self.steps, self.patterns.root())?;
        loop {
            let mut subsets = subsets::determinize(&nfa, self.steps)?;
            let (clashes, kind, levels) = if subsets.clashes.is_empty() {
                subsets.dfa.trim();
                let minimal = minimize::minimize(&subsets.dfa, self.steps)?;
                let clashes = follow::clashes(&subsets.dfa, &minimal, &subsets.sites, self.steps)?;
                if clashes.is_empty() {
                    return Ok(minimal.dfa);
                }
                (clashes, ConflictKind::End, LEVELS.1)
            } else {
                (subsets.clashes, ConflictKind::Begin, LEVELS.0)
            };
            for clash in &clashes {
                let (is_resolved, callee) = self.expand(&mut nfa, clash, levels)?;
                let Some(callee) = callee.filter(|_| conflict.is_none() || !is_resolved) else {
                    continue;
                };
                let first = conflict.get_or_insert_with(|| Conflict {
                    rule: self.patterns.name(callee).to_owned(),
                    after: subsets.dfa.text_to(&subsets.dfa.costs(), clash.state),
                    byte: subsets.dfa.byte(clash.class),
                    kind,
                });
                if !is_resolved {
                    return Err(first.clone().into());
                }
            }
        }
    }

    /// Expands the calls of a clash, as many levels of those that contain themselves. Tells if that
    /// was possible, and a pattern that contains itself and is called.
    fn expand(
        &self,
        nfa: &mut Nfa<'_>,
        clash: &Clash,
        levels: u8,
    ) -> Result<(bool, Option<PatternId>), CompileError> {
        let mut callee = None;
        let mut is_resolved = clash.sites.is_empty();
        for &site in &clash.sites {
            let Node::Call { procedure, level, .. } = nfa.nodes[site] else {
                // It was expanded for another clash.
                is_resolved = true;
                continue;
            };
            let pattern = nfa.procedures[procedure].pattern;
            let is_recursive = self.patterns.is_recursive(pattern);
            if is_recursive {
                callee = Some(pattern);
            }
            if !is_recursive || level < levels {
                nfa.inline(site)?;
                is_resolved = true;
            }
        }
        Ok((is_resolved, callee))
    }
}
