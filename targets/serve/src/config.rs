//! What a server is told besides its model.

use std::path::PathBuf;

use kinglet_talk::schedule::ScheduleOptions;

use crate::limits::Limits;

/// How a server serves.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Keys, one of which a client must show; with none, everybody is served.
    pub keys: Vec<String>,
    /// Names by which a browser may call the server, besides `localhost` and numeric addresses.
    pub hosts: Vec<String>,
    /// Origins of other pages that may use the server, such as `https://app.example`; `*` is all.
    pub origins: Vec<String>,
    /// A folder in which states with a name outlive the server.
    pub states: Option<PathBuf>,
    /// What the server takes of a client.
    pub limits: Limits,
    /// Bytes of states of prompts that are kept, and how often one is.
    pub schedule: ScheduleOptions,
}
