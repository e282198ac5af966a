//! Status codes.
//!
//! One enum for all functions, because C programs compare numbers and print texts. The core's
//! errors carry places and values, of which C gets the kind: each kind that a program may act
//! upon has a code of its own, and those that mean "the file is damaged" share one.

use core::ffi::{CStr, c_char};

use kinglet::engine::{BufferError, StateError, StepError};
use kinglet::format::model::ModelError;
use kinglet::format::state_file::StateFileError;
use kinglet::grammar::{ConstraintError, GrammarError};
use kinglet::sampler::{BanError, OptionsError, SampleError, SnapshotError};
use kinglet::tokenizer::TokenizerError;

/// The result of a function: 0 is success. Unless its description says
/// otherwise, a function that fails has changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum KingletStatus {
    /// Done.
    Ok = 0,
    /// A pointer is null.
    NullPointer = 1,
    /// An address is not the multiple that it must be.
    Misaligned = 2,
    /// A buffer has fewer bytes than are needed.
    BufferTooSmall = 3,
    /// A length is impossible: it reaches beyond the address space.
    Length = 4,
    /// Two buffers or handles of one call overlap, and not both are only read.
    Overlap = 5,
    /// The handle was not initialised, or its initialisation failed.
    InvalidHandle = 6,
    /// The bytes are no model file.
    NotAModel = 7,
    /// The model is of a newer format or architecture than this library knows.
    ModelVersion = 8,
    /// The model file is damaged or cut short.
    ModelDamaged = 9,
    /// The model has no tokenizer.
    NoTokenizer = 10,
    /// The model's tokenizer is damaged or of a kind that this library does not know.
    Tokenizer = 11,
    /// The vocabulary has no token for a byte of the text, or of a grammar's texts.
    Unencodable = 12,
    /// A token id is outside the vocabulary.
    Token = 13,
    /// A batch is 0 or larger than KINGLET_MAX_BATCH.
    Batch = 14,
    /// A value is not finite: the weights, the state or the logits are damaged.
    NonFinite = 15,
    /// A sampler option is outside its range.
    Options = 16,
    /// A penalty is on, but the sampler has no counts, or too few.
    Counts = 17,
    /// No token is left to draw: all are banned or have a logit of minus infinity.
    NoCandidate = 18,
    /// Too many tokens are banned at one time.
    TooManyBans = 19,
    /// The bytes are no state file.
    NotAState = 20,
    /// The state file is of a newer format.
    StateVersion = 21,
    /// The state file is damaged or cut short.
    StateDamaged = 22,
    /// The state belongs to a model with other weights.
    StateOfOtherModel = 23,
    /// The state was saved by an engine that keeps its state in the other type, f32 or f16.
    StateType = 24,
    /// The model is of an architecture whose state cannot be kept in f16: RWKV-4.
    F16State = 25,
    /// The library was built without the model's architecture.
    Architecture = 26,
    /// The library was built without the model's kind of tokenizer.
    TokenizerKind = 27,
    /// Something that this library has no name for.
    Other = 28,
    /// The piece is done, and there are more: call again.
    More = 29,
    /// The hook asked to stop.
    Cancelled = 30,
    /// What is done in pieces has not come to its end, or the engine went on in between.
    Unfinished = 31,
    /// The bytes are no compiled grammar.
    NotAGrammar = 32,
    /// The compiled grammar has a layout that this library does not know.
    GrammarVersion = 33,
    /// The compiled grammar is damaged or cut short.
    GrammarDamaged = 34,
    /// No text of the grammar is within the limits.
    GrammarLimits = 35,
    /// The grammar does not allow the token here.
    NotAllowed = 36,
}

