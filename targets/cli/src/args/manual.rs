//! Options of the commands that say what the command line is.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

#[derive(Args, Clone, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell: for bash `kinglet completions bash > ~/.local/share/bash-completion/completions/kinglet`
    pub(crate) shell: Shell,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ManArgs {
    /// Folder to write kinglet.1 and kinglet-COMMAND.1 into, which is made where there is none
    pub(crate) folder: PathBuf,
}
