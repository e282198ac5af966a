//! The self-test: proofs that a board gives before it is believed.
//!
//! The smallest comes first, so that a failure names the part that is broken: a product of each
//! kind beside plain Rust (the kernels), the conversions and steps of an f16 state, then the digest
//! of 64 tokens (a whole model). Products and digest go through the image's own buffers, because
//! there is no room for others.

use kinglet::engine::Cpu;
use kinglet::engine::Engine;
use kinglet::format::crc32::Crc32;
use kinglet::format::model::{Model, Tensor};
use kinglet::format::tensors::tensor_count;
use kinglet::kernels::activations::Quantized;
use kinglet::kernels::matrix::{INPUT_PAD, Matrix, SparseMatrix, padded_inputs};
use kinglet::kernels::scalar::Scalar;
use kinglet::kernels::{Kernels, Product, SparseProduct};
#[cfg(all(feature = "f16-state", target_abi = "eabihf"))]
use kinglet::{
    format::model::Aligned,
    kernels::Wkv7,
    num::state_dtype::{StateElement, f16},
};

use crate::console::{Failed, fail, say};
use crate::memory::Element;

/// Results of the desktop with the shipped model.
pub(crate) struct Golden {
    /// The model that these are of.
    content_hash: [u8; 32],
    /// `kinglet digest`, of 64 tokens, with this image's type of state.
    pub(crate) digest: u32,
    /// The first tokens of `kinglet run --temp 0`, the same with either type.
    pub(crate) tokens: [u32; 16],
}

/// The golden values of the shipped model.
pub(crate) const GOLDEN: Golden = Golden {
    content_hash: kinglet_stories::CONTENT_HASH,
    digest: if cfg!(feature = "f16-state") {
        kinglet_stories::DIGEST_F16
    } else {
        kinglet_stories::DIGEST
    },
    tokens: kinglet_stories::GREEDY_TOKENS,
};

/// The prefix of `kinglet digest` for such a state.
pub(crate) const LABEL: &str = if cfg!(feature = "f16-state") { "f16:" } else { "" };

impl Golden {
    /// These values, if they are of `model`.
    pub(crate) fn of(model: &Model<'_>) -> Option<&'static Self> {
        const { &GOLDEN }.matches(model)
    }

    fn matches(&'static self, model: &Model<'_>) -> Option<&'static Self> {
        (model.header().content_hash == self.content_hash).then_some(self)
    }
}

