//! A place in a text: a state and the frames beneath it.

use super::MAX_DEPTH;
use super::table::{Grammar, Transition};

/// How far a text has come in a grammar. It is of no use with another one.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    state: u16,
    depth: u8,
    /// The least depth since the text or the caller's copy began: what lies above may have changed.
    lowest: u8,
    /// Bytes of the shortest texts of all frames.
    owed: u32,
    /// `[depth]`: where automata go on; what lies above is stale.
    frames: [u16; MAX_DEPTH],
}

impl Grammar<'_> {
    /// The beginning of a text.
    #[must_use]
    pub const fn start(&self) -> Position {
        let state = self.start_state();
        Position { state, depth: 0, lowest: 0, owed: 0, frames: [0; MAX_DEPTH] }
    }
}

impl Position {
    /// Reads a byte. If the grammar does not allow it, returns false, and the position is of no
    /// more use: keep a copy.
    #[inline]
    pub fn advance(&mut self, grammar: &Grammar<'_>, byte: u8) -> bool {
        self.advance_class(grammar, grammar.class(byte))
    }

    /// As [`advance`](Self::advance), for any byte of a class.
    #[inline]
    fn advance_class(&mut self, grammar: &Grammar<'_>, class: u8) -> bool {
        if class == 0 {
            return false;
        }
        loop {
            match grammar.transition(self.state, class) {
                Some(Transition::State(next)) => {
                    self.state = next;
                    return self.fits(grammar);
                }
                Some(Transition::Call { begin, after }) => {
                    return self.call(grammar, class, begin, after);
                }
                None if grammar.shortest_from(self.state) == 0 && self.depth > 0 => {
                    self.depth -= 1;
                    self.lowest = self.lowest.min(self.depth);
                    self.state = self.frames[usize::from(self.depth) % MAX_DEPTH];
                    self.owed -= grammar.shortest_from(self.state);
                }
                None => return false,
            }
        }
    }

    /// Calls, one inside another, until one reads the byte. Each takes a frame, so they come to an
    /// end whatever the table says.
    fn call(&mut self, grammar: &Grammar<'_>, class: u8, mut begin: u16, mut after: u16) -> bool {
        loop {
            let depth = u32::from(self.depth);
            let frame = self.frames.get_mut(usize::from(self.depth));
            let Some(frame) = frame.filter(|_| depth < grammar.depth() as u32) else {
                return false;
            };
            if depth + grammar.frames_from(after) > grammar.depth() as u32 {
                return false;
            }
            *frame = after;
            self.depth += 1;
            self.owed += grammar.shortest_from(after);
            self.state = begin;
            match grammar.transition(begin, class) {
                None => return false,
                Some(Transition::State(next)) => {
                    self.state = next;
                    return self.fits(grammar);
                }
                Some(Transition::Call { begin: b, after: a }) => (begin, after) = (b, a),
            }
        }
    }

    /// Whether the frames suffice for an end.
    #[inline]
    fn fits(&self, grammar: &Grammar<'_>) -> bool {
        u32::from(self.depth) + grammar.frames_from(self.state) <= grammar.depth() as u32
    }

    /// Bytes of the shortest text that ends this one.
    #[inline]
    #[must_use]
    pub const fn shortest(&self, grammar: &Grammar<'_>) -> u32 {
        self.owed + grammar.shortest_from(self.state)
    }

    /// Whether the text may end here.
    #[must_use]
    pub const fn may_end(&self, grammar: &Grammar<'_>) -> bool {
        self.shortest(grammar) == 0
    }

    /// The length of the shortest text that has a byte more, from here on; `None` if no byte may
    /// follow.
    #[must_use]
    pub fn shortest_more(&self, grammar: &Grammar<'_>) -> Option<u32> {
        let through = |class| {
            let mut next = *self;
            next.advance_class(grammar, class).then(|| 1 + next.shortest(grammar))
        };
        (1..=grammar.largest_class()).filter_map(through).min()
    }

    /// Goes back to `origin`, of which this is a copy that has read something since.
    #[inline]
    pub(super) fn go_back(&mut self, origin: &Self) {
        let changed = usize::from(self.lowest)..usize::from(origin.depth);
        if !changed.is_empty() {
            self.frames[changed.clone()].copy_from_slice(&origin.frames[changed]);
        }
        self.state = origin.state;
        self.depth = origin.depth;
        self.lowest = origin.depth;
        self.owed = origin.owed;
    }

    /// A copy that can [go back](Self::go_back) to this one.
    pub(super) fn fork(&self) -> Self {
        Self { lowest: self.depth, ..*self }
    }

    /// State and frames: all that tells one position from another.
    fn live(&self) -> (u16, &[u16]) {
        (self.state, self.frames.get(..usize::from(self.depth)).unwrap_or_default())
    }
}

impl PartialEq for Position {
    fn eq(&self, other: &Self) -> bool {
        self.live() == other.live()
    }
}

impl Eq for Position {}

impl core::hash::Hash for Position {
    fn hash<H: core::hash::Hasher>(&self, hasher: &mut H) {
        self.live().hash(hasher);
    }
}
