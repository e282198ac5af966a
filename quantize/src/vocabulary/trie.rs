//! Builds the double array that `kinglet::tokenizer` specifies.
//!
//! Nodes are placed breadth first, so that the top of the trie, which every match reads, lies
//! together. A node's children go to the first place where all of them fit; free cells that a
//! search has passed often are left out of later ones, which bounds the time at the cost of a few
//! cells. The tokens are sorted once, and a node is a range of them: no tree is built beside the
//! array. The same tokens give the same cells.

use std::collections::VecDeque;
use std::ops::Range;

use kinglet::tokenizer::layout::{CELL_LEN, MAX_TAIL_LEN, TAIL_FLAG, TAIL_LEN_SHIFT};

use super::VocabularyError;

/// A node: the tokens below it, and its depth.
struct Node {
    /// Of the sorted tokens.
    tokens: Range<usize>,
    depth: usize,
    /// `None` for the root, which has no cell.
    cell: Option<usize>,
}

/// The cells of the trie of `tokens`, which are by id and unique but for empty ones.
pub(super) fn cells(tokens: &[Vec<u8>]) -> Result<Vec<[u8; CELL_LEN]>, VocabularyError> {
    let mut sorted: Vec<(&[u8], u16)> =
        (0..=u16::MAX).zip(tokens).map(|(id, token)| (token.as_slice(), id)).collect();
    sorted.retain(|(token, _)| !token.is_empty());
    sorted.sort_unstable();
    if sorted.is_empty() {
        return Ok(Vec::new());
    }

    let mut array = DoubleArray::default();
    // Breadth first: the top of the trie, which every match reads, lies together.
    let mut nodes = VecDeque::from([Node { tokens: 0..sorted.len(), depth: 0, cell: None }]);
    while let Some(node) = nodes.pop_front() {
        array.add(&node, &sorted, &mut nodes)?;
    }
    Ok(array.cells)
}

/// How often a search may pass a free cell before later ones leave it out. It bounds the time that
/// cells cost into which nothing fits.
const MAX_PASSES: u16 = 1024;

#[derive(Default)]
struct DoubleArray {
    cells: Vec<[u8; CELL_LEN]>,
    slots: Vec<Slot>,
}

/// What building needs to know of a cell. Those beyond the array are free and candidates.
#[derive(Clone)]
struct Slot {
    occupied: bool,
    /// Whether a node has this cell's number as its link; no other may.
    is_link: bool,
    /// How often a search has passed this cell.
    passes: u16,
    /// This cell if it is a candidate for a node's first child, otherwise one from which the next
    /// candidate can be found.
    next: usize,
}

impl DoubleArray {
    /// Fills the node's cell and places its children, which are added to `nodes`.
    fn add(
        &mut self,
        node: &Node,
        sorted: &[(&[u8], u16)],
        nodes: &mut VecDeque<Node>,
    ) -> Result<(), VocabularyError> {
        let Node { ref tokens, depth, cell } = *node;
        let (first, id) = sorted[tokens.start];
        if let (Some(cell), 1, 0..=MAX_TAIL_LEN) = (cell, tokens.len(), first.len() - depth) {
            self.fill(cell, tail_link(&first[depth..]), id);
            return Ok(());
        }
        let ends_here = first.len() == depth;
        let below = tokens.start + usize::from(ends_here)..tokens.end;
        let children: Vec<_> = sorted[below.clone()]
            .chunk_by(|(a, _), (b, _)| a[depth] == b[depth])
            .map(|tokens| (tokens[0].0[depth], tokens.len()))
            .collect();
        let link = match cell {
            None => self.place_at(0, &children),
            Some(_) => self.place(&children)?,
        };
        if let Some(cell) = cell {
            self.fill(cell, link as u32, if ends_here { id } else { 0 });
        }
        let mut start = below.start;
        for (label, len) in children {
            let cell = Some(link + usize::from(label));
            nodes.push_back(Node { tokens: start..start + len, depth: depth + 1, cell });
            start += len;
        }
        Ok(())
    }

    /// Gives the children the first cells that are free for them, and returns the link to them.
    fn place(&mut self, children: &[(u8, usize)]) -> Result<usize, VocabularyError> {
        let first = usize::from(children[0].0);
        // Link 0 is the root's and, in a cell, means that there are no children.
        let mut cell = self.candidate(first + 1);
        while !self.fits(cell - first, children) {
            self.pass(cell);
            cell = self.candidate(cell + 1);
        }
        let link = cell - first;
        if link >= TAIL_FLAG as usize {
            return Err(VocabularyError::TrieTooLarge);
        }
        Ok(self.place_at(link, children))
    }

    fn fits(&self, link: usize, children: &[(u8, usize)]) -> bool {
        let free = |cell: usize| self.slots.get(cell).is_none_or(|slot| !slot.occupied);
        self.slots.get(link).is_none_or(|slot| !slot.is_link)
            && children.iter().all(|&(label, _)| free(link + usize::from(label)))
    }

    /// The first candidate at or after `cell`.
    fn candidate(&mut self, mut cell: usize) -> usize {
        while cell < self.slots.len() && self.slots[cell].next != cell {
            // Halving the path keeps the next search short.
            let next = self.slots[cell].next;
            self.slots[cell].next = self.slots.get(next).map_or(next, |slot| slot.next);
            cell = next;
        }
        cell
    }

    /// Notes that the first child of a node did not go to the candidate `cell`.
    fn pass(&mut self, cell: usize) {
        if let Some(slot) = self.slots.get_mut(cell) {
            slot.passes += 1;
            if slot.passes == MAX_PASSES {
                slot.next = cell + 1;
            }
        }
    }

    fn place_at(&mut self, link: usize, children: &[(u8, usize)]) -> usize {
        let end = children.iter().map(|&(label, _)| link + usize::from(label) + 1).max();
        let len = self.cells.len().max(end.unwrap_or(0));
        let free = |next| Slot { occupied: false, is_link: false, passes: 0, next };
        self.slots.extend((self.cells.len()..len).map(free));
        self.cells.resize(len, [0; CELL_LEN]);
        self.slots[link].is_link = true;
        for &(label, _) in children {
            let cell = link + usize::from(label);
            self.slots[cell].occupied = true;
            self.slots[cell].next = cell + 1;
            self.cells[cell][0] = label;
        }
        link
    }

    fn fill(&mut self, cell: usize, link: u32, token: u16) {
        let cell = &mut self.cells[cell];
        cell[1..4].copy_from_slice(&link.to_le_bytes()[..3]);
        cell[4..].copy_from_slice(&token.to_le_bytes());
    }
}

/// The link of a leaf with this tail.
fn tail_link(tail: &[u8]) -> u32 {
    if tail.is_empty() {
        return 0;
    }
    let at = |i: usize| tail.get(i).map_or(0, |&byte| u32::from(byte));
    TAIL_FLAG | (tail.len() as u32) << TAIL_LEN_SHIFT | at(1) << 8 | at(0)
}
