//! What a state file holds, without its model.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use kinglet::format::state_file::{MAGIC, StateSection, StateSummary};
use kinglet_quantize::Hex;
use serde_json::json;

use crate::support::input;
use crate::support::numbers::grouped;
use crate::support::stdout::outln;

/// Longest state file that is looked at.
const MAX_LEN: u64 = 1 << 30;

/// Whether the file at `path` begins like a state file.
pub(super) fn begins_like_one(path: &Path) -> bool {
    // Nothing but a regular file: opening a pipe would wait for its writer.
    if !path.is_file() {
        return false;
    }
    let mut front = [0; MAGIC.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut front)).is_ok() && front == MAGIC
}

/// Shows the state file at `path`.
pub(super) fn show(path: &Path, json: bool) -> Result<()> {
    let bytes = input::read(path, MAX_LEN, "a state")?;
    let name = path.display();
    let state = StateSummary::parse(&bytes).with_context(|| name.to_string())?;
    let held = |section| state.section(section).map(<[u8]>::len);
    let sampler = held(StateSection::Sampler).is_some();
    let unfinished = held(StateSection::UnfinishedBytes).unwrap_or(0);
    let text = held(StateSection::Text);
    if json {
        let json = json!({
            "state": name.to_string(),
            "content_hash": Hex(&state.content_hash).to_string(),
            "state_type": state.element,
            "elements": state.elements,
            "file_bytes": bytes.len(),
            "next_token": state.next_token,
            "sampler": sampler,
            "unfinished_bytes": unfinished,
            "session_bytes": text,
        });
        outln!("{}", serde_json::to_string_pretty(&json)?)?;
        return Ok(());
    }
    outln!("{name}")?;
    outln!("  a state of the model with content hash {}", Hex(&state.content_hash))?;
    outln!(
        "  {} elements in {}, {} bytes in all",
        grouped(state.elements as u64),
        state.element,
        grouped(bytes.len() as u64)
    )?;
    match state.next_token {
        Some(token) => outln!("  goes on with token {token}")?,
        None => outln!("  goes on with the prompt given")?,
    }
    if sampler {
        outln!("  with the sampler's generator and counts")?;
    }
    if unfinished > 0 {
        outln!("  with {unfinished} bytes of a character that is not whole")?;
    }
    if let Some(text) = text {
        outln!("  with the text of a session, {} bytes", grouped(text as u64))?;
    }
    Ok(())
}
