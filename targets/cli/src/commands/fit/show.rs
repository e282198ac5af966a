//! How `fit` answers: tables for people, and JSON.
//!
//! A board with a system is told in GB and tokens per second, a microcontroller in bytes and banks.
//! Decoding reads every weight once a token, so that bandwidth over bytes bounds its rate; where a
//! model is so small that caches may hold it, that says nothing and is left out.

use std::io;

use serde_json::{Value, json};

use super::boards::{BOARDS, Board};
use super::need::{Fit, Need, Place, Use, largest, largest_to_have};
use crate::support::numbers::{grouped, short, size};
use crate::support::shapes::Known;
use crate::support::stdout::outln;
use kinglet::kernels::weights::WeightType;

/// What is asked about.
pub(super) struct Question<'a> {
    /// The model's name.
    pub(super) name: &'a str,
    /// `None` where there is no model, and the boards alone are shown.
    pub(super) need: Option<Need>,
    /// What it would need with weights of four bits, where it has more.
    pub(super) in_4_bits: Option<Need>,
    pub(super) how: Use,
}

impl<'a> Question<'a> {
    /// About a shape of which there is no file.
    pub(super) fn of(name: &'a str, known: &Known, how: Use) -> Self {
        let has_more = how.weights != WeightType::Int4;
        let in_4_bits = has_more.then(|| Need::of(known, Use { weights: WeightType::Int4, ..how }));
        Self { name, need: Some(Need::of(known, how)), in_4_bits, how }
    }

    pub(super) fn needs(&mut self) -> impl Iterator<Item = &mut Need> {
        self.need.iter_mut().chain(&mut self.in_4_bits)
    }
}

/// Bytes per token from which decoding waits for the memory and for nothing else: less may stay in
/// the caches.
const STREAMED: u64 = 32_000_000;

/// Tokens per second that the memory of a board gives for a model, at most.
fn estimate(board: &Board, need: &Need) -> Option<f64> {
    let memory = board.memory?;
    (need.read_per_token >= STREAMED)
        .then(|| memory.bytes_per_second as f64 / need.read_per_token as f64)
}