impl KingletStatus {
    /// All of them, each at the index that is its code.
    pub(crate) const ALL: [Self; 37] = [
        Self::Ok,
        Self::NullPointer,
        Self::Misaligned,
        Self::BufferTooSmall,
        Self::Length,
        Self::Overlap,
        Self::InvalidHandle,
        Self::NotAModel,
        Self::ModelVersion,
        Self::ModelDamaged,
        Self::NoTokenizer,
        Self::Tokenizer,
        Self::Unencodable,
        Self::Token,
        Self::Batch,
        Self::NonFinite,
        Self::Options,
        Self::Counts,
        Self::NoCandidate,
        Self::TooManyBans,
        Self::NotAState,
        Self::StateVersion,
        Self::StateDamaged,
        Self::StateOfOtherModel,
        Self::StateType,
        Self::F16State,
        Self::Architecture,
        Self::TokenizerKind,
        Self::Other,
        Self::More,
        Self::Cancelled,
        Self::Unfinished,
        Self::NotAGrammar,
        Self::GrammarVersion,
        Self::GrammarDamaged,
        Self::GrammarLimits,
        Self::NotAllowed,
    ];

    /// The message for a user.
    pub(crate) const fn text(self) -> &'static CStr {
        match self {
            Self::Ok => c"done",
            Self::NullPointer => c"a pointer is null",
            Self::Misaligned => {
                c"an address is not aligned: models to 64 bytes, buffers to 4, handles to 8"
            }
            Self::BufferTooSmall => c"a buffer is too small",
            Self::Length => c"a length reaches beyond the address space",
            Self::Overlap => c"two buffers or handles overlap",
            Self::InvalidHandle => c"a handle is not initialised",
            Self::NotAModel => c"not a Kinglet model",
            Self::ModelVersion => c"the model is newer than this library",
            Self::ModelDamaged => c"the model is damaged or cut short",
            Self::NoTokenizer => c"the model has no tokenizer",
            Self::Tokenizer => c"the model's tokenizer is damaged or not known",
            Self::Unencodable => c"the vocabulary has no token for a byte of the text",
            Self::Token => c"a token is outside the vocabulary",
            Self::Batch => c"a batch is 0 or too large",
            Self::NonFinite => c"a value is not finite",
            Self::Options => c"a sampler option is out of range",
            Self::Counts => c"penalties need a count for every token of the vocabulary",
            Self::NoCandidate => c"no token is left to draw",
            Self::TooManyBans => c"too many tokens are banned",
            Self::NotAState => c"not a Kinglet state",
            Self::StateVersion => c"the state is newer than this library",
            Self::StateDamaged => c"the state is damaged or cut short",
            Self::StateOfOtherModel => c"the state belongs to another model",
            Self::StateType => c"the state was saved by an engine with the other type of state",
            Self::F16State => c"the model's state cannot be kept in f16",
            Self::Architecture => c"the library was built without the model's architecture",
            Self::TokenizerKind => c"the library was built without the model's kind of tokenizer",
            Self::Other => c"unknown error",
            Self::More => c"there are more pieces",
            Self::Cancelled => c"the hook asked to stop",
            Self::Unfinished => {
                c"what is done in pieces has not come to its end, or the engine went on in between"
            }
            Self::NotAGrammar => c"not a compiled Kinglet grammar",
            Self::GrammarVersion => c"the grammar has a layout that is not known: compile it anew",
            Self::GrammarDamaged => c"the grammar is damaged or cut short",
            Self::GrammarLimits => c"no text of the grammar is within the limits",
            Self::NotAllowed => c"the grammar does not allow the token here",
        }
    }
}

/// The status of a call that computed `result`.
pub(crate) fn status(result: Result<(), KingletStatus>) -> KingletStatus {
    match result {
        Ok(()) => KingletStatus::Ok,
        Err(status) => status,
    }
}

/// The description of a KingletStatus in English, a string that always lives;
/// of any other number, that it is unknown.
#[unsafe(no_mangle)]
pub extern "C" fn kinglet_error_string(status: i32) -> *const c_char {
    let status = usize::try_from(status).ok().and_then(|code| KingletStatus::ALL.get(code));
    status.unwrap_or(&KingletStatus::Other).text().as_ptr()
}

/// The version of this library, such as "0.1.0": a string that always lives.
#[unsafe(no_mangle)]
pub extern "C" fn kinglet_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => panic!("a version has no NUL"),
        };
    VERSION.as_ptr()
}

