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

/// Levels of a rule that contains itself that are expanded to tell what comes next.
const LEVELS: u8 = 3;

/// Compiles rules to a table that `kinglet::grammar::Grammar` opens. The same rules and options
/// give the same bytes.
///
/// # Errors
///
/// If no text follows the rules, if one byte is not enough to tell what comes next in a rule that
/// contains itself, or if the table is too large.
pub fn compile(rules: &Rules, options: &Options) -> Result<Vec<u8>, CompileError> {
    let patterns = Patterns::new(rules)?;
    let compiler =
        Compiler { patterns: &patterns, options, steps: &Steps::new(options.budget) };
    if !patterns.is_productive(patterns.root()) {
        return Err(compiler.empty());
    }
    let choices = plan::choices(&patterns);
    let mut chosen = vec![0; choices.len()];
    let plan = |chosen: &[usize]| Plan {
        recursive: choices.iter().zip(chosen).flat_map(|(c, &at)| c[at].clone()).collect(),
        shared: BTreeSet::new(),
    };
    let mut best = compiler.table(&plan(&chosen));
    for circle in 0..choices.len() {
        for other in 1..choices[circle].len() {
            if best.is_ok() && !compiler.steps.are_plenty() {
                break;
            }
            let before = std::mem::replace(&mut chosen[circle], other);
            match (compiler.table(&plan(&chosen)), &best) {
                (Ok(table), Ok(smallest)) if table.len() >= smallest.len() => chosen[circle] = before,
                (Ok(table), _) => best = Ok(table),
                (Err(_), _) => chosen[circle] = before,
            }
        }
    }
    best
}

struct Compiler<'a> {
    patterns: &'a Patterns<'a>,
    options: &'a Options,
    steps: &'a Steps,
}

impl Compiler<'_> {
    fn empty(&self) -> CompileError {
        CompileError::Empty { rule: self.patterns.name(self.patterns.root()).to_owned() }
    }

    fn table(&self, plan: &Plan) -> Result<Vec<u8>, CompileError> {
        let dfa = self.automaton(plan)?;
        let start = dfa.start.ok_or_else(|| self.empty())?;
        table::encode(&dfa, start, self.options.depth)
    }

    /// The minimal automaton in which one byte tells what comes next.
    fn automaton(&self, plan: &Plan) -> Result<Dfa, CompileError> {
        let mut nfa = Nfa::new(self.patterns, plan, self.steps, self.patterns.root())?;
        loop {
            let mut subsets = subsets::determinize(&nfa, self.steps)?;
            if !subsets.clashes.is_empty() {
                self.resolve(&mut nfa, plan, &subsets.dfa, &subsets.clashes, ConflictKind::Begin)?;
                continue;
            }
            subsets.dfa.trim();
            let minimal = minimize::minimize(&subsets.dfa, self.steps)?;
            let clashes = follow::clashes(&subsets.dfa, &minimal, &subsets.sites, self.steps)?;
            if clashes.is_empty() {
                return Ok(minimal.dfa);
            }
            self.resolve(&mut nfa, plan, &subsets.dfa, &clashes, ConflictKind::End)?;
        }
    }

    /// Expands the calls concerned; an error if they were expanded often enough.
    fn resolve(
        &self,
        nfa: &mut Nfa<'_>,
        plan: &Plan,
        dfa: &Dfa,
        clashes: &[Clash],
        kind: ConflictKind,
    ) -> Result<(), CompileError> {
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
                if level < LEVELS || plan.shared.contains(&pattern) {
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
