//! A vocabulary as a flat trie, for walks that leave out what a refused byte begins.
//!
//! ```text
//! tokens  a, ab, abc, b     at      0  1  2  3
//!                           byte    a  b  c  b
//!                           depth   0  1  2  0
//!                           next    3  3  3  4      where the walk goes on after a refusal
//! ```
//!
//! The nodes are in depth-first order, so that a walk reads them in the order of memory and needs
//! of the way down only a position for each depth.

use kinglet::grammar::{Grammar, Position};
use kinglet::tokenizer::Tokenizer;

/// A node at which no token ends.
const NO_TOKEN: u32 = u32::MAX;

/// The tokens of a vocabulary by their bytes: one for all texts of a model.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    nodes: Vec<Node>,
    /// The number of ids.
    len: usize,
    /// The length of the longest token.
    longest: usize,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    token: u32,
    /// The first node that is not below this one.
    next: u32,
    depth: u16,
    byte: u8,
}

impl Vocabulary {
    /// Sorts a vocabulary's tokens. Takes a few milliseconds for 65,536 of them, and 12 bytes for
    /// each of the trie's nodes: 1.4 MB for the World vocabulary.
    #[must_use]
    pub fn new(tokenizer: &Tokenizer<'_>) -> Self {
        let len = tokenizer.vocab_len();
        let ids = 0..len as u32;
        let mut tokens: Vec<_> = ids.filter_map(|id| Some((tokenizer.token(id)?, id))).collect();
        tokens.sort_unstable();
        let mut nodes: Vec<Node> = Vec::new();
        // The nodes on the way to the last token.
        let mut path: Vec<usize> = Vec::new();
        let mut before: &[u8] = &[];
        for &(bytes, token) in &tokens {
            // A token of the same bytes gets a last node of its own.
            let most = bytes.len() - 1;
            let common = bytes.iter().zip(before).take(most).take_while(|(a, b)| a == b).count();
            for at in path.drain(common..) {
                nodes[at].next = nodes.len() as u32;
            }
            for (depth, &byte) in bytes.iter().enumerate().skip(common) {
                path.push(nodes.len());
                nodes.push(Node { token: NO_TOKEN, next: 0, depth: depth as u16, byte });
            }
            if let Some(last) = nodes.last_mut() {
                last.token = token;
            }
            before = bytes;
        }
        let end = nodes.len() as u32;
        for at in path {
            nodes[at].next = end;
        }
        let longest = tokens.iter().map(|(bytes, _)| bytes.len()).max().unwrap_or(0);
        Self { nodes, len, longest }
    }

    /// The number of ids: the largest plus one.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no ids.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Calls `found` with each token whose bytes may follow `from`, its length, and the bytes of
    /// the shortest text that ends the one with it.
    pub(super) fn walk(
        &self,
        grammar: &Grammar<'_>,
        from: &Position,
        mut found: impl FnMut(u32, u32, u32),
    ) {
        // `[depth]`: before the byte of a node at that depth.
        let mut positions = vec![*from; self.longest + 1];
        let mut at = 0;
        while let Some(node) = self.nodes.get(at) {
            let depth = usize::from(node.depth);
            let mut position = positions[depth];
            if position.advance(grammar, node.byte) {
                if node.token != NO_TOKEN {
                    found(node.token, u32::from(node.depth) + 1, position.shortest(grammar));
                }
                positions[depth + 1] = position;
                at += 1;
            } else {
                at = node.next as usize;
            }
        }
    }
}
