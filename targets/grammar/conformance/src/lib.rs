//! Grammars of random JSON Schemas, against a validator and another engine of constraints.
//!
//! ```sh
//! cargo test --release                       # 500 schemas
//! cargo test --release -- --include-ignored  # 10,000 schemas
//! ```
//!
//! Each test prints what it counted (`--nocapture`).
#![forbid(unsafe_code)]

pub mod random;
pub mod schemas;
pub mod vocabulary;

use std::ops::Range;

use kinglet_grammar::{Options, from_json_schema};

/// Steps that finding a smaller table may take; the default of the compiler takes 40 times as long.
const BUDGET: u64 = 1_000_000;

/// The table of a schema.
///
/// # Errors
///
/// The message, if the schema is refused.
pub fn table(schema: &str) -> Result<Vec<u8>, String> {
    let mut options = Options::default();
    options.depth = 32;
    let compile = |budget| {
        let mut options = options.clone();
        options.budget = budget;
        from_json_schema(schema, &Default::default(), &options)
    };
    compile(BUDGET).or_else(|_| compile(options.budget)).map_err(|error| error.to_string())
}

/// Divides seeds among threads, each of which gets every so many of them.
pub fn on_threads<T: Send>(
    seeds: Range<u64>,
    work: impl Fn(&mut dyn Iterator<Item = u64>) -> T + Sync,
) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let mut seeds = seeds.clone().skip(thread).step_by(threads);
                let work = &work;
                scope.spawn(move || work(&mut seeds))
            })
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, T>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        running.into_iter().map(join).collect()
    })
}
