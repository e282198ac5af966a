//! The channel mix: what all versions do to its hidden channels, and the whole
//! of it for RWKV-4 to 6.
//!
//! With `n` the normed input, `p` its predecessor and parentheses as computed:
//!
//! ```text
//! n_c = p + (n - p) * time_mix_c        RWKV-4, 5     for c in k, r
//! n_c = n + (p - n) * time_maa_c        RWKV-6
//! h = relu(key n_k)^2
//! ChannelMix = s(receptance n_r) * (value h)
//! ```

use crate::format::weights::LayerNorm;
use crate::kernels::activations::QuantizedMut;
use crate::kernels::matrix::{Matrix, SparseMatrix};
use crate::kernels::{ChunksOf, Kernels, Phase, Product, SparseProduct};
use crate::num::math;
use crate::num::state_dtype::StateElement;
use crate::rwkv::batch::Batch;
use crate::rwkv::cost::{self, region};
use crate::rwkv::scratch::{ScratchArena, scratch};

/// `output = value f(relu(hidden)^2)`, where `f(token, h)` may change a
/// token's hidden channels.
///
/// * `hidden`: `[token][ffn]`, left as what `value` was multiplied with
/// * `activation`: `[token][ffn]`, scratch
/// * `output`: `[token][width]`
#[inline(always)]
pub(crate) fn squared<K: Kernels>(
    batch: &Batch<'_, K>,
    hidden: &mut [f32],
    f: impl Fn(usize, &mut [f32]) + Sync,
    value: SparseMatrix<'_>,
    activation: &mut QuantizedMut<'_>,
    output: &mut [f32],
) {
    let region = region(Phase::Activation, cost::RELU_SQUARED, hidden.len());
    batch.for_each_token(
        region,
        (ChunksOf::new(hidden, batch.shape.ffn), activation.reborrow()),
        #[inline(always)]
        |token, (hidden, activation)| {
            for h in hidden.iter_mut() {
                *h = relu_squared(*h);
            }
            f(token, hidden);
            activation.quantize(hidden, |_| ());
        },
    );
    let product = SparseProduct { matrix: value, input: activation.view(), output };
    batch.kernels.sparse_product(product);
}

/// `max(x, 0)^2`; NaN stays NaN.
#[inline(always)]
fn relu_squared(x: f32) -> f32 {
    let positive = if x < 0.0 { 0.0 } else { x };
    positive * positive
}

scratch! {
    /// Buffers of [`GatedChannelMix::forward`].
    pub(crate) struct GatedBuffers(shape, tokens) {
        /// `[token][width]` each.
        normed: floats(tokens * shape.width),
        gate: floats(tokens * shape.width),
        output: floats(tokens * shape.width),
        /// Inputs of key and receptance.
        shifted: quantized(tokens, shape.width) [2],
        /// `[token][ffn]`
        hidden: floats(tokens * shape.ffn),
        activation: quantized(tokens, shape.ffn),
    }
}

/// The channel mix of RWKV-4 to 6: weights of a layer.
#[derive(Debug)]
pub(crate) struct GatedChannelMix<'a> {
    pub(crate) ln2: LayerNorm<'a>,
    /// Token shift for k and r: `[width]` each.
    pub(crate) shares: [&'a [f32]; 2],
    /// `[width][width]`
    pub(crate) receptance: Matrix<'a>,
    /// `[ffn][width]`
    pub(crate) key: Matrix<'a>,
    /// `[width][ffn]`
    pub(crate) value: SparseMatrix<'a>,
}

impl GatedChannelMix<'_> {
    /// Advances the token shift's `state`, `[sequence][width]`, and adds to the
    /// residual stream `x`, `[token][width]`. `lerp` is the version's token shift;
    /// `scratch` has [`GatedBuffers::len`] elements.
    #[inline(never)]
    pub(crate) fn forward<K: Kernels, S: StateElement>(
        &self,
        batch: &Batch<'_, K>,
        x: &mut [f32],
        state: &mut [S],
        lerp: impl Fn(f32, f32, f32) -> f32 + Sync,
        scratch: &mut [f32],
    ) {
        let mut arena = ScratchArena::new(scratch);
        let GatedBuffers { normed, gate, output, mut shifted, hidden, mut activation } =
            GatedBuffers::carve(&mut arena, &batch.shape, batch.len());

        batch.norm(x, self.ln2, normed);
        batch.token_shift(normed, state, self.shares, lerp, output, &mut shifted);
        batch.save_shift_state(normed, state);
        let [n_k, n_r] = shifted.each_ref().map(QuantizedMut::view);
        batch.kernels.products(&mut [
            Product { matrix: self.key, input: n_k, output: &mut *hidden },
            Product { matrix: self.receptance, input: n_r, output: &mut *gate },
        ]);
        squared(batch, hidden, |_, _| (), self.value, &mut activation, output);
        self.add_gated(batch, gate, output, x);
    }

    /// `x += s(gate) * output`, all `[token][width]`.
    #[inline(always)]
    fn add_gated<K: Kernels>(
        &self,
        batch: &Batch<'_, K>,
        gate: &[f32],
        output: &[f32],
        x: &mut [f32],
    ) {
        let width = batch.shape.width;
        let region = region(Phase::Activation, cost::ACTIVATION, x.len());
        batch.for_each_token(
            region,
            ChunksOf::new(x, width),
            #[inline(always)]
            |token, x| {
                let row = token * width..(token + 1) * width;
                for ((x, r), y) in x.iter_mut().zip(&gate[row.clone()]).zip(&output[row]) {
                    *x += math::sigmoid(*r) * y;
                }
            },
        );
    }
}
