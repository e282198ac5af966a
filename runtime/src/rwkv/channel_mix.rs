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

use crate::format::shape::Shape;
use crate::kernels::activations::QuantizedMut;
use crate::kernels::matrix::{Matrix, SparseMatrix};
use crate::kernels::{Kernels, Product, Rows, SparseProduct};
use crate::num::math;
use crate::num::state_dtype::StateElement;
use crate::rwkv::batch::Block;
use crate::rwkv::scratch::{Carver, floats_len, quantized_len};

/// `output = value f(relu(hidden)^2)`, where `f(column, h)` may change a
/// column's hidden channels.
///
/// * `hidden`: `[column][ffn]`, left as what `value` was multiplied with
/// * `activation`: a block of `ffn` inputs, scratch
/// * `output`: `[column][width]`
#[inline(always)]
pub(crate) fn squared<K: Kernels>(
    block: &Block<'_, K>,
    hidden: &mut [f32],
    f: impl Fn(usize, &mut [f32]) + Sync,
    value: SparseMatrix<'_>,
    activation: &mut QuantizedMut<'_>,
    output: &mut [f32],
) {
    let work = 6 * hidden.len();
    let parts = (0..block.len(), Rows::new(hidden, block.shape.ffn), activation.reborrow());
    block.kernels.for_parts(
        parts,
        work,
        #[inline(always)]
        |(range, hidden, activation)| {
            for ((column, hidden), activation) in range.zip(hidden.iter()).zip(activation.columns())
            {
                for h in hidden.iter_mut() {
                    *h = relu_squared(*h);
                }
                f(column, hidden);
                activation.quantize(hidden, |_| ());
            }
        },
    );
    let job = SparseProduct { matrix: value, input: activation.view(), output };
    block.kernels.sparse_product(job);
}

/// `max(x, 0)^2`; NaN stays NaN.
#[inline(always)]
fn relu_squared(x: f32) -> f32 {
    let positive = if x < 0.0 { 0.0 } else { x };
    positive * positive
}

/// Elements of the scratch of [`GatedChannelMix::forward`].
pub(crate) const fn gated_len(shape: &Shape, columns: usize) -> usize {
    // normed, gate, output
    3 * floats_len(columns * shape.width)
        + 2 * quantized_len(columns, shape.width)
        + floats_len(columns * shape.ffn)
        + quantized_len(columns, shape.ffn)
}

/// Weights of a layer's channel mix in RWKV-4 to 6.
#[derive(Debug)]
pub(crate) struct GatedChannelMix<'a> {
    /// Weight and bias of ln2: `[width]` each.
    pub(crate) ln2: (&'a [f32], &'a [f32]),
    /// Token shift for k and r: `[width]` each.
    pub(crate) shift: [&'a [f32]; 2],
    /// `[width][width]`
    pub(crate) receptance: Matrix<'a>,
    /// `[ffn][width]`
    pub(crate) key: Matrix<'a>,
    /// `[width][ffn]`
    pub(crate) value: SparseMatrix<'a>,
}

impl GatedChannelMix<'_> {
    /// Advances the token shift's `state`, `[slot][width]`, and adds to the
    /// residual stream `x`, `[column][width]`. `shifted` is the version's token shift.
    #[inline(never)]
    pub(crate) fn forward<K: Kernels, S: StateElement>(
        &self,
        block: &Block<'_, K>,
        x: &mut [f32],
        state: &mut [S],
        shifted: impl Fn(f32, f32, f32) -> f32 + Sync,
        scratch: &mut [f32],
    ) {
        let (columns, width, ffn) = (block.len(), block.shape.width, block.shape.ffn);
        let mut carver = Carver::new(scratch);
        let [normed, gate, output] = [(); 3].map(|()| carver.floats(columns * width));
        let mut mixed = [(); 2].map(|()| carver.quantized(columns, width));
        let hidden = carver.floats(columns * ffn);
        let mut activation = carver.quantized(columns, ffn);

        block.norm(x, self.ln2, normed);
        block.mix(normed, state, self.shift, shifted, output, &mut mixed);
        block.remember(normed, state);
        let [n_k, n_r] = mixed.each_ref().map(QuantizedMut::view);
        block.kernels.products(&mut [
            Product { matrix: self.key, input: n_k, output: &mut *hidden },
            Product { matrix: self.receptance, input: n_r, output: &mut *gate },
        ]);
        squared(block, hidden, |_, _| (), self.value, &mut activation, output);

        let work = 32 * x.len();
        let parts = (0..columns, Rows::new(x, width));
        block.kernels.for_parts(
            parts,
            work,
            #[inline(always)]
            |(range, x)| {
                for (column, x) in range.zip(x.iter()) {
                    let row = column * width..(column + 1) * width;
                    for ((x, r), y) in x.iter_mut().zip(&gate[row.clone()]).zip(&output[row]) {
                        *x += math::sigmoid(*r) * y;
                    }
                }
            },
        );
    }
}
