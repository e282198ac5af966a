#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod admission;
mod app;
mod config;
mod engine;
mod error;
mod folder;
mod generate;
mod hosts;
mod http;
mod keys;
mod limits;
mod logprobs;
mod metrics;
mod model;
mod responses;
mod routes;
mod sse;
mod states;
mod text;
mod wire;

use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::thread;

use kinglet::engine::Engine;
pub use kinglet_talk::schedule::ScheduleOptions;
use tokio::sync::watch;

pub use self::config::Config;
pub use self::error::ServeError;
pub use self::limits::Limits;
pub use self::model::{Served, StateType};

/// Ends a server in its own time, from any thread.
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Stop {
    /// A handle for a server that is to be started.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Takes no more connections, lets answers end within [`Limits::grace`], and breaks off the
    /// others.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

/// Serves a model on `listener` until `stop` says so. The calling thread is the engine's; another
/// one has the connections.
///
/// # Errors
///
/// When the system gives no thread or socket, the folder of states is not what it should be, or the
/// engine does not work any more.
pub fn serve(
    engine: &mut dyn Engine,
    served: Served,
    listener: TcpListener,
    config: &Config,
    stop: &Stop,
) -> Result<(), ServeError> {
    let served = served.of(engine);
    let places = served.slots + config.limits.queue;
    let (jobs, orders) = mpsc::sync_channel(places);
    let board = Arc::default();
    let options = ScheduleOptions { waiting: places, ..config.schedule };
    let app = Arc::new(app::App::new(served, config, &board, (jobs, places))?);
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .build()?;
    let (limits, stop) = (config.limits, stop.clone());
    let ended = stop.0.subscribe();
    let connections = thread::Builder::new().name("connections".to_owned()).spawn(move || {
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            http::serve(listener, routes::router(app), limits, ended).await;
            Ok::<(), std::io::Error>(())
        })
        // With the runtime goes all that is left, and with the last request the engine's work.
    })?;
    let engine = engine::run(engine, options, &orders, &board);
    drop(orders);
    if engine.is_err() {
        stop.stop();
    }
    let connections = connections.join();
    engine?;
    match connections {
        Ok(outcome) => Ok(outcome?),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
