//! Conversations of responses, by their ids, so that a later request can go on with one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use kinglet_talk::Turn;
use serde_json::Value;

/// A response, and the conversation up to its answer.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) object: Value,
    pub(crate) system: Option<String>,
    pub(crate) turns: Vec<Turn>,
}

impl Stored {
    fn bytes(&self) -> usize {
        let turns = self.turns.iter().map(|turn| turn.user.len() + turn.answer.len() + 256);
        let system = self.system.as_ref().map_or(0, String::len);
        // The object has the answer once more.
        turns.sum::<usize>() + system + self.object.to_string().len()
    }
}

/// Responses within a number of bytes; the oldest go first.
#[derive(Debug)]
pub(crate) struct Responses {
    stored: BTreeMap<String, (Arc<Stored>, usize)>,
    order: VecDeque<String>,
    bytes: usize,
    most: usize,
}

impl Responses {
    pub(crate) fn new(most: usize) -> Self {
        Self { stored: BTreeMap::new(), order: VecDeque::new(), bytes: 0, most }
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Stored>> {
        self.stored.get(id).map(|(stored, _)| Arc::clone(stored))
    }

    pub(crate) fn put(&mut self, id: &str, stored: Stored) {
        let bytes = stored.bytes();
        if bytes > self.most {
            return;
        }
        while self.bytes + bytes > self.most {
            let Some(oldest) = self.order.front().cloned() else { break };
            self.remove(&oldest);
        }
        self.bytes += bytes;
        self.order.push_back(id.to_owned());
        self.stored.insert(id.to_owned(), (Arc::new(stored), bytes));
    }

    pub(crate) fn remove(&mut self, id: &str) -> bool {
        let Some((_, bytes)) = self.stored.remove(id) else { return false };
        self.bytes -= bytes;
        self.order.retain(|other| other != id);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_make_room() {
        let stored = || Stored { object: Value::Null, system: Some("x".repeat(96)), turns: vec![] };
        let mut responses = Responses::new(250);
        for id in ["a", "b", "c"] {
            responses.put(id, stored());
        }
        assert!(responses.get("a").is_none() && responses.get("b").is_some());
        assert!(responses.remove("b") && !responses.remove("b"));
        assert!(responses.get("c").is_some());
        responses.put("d", Stored { system: Some("x".repeat(300)), ..stored() });
        assert!(responses.get("d").is_none() && responses.get("c").is_some());
    }
}
