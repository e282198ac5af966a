//! Greedy longest match: the double-array trie and the string table.

use super::layout::{BLOCK_IDS, CELL_LEN, Header, MAX_TAIL_LEN, TAIL_FLAG, TAIL_LEN_SHIFT};

#[derive(Clone, Copy, Debug)]
pub(super) struct Greedy<'a> {
    cells: &'a [[u8; CELL_LEN]],
    /// Where each block of ids starts in `strings`.
    blocks: &'a [[u8; 4]],
    /// Where each id's string starts, relative to its block; one more than there are ids.
    starts: &'a [[u8; 2]],
    strings: &'a [u8],
}

/// A cell of the trie, decoded.
struct Cell {
    label: u8,
    link: u32,
    token: u32,
}

impl Cell {
    #[inline]
    fn new(cell: &[u8; CELL_LEN]) -> Self {
        let [label, low, middle, high, token @ ..] = *cell;
        let link = u32::from_le_bytes([low, middle, high, 0]);
        Self { label, link, token: u32::from(u16::from_le_bytes(token)) }
    }
}

impl<'a> Greedy<'a> {
    /// The tables that follow the header, or `None` when they do not fit.
    pub(super) fn new(header: &Header, tables: &'a [u8]) -> Option<Self> {
        let mut rest = tables;
        let mut take = |len: u64| {
            let (table, after) = rest.split_at_checked(usize::try_from(len).ok()?)?;
            rest = after;
            Some(table)
        };
        let [cells, blocks, starts, strings] = header.table_lens();
        Some(Self {
            cells: take(cells)?.as_chunks().0,
            blocks: take(blocks)?.as_chunks().0,
            starts: take(starts)?.as_chunks().0,
            strings: take(strings)?,
        })
    }

    /// The bytes of a token, or `None` when it has none.
    #[inline]
    pub(super) fn token(&self, id: u32) -> Option<&'a [u8]> {
        let id = usize::try_from(id).ok()?;
        let bytes = self.strings.get(self.start(id)?..self.start(id.checked_add(1)?)?)?;
        (!bytes.is_empty()).then_some(bytes)
    }

    #[inline]
    fn start(&self, id: usize) -> Option<usize> {
        let relative = u16::from_le_bytes(*self.starts.get(id)?);
        let block = u32::from_le_bytes(*self.blocks.get(id / BLOCK_IDS)?);
        usize::try_from(block).ok()?.checked_add(usize::from(relative))
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
        // The tables have one entry more than there are ids.
        (token != 0 && (token as usize) + 1 < self.starts.len()).then_some((token, len))
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
