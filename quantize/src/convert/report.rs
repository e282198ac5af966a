//! What a conversion tells of itself.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use kinglet::format::shape::Shape;
use kinglet::kernels::weights::WeightType;

use super::Limit;
use crate::note::Note;

/// How one tensor was quantized.
#[derive(Clone, Debug)]
pub struct TensorReport {
    /// Official name.
    pub name: String,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// Type of the weights.
    pub weights: WeightType,
    /// Inputs that share a scale.
    pub group: usize,
    /// Bytes in the file.
    pub bytes: u64,
    /// Sum of the squared weights.
    pub signal: f64,
    /// Sum of the squared rounding errors.
    pub noise: f64,
    /// Largest magnitude of a weight.
    pub largest: f32,
    /// What four bits cost here, where that was measured: the KL divergence of the int8 model with
    /// this tensor alone in int4, in nats per token.
    pub int4_kl: Option<f64>,
}

/// What is quantized, by directory entry, as int8 and as int4.
pub(super) type Reports = BTreeMap<usize, [TensorReport; 2]>;

impl TensorReport {
    /// Bits of a weight, without its share of scales and padding.
    pub const fn bits(&self) -> u32 {
        self.weights.bytes(16) as u32 / 2
    }

    /// Bits in the file per weight of the checkpoint.
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.bytes as f64 / (self.rows as f64 * self.cols as f64)
    }

    /// Root mean square of the rounding errors over that of the weights; 0 for a tensor of zeros.
    pub fn relative_error(&self) -> f64 {
        if self.signal == 0.0 { 0.0 } else { (self.noise / self.signal).sqrt() }
    }

    /// Largest magnitude over the root mean square of the weights; 1 for a tensor of zeros.
    pub fn outlier_ratio(&self) -> f64 {
        let weights = self.rows as f64 * self.cols as f64;
        if self.signal == 0.0 {
            1.0
        } else {
            f64::from(self.largest) / (self.signal / weights).sqrt()
        }
    }

    /// Signal-to-noise ratio in decibels; infinite where nothing was lost.
    pub fn snr_db(&self) -> f64 {
        10.0 * (self.signal / self.noise).log10()
    }
}

/// What was measured to [choose](super::Bits::Auto) the bits of each tensor. KL divergences are from
/// the int8 model of the same checkpoint, in nats per token, on texts that are not the calibration's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// The limit.
    pub limit: Limit,
    /// Of the model as it was written.
    pub kl: f64,
    /// With every matrix and table in int4.
    pub int4_kl: f64,
    /// Tokens of the texts.
    pub tokens: usize,
}

/// What a conversion did.
#[derive(Clone, Debug)]
pub struct Report {
    /// The model's dimensions.
    pub shape: Shape,
    /// SHA-256 over architecture, shape and weights.
    pub content_hash: [u8; 32],
    /// What is no error and yet seldom meant, or was told by a guess.
    pub notes: Vec<Note>,
    /// Quantized tensors, in file order.
    pub tensors: Vec<TensorReport>,
    /// What was measured to choose the bits of each tensor; `None` where nothing was.
    pub mix: Option<Mix>,
    /// Values of the checkpoint's tensors that the model uses.
    pub parameters: u64,
    /// Length of the model file in bytes.
    pub file_len: u64,
    /// Time the conversion took.
    pub elapsed: Duration,
}

/// A SHA-256 in hexadecimal.
#[derive(Clone, Copy, Debug)]
pub struct Hex<'a>(pub &'a [u8; 32]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
