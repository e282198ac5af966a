//! What a board proves about itself before it is believed.

use kinglet::cpu::Cpu;
use kinglet::crc32::Crc32;
use kinglet::engine::Engine;
use kinglet::kernels::{Kernels, Product};
use kinglet::matrix::Matrix;
use kinglet::model::Model;
use kinglet::quantized::Quantized;
use kinglet::scalar::Scalar;

use crate::console::{Failed, fail, say};

/// What the desktop computes with the shipped model.
pub(crate) struct Golden {
    /// The model that these are of.
    content_hash: [u8; 4],
    /// `kinglet digest --tokens N` for N of 4 and 64.
    digests: [(usize, u32); 2],
    /// The first tokens of `kinglet run --temp 0`.
    pub(crate) tokens: [u32; 16],
}

/// The golden values of the shipped model.
pub(crate) const GOLDEN: Golden = Golden {
    content_hash: [0x66, 0x98, 0x72, 0x72],
    digests: [(4, 0x7731_c25e), (64, 0x5774_c7a9)],
    tokens: [742, 694, 308, 670, 45, 665, 705, 308, 522, 450, 551, 282, 47, 293, 533, 671],
};

impl Golden {
    /// These values, if they are of `model`.
    pub(crate) fn of(model: &Model<'_>) -> Option<&'static Self> {
        const { &GOLDEN }.matches(model)
    }

    fn matches(&'static self, model: &Model<'_>) -> Option<&'static Self> {
        model.header().content_hash.starts_with(&self.content_hash).then_some(self)
    }

    /// The digest of so many tokens.
    pub(crate) fn digest(&self, tokens: usize) -> Option<u32> {
        self.digests.iter().find(|(n, _)| *n == tokens).map(|(_, digest)| *digest)
    }
}

/// The CRC-32 of the logits of `tokens` tokens: (7919 i + 1) mod vocab for each i.
#[inline(never)]
pub(crate) fn digest<K: Kernels>(
    engine: &mut Cpu<'_, K>,
    tokens: usize,
    logits: &mut [f32],
) -> Result<u32, Failed> {
    let vocab = engine.shape().vocab;
    let mut crc = Crc32::new();
    for i in 0..tokens {
        let token = (7919 * i as u64 + 1) % vocab as u64;
        if let Err(error) = engine.step(0, token as u32, logits) {
            return fail!("digest, token {}: {}", i, error);
        }
        for logit in logits.iter() {
            crc = crc.update(&logit.to_le_bytes());
        }
    }
    Ok(crc.finish())
}

/// Inputs of the small product: a row of the model's smallest matrices.
const INPUTS: usize = 128;
const ROWS: usize = 16;

/// Whether the kernels compute what the reference does, on 16 rows of the
/// model's head and 16 outputs of its first sparse matrix.
#[inline(never)]
pub(crate) fn kernels<K: Kernels>(kernels: &K, model: &Model<'_>) -> Result<(), Failed> {
    let mut natural = [0; INPUTS];
    for (i, q) in natural.iter_mut().enumerate() {
        // Both ends of the range, and zeros for the sparse product.
        *q = match i % 5 {
            0 => 32639,
            1 => -32639,
            2 => 0,
            _ => (i as i16 * 521) ^ 0x155,
        };
    }
    let head = model.head();
    if head.inputs != INPUTS || head.rows < ROWS {
        say!("kernels: the model's head is not {} wide, not compared", INPUTS);
        return Ok(());
    }
    let (weights, scales) = head.row_tile(0);
    let matrix = Matrix { rows: ROWS, weights, scales, ..head };
    let mut packed = natural;
    kernels.pack(&mut packed);
    let (mut found, mut expected) = ([0.0; ROWS], [0.0; ROWS]);
    kernels.products(&mut [Product { matrix, input: column(&packed), output: &mut found }]);
    Scalar.products(&mut [Product { matrix, input: column(&natural), output: &mut expected }]);
    if found.map(f32::to_bits) != expected.map(f32::to_bits) {
        return fail!("the {} product differs from the reference", kernels.name());
    }
    Ok(())
}

/// One column; the kernels of this target do not read the sums.
fn column(q: &[i16; INPUTS]) -> Quantized<'_> {
    Quantized { columns: 1, inputs: INPUTS, q, sums: &[0; INPUTS / 32], scales: &[0.125] }
}