impl From<ModelError> for KingletStatus {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::TooShort { .. } | ModelError::Magic { .. } => Self::NotAModel,
            ModelError::Version { .. } | ModelError::Architecture { .. } => Self::ModelVersion,
            ModelError::Disabled { .. } => Self::Architecture,
            ModelError::Misaligned { .. } => Self::Misaligned,
            _ => Self::ModelDamaged,
        }
    }
}

impl From<TokenizerError> for KingletStatus {
    fn from(error: TokenizerError) -> Self {
        match error {
            TokenizerError::BytePairs => Self::TokenizerKind,
            _ => Self::Tokenizer,
        }
    }
}

impl From<BufferError> for KingletStatus {
    fn from(error: BufferError) -> Self {
        match error {
            BufferError::F16State { .. } => Self::F16State,
            _ => Self::BufferTooSmall,
        }
    }
}

impl From<StepError> for KingletStatus {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Token { .. } => Self::Token,
            StepError::Logits { .. } => Self::BufferTooSmall,
            StepError::Batch { .. } => Self::Batch,
            StepError::NonFinite => Self::NonFinite,
            StepError::Cancelled { .. } => Self::Cancelled,
            StepError::Unfinished { .. } => Self::Unfinished,
            _ => Self::Other,
        }
    }
}

impl From<StateError> for KingletStatus {
    fn from(error: StateError) -> Self {
        match error {
            StateError::NonFinite { .. } => Self::NonFinite,
            _ => Self::Other,
        }
    }
}

impl From<StateFileError> for KingletStatus {
    fn from(error: StateFileError) -> Self {
        match error {
            StateFileError::TooShort { .. } | StateFileError::Magic { .. } => Self::NotAState,
            StateFileError::Version { .. } => Self::StateVersion,
            StateFileError::Element { .. } => Self::StateType,
            StateFileError::Model { .. } => Self::StateOfOtherModel,
            StateFileError::Token { .. } => Self::Token,
            StateFileError::NonFinite { .. } => Self::NonFinite,
            StateFileError::Buffer { .. } => Self::BufferTooSmall,
            StateFileError::Misaligned { .. } => Self::Misaligned,
            StateFileError::Incomplete { .. } => Self::Unfinished,
            StateFileError::Sequence { .. } | StateFileError::Device => Self::Other,
            _ => Self::StateDamaged,
        }
    }
}

impl From<OptionsError> for KingletStatus {
    fn from(error: OptionsError) -> Self {
        match error {
            OptionsError::PenaltyWithoutCounts => Self::Counts,
            _ => Self::Options,
        }
    }
}

impl From<SampleError> for KingletStatus {
    fn from(error: SampleError) -> Self {
        match error {
            SampleError::NonFinite { .. } => Self::NonFinite,
            SampleError::NoCandidate => Self::NoCandidate,
            SampleError::CountsTooShort { .. } => Self::Counts,
            SampleError::TooManyLogits => Self::Length,
            _ => Self::Other,
        }
    }
}

impl From<GrammarError> for KingletStatus {
    fn from(error: GrammarError) -> Self {
        match error {
            GrammarError::Magic => Self::NotAGrammar,
            GrammarError::Layout { .. } => Self::GrammarVersion,
            _ => Self::GrammarDamaged,
        }
    }
}

impl From<ConstraintError> for KingletStatus {
    fn from(error: ConstraintError) -> Self {
        match error {
            ConstraintError::NoToken { .. } => Self::Unencodable,
            ConstraintError::TooShort { .. } => Self::GrammarLimits,
            ConstraintError::NotAllowed { .. } => Self::NotAllowed,
            _ => Self::Other,
        }
    }
}

impl From<SnapshotError> for KingletStatus {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Buffer { .. } => Self::BufferTooSmall,
            _ => Self::StateDamaged,
        }
    }
}

impl From<BanError> for KingletStatus {
    fn from(_: BanError) -> Self {
        Self::TooManyBans
    }
}

const _: () = {
    let mut code = 0;
    while code < KingletStatus::ALL.len() {
        assert!(KingletStatus::ALL[code] as usize == code);
        code += 1;
    }
};
