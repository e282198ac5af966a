//! What all requests share.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::admission::Admission;
use crate::config::Config;
use crate::engine::{Board, Job};
use crate::error::{ApiError, ServeError};
use crate::folder::Folder;
use crate::generate::apart;
use crate::hosts::Hosts;
use crate::keys::Keys;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::model::Served;
use crate::responses::Responses;
use crate::states::{Kept, States};

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
    folder: Folder,
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
    ) -> Result<Self, ServeError> {
        let limits = config.limits;
        let mut states = States::new(limits.state_bytes);
        let folder = Folder::open(config.states.as_deref(), &served, &mut states)?;
        Ok(Self {
            served: Arc::new(served),
            limits,
            hosts: Hosts::new(&config.hosts, &config.origins),
            keys: Keys::new(&config.keys),
            admission: Admission::new(places),
            board: Arc::clone(board),
            metrics: Arc::default(),
            started: now(),
            jobs,
            states: Mutex::new(states),
            folder,
            responses: Mutex::new(Responses::new(limits.response_bytes)),
            random: (RandomState::new(), AtomicU64::new(0)),
        })
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

    /// Keeps a state under a name, here and on disk.
    pub(crate) async fn keep_state(
        self: &Arc<Self>,
        name: &str,
        kept: &Kept,
    ) -> Result<(), ApiError> {
        let (app, name, kept) = (Arc::clone(self), name.to_owned(), kept.clone());
        apart(move || {
            // Held all the while: what is here and what is on disk are the same.
            let mut states = app.states();
            let earlier = states.get(&name);
            states.put(&name, kept.clone())?;
            let written = app.folder.write(&app.served, &name, &kept);
            if written.is_err() {
                states.remove(&name);
                if let Some(earlier) = earlier {
                    states.put(&name, earlier)?;
                }
            }
            written
        })
        .await
    }

    /// Forgets a state; whether there was one.
    pub(crate) fn forget_state(&self, name: &str) -> Result<bool, ApiError> {
        let mut states = self.states();
        if states.get(name).is_none() {
            return Ok(false);
        }
        self.folder.remove(name)?;
        Ok(states.remove(name).is_some())
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
