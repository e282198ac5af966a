//! States after the beginnings of prompts, found by the tokens themselves.
//!
//! A key is a whole beginning, token by token: two prompts share a state only where they are the
//! same. A hit is the longest beginning of a prompt that is there.

use std::collections::{BTreeMap, HashMap};

use super::Snapshot;

/// States after beginnings of prompts, as many as fit a number of bytes. The one that was not used
/// for the longest time goes first.
#[derive(Debug)]
pub struct PrefixCache {
    most: usize,
    bytes: usize,
    entries: HashMap<Box<[u32]>, Entry>,
    /// How many entries have a length.
    lens: BTreeMap<usize, usize>,
    clock: u64,
    stats: CacheStats,
}

#[derive(Debug)]
struct Entry {
    snapshot: Snapshot,
    used: u64,
}

/// What became of look-ups and states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Prompts whose beginning was there.
    pub hits: u64,
    /// Prompts of which nothing was there.
    pub misses: u64,
    /// Tokens that did not have to be read.
    pub tokens: u64,
    /// States that went to make room.
    pub evicted: u64,
    /// States that are there.
    pub states: usize,
    /// Their bytes.
    pub bytes: usize,
}

impl PrefixCache {
    /// A cache of at most so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self {
            most: bytes,
            bytes: 0,
            entries: HashMap::new(),
            lens: BTreeMap::new(),
            clock: 0,
            stats: CacheStats::default(),
        }
    }

    /// The longest beginning of `prompt` that is there: its length, and the state after it. That of
    /// the whole prompt is of use only with logits.
    pub fn find(&mut self, prompt: &[u32]) -> Option<(usize, Snapshot)> {
        self.clock += 1;
        for (&len, _) in self.lens.range(..=prompt.len()).rev() {
            let Some(entry) = self.entries.get_mut(&prompt[..len]) else { continue };
            if len == prompt.len() && entry.snapshot.logits.is_none() {
                continue;
            }
            entry.used = self.clock;
            self.stats.hits += 1;
            self.stats.tokens += len as u64;
            return Some((len, entry.snapshot.clone()));
        }
        self.stats.misses += 1;
        None
    }

    /// Whether the state after `tokens` is there, with its logits where they are asked for.
    #[must_use]
    pub fn has(&self, tokens: &[u32], with_logits: bool) -> bool {
        let entry = self.entries.get(tokens);
        entry.is_some_and(|entry| !with_logits || entry.snapshot.logits.is_some())
    }

    /// Keeps the state after `tokens`, unless it alone is larger than the cache.
    pub fn insert(&mut self, tokens: &[u32], snapshot: Snapshot) {
        // The same state, with the logits if either has them.
        let logits = self.remove(tokens).and_then(|old| old.logits);
        let snapshot = Snapshot { logits: snapshot.logits.or(logits), ..snapshot };
        let bytes = entry_bytes(tokens, &snapshot);
        if bytes > self.most {
            return;
        }
        while self.bytes + bytes > self.most {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used);
            let Some(tokens) = oldest.map(|(tokens, _)| tokens.clone()) else { break };
            self.remove(&tokens);
            self.stats.evicted += 1;
        }
        self.clock += 1;
        self.bytes += bytes;
        *self.lens.entry(tokens.len()).or_default() += 1;
        self.entries.insert(tokens.into(), Entry { snapshot, used: self.clock });
    }

    fn remove(&mut self, tokens: &[u32]) -> Option<Snapshot> {
        let entry = self.entries.remove(tokens)?;
        self.bytes -= entry_bytes(tokens, &entry.snapshot);
        if let Some(count) = self.lens.get_mut(&tokens.len()) {
            *count -= 1;
            if *count == 0 {
                self.lens.remove(&tokens.len());
            }
        }
        Some(entry.snapshot)
    }

    /// Forgets all states.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.lens.clear();
        self.bytes = 0;
    }

    /// What became of look-ups and states.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        CacheStats { states: self.entries.len(), bytes: self.bytes, ..self.stats }
    }
}

fn entry_bytes(tokens: &[u32], snapshot: &Snapshot) -> usize {
    let logits = snapshot.logits.as_ref().map_or(0, |logits| logits.len());
    (tokens.len() + snapshot.state.len() + logits) * 4 + size_of::<Entry>()
}
