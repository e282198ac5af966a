//! How a generation went: tokens, times, and why it ended.

use std::time::Duration;

/// How a generation went.
pub(super) struct Times {
    /// The token to go on with, which the state has not taken in: the last one generated, or one
    /// of a prompt that was interrupted.
    pub(super) next: Option<u32>,
    pub(super) prompt_tokens: usize,
    pub(super) prompt: Duration,
    pub(super) tokens: usize,
    pub(super) decode: Duration,
    /// Tokens of the prompt that were not read because of an interrupt.
    pub(super) unread: usize,
    pub(super) ended: Ended,
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// As many tokens as were asked for.
    Length,
    EndOfText,
    StopString,
    /// Nothing may follow under the grammar.
    Complete,
    Interrupt,
}

impl Ended {
    /// The name in the JSON.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::EndOfText => "end of text",
            Self::StopString => "stop string",
            Self::Complete => "complete",
            Self::Interrupt => "interrupt",
        }
    }
}

pub(super) fn rate(tokens: usize, time: Duration) -> f64 {
    tokens as f64 / time.as_secs_f64().max(1e-9)
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.prompt_tokens > 1 {
            let rate = rate(self.prompt_tokens, self.prompt);
            write!(f, "prompt {} tokens, {rate:.0} tokens/s · ", self.prompt_tokens)?;
        }
        if self.unread > 0 {
            return write!(f, "stopped, {} tokens of the prompt were not read", self.unread);
        }
        match self.tokens {
            0 => f.write_str("0 tokens"),
            tokens => write!(f, "{tokens} tokens, {:.0} tokens/s", rate(tokens, self.decode)),
        }
    }
}
