//! `kinglet chat`: a conversation with a model, which is on disk after every turn.
//!
//! ```text
//! start     model, template and settings; the conversation that is gone on with
//! repl      entry -> command or question, until the end
//! answer    question -> pieces as they come -> the conversation on disk
//! perform   command -> what it changes
//! ```
//!
//! An error ends what was asked for, and never the chat. Only what nobody can read any more does.

mod answer;
mod command;
mod display;
mod editor;
mod helper;
mod input;
mod perform;
mod repl;
mod settings;
mod start;
mod stats;
mod storage;
mod text;

use anyhow::{Context, Result};
use kinglet::format::model::Model;
use kinglet::num::state_dtype::f16;
use kinglet_talk::Session;

use self::answer::Times;
use self::display::Display;
use self::input::Input;
pub(crate) use self::start::run;
use self::storage::Storage;
use crate::args::StateType;
use crate::support::interrupt::Interrupt;

/// A chat under way.
struct Chat<'a> {
    session: Session<'a>,
    model: Model<'a>,
    /// What to call the model.
    model_name: &'a str,
    /// Why the template is this one.
    reason: String,
    state_type: StateType,
    /// The seed, where the generator began with one: that of a conversation that is gone on with
    /// did elsewhere.
    seed: Option<u64>,
    storage: Storage,
    display: Display,
    input: Input,
    interrupt: Interrupt,
    /// Text that stands before the next question.
    attached: String,
    /// What the next entry begins with.
    initial: String,
    times: Times,
}

/// Whether the chat goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    GoOn,
    /// Ctrl-C stopped what was under way.
    Stopped,
    End,
}

impl Chat<'_> {
    /// Puts the conversation on disk, unless there is none yet.
    fn keep(&mut self) -> Result<()> {
        if self.session.turns().is_empty() && !self.storage.is_begun() {
            return Ok(());
        }
        let bytes = self.bytes()?;
        self.storage.keep(&bytes).context("the conversation is not on disk")
    }

    /// The conversation as a file.
    fn bytes(&mut self) -> Result<Vec<u8>> {
        let branch = self.session.fork()?;
        Ok(match self.state_type {
            StateType::F32 => branch.to_bytes::<f32>(&self.model)?,
            StateType::F16 => branch.to_bytes::<f16>(&self.model)?,
        })
    }
}
