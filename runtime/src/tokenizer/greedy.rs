//! Greedy longest match: the double-array trie and the string table.

use super::layout::{CELL_LEN, Header, MAX_TAIL_LEN, TAIL_FLAG, TAIL_LEN_SHIFT};
use super::strings::{Strings, Tables};

#[derive(Clone, Copy, Debug)]
pub(super) struct Greedy<'a> {
    cells: &'a [[u8; CELL_LEN]],
    strings: Strings<'a>,
}

/// A cell of the trie, decoded.
pub(super) struct Cell {
    pub(super) label: u8,
    pub(super) link: u32,
    pub(super) token: u32,
}

impl Cell {
    #[inline]
    pub(super) fn new(cell: &[u8; CELL_LEN]) -> Self {
        let [label, low, middle, high, token @ ..] = *cell;
        let link = u32::from_le_bytes([low, middle, high, 0]);
        Self { label, link, token: u32::from(u16::from_le_bytes(token)) }
    }
}

impl<'a> Greedy<'a> {
    /// The tables that follow the header, or `None` when they do not fit.
    pub(super) fn new(header: &Header, mut tables: Tables<'a>) -> Option<Self> {
        let cells = tables.take(header.cells_len())?.as_chunks().0;
        Some(Self { cells, strings: Strings::take(header, &mut tables)? })
    }

    /// The bytes of a token, or `None` when it has none.
    #[inline]
    pub(super) fn token(&self, id: u32) -> Option<&'a [u8]> {
        self.strings.get(id)
    }

    pub(super) const fn strings(&self) -> &Strings<'a> {
        &self.strings
    }

    /// The longest token that `text` starts with, and its length.
    #[inline]
    pub(super) fn longest_match(&self, text: &[u8]) -> Option<(u32, usize)> {
        let mut longest = (0, 0);
        let mut link = 0;
        for (depth, &byte) in text.iter().enumerate() {
            let Some(cell) = self.child(link, byte) else { break };
            if cell.link & TAIL_FLAG != 0 {
                if let Some(len) = self.match_tail(&cell, text, depth + 1) {
                    longest = (cell.token, len);
                }
                break;
            }
            if cell.token != 0 {
                longest = (cell.token, depth + 1);
            }
            if cell.link == 0 {
                break;
            }
            link = cell.link;
        }
        let (token, len) = longest;
        (token != 0 && self.strings.has(token)).then_some((token, len))
    }

    /// The token of just these bytes.
    pub(super) fn exact(&self, bytes: impl Iterator<Item = u8> + Clone) -> Option<u32> {
        let (mut link, mut token) = (0, 0);
        for byte in bytes.clone() {
            let cell = self.child(link, byte)?;
            token = cell.token;
            // Nothing but a tail follows, which is compared below.
            if cell.link & TAIL_FLAG != 0 || cell.link == 0 {
                break;
            }
            link = cell.link;
        }
        let found = self.token(token).filter(|_| token != 0)?;
        found.iter().copied().eq(bytes).then_some(token)
    }

    #[inline]
    fn child(&self, link: u32, byte: u8) -> Option<Cell> {
        let cell = Cell::new(self.cells.get(link as usize + usize::from(byte))?);
        (cell.label == byte).then_some(cell)
    }

    /// The token's whole length if `text` continues with the leaf's tail at `depth`.
    #[inline]
    fn match_tail(&self, leaf: &Cell, text: &[u8], depth: usize) -> Option<usize> {
        let [first, second, ..] = leaf.link.to_le_bytes();
        let len = (leaf.link >> TAIL_LEN_SHIFT) as usize & MAX_TAIL_LEN;
        let found = text.get(depth..depth + len)?;
        let matches = match found {
            [] => false,
            [a] => *a == first,
            [a, b] => *a == first && *b == second,
            [a, b, ..] => *a == first && *b == second && self.token(leaf.token)?.ends_with(found),
        };
        matches.then_some(depth + len)
    }
}
