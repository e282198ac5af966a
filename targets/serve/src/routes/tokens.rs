//! Tokens and templates, without a pass of the model.

use std::sync::Arc;

use axum::extract::{Request, State};
use kinglet_talk::encode;
use kinglet_talk::template::END_OF_TEXT;
use serde_json::{Value, json};

use super::{Answer, Shared, body};
use crate::error::ApiError;
use crate::generate::{apart, conversation_start};
use crate::wire::{Conversation, Fields};

/// `{"content", "with_pieces"?, "add_special"?}` to `{"tokens"}`.
pub(super) async fn tokenize(State(app): Shared, request: Request) -> Answer {
    let bytes = body(&app, request, app.limits.body).await?;
    let shared = Arc::clone(&app);
    let answer = apart(move || {
        let mut fields = Fields::parse(&bytes)?;
        let content: String = fields.need("content")?;
        let with_pieces = fields.take("with_pieces")?.unwrap_or(false);
        let add_special = fields.take("add_special")?.unwrap_or(false);
        fields.finish()?;
        let tokenizer = shared.served.tokenizer();
        let mut tokens = Vec::new();
        if add_special {
            tokens.extend(tokenizer.end_of_text());
        }
        tokens.extend(encode(&tokenizer, &content.replace(END_OF_TEXT, ""))?);
        if !with_pieces {
            return Ok(json!({ "tokens": tokens }));
        }
        let pieces: Vec<Value> = tokens
            .iter()
            .map(|&id| {
                let bytes = shared.served.token(id);
                // A token may be half a character; its bytes are exact.
                let piece = str::from_utf8(bytes).map_or_else(|_| json!(bytes), |text| json!(text));
                json!({ "id": id, "piece": piece })
            })
            .collect();
        Ok(json!({ "tokens": pieces }))
    });
    Ok(super::json(&answer.await?))
}

/// `{"tokens"}` to `{"content"}`.
pub(super) async fn detokenize(State(app): Shared, request: Request) -> Answer {
    let bytes = body(&app, request, app.limits.body).await?;
    let mut fields = Fields::parse(&bytes)?;
    let tokens: Vec<u32> = fields.need("tokens")?;
    fields.finish()?;
    let vocab = app.served.header.shape.vocab;
    if let Some(token) = tokens.iter().find(|&&token| token as usize >= vocab) {
        let message = format!("token {token} is outside the vocabulary (0 to {})", vocab - 1);
        return Err(ApiError::field("tokens", message));
    }
    let text: Vec<u8> = tokens.iter().flat_map(|&token| app.served.token(token)).copied().collect();
    Ok(super::json(&json!({ "content": String::from_utf8_lossy(&text) })))
}

/// `{"messages", "reasoning_effort"?, "chat_template_kwargs"?}` to the text that the model reads.
pub(super) async fn apply_template(State(app): Shared, request: Request) -> Answer {
    let bytes = body(&app, request, app.limits.body).await?;
    let shared = Arc::clone(&app);
    let answer = apart(move || {
        let mut fields = Fields::parse(&bytes)?;
        let model: Option<String> = fields.take("model")?;
        shared.check_model(model.as_deref())?;
        let messages: Value = fields.need("messages")?;
        let mut conversation = Conversation::read(messages, "messages", shared.limits.messages)?;
        conversation.thinking = super::chat::thinking(&shared, &mut fields)?;
        fields.finish()?;
        let start = conversation_start(&shared, &conversation, None)?;
        // The token that begins a text is not part of it.
        let prompt = start.prompt.text.replace(END_OF_TEXT, "");
        Ok(json!({ "prompt": prompt, "tokens": start.prompt.tokens }))
    });
    Ok(super::json(&answer.await?))
}
