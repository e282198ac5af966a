//! The functions that several commands share: engines, models, files, the terminal.

// Where CUDA's driver may be: Cargo.toml has the same condition.
#[cfg(all(
    feature = "cuda",
    target_pointer_width = "64",
    any(windows, all(target_os = "linux", target_env = "gnu"))
))]
pub(crate) mod device;
#[cfg(not(all(
    feature = "cuda",
    target_pointer_width = "64",
    any(windows, all(target_os = "linux", target_env = "gnu"))
)))]
#[path = "no_device.rs"]
pub(crate) mod device;
pub(crate) mod engine;
#[cfg(all(feature = "grammar", any(unix, windows)))]
pub(crate) mod grammar;
pub(crate) mod input;
#[cfg(all(feature = "chat", any(unix, windows)))]
pub(crate) mod interrupt;
pub(crate) mod model;
pub(crate) mod models;
pub(crate) mod npy;
pub(crate) mod numbers;
pub(crate) mod output;
pub(crate) mod ram;
pub(crate) mod sampling;
pub(crate) mod shapes;
#[cfg(unix)]
pub(crate) mod signals;
pub(crate) mod state_file;
pub(crate) mod stdout;
pub(crate) mod terminal;
pub(crate) mod tokens;
pub(crate) mod traffic;
pub(crate) mod verified;
