//! Counts of the server's work, for Prometheus.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::engine::Progress;
use crate::error::ApiError;
use crate::text::Ending;

/// Upper ends of the buckets of the time to the first token, milliseconds.
const BUCKETS: [u64; 9] = [5, 20, 50, 100, 250, 500, 1000, 5000, 30_000];

/// Counters that the engine's thread and the connections share.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    prompt_tokens: AtomicU64,
    cached_tokens: AtomicU64,
    drawn_tokens: AtomicU64,
    read_micros: AtomicU64,
    write_micros: AtomicU64,
    completed: AtomicU64,
    unfinished: AtomicU64,
    refused: AtomicU64,
    first: [AtomicU64; BUCKETS.len()],
    first_count: AtomicU64,
    first_micros: AtomicU64,
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Metrics {
    pub(crate) fn drawn(&self) {
        add(&self.drawn_tokens, 1);
    }

    /// A text has its first token, so long after it was asked for.
    pub(crate) fn first_token(&self, time: Duration) {
        let millis = micros(time) / 1000;
        for (counter, &end) in self.first.iter().zip(&BUCKETS) {
            add(counter, u64::from(millis < end));
        }
        add(&self.first_count, 1);
        add(&self.first_micros, micros(time));
    }

    pub(crate) fn ended(&self, outcome: &Result<Ending, ApiError>) {
        let Ok(ending) = outcome else {
            add(&self.unfinished, 1);
            return;
        };
        add(&self.completed, 1);
        add(&self.prompt_tokens, ending.prompt as u64);
        add(&self.cached_tokens, ending.cached as u64);
        add(&self.read_micros, micros(ending.read_time));
        add(&self.write_micros, micros(ending.write_time));
    }

    /// A request was told to come again.
    pub(crate) fn refused(&self) {
        add(&self.refused, 1);
    }

    /// The counters in Prometheus' text form. `states` are those with a name, and their bytes.
    pub(crate) fn text(&self, progress: &Progress, states: (usize, usize)) -> String {
        let mut text = String::new();
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let seconds = |counter: &AtomicU64| get(counter) as f64 / 1e6;
        let mut line = |name: &str, kind: &str, help: &str, value: f64| {
            let _ = writeln!(text, "# HELP kinglet_{name} {help}\n# TYPE kinglet_{name} {kind}");
            let _ = writeln!(text, "kinglet_{name} {value}");
        };
        let mut counter = |name: &str, help: &str, value: f64| line(name, "counter", help, value);
        counter("prompt_tokens_total", "Tokens of prompts.", get(&self.prompt_tokens) as f64);
        counter(
            "prompt_tokens_cached_total",
            "Tokens of prompts that did not have to be read.",
            get(&self.cached_tokens) as f64,
        );
        counter("prompt_seconds_total", "Time in prompts.", seconds(&self.read_micros));
        counter("tokens_predicted_total", "Tokens drawn.", get(&self.drawn_tokens) as f64);
        counter("tokens_predicted_seconds_total", "Time in answers.", seconds(&self.write_micros));
        counter("texts_completed_total", "Texts that came to an end.", get(&self.completed) as f64);
        counter(
            "texts_unfinished_total",
            "Texts that failed or that nobody wanted any more.",
            get(&self.unfinished) as f64,
        );
        counter(
            "requests_refused_total",
            "Requests told to come again.",
            get(&self.refused) as f64,
        );
        counter("passes_total", "Passes over the weights.", progress.passes as f64);
        counter(
            "state_cache_hits_total",
            "Prompts begun from a state.",
            progress.cache.hits as f64,
        );
        counter("state_cache_misses_total", "Prompts read whole.", progress.cache.misses as f64);
        counter(
            "state_cache_evicted_total",
            "States that made room for others.",
            progress.cache.evicted as f64,
        );
        let running = progress.slots.iter().flatten().count();
        let mut gauge =
            |name: &str, help: &str, value: usize| line(name, "gauge", help, value as f64);
        gauge("requests_processing", "Texts that have a place.", running);
        gauge("requests_deferred", "Texts that wait for one.", progress.waiting);
        gauge("slots", "Places.", progress.slots.len());
        gauge("state_cache_bytes", "Bytes of states of prompts.", progress.cache.bytes);
        gauge("state_cache_states", "States of prompts.", progress.cache.states);
        gauge("named_states", "States that clients have kept.", states.0);
        gauge("named_states_bytes", "Their bytes.", states.1);
        let name = "kinglet_time_to_first_token_seconds";
        let _ = writeln!(text, "# HELP {name} From the request to its first token.");
        let _ = writeln!(text, "# TYPE {name} histogram");
        for (bucket, end) in self.first.iter().zip(BUCKETS) {
            let _ = writeln!(text, "{name}_bucket{{le=\"{}\"}} {}", end as f64 / 1e3, get(bucket));
        }
        let count = get(&self.first_count);
        let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(text, "{name}_sum {}\n{name}_count {count}", seconds(&self.first_micros));
        text
    }
}
