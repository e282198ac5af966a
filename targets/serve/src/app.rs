//! What all requests share.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::admission::Admission;
use crate::config::Config;
use crate::engine::{Board, Job};
use crate::error::ApiError;
use crate::hosts::Hosts;
use crate::keys::Keys;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::model::Served;
use crate::responses::Responses;
use crate::states::States;

pub(crate) struct App {
    pub(crate) served: Arc<Served>,
    pub(crate) limits: Limits,
    pub(crate) hosts: Hosts,
    pub(crate) keys: Keys,
    pub(crate) admission: Admission,
    pub(crate) board: Arc<Board>,
    pub(crate) metrics: Arc<Metrics>,
    /// Seconds since 1970.
    pub(crate) started: u64,
    jobs: SyncSender<Job>,
    states: Mutex<States>,
    responses: Mutex<Responses>,
    /// Seeded by the system: what comes of it cannot be guessed.
    random: (RandomState, AtomicU64),
}

impl App {
    pub(crate) fn new(
        served: Served,
        config: &Config,
        board: &Arc<Board>,
        (jobs, places): (SyncSender<Job>, usize),
    ) -> Self {
        let limits = config.limits;
        Self {
            served: Arc::new(served),
            limits,
            hosts: Hosts::new(&config.hosts, &config.origins),
            keys: Keys::new(&config.keys),
            admission: Admission::new(places),
            board: Arc::clone(board),
            metrics: Arc::default(),
            started: now(),
            jobs,
            states: Mutex::new(States::new(limits.state_bytes)),
            responses: Mutex::new(Responses::new(limits.response_bytes)),
            random: (RandomState::new(), AtomicU64::new(0)),
        }
    }

    /// Sends a text to the engine's thread.
    pub(crate) fn submit(&self, job: Job) -> Result<(), ApiError> {
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => ApiError::internal("more texts came than have a place"),
            TrySendError::Disconnected(_) => self.failed(),
        })
    }

    /// Why the engine's thread takes nothing any more.
    pub(crate) fn failed(&self) -> ApiError {
        match self.board.progress().failed {
            Some(error) => ApiError::unavailable(format!("the engine does not work: {error}")),
            None => ApiError::unavailable("the server ends"),
        }
    }

    pub(crate) fn states(&self) -> MutexGuard<'_, States> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn responses(&self) -> MutexGuard<'_, Responses> {
        self.responses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that nobody can guess.
    pub(crate) fn random(&self) -> u64 {
        let (state, count) = &self.random;
        state.hash_one(count.fetch_add(1, Ordering::Relaxed))
    }

    /// A name that nobody can guess.
    pub(crate) fn id(&self, prefix: &str) -> String {
        format!("{prefix}{:016x}{:016x}", self.random(), self.random())
    }

    /// Refuses another model than the one there is. A client that must name one may send any of
    /// the names by which servers are used to be called.
    pub(crate) fn check_model(&self, name: Option<&str>) -> Result<(), ApiError> {
        let own = &self.served.id;
        match name {
            None | Some("" | "default" | "kinglet") => Ok(()),
            Some(name) if name == own => Ok(()),
            Some(name) => Err(ApiError::not_found(format!(
                "there is no model `{name}` here; `{own}` is served, and `default` names it as well"
            ))
            .of("model")),
        }
    }

    /// Tells weights from others that have the same name.
    pub(crate) fn fingerprint(&self) -> String {
        let hash = &self.served.header.content_hash[..4];
        hash.iter().fold("kinglet-".to_owned(), |text, byte| format!("{text}{byte:02x}"))
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
