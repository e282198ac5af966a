//! The functions that several commands share: engines, models, files, the terminal.

pub(crate) mod engine;
pub(crate) mod input;
pub(crate) mod model;
pub(crate) mod models;
pub(crate) mod npy;
pub(crate) mod numbers;
pub(crate) mod output;
#[cfg(unix)]
pub(crate) mod signals;
pub(crate) mod state_file;
pub(crate) mod stdout;
pub(crate) mod terminal;
pub(crate) mod tokens;
pub(crate) mod traffic;
pub(crate) mod verified;
