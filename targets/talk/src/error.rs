//! Why a conversation does not go on.

use std::io;
use std::path::PathBuf;

use kinglet::engine::{StateError, StepError};
use kinglet::format::state_file::StateFileError;
use kinglet::grammar::{ConstraintError, GrammarError};
use kinglet::sampler::{OptionsError, SampleError, SnapshotError};
use kinglet::tokenizer::EncodeError;
use thiserror::Error;

use crate::schedule::RefusedReason;
use crate::template::{MAX_RENDERED, MAX_SOURCE};

/// Why a template is not used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The source is longer than [`MAX_SOURCE`].
    #[error("the chat template has {found} bytes; at most {MAX_SOURCE} are read")]
    SourceLength {
        /// Bytes of it.
        found: usize,
    },
    /// The program is no template, failed, took too many steps or wrote more than
    /// [`MAX_RENDERED`] bytes.
    #[error("the chat template: {}", jinja(.0))]
    Jinja(minijinja::Error),
    /// The text of earlier turns changes when others follow.
    #[error(
        "the chat template renders earlier turns in another way when others follow, which a \
         recurrent state cannot take back; choose a built-in template"
    )]
    NotIncremental,
}

/// The error of a template with its cause, which alone says that the text is too long.
fn jinja(error: &minijinja::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source} (at most {MAX_RENDERED} bytes)"),
        None => error.to_string(),
    }
}

/// Why a session does not go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TalkError {
    /// The template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The vocabulary has no token for a part of the text.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The engine.
    #[error(transparent)]
    Step(#[from] StepError),
    /// A state that the engine does not take.
    #[error(transparent)]
    State(#[from] StateError),
    /// The sampler.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// An option of the sampler.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// A sampler's place that is none.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The grammar does not suit the vocabulary or the tokens of an answer.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// The answer cannot go on under the grammar in force, for what there is of it is not the
    /// beginning of one of its texts.
    #[error("the answer so far is no beginning of a text of the grammar")]
    OffGrammar,
    /// There is no turn to undo, retry or go on with, or there are not enough.
    #[error("there are {found} turns, not {needed}")]
    NoTurn {
        /// Turns of the session.
        found: usize,
        /// Turns that were asked for.
        needed: usize,
    },
    /// The text has no token, so that there is nothing to go on from.
    #[error("there is no text to go on from")]
    Empty,
    /// A scheduler did not take the text.
    #[error(transparent)]
    Refused(#[from] RefusedReason),
    /// The caller stopped the reading of a text; the session is as before.
    #[error("the text was not read to its end")]
    Cancelled,
}

/// Why a session was not saved or restored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The state file.
    #[error(transparent)]
    State(#[from] StateFileError),
    /// The file is one of a state without a session.
    #[error("the state file has no text of a session")]
    NoSession,
    /// The model starts from another tuned state than the session's.
    #[error("the session began from another start state than the model has")]
    StartState,
    /// The text section is not in the form of a session.
    #[error("the text of the session: {0}")]
    Text(String),
    /// The grammar in the file.
    #[error("the grammar of the session: {0}")]
    Grammar(#[from] GrammarError),
    /// The template in the file.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The sampler's place in the file.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A file was not read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}
