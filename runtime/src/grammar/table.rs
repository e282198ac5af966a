//! The table, read in place, and the proof that it has no dead end.

use core::fmt;

use super::MAX_DEPTH;
use crate::format::crc32::Crc32;

const MAGIC: [u8; 4] = *b"kgrm";
const HEADER_LEN: usize = 24;
/// Where the checksum stands in the header.
const CHECKSUM_AT: usize = 16;

/// A compiled grammar: a view of its table, cheap to copy.
///
/// # Examples
///
/// ```
/// use kinglet::grammar::Grammar;
///
/// # macro_rules! table { ($name:literal) => {
/// #     include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/", $name))
/// # } }
/// // Made by `kinglet grammar`. In a constant, so that a damaged table does not compile.
/// const DATE: Grammar<'_> = match Grammar::open(table!("date.grammar")) {
///     Ok(grammar) => grammar,
///     Err(_) => panic!("the grammar is damaged"),
/// };
/// let mut position = DATE.start();
/// assert!(b"2026-12-0".iter().all(|&byte| position.advance(&DATE, byte)));
/// assert!(!position.may_end(&DATE) && position.advance(&DATE, b'1'));
/// assert!(position.may_end(&DATE));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Grammar<'a> {
    /// Class per byte; 0 for a byte that is in no text.
    classes: &'a [u8; 256],
    /// `[state]`: the cell of class 0.
    bases: &'a [[u8; 2]],
    /// `[state]`: bytes of the shortest text to the end of its automaton.
    shortest: &'a [u8],
    /// `[state]`: frames that this text puts on the stack; empty without calls.
    frames: &'a [u8],
    /// `[call]`: begin, return.
    calls: &'a [[u8; 4]],
    /// Label and target each.
    cells: &'a [u8],
    /// Bytes of a target and of a shortest text's length.
    width: u8,
    largest_class: u8,
    depth: u8,
    start: u16,
}

/// Where a byte leads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Transition {
    State(u16),
    /// `begin` is the state at which the byte is looked up again, `after` the frame.
    Call {
        begin: u16,
        after: u16,
    },
}

impl<'a> Grammar<'a> {
    /// Reads a table, whose layout the [module](super) specifies. Takes time in proportion to its
    /// length, in a constant too.
    ///
    /// # Errors
    ///
    /// Whatever is not as it is specified, and a state from which no byte leads nearer to the end.
    pub const fn open(table: &'a [u8]) -> Result<Self, GrammarError> {
        let grammar = match Self::reopen(table) {
            Ok(grammar) => grammar,
            Err(error) => return Err(error),
        };
        if !has_checksum(table) {
            return Err(GrammarError::Checksum);
        }
        match grammar.prove() {
            None => Ok(grammar),
            Some(error) => Err(error),
        }
    }

    /// Views a table that [`open`](Self::open) has taken before, for a program that keeps tables
    /// where it cannot keep a view of them. Takes constant time: neither checksum nor proof is
    /// looked at again, so that with another table a [`Position`](super::Position) may panic.
    ///
    /// # Errors
    ///
    /// A header that is not as it is specified.
    pub const fn reopen(table: &'a [u8]) -> Result<Self, GrammarError> {
        let Some((header, tables)) = table.split_first_chunk::<HEADER_LEN>() else {
            return Err(GrammarError::Length { found: table.len(), expected: HEADER_LEN });
        };
        if !is_equal(first(header), MAGIC) {
            return Err(GrammarError::Magic);
        }
        if header[4] != 0 {
            return Err(GrammarError::Layout { found: header[4] });
        }
        let (width, largest_class, depth) = (header[5] as usize, header[6], header[7]);
        let states = read_u16(header, 8) as usize;
        let calls = read_u16(header, 10) as usize;
        let cells = read_u16(header, 12) as usize;
        let start = read_u16(header, 14);
        let most = match width {
            1 => u8::MAX as usize,
            2 => u16::MAX as usize,
            _ => return Err(GrammarError::Field { offset: 5 }),
        };
        if largest_class == 0 {
            return Err(GrammarError::Field { offset: 6 });
        }
        if depth as usize > MAX_DEPTH || (depth == 0) != (calls == 0) {
            return Err(GrammarError::Field { offset: 7 });
        }
        if states == 0 || states + calls > most {
            return Err(GrammarError::Field { offset: 8 });
        }
        if start as usize >= states {
            return Err(GrammarError::Field { offset: 14 });
        }
        if read_u16(header, 20) != 0 || read_u16(header, 22) != 0 {
            return Err(GrammarError::Field { offset: 20 });
        }
        let framed = if calls == 0 { 0 } else { states };
        let expected =
            HEADER_LEN + 256 + (2 + width) * states + framed + 4 * calls + (1 + width) * cells;
        if table.len() != expected {
            return Err(GrammarError::Length { found: table.len(), expected });
        }
        // The lengths add up, so that nothing below ends early.
        let Some((classes, tables)) = tables.split_first_chunk::<256>() else {
            return Err(GrammarError::Length { found: table.len(), expected });
        };
        let (bases, tables) = tables.split_at(2 * states);
        let (shortest, tables) = tables.split_at(width * states);
        let (frames, tables) = tables.split_at(framed);
        let (call_table, cells) = tables.split_at(4 * calls);
        Ok(Self {
            classes,
            bases: bases.as_chunks().0,
            shortest,
            frames,
            calls: call_table.as_chunks().0,
            cells,
            width: header[5],
            largest_class,
            depth,
            start,
        })
    }

