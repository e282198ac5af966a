//! Options of the commands around the models folder: `pull`, `list`, `rm`.

use std::path::PathBuf;

use clap::Args;

#[derive(Args, Clone, Debug)]
#[command(after_long_help = ENVIRONMENT)]
pub(crate) struct PullArgs {
    /// A name of the list that `kinglet pull` alone shows, hf:OWNER/REPO/FILE (with
    /// hf:OWNER/REPO@REVISION/FILE for another revision than main), or the URL of a checkpoint
    pub(crate) model: Option<String>,
    /// Name of the model in the models folder; that of the list or of the file if not given
    #[arg(long = "as", value_name = "NAME", requires = "model")]
    pub(crate) name: Option<String>,
    /// Vocabulary, as `quantize --vocab` takes it
    #[arg(long, value_name = "FILE", requires = "model")]
    pub(crate) vocab: Option<PathBuf>,
    /// Keeps the checkpoint beside the model, as NAME.pth or what its ending is
    #[arg(long, requires = "model")]
    pub(crate) keep: bool,
    /// Replaces a model of that name, and does without the checks of memory and disk
    #[arg(long, requires = "model")]
    pub(crate) force: bool,
    /// Prints JSON: the list, or what was pulled
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `pull` reads from its environment.
const ENVIRONMENT: &str = "\
Environment:
  KINGLET_MODELS          the models folder; kinglet/models in the user's data folder if not set
  HF_ENDPOINT             a mirror of https://huggingface.co
  HF_TOKEN                a token, for what asks for one; sent to the endpoint alone
  HTTPS_PROXY, NO_PROXY   a proxy, and the hosts that are reached without it
  SSL_CERT_FILE           certificates (PEM) to trust instead of the usual ones

A download that was cut goes on where it ended when the same command is given again.";

#[derive(Args, Clone, Debug)]
pub(crate) struct ListArgs {
    /// Prints JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct RmArgs {
    /// Names, as `kinglet list` shows them; with a model goes the checkpoint that `pull --keep` kept.
    /// NAME.download is what there is of a download alone, NAME.pth a kept checkpoint alone
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Does not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Prints the files that were removed as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
