//! The string table: the bytes of every id.

use super::layout::{BLOCK_IDS, Header};

/// The tables that follow a section's header, taken from the front one after another.
pub(super) struct Tables<'a>(pub(super) &'a [u8]);

impl<'a> Tables<'a> {
    /// The next table, or `None` when the section ends before it does.
    pub(super) fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let (table, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(table)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Strings<'a> {
    /// Where each block of ids starts in `bytes`.
    blocks: &'a [[u8; 4]],
    /// Where each id's string starts, relative to its block; one more than there are ids.
    starts: &'a [[u8; 2]],
    bytes: &'a [u8],
}

impl<'a> Strings<'a> {
    /// Takes the three tables of the strings.
    pub(super) fn take(header: &Header, tables: &mut Tables<'a>) -> Option<Self> {
        let [blocks, starts, bytes] = header.string_lens();
        Some(Self {
            blocks: tables.take(blocks)?.as_chunks().0,
            starts: tables.take(starts)?.as_chunks().0,
            bytes: tables.take(bytes)?,
        })
    }

    /// Whether `id` is below the number of ids.
    #[inline]
    pub(super) const fn has(&self, id: u32) -> bool {
        // The table has one entry more than there are ids.
        (id as usize) + 1 < self.starts.len()
    }

    /// The bytes of an id, or `None` when it has none.
    #[inline]
    pub(super) fn get(&self, id: u32) -> Option<&'a [u8]> {
        let id = usize::try_from(id).ok()?;
        let bytes = self.bytes.get(self.start(id)?..self.start(id.checked_add(1)?)?)?;
        (!bytes.is_empty()).then_some(bytes)
    }

    #[inline]
    fn start(&self, id: usize) -> Option<usize> {
        let relative = u16::from_le_bytes(*self.starts.get(id)?);
        let block = u32::from_le_bytes(*self.blocks.get(id / BLOCK_IDS)?);
        usize::try_from(block).ok()?.checked_add(usize::from(relative))
    }
}

impl<'a> Strings<'a> {
    /// The bytes of one id after another.
    pub(super) fn from(self, id: usize) -> StringsFrom<'a> {
        StringsFrom { strings: self, id, start: self.start(id).unwrap_or(usize::MAX) }
    }
}

/// A walk through the table, where a string starts at the end of the last one.
#[derive(Clone, Debug)]
pub(super) struct StringsFrom<'a> {
    strings: Strings<'a>,
    id: usize,
    start: usize,
}

impl<'a> StringsFrom<'a> {
    /// The bytes of the next id; empty when it has none.
    #[inline]
    pub(super) fn next_string(&mut self) -> &'a [u8] {
        self.id = self.id.wrapping_add(1);
        let end = self.strings.start(self.id).unwrap_or(usize::MAX);
        let bytes = self.strings.bytes.get(self.start..end).unwrap_or_default();
        self.start = end;
        bytes
    }
}
