//! A conversation apart from its session: what forks, and what is saved.

use crate::session::{Settings, Turn};
use crate::template::Template;

/// A conversation that stands after a whole turn, from
/// [`Session::fork`](crate::Session::fork). A session
/// [switches](crate::Session::switch) to it, and goes on as the one that it was taken from.
#[derive(Clone, Debug, PartialEq)]
pub struct Branch {
    /// The template.
    pub template: Template,
    /// The system text.
    pub system: Option<String>,
    /// The turns, the oldest first.
    pub turns: Vec<Turn>,
    /// The state after them: `[layer]` of the architecture's layer state.
    pub state: Vec<f32>,
    /// The sampler's generator and counts.
    pub sampler: Vec<u8>,
    /// The end of a plain text that is no whole character.
    pub unfinished: Vec<u8>,
    /// How the session answered, for [`set_settings`](crate::Session::set_settings): a session
    /// that switches to the conversation keeps its own. `None` where a file does not say.
    pub settings: Option<Settings>,
}
