//! States kept of a conversation, so that going back is a copy.
//!
//! Two for each turn: before it, and after its question. They are kept as long as their bytes fit
//! a budget; the oldest go first, and a place without a state is computed again from the one
//! before it. A buffer that is given up serves the next state.

use std::collections::VecDeque;

/// A place in a conversation. They ascend as the conversation goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Point {
    /// Before the question of the turn.
    Before,
    /// After it: where the answer begins.
    Asked,
}

/// A turn's index and the place in it.
pub(super) type Place = (usize, Point);

/// Fewest states kept: those of the last turn, and of the start.
const FEWEST: usize = 3;

#[derive(Debug)]
pub(super) struct Snapshots {
    /// Most states.
    most: usize,
    /// Ascending.
    states: VecDeque<(Place, Vec<f32>)>,
    spare: Vec<f32>,
}

impl Snapshots {
    /// Keeps states of `len` elements in about `bytes` bytes.
    pub(super) fn new(len: usize, bytes: usize) -> Self {
        let most = (bytes / (len * size_of::<f32>())).max(FEWEST);
        Self { most, states: VecDeque::new(), spare: vec![0.0; len] }
    }

    /// Keeps the state of `place` that `store` writes; it forgets places from there on.
    pub(super) fn keep<E>(
        &mut self,
        place: Place,
        store: impl FnOnce(&mut [f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.forget_from(place);
        let len = self.spare.len();
        store(&mut self.spare)?;
        // The start is where everything can be computed again from; the second goes first.
        let oldest = if self.states.len() < self.most { None } else { self.states.remove(1) };
        let next = oldest.map_or_else(|| vec![0.0; len], |(_, state)| state);
        self.states.push_back((place, std::mem::replace(&mut self.spare, next)));
        Ok(())
    }

    /// The last state at `place` or before it.
    pub(super) fn last(&self, place: Place) -> Option<(Place, &[f32])> {
        let (at, state) = self.states.iter().rev().find(|(at, _)| *at <= place)?;
        Some((*at, state))
    }

    /// Forgets the states of `place` and of those after it.
    pub(super) fn forget_from(&mut self, place: Place) {
        self.states.retain(|(at, _)| *at < place);
    }

    /// Forgets the states after `place`.
    pub(super) fn forget_after(&mut self, place: Place) {
        self.states.retain(|(at, _)| *at <= place);
    }

    /// States kept, and their bytes.
    pub(super) fn kept(&self) -> (usize, usize) {
        let bytes = self.states.len() * self.spare.len() * size_of::<f32>();
        (self.states.len(), bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_states_but_the_start_go_first() {
        let mut snapshots = Snapshots::new(2, 0);
        for turn in 0..4 {
            for point in [Point::Before, Point::Asked] {
                let fill = |state: &mut [f32]| {
                    state.fill(turn as f32);
                    Ok::<_, ()>(())
                };
                snapshots.keep((turn, point), fill).unwrap();
            }
        }
        assert_eq!(snapshots.kept(), (3, 24));
        let places: Vec<_> = snapshots.states.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, [(0, Point::Before), (3, Point::Before), (3, Point::Asked)]);
        assert_eq!(snapshots.last((2, Point::Asked)), Some(((0, Point::Before), &[0.0; 2][..])));
        assert_eq!(snapshots.last((3, Point::Before)).unwrap().1, [3.0; 2]);
        snapshots.forget_from((3, Point::Asked));
        assert_eq!(snapshots.kept().0, 2);
    }
}
