//! `kinglet fit`: what a model needs, and which boards have it.

mod boards;
pub(crate) mod shapes;

use std::io;

use anyhow::{Result, bail};
use kinglet::engine::Requirements;
use kinglet::format::model::Section;
use kinglet::format::shape::Shape;
use kinglet::num::state_dtype::f16;
use serde_json::{Value, json};

use self::boards::{BOARDS, Bank, Board, board};
use self::shapes::{KNOWN, Known};
use crate::args::{FitArgs, StateType};
use crate::support::model::LoadedModel;
use crate::support::numbers::{grouped, short};
use crate::support::stdout::outln;

/// Flash for the library's code and constants, built for one architecture: what
/// the C program in `targets/c/examples/story.c` takes on a Cortex-M4, rounded
/// up. `.ci/c` measures it with RWKV-7 and fails above this.
const CODE: u64 = 104 << 10;
/// What the encoder of byte pairs adds there to a program that encodes, most of
/// it Unicode tables: 52,222 bytes.
const BYTE_PAIRS: u64 = 52 << 10;
/// Stack: 4 KiB for a token, the bound that `.ci/c` measures against, and 4 KiB
/// for interrupts and the program around.
const STACK: u64 = 8 << 10;
/// RAM that Linux and its services keep, where the model shares it with them:
/// an assumption, generous for a system without a desktop.
const LINUX: u64 = 128 << 20;

/// Says whether the model fits; with nothing to fit into, shows all boards.
pub(crate) fn run(args: &FitArgs) -> Result<bool> {
    let opened = LoadedModel::new(&args.model.chosen())?;
    let model = opened.model()?;
    let shape = model.shape();
    if args.state.state_type == StateType::F16 && !shape.architecture.allows_f16_state() {
        bail!(
            "{}: the state of {} cannot be kept in f16; leave out --state-type f16",
            opened.name(),
            shape.architecture
        );
    }
    let mut need = Need::new(shape, model.bytes().len() as u64, args.into());
    // The first byte of the section is its kind.
    if model.section(Section::Tokenizer).first() == Some(&2) {
        need.code += BYTE_PAIRS;
    }
    let Some(place) = place(args)? else {
        if args.json {
            outln!("{}", serde_json::to_string_pretty(&all_json(opened.name(), &need, args))?)?;
        } else {
            print_all(opened.name(), &need, args)?;
        }
        return Ok(true);
    };
    let fit = Fit::new(&need, &place);
    if args.json {
        let json = fit_json(opened.name(), &need, &place, &fit, args);
        outln!("{}", serde_json::to_string_pretty(&json)?)?;
    } else {
        print_fit(opened.name(), &need, &place, &fit, args)?;
    }
    Ok(fit.fits())
}

/// Where a model is to fit.
struct Place {
    name: String,
    /// `None` where the model is held in RAM.
    flash: Option<u64>,
    ram: Vec<Bank>,
    /// RAM that is not the model's to have.
    kept: u64,
    board: Option<&'static Board>,
}

impl From<&'static Board> for Place {
    fn from(board: &'static Board) -> Self {
        Self {
            name: board.name.to_owned(),
            flash: board.flash,
            ram: board.ram.to_vec(),
            kept: if board.flash.is_none() { LINUX } else { 0 },
            board: Some(board),
        }
    }
}

fn place(args: &FitArgs) -> Result<Option<Place>> {
    if let Some(id) = &args.board {
        let Some(board) = board(id) else {
            let known: Vec<&str> = BOARDS.iter().map(|board| board.id).collect();
            bail!("board `{id}` is not known; known are {}", known.join(", "));
        };
        return Ok(Some(board.into()));
    }
    Ok(args.ram.map(|ram| Place {
        name: "the memory given".to_owned(),
        flash: args.flash,
        ram: vec![Bank { name: "RAM", bytes: ram }],
        kept: 0,
        board: None,
    }))
}

/// How a model is used, as far as it takes memory.
#[derive(Clone, Copy)]
struct Use {
    penalties: bool,
    state_type: StateType,
}

impl From<&FitArgs> for Use {
    fn from(args: &FitArgs) -> Self {
        Self { penalties: args.penalties, state_type: args.state.state_type }
    }
}

/// What a model needs, in bytes.
struct Need {
    model: u64,
    code: u64,
    /// Names and lengths; a buffer lies in one piece of RAM.
    buffers: Vec<(&'static str, u64)>,
}

impl Need {
    fn new(shape: &Shape, model: u64, how: Use) -> Self {
        let needs = match how.state_type {
            StateType::F32 => Requirements::of::<f32>(shape, 1),
            StateType::F16 => Requirements::of::<f16>(shape, 1),
        };
        let mut buffers = vec![
            ("state", needs.state_bytes as u64),
            ("workspace", needs.workspace_bytes() as u64),
            ("logits", needs.logits_bytes() as u64),
            ("stack", STACK),
        ];
        if how.penalties {
            buffers.push(("sampler counts", needs.logits_bytes() as u64));
        }
        Self { model, code: CODE, buffers }
    }

