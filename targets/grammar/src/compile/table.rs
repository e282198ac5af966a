//! Automata to the bytes of a table, whose layout `kinglet::grammar` specifies.

use std::collections::{BTreeSet, HashMap};

use kinglet::format::crc32::Crc32;
use kinglet::grammar::MAX_DEPTH;

use super::dfa::{Costs, Dfa, NO_CLASS, StateId, Target};
use crate::CompileError;

/// The most states and calls together, and the most cells.
const MOST: usize = 0xffff;
/// Places that are tried for a row before it is put after all others.
const TRIES: usize = 4096;

/// The table of a minimal automaton. Rules that contain themselves are nested `depth` deep at most.
pub(super) fn encode(dfa: &Dfa, start: StateId, depth: usize) -> Result<Vec<u8>, CompileError> {
    let costs = dfa.costs();
    let states = dfa.states.len();
    limit("states and calls", states + dfa.calls.len(), MOST)?;
    let classes = dfa.class_of.iter().filter(|&&c| c != NO_CLASS).max().map_or(0, |&c| c + 1);
    // A table has a class at least, and a number for bytes without one.
    let largest_class = limit("classes of bytes", usize::from(classes).max(1), 255)? as u8;
    let depth = frames(dfa, start, &costs, depth)?;
    let rows = Rows::new(dfa);
    limit("cells", rows.cells.len(), MOST)?;
    let longest = costs.states.iter().flatten().map(|cost| cost.0).max().unwrap_or_default();
    let width = if states + dfa.calls.len() <= 255 && longest <= 255 { 1 } else { 2 };

    let mut table = Vec::new();
    table.extend_from_slice(b"kgrm");
    table.extend_from_slice(&[0, width, largest_class, depth as u8]);
    put(&mut table, 2, states);
    put(&mut table, 2, dfa.calls.len());
    put(&mut table, 2, rows.cells.len());
    put(&mut table, 2, start);
    table.extend_from_slice(&[0; 8]);
    for class in dfa.class_of {
        table.push(class.wrapping_add(1) as u8);
    }
    for &base in &rows.bases {
        put(&mut table, 2, base);
    }
    for cost in &costs.states {
        let bytes = cost.map_or(0, |cost| cost.0) as usize;
        put(&mut table, width, limit("bytes for the shortest text", bytes, MOST)?);
    }
    if !dfa.calls.is_empty() {
        for cost in &costs.states {
            // More frames than there may be are never allowed, however many.
            table.push(cost.map_or(0, |cost| cost.1.min(255)) as u8);
        }
    }
    for &(begin, after) in &dfa.calls {
        put(&mut table, 2, begin);
        put(&mut table, 2, after);
    }
    for &(label, target) in &rows.cells {
        table.push(label);
        put(&mut table, width, target);
    }
    let checksum = Crc32::new().update(&table).finish();
    table[16..20].copy_from_slice(&checksum.to_le_bytes());
    Ok(table)
}

/// Frames that texts may have: as many as there can be, or `depth` if there is no end to it.
fn frames(dfa: &Dfa, start: StateId, costs: &Costs, depth: usize) -> Result<usize, CompileError> {
    if dfa.calls.is_empty() {
        return Ok(0);
    }
    let all = nesting(dfa, start);
    let limit = if all.is_some() { MAX_DEPTH } else { depth.clamp(1, MAX_DEPTH) };
    let shortest = costs.states[start].map_or(0, |cost| cost.1 as usize);
    match all.unwrap_or(shortest) {
        found if found > limit => Err(CompileError::Depth { found, limit }),
        _ => Ok(all.unwrap_or(limit)),
    }
}

fn limit(what: &'static str, found: usize, limit: usize) -> Result<usize, CompileError> {
    if found > limit { Err(CompileError::Size { what, found, limit }) } else { Ok(found) }
}

/// A number that was found to be below 65,536, or 256 where one byte is enough.
fn put(table: &mut Vec<u8>, width: u8, number: usize) {
    table.extend_from_slice(&(number as u16).to_le_bytes()[..usize::from(width)]);
}