/// "4.2" or "23": two digits are what an estimate is worth.
fn two_digits(rate: f64) -> String {
    if rate < 9.95 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

/// The largest shape that fits, and the largest that is to be had where that is another.
fn largest_names(place: &Place, how: Use) -> String {
    match (largest_to_have(place, how), largest(place, how)) {
        (None, None) => "none".to_owned(),
        (None, Some(known)) => format!("{} *", known.name),
        (Some(known), _) => known.name.to_owned(),
    }
}

pub(super) fn print_all(question: &Question<'_>) -> io::Result<()> {
    match &question.need {
        None => {
            outln!("this build brings no model along; -m MODEL or --shape SHAPE says what fits")?
        }
        Some(need) => outln!(
            "{} needs {} bytes of flash and {} of RAM",
            question.name,
            grouped(need.flash()),
            grouped(need.ram())
        )?,
    }
    outln!()?;
    outln!(
        "{:11} {:33} {:>8} {:>8}  {:33} largest to be had",
        "--board",
        "",
        "flash",
        "RAM",
        "fits"
    )?;
    for board in BOARDS {
        let place = Place::from(board);
        let flash = board.flash.map_or("in RAM".to_owned(), short);
        let ram = short(board.ram.iter().map(|bank| bank.bytes).sum());
        outln!(
            "{:11} {:33} {flash:>8} {ram:>8}  {:33} {}",
            board.id,
            board.name,
            answer(question, board, &place),
            largest_names(&place, question.how),
        )?;
    }
    outln!()?;
    outln!("* no such model is to be had: train your own")?;
    let estimated = |need: &Need| BOARDS.iter().any(|board| estimate(board, need).is_some());
    if question.need.as_ref().is_some_and(estimated) {
        outln!("tokens/s are estimates from the memory's speed, not measured")?;
    }
    for board in BOARDS.iter().filter(|board| !board.note.is_empty()) {
        outln!("{}: {}", board.id, board.note)?;
    }
    outln!("`kinglet fit --board NAME` shows what goes where")
}

/// The answer for a board, in one cell.
fn answer(question: &Question<'_>, board: &Board, place: &Place) -> String {
    let rate = |need: &Need| match estimate(board, need) {
        Some(rate) => format!(", about {} tokens/s", two_digits(rate)),
        None => String::new(),
    };
    let Some(need) = &question.need else { return String::new() };
    let Some(problem) = Fit::new(need, place).problem() else {
        return format!("yes{}", rate(need));
    };
    match question.in_4_bits.as_ref().filter(|need| Fit::new(need, place).fits()) {
        Some(need) => format!("in 4 bits{}", rate(need)),
        None => format!("no: {problem}"),
    }
}

pub(super) fn print_fit(question: &Question<'_>, need: &Need, place: &Place) -> io::Result<()> {
    let fit = Fit::new(need, place);
    let answer = fit.problem().map_or("fits".to_owned(), |why| format!("does not fit: {why}"));
    outln!("{} on {}: {answer}", question.name, place.name)?;
    if let (Some(four), false) = (&question.in_4_bits, fit.fits())
        && Fit::new(four, place).fits()
    {
        let bytes = grouped(four.model);
        outln!("it fits in 4 bits, {bytes} bytes at most: `kinglet quantize --bits 4`")?;
    }
    if place.is_large() {
        print_large(need, place)?;
    } else {
        print_banks(need, place, &fit)?;
    }
    if let Some(board) = place.board {
        print_board(board, need, &fit)?;
    }
    let (to_have, known) = (largest_to_have(place, question.how), largest(place, question.how));
    let name = |known: Option<&Known>| known.map_or("none", |known| known.name);
    outln!("largest model to be had that fits: {}", name(to_have))?;
    if known.map(|known| known.name) != to_have.map(|known| known.name) {
        let why = match known.and_then(|known| known.id) {
            Some(_) => "not in the list of `kinglet pull`",
            None => "none to download; train your own, https://github.com/BlinkDL/RWKV-LM",
        };
        outln!("largest shape that fits: {} ({why})", name(known))?;
    }
    Ok(())
}

/// What goes where on a microcontroller, to the byte.
fn print_banks(need: &Need, place: &Place, fit: &Fit) -> io::Result<()> {
    if let Some(flash) = place.flash {
        outln!("flash, bytes")?;
        outln!("  {:>14} model", grouped(need.model))?;
        outln!("  {:>14} code", grouped(need.code))?;
        outln!("  {:>14} in all, of {}", grouped(need.flash()), grouped(flash))?;
    }
    outln!("RAM, bytes")?;
    for (piece, bytes, bank) in &fit.banks {
        let bank = bank.map_or("no piece is large enough", |bank| place.ram[bank].name);
        outln!("  {:>14} {piece:15} {bank}", grouped(*bytes))?;
    }
    let ram = fit.banks.iter().map(|(_, bytes, _)| bytes).sum::<u64>();
    let has: u64 = place.ram.iter().map(|bank| bank.bytes).sum();
    outln!("  {:>14} in all, of {}", grouped(ram), grouped(has))
}

/// What a system with Linux, or one memory as large, holds.
fn print_large(need: &Need, place: &Place) -> io::Result<()> {
    let has: u64 = place.ram.iter().map(|bank| bank.bytes).sum();
    outln!("RAM")?;
    outln!("  {:>8} model", size(need.model))?;
    outln!("  {:>8} state, workspace, logits", size(need.ram()))?;
    if place.kept > 0 {
        outln!("  {:>8} kept for Linux", size(place.kept))?;
    }
    outln!(
        "  {:>8} in all, of {}B",
        size(need.model + need.ram() + place.kept),
        short(has).replace('M', " M").replace('G', " G")
    )
}

fn print_board(board: &Board, need: &Need, fit: &Fit) -> io::Result<()> {
    if let (Some(rate), Some(memory), true) = (estimate(board, need), board.memory, fit.fits()) {
        outln!(
            "about {} tokens/s, an estimate and not measured: {} a token at {}/s ({})",
            two_digits(rate),
            size(need.read_per_token),
            size(memory.bytes_per_second),
            memory.source
        )?;
    }
    outln!("sizes: {}", board.source)?;
    if !board.note.is_empty() {
        outln!("note: {}", board.note)?;
    }
    Ok(())
}

fn need_json(name: &str, need: &Need) -> serde_json::Map<String, Value> {
    let buffers: serde_json::Map<_, _> = need
        .buffers
        .iter()
        .map(|(name, bytes)| (format!("{}_bytes", name.replace(' ', "_")), (*bytes).into()))
        .collect();
    let mut json = serde_json::Map::new();
    json.insert("model".to_owned(), name.into());
    json.insert("model_bytes".to_owned(), need.model.into());
    json.insert("code_bytes".to_owned(), need.code.into());
    json.insert("flash_bytes".to_owned(), need.flash().into());
    json.insert("ram".to_owned(), buffers.into());
    json.insert("ram_bytes".to_owned(), need.ram().into());
    json.insert("bytes_read_per_token".to_owned(), need.read_per_token.into());
    json
}

fn place_json(place: &Place, need: Option<&Need>, how: Use) -> Value {
    let fit = need.map(|need| Fit::new(need, place));
    let banks: Vec<Value> =
        place.ram.iter().map(|bank| json!({ "name": bank.name, "bytes": bank.bytes })).collect();
    let placed = fit.as_ref().map_or(&[][..], |fit| &fit.banks);
    let pieces: Vec<Value> = placed
        .iter()
        .map(|(name, bytes, bank)| {
            json!({ "name": name, "bytes": bytes, "bank": bank.map(|bank| place.ram[bank].name) })
        })
        .collect();
    let memory = place.board.and_then(|board| board.memory);
    let fits = fit.as_ref().is_some_and(Fit::fits);
    let rate = place.board.zip(need.filter(|_| fits));
    let rate = rate.and_then(|(board, need)| estimate(board, need));
    json!({
        "board": place.board.map(|board| board.id),
        "name": place.name,
        "flash_bytes": place.flash,
        "banks": banks,
        "kept_bytes": place.kept,
        "fits": fit.as_ref().map(Fit::fits),
        "problem": fit.as_ref().and_then(Fit::problem),
        "placement": pieces,
        "largest_known": largest(place, how).map(|known| known.name),
        "largest_to_have": largest_to_have(place, how).map(|known| known.name),
        "memory_bytes_per_second": memory.map(|memory| memory.bytes_per_second),
        "memory_source": memory.map(|memory| memory.source),
        "estimated_tokens_per_second": rate,
        "source": place.board.map(|board| board.source),
        "note": place.board.map(|board| board.note),
    })
}

pub(super) fn fit_json(question: &Question<'_>, need: &Need, place: &Place) -> Value {
    let mut json = need_json(question.name, need);
    json.insert("place".to_owned(), place_json(place, Some(need), question.how));
    json.insert("fits".to_owned(), Fit::new(need, place).fits().into());
    if let Some(four) = &question.in_4_bits {
        let mut in_4_bits = need_json(question.name, four);
        in_4_bits.insert("fits".to_owned(), Fit::new(four, place).fits().into());
        json.insert("in_4_bits".to_owned(), in_4_bits.into());
    }
    json.into()
}

pub(super) fn all_json(question: &Question<'_>) -> Value {
    let need = question.need.as_ref();
    let boards = BOARDS.iter().map(|board| place_json(&board.into(), need, question.how));
    let boards: Vec<Value> = boards.collect();
    let mut json = need.map_or_else(serde_json::Map::new, |need| need_json(question.name, need));
    json.insert("boards".to_owned(), boards.into());
    json.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_two_digits() {
        for (rate, text) in [(0.42, "0.4"), (4.21, "4.2"), (9.97, "10"), (23.4, "23")] {
            assert_eq!(two_digits(rate), text);
        }
    }

    #[test]
    fn an_estimate_is_the_memory_s_speed_over_the_bytes_of_a_token() {
        let board = BOARDS.iter().find(|board| board.id == "pi-4-4gb").unwrap();
        let need = |read_per_token| Need { model: 1, code: 1, read_per_token, buffers: vec![] };
        assert_eq!(estimate(board, &need(350_000_000)), Some(10.0));
        // It would be bound by something else.
        assert_eq!(estimate(board, &need(1_000_000)), None);
        let board = BOARDS.iter().find(|board| board.id == "rp2350").unwrap();
        assert_eq!(estimate(board, &need(350_000_000)), None);
    }
}