/// The CRC-32 of the logits of `tokens` tokens: (7919 i + 1) mod vocab for each i.
#[inline(never)]
pub(crate) fn digest<K: Kernels>(
    engine: &mut Cpu<'_, K, Element>,
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

/// Inputs of the small products: the largest that the shipped model's matrices have.
const MAX_INPUTS: usize = 512;
/// Rows of the small products.
const ROWS: usize = 16;
/// Sums of the inputs of a segment.
type Sums = [i32; MAX_INPUTS / INPUT_PAD];

/// Whether the floats that the image was linked with are those of IEEE 754.
#[cfg(feature = "soft-float")]
#[inline(never)]
pub(crate) fn floats() -> Result<(), Failed> {
    use kinglet_soft_float::check::{CHECKSUM, checksum};

    let found = checksum();
    if found != CHECKSUM {
        return fail!("checksum of floats: {:08x}, expected {:08x}", found, CHECKSUM);
    }
    say!("floats in assembly: as in hardware");
    Ok(())
}

/// Whether the kernels compute what the reference does, on 16 rows of the
/// model's head and all of its first sparse matrix. `scratch` is overwritten.
#[inline(never)]
pub(crate) fn kernels<K: Kernels>(
    kernels: &K,
    model: &Model<'_>,
    scratch: &mut [f32],
) -> Result<(), Failed> {
    dense(kernels, model.lm_head())?;
    let sparse = (0..tensor_count(model.shape())).find_map(|index| match model.tensor(index) {
        Some(Tensor::Sparse(matrix)) => Some(matrix),
        _ => None,
    });
    sparse.map_or(Ok(()), |matrix| self::sparse(kernels, matrix, scratch))
}

#[inline(never)]
fn dense<K: Kernels>(kernels: &K, head: Matrix<'_>) -> Result<(), Failed> {
    let mut q = [0; MAX_INPUTS];
    let Some(q) = q.get_mut(..padded_inputs(head.inputs())).filter(|_| head.rows() >= ROWS) else {
        say!("the head is too wide for a small product");
        return Ok(());
    };
    let (weights, scales) = head.row_tile(0);
    let (inputs, group, multiplier) = (head.inputs(), head.group(), head.multiplier());
    let Some(matrix) = Matrix::new(ROWS, inputs, group, multiplier, weights, scales) else {
        return fail!("the head's first rows are no matrix");
    };
    let (mut found, mut expected) = ([0.0; ROWS], [0.0; ROWS]);
    let mut sums = [0; _];
    fill(q, &mut sums, head.inputs(), 1);
    let input = token(q, &sums, head.inputs());
    Scalar.products(&mut [Product { matrix, input, output: &mut expected }]);
    kernels.pack(q);
    let input = token(q, &sums, head.inputs());
    kernels.products(&mut [Product { matrix, input, output: &mut found }]);
    same(kernels, &found, &expected)
}

#[inline(never)]
fn sparse<K: Kernels>(
    kernels: &K,
    matrix: SparseMatrix<'_>,
    scratch: &mut [f32],
) -> Result<(), Failed> {
    let mut q = [0; MAX_INPUTS];
    let q = q.get_mut(..padded_inputs(matrix.inputs()));
    let (Some(q), Some(outputs)) = (q, scratch.get_mut(..2 * matrix.rows())) else {
        say!("the sparse matrix is too large for a small product");
        return Ok(());
    };
    let (found, expected) = outputs.split_at_mut(matrix.rows());
    let mut sums = [0; _];
    fill(q, &mut sums, matrix.inputs(), 7);
    let input = token(q, &sums, matrix.inputs());
    Scalar.sparse_product(SparseProduct { matrix, input, output: expected });
    kernels.sparse_product(SparseProduct { matrix, input, output: found });
    same(kernels, found, expected)
}

/// Whether the kernels convert elements of an f16 state as the reference does: each f16, and of
/// f32 each sign, exponent and upper fraction with lower fractions about a place to round at.
/// Without an FPU the conversions are plain Rust, which has its tests on any machine.
#[cfg(all(feature = "f16-state", target_abi = "eabihf"))]
#[inline(never)]
pub(crate) fn conversions<K: Kernels>(kernels: &K) -> Result<(), Failed> {
    let same = |upper: &u16| {
        let values = [0x0FFF, 0x1000, 0x1001, 0x3000];
        let values = values.map(|lower| f32::from_bits(u32::from(*upper) << 16 | lower));
        let mut narrow = [f16::ZERO; 4];
        kernels.narrow_f16(&values, &mut narrow);
        let mut pairs = values.iter().zip(&narrow);
        let element = f16::from_bits(*upper);
        let [wide, ..] = kernels.widen_f16(&[element; 4]);
        // A state holds nothing that is not finite.
        (!element.is_finite() || wide.to_bits() == widened(element).to_bits())
            && pairs.all(|(value, found)| narrowed(*value).to_bits() == found.to_bits())
    };
    match (0..=u16::MAX).find(|upper| !same(upper)) {
        None => Ok(()),
        Some(upper) => fail!("the {} kernels convert {} wrong", kernels.name(), upper),
    }
}

/// Channels of a small head, as many as the kernels compute together.
#[cfg(all(feature = "f16-state", target_abi = "eabihf"))]
const CHANNELS: usize = 8;

/// Whether the kernels advance an f16 state as the formulas say, beyond its range too: the digest
/// has no such values.
#[cfg(all(feature = "f16-state", target_abi = "eabihf"))]
#[inline(never)]
pub(crate) fn recurrence<K: Kernels>(kernels: &K) -> Result<(), Failed> {
    let numbers = [1.0, 30000.0, -60000.0, f32::MAX, f32::INFINITY, -f32::NAN];
    if numbers.iter().all(|number| advances(kernels, *number)) {
        return Ok(());
    }
    fail!("the {} kernels advance a state wrong", kernels.name())
}

/// Whether the kernels advance a small head right where `number` is one of the values.
#[cfg(all(feature = "f16-state", target_abi = "eabihf"))]
#[inline(never)]
fn advances<K: Kernels>(kernels: &K, number: f32) -> bool {
    let row: [f32; CHANNELS] = core::array::from_fn(|i| i as f32 - 2.5);
    let (mut v, w) = (row, row.map(|x| x * 0.125));
    v[3] = number;
    let x = Wkv7 { w: &w, kk: &row, b: &w, k: &row, v: &v, r: &w };
    let mut state = Aligned([narrowed(1.5); CHANNELS * CHANNELS]);
    let (mut expected, mut y) = (state.0, [0.0; CHANNELS]);
    if kernels.wkv7(&x, &mut state.0, &mut y) == 0 {
        return false;
    }
    let same = y.iter().enumerate().all(|(j, y)| {
        let sum = channel(&x, &mut expected, j);
        sum.to_bits() == y.to_bits() || !sum.is_finite() && !y.is_finite()
    });
    same && state.0.iter().zip(&expected).all(|(x, y)| x.to_bits() == y.to_bits())
}

/// The formulas of [`Wkv7`] for the value channel `j`, and its y.
#[cfg(all(feature = "f16-state", target_abi = "eabihf"))]
#[inline(never)]
fn channel(x: &Wkv7<'_>, state: &mut [f16], j: usize) -> f32 {
    // Not seen by the compiler, which would write out all turns of the loops.
    let n = core::hint::black_box(CHANNELS);
    let (mut p, mut y) = (0.0, 0.0);
    for i in 0..n {
        p += widened(state[i * n + j]) * x.kk[i];
    }
    for i in 0..n {
        let s = &mut state[i * n + j];
        let new = (widened(*s) * x.w[i] + -p * x.b[i]) + x.v[j] * x.k[i];
        y += new * x.r[i];
        *s = narrowed(new);
    }
    y
}

#[cfg(all(feature = "f16-state", target_abi = "eabihf"))]
#[inline(never)]
fn narrowed(value: f32) -> f16 {
    StateElement::narrow(value)
}

#[cfg(all(feature = "f16-state", target_abi = "eabihf"))]
#[inline(never)]
fn widened(element: f16) -> f32 {
    element.widen()
}

/// Values with both ends of the range; one in `every` is not zero. Their sums, which the kernels
/// of this target read for int4 alone.
fn fill(q: &mut [i16], sums: &mut Sums, inputs: usize, every: usize) {
    for (i, q) in q[..inputs].iter_mut().enumerate().step_by(every) {
        *q = match i % 3 {
            0 => 32639,
            1 => -32639,
            _ => (i as i16).wrapping_mul(521) >> 1,
        };
    }
    if cfg!(feature = "q4") {
        for (sum, q) in sums.iter_mut().zip(q.chunks(INPUT_PAD)) {
            *sum = q.iter().map(|q| i32::from(*q)).sum();
        }
    }
}

fn same<K: Kernels>(kernels: &K, found: &[f32], expected: &[f32]) -> Result<(), Failed> {
    let bits = |x: &f32| x.to_bits();
    if found.iter().map(bits).eq(expected.iter().map(bits)) {
        Ok(())
    } else {
        fail!("a product of the {} kernels differs from the reference", kernels.name())
    }
}

fn token<'a>(q: &'a [i16], sums: &'a Sums, inputs: usize) -> Quantized<'a> {
    let sums = &sums[..q.len() / INPUT_PAD];
    let Some(token) = Quantized::new(inputs, q, sums, &[0.125]) else { unreachable!("one token") };
    token
}