    fn of(known: &Known, how: Use) -> Self {
        Self::new(&known.shape, known.file_len(), how)
    }

    fn flash(&self) -> u64 {
        self.model + self.code
    }

    fn ram(&self) -> u64 {
        self.buffers.iter().map(|(_, bytes)| bytes).sum()
    }

    /// The buffers, and what is held in RAM for want of flash.
    fn in_ram(&self, place: &Place) -> Vec<(&'static str, u64)> {
        let mut pieces = self.buffers.clone();
        if place.flash.is_none() {
            pieces.push(("model and code", self.flash()));
        }
        pieces
    }
}

/// How a model lies in a place.
struct Fit {
    flash: bool,
    /// For each piece of RAM needed, the index of its bank.
    banks: Vec<(&'static str, u64, Option<usize>)>,
}

impl Fit {
    /// Puts the largest piece first, each into the bank that it fills best.
    fn new(need: &Need, place: &Place) -> Self {
        let mut free: Vec<u64> = place.ram.iter().map(|bank| bank.bytes).collect();
        if let Some(largest) = free.iter_mut().max() {
            *largest = largest.saturating_sub(place.kept);
        }
        let mut pieces = need.in_ram(place);
        pieces.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let banks = pieces
            .into_iter()
            .map(|(name, bytes)| {
                let fitting = (0..free.len()).filter(|&bank| free[bank] >= bytes);
                let bank = fitting.min_by_key(|&bank| free[bank]);
                if let Some(bank) = bank {
                    free[bank] -= bytes;
                }
                (name, bytes, bank)
            })
            .collect();
        Self { flash: place.flash.is_none_or(|flash| need.flash() <= flash), banks }
    }

    fn fits(&self) -> bool {
        self.flash && self.banks.iter().all(|(_, _, bank)| bank.is_some())
    }

    /// What is wanting, for people.
    fn problem(&self) -> Option<String> {
        let homeless = self.banks.iter().find(|(_, _, bank)| bank.is_none());
        match (self.flash, homeless) {
            (false, None) => Some("too little flash".to_owned()),
            (false, Some(_)) => Some("too little flash and RAM".to_owned()),
            (true, Some((name, _, _))) => Some(format!("no RAM for the {name}")),
            (true, None) => None,
        }
    }
}

/// The largest shape that fits.
fn largest(place: &Place, how: Use) -> Option<&'static Known> {
    let fits = |known: &&Known| Fit::new(&Need::of(known, how), place).fits();
    KNOWN.iter().rev().find(fits)
}

fn largest_name(place: &Place, how: Use) -> &'static str {
    largest(place, how).map_or("none", |known| known.name)
}

fn print_all(name: &str, need: &Need, args: &FitArgs) -> io::Result<()> {
    outln!(
        "{name} needs {} bytes of flash and {} of RAM",
        grouped(need.flash()),
        grouped(need.ram())
    )?;
    outln!()?;
    outln!("{:11} {:33} {:>8} {:>8}  {:26} largest known", "--board", "", "flash", "RAM", "fits")?;
    for board in BOARDS {
        let place = Place::from(board);
        let answer = Fit::new(need, &place).problem();
        let flash = board.flash.map_or("in RAM".to_owned(), short);
        let ram = short(board.ram.iter().map(|bank| bank.bytes).sum());
        outln!(
            "{:11} {:33} {flash:>8} {ram:>8}  {:26} {}",
            board.id,
            board.name,
            answer.map_or("yes".to_owned(), |problem| format!("no: {problem}")),
            largest_name(&place, args.into()),
        )?;
    }
    outln!()?;
    for board in BOARDS.iter().filter(|board| !board.note.is_empty()) {
        outln!("{}: {}", board.id, board.note)?;
    }
    outln!("`kinglet fit --board NAME` shows what goes where")?;
    Ok(())
}

