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
use self::patterns::Patterns;
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
        let mut nfa = Nfa::new(self.patterns, self.plan, self.steps, self.patterns.root())?;
        loop {
            let mut subsets = subsets::determinize(&nfa, self.steps)?;
            if !subsets.clashes.is_empty() {
                self.resolve(&mut nfa, &subsets.dfa, &subsets.clashes, ConflictKind::Begin)?;
                continue;
            }
            subsets.dfa.trim();
            let minimal = minimize::minimize(&subsets.dfa, self.steps)?;
            let clashes = follow::clashes(&subsets.dfa, &minimal, &subsets.sites, self.steps)?;
            if clashes.is_empty() {
                return Ok(minimal.dfa);
            }
            self.resolve(&mut nfa, &subsets.dfa, &clashes, ConflictKind::End)?;
        }
    }

    /// Expands the calls concerned; an error if they were expanded often enough.
    fn resolve(
        &self,
        nfa: &mut Nfa<'_>,
        dfa: &Dfa,
        clashes: &[Clash],
        kind: ConflictKind,
    ) -> Result<(), CompileError> {
        let levels = if kind == ConflictKind::Begin { LEVELS.0 } else { LEVELS.1 };
        for clash in clashes {
            let mut callee = None;
            let mut is_resolved = clash.sites.is_empty();
            for &site in &clash.sites {
                // A call of an earlier clash is no call any more.
                let Node::Call { procedure, level, .. } = nfa.nodes[site] else {
                    is_resolved = true;
                    continue;
                };
                let pattern = nfa.procedures[procedure].pattern;
                callee = Some(pattern);
                if level < levels || self.plan.shared.contains(&pattern) {
                    nfa.inline(site)?;
                    is_resolved = true;
                }
            }
            if let Some(callee) = callee.filter(|_| !is_resolved) {
                return Err(CompileError::Conflict(Box::new(Conflict {
                    rule: self.patterns.name(callee).to_owned(),
                    after: dfa.texts_to(&dfa.costs(), clash.state),
                    byte: dfa.byte(clash.class),
                    kind,
                })));
            }
        }
        Ok(())
    }
}