    /// Checks every number in the tables, and that no state is a dead end.
    const fn prove(&self) -> Option<GrammarError> {
        let states = self.bases.len();
        let mut has_byte = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            if self.classes[byte] > self.largest_class {
                return Some(GrammarError::Class { byte: byte as u8 });
            }
            has_byte[self.classes[byte] as usize] = true;
            byte += 1;
        }
        let mut call = 0;
        while call < self.calls.len() {
            let (begin, after) = self.call(call);
            if begin as usize >= states || after as usize >= states {
                return Some(GrammarError::Call { call: call as u16 });
            }
            call += 1;
        }
        let mut at = 0;
        while let Some((label, target)) = self.cell(at) {
            let is_unused = label == 0 && target == 0;
            let is_sound = label > 0
                && label <= self.largest_class
                && (target as usize) < states + self.calls.len();
            if !is_unused && !is_sound {
                return Some(GrammarError::Cell { cell: at as u16 });
            }
            at += 1;
        }
        if self.frames_from(self.start) > self.depth as u32 {
            return Some(GrammarError::Field { offset: 7 });
        }
        let mut state = 0;
        while state < states {
            if !self.has_end(state as u16, &has_byte) {
                return Some(GrammarError::DeadEnd { state: state as u16 });
            }
            state += 1;
        }
        None
    }

    /// Whether a state may end, or a byte leads nearer to its end, with the frames it states.
    const fn has_end(&self, state: u16, has_byte: &[bool; 256]) -> bool {
        let (bytes, frames) = (self.shortest_from(state), self.frames_from(state));
        if bytes == 0 {
            return frames == 0;
        }
        let mut class = 1;
        while class <= self.largest_class as usize {
            if has_byte[class]
                && let Some(text) = self.text_through(state, class as u8)
                && text.0 <= bytes
                && text.1 <= frames
            {
                return true;
            }
            class += 1;
        }
        false
    }

    /// Bytes and frames of the shortest text that begins with this class.
    const fn text_through(&self, state: u16, class: u8) -> Option<(u32, u32)> {
        let (mut from, mut bytes, mut frames, mut depth) = (state, 1, 0, 0);
        while depth <= self.depth as u32 {
            match self.transition(from, class) {
                None => return None,
                Some(Transition::State(next)) => {
                    return Some((
                        bytes + self.shortest_from(next),
                        larger(frames, depth + self.frames_from(next)),
                    ));
                }
                Some(Transition::Call { begin, after }) => {
                    bytes += self.shortest_from(after);
                    frames = larger(frames, depth + self.frames_from(after));
                    depth += 1;
                    from = begin;
                }
            }
        }
        None
    }

    /// The most frames that a text puts on the stack.
    #[must_use]
    pub const fn depth(&self) -> usize {
        self.depth as usize
    }

    /// The number of states.
    #[must_use]
    pub const fn states(&self) -> usize {
        self.bases.len()
    }

    /// The number of calls.
    #[must_use]
    pub const fn calls(&self) -> usize {
        self.calls.len()
    }

    /// The state at which a text begins.
    pub(super) const fn start_state(&self) -> u16 {
        self.start
    }

    /// The class of a byte, 0 if no text has it.
    #[inline]
    pub(super) const fn class(&self, byte: u8) -> u8 {
        self.classes[byte as usize]
    }

    /// Whether a text may have this byte.
    #[must_use]
    pub const fn reads(&self, byte: u8) -> bool {
        self.class(byte) != 0
    }

    pub(super) const fn largest_class(&self) -> u8 {
        self.largest_class
    }

    /// Bytes of the shortest text from a state to the end of its automaton.
    #[inline]
    pub(super) const fn shortest_from(&self, state: u16) -> u32 {
        let at = state as usize * self.width as usize;
        let high = if self.width > 1 { self.shortest[at + 1] } else { 0 };
        u16::from_le_bytes([self.shortest[at], high]) as u32
    }

    /// Frames that this text puts on the stack.
    #[inline]
    pub(super) const fn frames_from(&self, state: u16) -> u32 {
        if self.frames.is_empty() { 0 } else { self.frames[state as usize] as u32 }
    }

    /// Where a class of bytes, which is not 0, leads from a state.
    #[inline]
    pub(super) const fn transition(&self, state: u16, class: u8) -> Option<Transition> {
        let base = u16::from_le_bytes(self.bases[state as usize]);
        match self.cell(base as usize + class as usize) {
            Some((label, target)) if label == class => {
                let target = target as usize;
                if target < self.bases.len() {
                    return Some(Transition::State(target as u16));
                }
                let (begin, after) = self.call(target - self.bases.len());
                Some(Transition::Call { begin, after })
            }
            _ => None,
        }
    }

    /// Label and target of a cell, if there is one.
    #[inline]
    const fn cell(&self, at: usize) -> Option<(u8, u16)> {
        let at = at * (1 + self.width as usize);
        if at + self.width as usize >= self.cells.len() {
            return None;
        }
        let high = if self.width > 1 { self.cells[at + 2] } else { 0 };
        Some((self.cells[at], u16::from_le_bytes([self.cells[at + 1], high])))
    }

    const fn call(&self, call: usize) -> (u16, u16) {
        let bytes = &self.calls[call];
        (read_u16(bytes, 0), read_u16(bytes, 2))
    }
}