/// The most frames that there can be, if no automaton calls itself.
fn nesting(dfa: &Dfa, start: StateId) -> Option<usize> {
    let mut depths: HashMap<StateId, Option<usize>> = HashMap::new();
    // `None` while an automaton's callees are looked at.
    let mut path = vec![(start, false)];
    while let Some((begin, is_done)) = path.pop() {
        let mut callees = BTreeSet::new();
        let (mut found, mut states) = (BTreeSet::from([begin]), vec![begin]);
        while let Some(state) = states.pop() {
            for &(_, target) in &dfa.states[state].edges {
                let next = match target {
                    Target::State(next) => next,
                    Target::Call(call) => {
                        callees.insert(dfa.calls[call].0);
                        dfa.calls[call].1
                    }
                };
                if found.insert(next) {
                    states.push(next);
                }
            }
        }
        if is_done {
            let deepest = callees.iter().filter_map(|callee| depths[callee]).max();
            depths.insert(begin, Some(deepest.map_or(0, |depth| depth + 1)));
            continue;
        }
        if depths.contains_key(&begin) {
            continue;
        }
        depths.insert(begin, None);
        path.push((begin, true));
        for callee in callees {
            match depths.get(&callee) {
                Some(None) => return None,
                Some(Some(_)) => {}
                None => path.push((callee, false)),
            }
        }
    }
    depths[&start]
}

/// Transitions as a double array: rows laid over each other where their cells leave room.
struct Rows {
    /// `[state]`
    bases: Vec<usize>,
    /// Label and target.
    cells: Vec<(u8, usize)>,
}

impl Rows {
    fn new(dfa: &Dfa) -> Self {
        // States with the same transitions have one row. The densest are laid first.
        let mut numbers: HashMap<&[(u16, Target)], usize> = HashMap::new();
        let mut rows: Vec<&[(u16, Target)]> = Vec::new();
        let row_of: Vec<usize> = dfa
            .states
            .iter()
            .map(|state| {
                *numbers.entry(&state.edges).or_insert_with(|| {
                    rows.push(&state.edges);
                    rows.len() - 1
                })
            })
            .collect();
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|&row| std::cmp::Reverse(rows[row].len()));
        let mut this = Self { bases: vec![0; rows.len()], cells: Vec::new() };
        let mut is_taken = Vec::new();
        let mut first_free = 1;
        for row in order {
            let base = this.place(rows[row], &is_taken, first_free);
            this.bases[row] = base;
            if is_taken.len() <= base {
                is_taken.resize(base + 1, false);
            }
            is_taken[base] = true;
            for &(class, target) in rows[row] {
                let at = base + label(class);
                if this.cells.len() <= at {
                    this.cells.resize(at + 1, (0, 0));
                }
                let target = match target {
                    Target::State(next) => next,
                    Target::Call(call) => dfa.states.len() + call,
                };
                this.cells[at] = (label(class) as u8, target);
            }
            while this.cells.get(first_free).is_some_and(|cell| cell.0 != 0) {
                first_free += 1;
            }
        }
        this.bases = row_of.into_iter().map(|row| this.bases[row]).collect();
        this
    }

    /// The lowest base at which a row's cells are free, and which no other row has.
    fn place(&self, row: &[(u16, Target)], is_taken: &[bool], first_free: usize) -> usize {
        let is_own = |base: usize| !is_taken.get(base).is_some_and(|&taken| taken);
        let is_free = |at: usize| self.cells.get(at).is_none_or(|cell| cell.0 == 0);
        let Some(&(first, _)) = row.first() else {
            return (0..=is_taken.len()).find(|&base| is_own(base)).unwrap_or_default();
        };
        let lowest = first_free.saturating_sub(label(first));
        let fits = |base: &usize| {
            is_own(*base) && row.iter().all(|&(class, _)| is_free(*base + label(class)))
        };
        let tries = (lowest..lowest + TRIES).find(fits);
        tries.unwrap_or_else(|| (self.cells.len()..).find(fits).unwrap_or_default())
    }
}

/// Classes are numbered from 0 here, and from 1 in the table.
fn label(class: u16) -> usize {
    usize::from(class) + 1
}
