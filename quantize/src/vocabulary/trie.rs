//! Builds the double array that `kinglet::tokenizer` specifies.

use std::collections::{BTreeSet, HashSet, VecDeque};
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

    let mut array = DoubleArray::default();
    // Breadth first: the top of the trie, which every match reads, lies together.
    let mut nodes = VecDeque::from([Node { tokens: 0..sorted.len(), depth: 0, cell: None }]);
    while let Some(node) = nodes.pop_front() {
        array.add(&node, &sorted, &mut nodes)?;
    }
    Ok(array.into_cells())
}

#[derive(Default)]
struct DoubleArray {
    cells: Vec<[u8; CELL_LEN]>,
    /// Cells without a node.
    free: BTreeSet<usize>,
    /// Links that a node has; no other may have them.
    links: HashSet<usize>,
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
        let fits = |link: usize| {
            let free = |cell| cell >= self.cells.len() || self.free.contains(&cell);
            !self.links.contains(&link)
                && children.iter().all(|&(label, _)| free(link + usize::from(label)))
        };
        // Link 0 is the root's and, in a cell, means that there are no children.
        let link = self
            .free
            .iter()
            .copied()
            .chain(self.cells.len()..)
            .filter_map(|cell| cell.checked_sub(first).filter(|&link| link > 0))
            .find(|&link| fits(link))
            .filter(|&link| link < TAIL_FLAG as usize)
            .ok_or(VocabularyError::TrieTooLarge)?;
        Ok(self.place_at(link, children))
    }

    fn place_at(&mut self, link: usize, children: &[(u8, usize)]) -> usize {
        self.links.insert(link);
        for &(label, _) in children {
            let cell = link + usize::from(label);
            if cell >= self.cells.len() {
                self.free.extend(self.cells.len()..=cell);
                self.cells.resize(cell + 1, [0; CELL_LEN]);
            }
            self.free.remove(&cell);
            self.cells[cell][0] = label;
        }
        link
    }

    fn fill(&mut self, cell: usize, link: u32, token: u16) {
        let cell = &mut self.cells[cell];
        cell[1..4].copy_from_slice(&link.to_le_bytes()[..3]);
        cell[4..].copy_from_slice(&token.to_le_bytes());
    }

    fn into_cells(self) -> Vec<[u8; CELL_LEN]> {
        self.cells
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
