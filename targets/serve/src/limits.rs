//! Limits: what a request may ask for, so that none takes what is everybody's.

use std::time::Duration;

/// Most that the server takes of a client, and keeps for all of them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a request's body. Where requests may have a state in them, four thirds of
    /// [`Served::state_file_len`](crate::Served::state_file_len) come on top; the body of a state
    /// alone is bounded by that length.
    pub body: usize,
    /// Messages of a conversation.
    pub messages: usize,
    /// Tokens of a prompt.
    pub prompt_tokens: usize,
    /// Tokens that a request may ask for.
    pub answer_tokens: usize,
    /// Tokens of an answer whose request does not say.
    pub default_tokens: usize,
    /// Texts that end an answer, beside the template's.
    pub stops: usize,
    /// Bytes of one of them.
    pub stop_bytes: usize,
    /// Answers to one request, prompts of it included.
    pub choices: usize,
    /// Most probable tokens that are told beside each.
    pub logprobs: usize,
    /// Texts that wait for a place; what comes when they are as many is told to come again.
    pub queue: usize,
    /// Connections; those that come when they are as many wait.
    pub connections: usize,
    /// Bytes of named states.
    pub state_bytes: usize,
    /// Bytes of the conversations of responses.
    pub response_bytes: usize,
    /// Within which a request's head must have come, and then its body.
    pub read_time: Duration,
    /// For which a client may take nothing of an answer that is there.
    pub write_time: Duration,
    /// Between signs of life in a stream that has nothing to say yet.
    pub ping_time: Duration,
    /// Within which answers end once the server shall.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 4 << 20,
            messages: 1024,
            prompt_tokens: 1 << 18,
            answer_tokens: 1 << 16,
            default_tokens: 2048,
            stops: 16,
            stop_bytes: 256,
            choices: 8,
            logprobs: 20,
            queue: 64,
            connections: 512,
            state_bytes: 256 << 20,
            response_bytes: 64 << 20,
            read_time: Duration::from_secs(30),
            write_time: Duration::from_secs(60),
            ping_time: Duration::from_secs(15),
            grace: Duration::from_secs(30),
        }
    }
}