/// Whether the checksum in the header is that of the table.
const fn has_checksum(table: &[u8]) -> bool {
    let (before, after) = table.split_at(CHECKSUM_AT);
    let (stated, after) = after.split_at(4);
    let crc = Crc32::new().update(before).update(&[0; 4]).update(after);
    is_equal(first(stated), crc.finish().to_le_bytes())
}

const fn read_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

const fn first(bytes: &[u8]) -> [u8; 4] {
    [bytes[0], bytes[1], bytes[2], bytes[3]]
}

const fn is_equal(a: [u8; 4], b: [u8; 4]) -> bool {
    u32::from_le_bytes(a) == u32::from_le_bytes(b)
}

const fn larger(a: u32, b: u32) -> u32 {
    if a > b { a } else { b }
}

/// Why a table is no grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum GrammarError {
    /// It does not begin with `kgrm`: something else, such as a grammar that is not compiled.
    Magic,
    /// A version of the layout that this version of Kinglet does not read.
    Layout {
        /// The version.
        found: u8,
    },
    /// The table is shorter or longer than its header says.
    Length {
        /// Bytes found.
        found: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// A field of the header is out of its range.
    Field {
        /// Where the field begins.
        offset: u8,
    },
    /// The checksum does not fit the table: it is damaged.
    Checksum,
    /// A byte's class is larger than the largest.
    Class {
        /// The byte.
        byte: u8,
    },
    /// A call begins or goes on at a state that is not there.
    Call {
        /// Its number.
        call: u16,
    },
    /// A cell's label or target is out of range.
    Cell {
        /// Its number.
        cell: u16,
    },
    /// From this state no byte leads nearer to the end.
    DeadEnd {
        /// The state.
        state: u16,
    },
}

impl fmt::Display for GrammarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Magic => f.write_str("not a compiled grammar: it does not begin with `kgrm`"),
            Self::Layout { found } => {
                write!(f, "the grammar has layout {found}, expected 0: compile it anew")
            }
            Self::Length { found, expected } => {
                write!(f, "the grammar has {found} bytes, expected {expected}")
            }
            Self::Field { offset } => {
                write!(f, "the field at byte {offset} of the grammar's header is out of range")
            }
            Self::Checksum => f.write_str("the grammar is damaged: its checksum is wrong"),
            Self::Class { byte } => write!(f, "the class of byte {byte:#04x} is out of range"),
            Self::Call { call } => write!(f, "call {call} of the grammar names no state"),
            Self::Cell { cell } => write!(f, "cell {cell} of the grammar is out of range"),
            Self::DeadEnd { state } => {
                write!(f, "no text gets from state {state} of the grammar to an end")
            }
        }
    }
}

impl core::error::Error for GrammarError {}
