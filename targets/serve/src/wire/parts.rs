//! Parts of answers that several endpoints share.

use serde_json::{Value, json};

use crate::logprobs::TokenLogprob;
use crate::model::Served;
use crate::text::Ending;

/// What texts took together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) prompt: usize,
    pub(crate) cached: usize,
    pub(crate) drawn: usize,
    pub(crate) thought: usize,
}

impl Usage {
    /// The sum of all texts, `[prompt][choice]`; a prompt counts once, whatever it was read for.
    pub(crate) fn of(endings: &[Ending], choices: usize) -> Self {
        let mut usage = Self::default();
        for (index, ending) in endings.iter().enumerate() {
            if index % choices == 0 {
                usage.prompt += ending.prompt;
                usage.cached += ending.cached;
            }
            usage.drawn += ending.drawn;
            usage.thought += ending.thought;
        }
        usage
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.drawn,
            "total_tokens": self.prompt + self.drawn,
            "prompt_tokens_details": { "cached_tokens": self.cached },
            "completion_tokens_details": { "reasoning_tokens": self.thought },
        })
    }
}

/// llama.cpp's `timings`: of texts that were written together, the time of the slowest.
pub(crate) fn timings(endings: &[Ending], choices: usize) -> Value {
    let usage = Usage::of(endings, choices);
    let millis = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    let read = endings.iter().map(|ending| millis(ending.read_time)).fold(0.0, f64::max);
    let write = endings.iter().map(|ending| millis(ending.write_time)).fold(0.0, f64::max);
    let prompt = usage.prompt - usage.cached.min(usage.prompt);
    // No rate where there is no time: JSON has no infinity.
    let rate = |tokens: usize, time: f64| if time > 0.0 { tokens as f64 / time * 1e3 } else { 0.0 };
    let each = |tokens: usize, time: f64| if tokens > 0 { time / tokens as f64 } else { 0.0 };
    json!({
        "cache_n": usage.cached,
        "prompt_n": prompt,
        "prompt_ms": read,
        "prompt_per_token_ms": each(prompt, read),
        "prompt_per_second": rate(prompt, read),
        "predicted_n": usage.drawn,
        "predicted_ms": write,
        "predicted_per_token_ms": each(usage.drawn, write),
        "predicted_per_second": rate(usage.drawn, write),
    })
}

/// Logprobs of a chat: a token's text may be half a character, its bytes are exact.
pub(crate) fn chat_logprobs(served: &Served, logprobs: &[TokenLogprob]) -> Value {
    let one = |token: u32, logprob: f32| {
        let bytes = served.token(token);
        json!({
            "token": String::from_utf8_lossy(bytes),
            "bytes": bytes,
            "logprob": finite(logprob),
        })
    };
    let content: Vec<Value> = logprobs
        .iter()
        .map(|told| {
            let mut value = one(told.token, told.logprob);
            let top = told.top.iter().map(|&(token, logprob)| one(token, logprob));
            value["top_logprobs"] = top.collect();
            value
        })
        .collect();
    json!({ "content": content, "refusal": null })
}

/// Logprobs of a completion. `offset` is where its first token begins in the text, characters, and
/// becomes where its last ends.
pub(crate) fn completion_logprobs(
    served: &Served,
    logprobs: &[TokenLogprob],
    offset: &mut usize,
) -> Value {
    let text = |token: u32| String::from_utf8_lossy(served.token(token)).into_owned();
    let mut offsets = Vec::new();
    for told in logprobs {
        offsets.push(*offset);
        *offset += text(told.token).chars().count();
    }
    let top: Vec<Value> = logprobs
        .iter()
        .map(|told| {
            let top = told.top.iter();
            Value::Object(top.map(|&(id, logprob)| (text(id), finite(logprob))).collect())
        })
        .collect();
    json!({
        "tokens": logprobs.iter().map(|told| text(told.token)).collect::<Vec<_>>(),
        "token_logprobs": logprobs.iter().map(|told| finite(told.logprob)).collect::<Vec<_>>(),
        "top_logprobs": top,
        "text_offset": offsets,
    })
}

/// OpenAI's number for what cannot be.
fn finite(logprob: f32) -> Value {
    json!(if logprob.is_finite() { logprob } else { -9999.0 })
}

/// The shortest decimal that is this f32: 0.6, not 0.6000000238418579.
pub(crate) fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}