fn print_fit(name: &str, need: &Need, place: &Place, fit: &Fit, args: &FitArgs) -> io::Result<()> {
    let answer = fit.problem().map_or("fits".to_owned(), |why| format!("does not fit: {why}"));
    outln!("{name} on {}: {answer}", place.name)?;
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
    if place.kept > 0 {
        outln!("  {:>14} {:15}", grouped(place.kept), "kept for Linux")?;
    }
    let ram = fit.banks.iter().map(|(_, bytes, _)| bytes).sum::<u64>() + place.kept;
    let has: u64 = place.ram.iter().map(|bank| bank.bytes).sum();
    outln!("  {:>14} in all, of {}", grouped(ram), grouped(has))?;
    outln!("largest known shape that fits: {}", largest_name(place, args.into()))?;
    if let Some(board) = place.board {
        outln!("sizes: {}", board.source)?;
        if !board.note.is_empty() {
            outln!("note: {}", board.note)?;
        }
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
    json
}

fn place_json(place: &Place, fit: &Fit, args: &FitArgs) -> Value {
    let banks: Vec<Value> =
        place.ram.iter().map(|bank| json!({ "name": bank.name, "bytes": bank.bytes })).collect();
    let pieces: Vec<Value> = fit
        .banks
        .iter()
        .map(|(name, bytes, bank)| {
            json!({ "name": name, "bytes": bytes, "bank": bank.map(|bank| place.ram[bank].name) })
        })
        .collect();
    json!({
        "board": place.board.map(|board| board.id),
        "name": place.name,
        "flash_bytes": place.flash,
        "banks": banks,
        "kept_bytes": place.kept,
        "fits": fit.fits(),
        "problem": fit.problem(),
        "placement": pieces,
        "largest_known": largest(place, args.into()).map(|known| known.name),
        "source": place.board.map(|board| board.source),
        "note": place.board.map(|board| board.note),
    })
}

fn fit_json(name: &str, need: &Need, place: &Place, fit: &Fit, args: &FitArgs) -> Value {
    let mut json = need_json(name, need);
    json.insert("place".to_owned(), place_json(place, fit, args));
    json.insert("fits".to_owned(), fit.fits().into());
    json.into()
}

fn all_json(name: &str, need: &Need, args: &FitArgs) -> Value {
    let boards: Vec<Value> = BOARDS
        .iter()
        .map(|board| {
            let place = Place::from(board);
            place_json(&place, &Fit::new(need, &place), args)
        })
        .collect();
    let mut json = need_json(name, need);
    json.insert("boards".to_owned(), boards.into());
    json.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(flash: Option<u64>, banks: &[u64]) -> Place {
        let ram = banks.iter().map(|&bytes| Bank { name: "RAM", bytes }).collect();
        Place { name: String::new(), flash, ram, kept: 0, board: None }
    }

    fn need() -> Need {
        let buffers = vec![("state", 60), ("workspace", 30), ("logits", 10)];
        Need { model: 1000, code: CODE, buffers }
    }

    #[test]
    fn a_buffer_lies_in_one_bank() {
        let flash = Some(1000 + CODE);
        let fits = |banks: &[u64]| Fit::new(&need(), &place(flash, banks)).fits();
        assert!(fits(&[100]));
        assert!(!fits(&[99]));
        assert!(fits(&[40, 60]));
        assert!(!fits(&[50, 50]), "100 bytes in all, but none of 60 together");
        assert!(fits(&[10, 30, 60]));
    }

    #[test]
    fn flash_counts_model_and_code() {
        assert!(!Fit::new(&need(), &place(Some(999 + CODE), &[100])).fits());
        let need = need();
        let without = place(None, &[100 + 1000 + CODE]);
        assert!(Fit::new(&need, &without).fits());
        let without = place(None, &[99 + 1000 + CODE]);
        assert!(!Fit::new(&need, &without).fits());
    }

    #[test]
    fn boards_are_sane() {
        for (i, board) in BOARDS.iter().enumerate() {
            assert!(super::board(&board.id.to_uppercase()).is_some_and(|b| b.id == board.id));
            assert!(BOARDS[..i].iter().all(|other| other.id != board.id), "{} twice", board.id);
            assert!(!board.source.is_empty() && board.ram.iter().all(|bank| bank.bytes > 0));
        }
        let ram = |board: &Board| board.ram.iter().map(|bank| bank.bytes).sum::<u64>();
        assert!(BOARDS.is_sorted_by_key(ram));
    }

    #[test]
    fn more_memory_fits_no_smaller_shape() {
        let how = Use { penalties: false, state_type: StateType::F32 };
        let mut before = 0;
        for shift in 12..36 {
            let place = place(Some(1 << shift), &[1 << shift]);
            let len = largest(&place, how).map_or(0, Known::file_len);
            assert!(len >= before);
            before = len;
        }
        let how = Use { penalties: true, ..how };
        assert_eq!(largest_name(&place(Some(1 << 35), &[1 << 35]), how), "13.3B");
        assert_eq!(largest_name(&place(Some(1 << 10), &[1 << 10]), how), "none");
    }
}
