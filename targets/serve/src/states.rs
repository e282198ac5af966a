//! States that clients keep: by a name here, or as files of the program with themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use kinglet_talk::schedule::Snapshot;

use crate::app::now;
use crate::error::ApiError;
use crate::model::Served;

/// Longest name.
const MAX_NAME: usize = 128;

/// A state, and the token that it goes on with: the last of its text, which the state has not taken
/// in, so that no logits need be kept. Copies share the memory.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    pub(crate) state: Arc<[f32]>,
    pub(crate) next: Option<u32>,
    /// Tokens of its text, where they are known.
    pub(crate) tokens: Option<usize>,
    pub(crate) created: u64,
}

impl Kept {
    pub(crate) fn new(state: Arc<[f32]>, next: Option<u32>, tokens: Option<usize>) -> Self {
        Self { state, next, tokens, created: now() }
    }

    /// The state in a state file.
    pub(crate) fn open(served: &Served, bytes: &[u8]) -> Result<Self, ApiError> {
        let opened = served.open_state(bytes);
        let (state, next) = opened.map_err(|error| ApiError::request(error.to_string()))?;
        Ok(Self::new(state, next, None))
    }

    /// The program's state file.
    pub(crate) fn file(&self, served: &Served) -> Result<Vec<u8>, ApiError> {
        let file = served.state_file(&self.state, self.next);
        file.map_err(|error| ApiError::internal(error.to_string()))
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { state: Arc::clone(&self.state), logits: None }
    }

    fn bytes(&self) -> usize {
        self.state.len() * size_of::<f32>()
    }
}

/// States by name, within a number of bytes. Forks that share their memory count as if they did
/// not, so that it does not depend on which of them is deleted first.
#[derive(Debug)]
pub(crate) struct States {
    states: BTreeMap<String, Kept>,
    bytes: usize,
    most: usize,
}

impl States {
    pub(crate) fn new(most: usize) -> Self {
        Self { states: BTreeMap::new(), bytes: 0, most }
    }

    pub(crate) fn get(&self, name: &str) -> Option<Kept> {
        self.states.get(name).cloned()
    }

    /// Keeps a state in the place of one of that name.
    ///
    /// # Errors
    ///
    /// There is no room: nothing that a client has kept goes without being deleted.
    pub(crate) fn put(&mut self, name: &str, state: Kept) -> Result<(), ApiError> {
        check_name(name)?;
        let freed = self.states.get(name).map_or(0, Kept::bytes);
        let bytes = self.bytes - freed + state.bytes();
        if bytes > self.most {
            return Err(ApiError::no_room(format!(
                "states would have {bytes} bytes; {} are kept: delete others first",
                self.most
            )));
        }
        self.bytes = bytes;
        self.states.insert(name.to_owned(), state);
        Ok(())
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Kept> {
        let removed = self.states.remove(name)?;
        self.bytes -= removed.bytes();
        Some(removed)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Kept)> {
        self.states.iter()
    }

    /// How many there are, and their bytes.
    pub(crate) fn kept(&self) -> (usize, usize) {
        (self.states.len(), self.bytes)
    }
}

/// Refuses names that cannot stand in an address, or would be mistaken for another.
pub(crate) fn check_name(name: &str) -> Result<(), ApiError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_name = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_plain);
    if is_name && !name.starts_with('.') {
        return Ok(());
    }
    Err(ApiError::field(
        "name",
        format!("a name has 1 to {MAX_NAME} letters, digits, - _ and ., and no . at its beginning"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_bounded_and_none_goes_by_itself() {
        let state = |value: f32| Kept::new(vec![value; 4].into(), None, None);
        let mut states = States::new(40);
        states.put("a", state(1.0)).unwrap();
        states.put("b", state(2.0)).unwrap();
        assert_eq!(states.put("c", state(3.0)).unwrap_err().status().as_u16(), 507);
        states.put("a", state(4.0)).unwrap();
        assert_eq!(states.kept(), (2, 32));
        assert!(states.remove("b").is_some() && states.remove("b").is_none());
        states.put("c", state(3.0)).unwrap();
        assert_eq!(states.get("a").unwrap().state[0], 4.0);
    }

    #[test]
    fn names_are_plain() {
        for name in ["a", "A-1_b.c"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", ".a", "a/b", "a b", "ä", &"x".repeat(129)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
