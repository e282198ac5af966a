//! What is no error and yet seldom meant, or was told by a guess.

use std::fmt;

use kinglet::format::shape::Architecture;

use crate::calibrate::TOKENS;

/// What is no error and yet seldom meant, or was told by a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// The vocabulary has far fewer ids than the model.
    SmallVocabulary {
        /// Ids of the vocabulary.
        found: usize,
        /// Ids of the model.
        vocab: usize,
    },
    /// The tuned state fits by its shape, which models share; its file names none.
    StateModel,
    /// The tuned state is one of another version, by its file's metadata or name.
    StateVersion {
        /// The version that the file states: 4 to 7.
        stated: u8,
        /// The model's architecture.
        model: Architecture,
    },
    /// The calibration's text is short.
    ShortCalibration {
        /// Its tokens.
        tokens: usize,
    },
    /// Nothing but its half precision says which way the tuned state is laid out.
    StateLayout,
    /// Nothing but the file's ending says which way square low-rank matrices are laid out.
    LowRankLayout,
}

impl Note {
    /// Compares a vocabulary with a model of `vocab` ids.
    ///
    /// Models round their number of ids up to a multiple of 64 or so, and World's 65,530 to
    /// 65,536; a vocabulary that leaves more than a 64th without a token is seldom the model's.
    pub(crate) fn on_vocabulary(found: usize, vocab: usize) -> Option<Self> {
        const SPARE: usize = 64;
        let unused = vocab.saturating_sub(found);
        (unused > SPARE.max(vocab / SPARE)).then_some(Self::SmallVocabulary { found, vocab })
    }

    /// Judges the length of a text that matrices are calibrated with.
    ///
    /// With fewer tokens than a few hundred, the weights fit the text more than the model.
    pub(crate) fn on_calibration(tokens: usize) -> Option<Self> {
        (1..TOKENS / 4).contains(&tokens).then_some(Self::ShortCalibration { tokens })
    }

    /// Compares the version that a tuned state's file states with that of the model.
    pub(crate) fn on_state(stated: Option<u8>, model: Architecture) -> Self {
        let of_model = match model {
            Architecture::Rwkv4 => 4,
            Architecture::Rwkv5_0 | Architecture::Rwkv5_1 | Architecture::Rwkv5_2 => 5,
            Architecture::Rwkv6 => 6,
            _ => 7,
        };
        match stated {
            Some(stated) if stated != of_model => Self::StateVersion { stated, model },
            _ => Self::StateModel,
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SmallVocabulary { found, vocab } => write!(
                f,
                "the vocabulary has {found} ids, the model {vocab}; check that it is the one the \
                 model was trained with"
            ),
            Self::ShortCalibration { tokens } => write!(
                f,
                "the calibration text has {tokens} tokens, of {TOKENS} that are of use; a longer one, \
                 or the model's own, loses less"
            ),
            Self::StateModel => f.write_str(
                "the tuned state fits the model's shape and does not say which model it was tuned \
                 on; it is of use with that one only",
            ),
            Self::StateVersion { stated, model } => write!(
                f,
                "the tuned state says that it is one of RWKV-{stated}, the model is {model}; it \
                 fits by its shape alone and is of no use with this model"
            ),
            Self::StateLayout => f.write_str(
                "the tuned state was taken as [head][key][value], because it is in half precision \
                 as web-rwkv's and Ai00's are; name it .st if it is one of those, and save it as \
                 .pth if it is [head][value][key]",
            ),
            Self::LowRankLayout => f.write_str(
                "the low-rank matrices are square, so the file's ending decided how they are laid \
                 out: .st as web-rwkv has them, any other as official checkpoints do",
            ),
        }
    }
}
