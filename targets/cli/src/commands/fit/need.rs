//! What a model needs, where it is to lie, and whether it does.
//!
//! Lengths of buffers are the engine's own (`Requirements`). What no shape tells is counted
//! generously and stands in the constants below: code, stack, what Linux keeps.

use kinglet::engine::Requirements;
use kinglet::format::shape::Shape;
use kinglet::kernels::weights::WeightType;
use kinglet::num::state_dtype::f16;

use super::boards::{Bank, Board};
use crate::args::{FitArgs, StateType};
use crate::support::ram::system_share;
use crate::support::shapes::{KNOWN, Known};

/// Flash for the library's code and constants, built for one architecture: what
/// the C program in `targets/c/examples/story.c` takes on a Cortex-M4, rounded
/// up. `.ci/c` measures it with RWKV-7 and fails above this.
const CODE: u64 = 104 << 10;
/// What the encoder of byte pairs adds there to a program that encodes, most of
/// it Unicode tables: 52,222 bytes.
pub(super) const BYTE_PAIRS: u64 = 52 << 10;
/// What the kernels of int4 add there to a program that reads such weights: 21,938 bytes.
const INT4: u64 = 22 << 10;
/// Stack: 4 KiB for a token, the bound that `.ci/c` measures against (on an M0+ a token of int4
/// takes up to 256 bytes more), and 4 KiB for interrupts and the program around.
const STACK: u64 = 8 << 10;

/// Least RAM of a system with Linux, where nobody counts bytes.
const LARGE: u64 = 64 << 20;

/// Where a model is to fit.
pub(super) struct Place {
    pub(super) name: String,
    /// `None` where the model is held in RAM.
    pub(super) flash: Option<u64>,
    pub(super) ram: Vec<Bank>,
    /// RAM that is not the model's to have.
    pub(super) kept: u64,
    pub(super) board: Option<&'static Board>,
}

impl From<&'static Board> for Place {
    fn from(board: &'static Board) -> Self {
        Self {
            name: board.name.to_owned(),
            flash: board.flash,
            ram: board.ram.to_vec(),
            kept: match board.flash {
                None => system_share(board.ram.iter().map(|bank| bank.bytes).sum()),
                Some(_) => 0,
            },
            board: Some(board),
        }
    }
}

impl Place {
    /// Whether one memory, as large as that of a system with Linux, holds the model.
    pub(super) fn is_large(&self) -> bool {
        self.flash.is_none() && self.ram.iter().any(|bank| bank.bytes >= LARGE)
    }
}

/// How a model is used, as far as it takes memory.
#[derive(Clone, Copy)]
pub(super) struct Use {
    pub(super) penalties: bool,
    pub(super) state_type: StateType,
    /// Those of the file, or what they would be where there is none.
    pub(super) weights: WeightType,
}

impl From<&FitArgs> for Use {
    fn from(args: &FitArgs) -> Self {
        let state_type = args.state.state_type;
        let weights = args.bits.unwrap_or(WeightType::Int8);
        Self { penalties: args.penalties, state_type, weights }
    }
}

/// What a model needs, in bytes.
pub(super) struct Need {
    pub(super) model: u64,
    pub(super) code: u64,
    /// What a token reads: of the embedding one row, and the state.
    pub(super) read_per_token: u64,
    /// Names and lengths; a buffer lies in one piece of RAM.
    pub(super) buffers: Vec<(&'static str, u64)>,
}

impl Need {
    /// `weights` is what a token reads of the model's file.
    pub(super) fn new(shape: &Shape, model: u64, weights: u64, how: Use) -> Self {
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
        let read_per_token = weights + needs.state_bytes as u64;
        let code = CODE + if how.weights == WeightType::Int4 { INT4 } else { 0 };
        Self { model, code, read_per_token, buffers }
    }

    pub(super) fn of(known: &Known, how: Use) -> Self {
        let (file, read) = (known.file_len(how.weights), known.read_per_token(how.weights));
        Self::new(&known.shape, file, read, how)
    }

    pub(super) fn flash(&self) -> u64 {
        self.model + self.code
    }

    pub(super) fn ram(&self) -> u64 {
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
pub(super) struct Fit {
    flash: bool,
    /// For each piece of RAM needed, the index of its bank.
    pub(super) banks: Vec<(&'static str, u64, Option<usize>)>,
}

impl Fit {
    /// Puts the largest piece first, each into the bank that it fills best.
    pub(super) fn new(need: &Need, place: &Place) -> Self {
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

    pub(super) fn fits(&self) -> bool {
        self.flash && self.banks.iter().all(|(_, _, bank)| bank.is_some())
    }

    /// What is wanting, for people.
    pub(super) fn problem(&self) -> Option<String> {
        let homeless = self.banks.iter().find(|(_, _, bank)| bank.is_none());
        match (self.flash, homeless) {
            (false, None) => Some("too little flash".to_owned()),
            (false, Some(_)) => Some("too little flash and RAM".to_owned()),
            (true, Some(("model and code", _, _))) => Some("too little RAM".to_owned()),
            (true, Some((name, _, _))) => Some(format!("no RAM for the {name}")),
            (true, None) => None,
        }
    }
}

/// The largest shape that fits.
pub(super) fn largest(place: &Place, how: Use) -> Option<&'static Known> {
    let fits = |known: &&Known| Fit::new(&Need::of(known, how), place).fits();
    KNOWN.iter().rev().find(fits)
}

/// The largest shape that fits and of which there is a model to be had.
pub(super) fn largest_to_have(place: &Place, how: Use) -> Option<&'static Known> {
    let fits = |known: &&Known| known.is_to_have && Fit::new(&Need::of(known, how), place).fits();
    KNOWN.iter().rev().find(fits)
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
        Need { model: 1000, code: CODE, read_per_token: 0, buffers }
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
    fn more_memory_fits_no_smaller_shape() {
        let weights = WeightType::Int8;
        let how = Use { penalties: false, state_type: StateType::F32, weights };
        let mut before = 0;
        for shift in 12..36 {
            let place = place(Some(1 << shift), &[1 << shift]);
            let len = largest(&place, how).map_or(0, |known| known.file_len(weights));
            assert!(len >= before);
            before = len;
        }
        let how = Use { penalties: true, ..how };
        let name = |bytes| largest(&place(Some(bytes), &[bytes]), how).map(|known| known.name);
        assert_eq!((name(1 << 35), name(1 << 10)), (Some("13.3B"), None));
        let to_have = largest_to_have(&place(Some(4 << 20), &[520 << 10]), how);
        assert_eq!(to_have.map(|known| known.name), Some("stories (6 x 128)"));
    }
}
