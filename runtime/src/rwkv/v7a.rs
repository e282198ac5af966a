//! RWKV-7a: the time mix of RWKV-7 and a channel mix with DeepEmbed, a small
//! matrix for each token id and layer, of which a token reads one.
//!
//! With `n` the normed input, `p` its predecessor, `E` the matrix of the token
//! id, and parentheses as the operations are computed in f32:
//!
//! ```text
//! n_k = n + (p - n) * x_k
//! e   = s1 n                                            without token shift
//! e'[j] = sum over i ascending of e[i] * E[i][j]
//! h   = relu(key n_k)^2 * (s2 e' + s0)
//! ChannelMix = value h
//! ```
//!
//! E is `s_emb + s_emb_x LN0(emb)` of the token, computed by the quantizer.

use crate::format::model::Model;
use crate::format::shape::Shape;
use crate::format::tensors::{RWKV7A, position};
use crate::kernels::matrix::{Matrix, RowTable, SparseMatrix};
use crate::kernels::{Kernels, Product, Rows};
use crate::num::state_dtype::StateElement;
use crate::rwkv::batch::{Block, toward_previous};
use crate::rwkv::channel_mix;
use crate::rwkv::scratch::{Carver, floats_len, quantized_len};
use crate::rwkv::v7;

/// Elements of a layer's scratch for a block of `columns`.
pub(crate) const fn workspace_len(shape: &Shape, columns: usize) -> usize {
    let time_mix = v7::time_mix_len(shape, columns);
    let channel_mix = channel_mix_len(shape, columns);
    if time_mix > channel_mix { time_mix } else { channel_mix }
}

const fn channel_mix_len(shape: &Shape, columns: usize) -> usize {
    let rank = shape.ranks.deep_embed;
    // normed, output; hidden, scales; e, e', E
    2 * floats_len(columns * shape.width)
        + 2 * quantized_len(columns, shape.width)
        + 2 * floats_len(columns * shape.ffn)
        + quantized_len(columns, shape.ffn)
        + 2 * floats_len(columns * rank)
        + quantized_len(columns, rank)
        + floats_len(columns * rank * rank)
}

/// Weights of a layer's channel mix.
#[derive(Debug)]
struct ChannelMix<'a> {
    /// Weight and bias of ln2: `[width]` each.
    ln2: (&'a [f32], &'a [f32]),
    /// Token shift: `[width]`
    shift: &'a [f32],
    /// `[ffn][width]`
    key: Matrix<'a>,
    /// `[width][ffn]`
    value: SparseMatrix<'a>,
    /// `[ffn]`
    s0: &'a [f32],
    /// `[rank][width]`
    s1: Matrix<'a>,
    /// `[ffn][rank]`
    s2: Matrix<'a>,
    /// E: `[vocab][rank rank]`
    table: RowTable<'a>,
}

/// The tensor of that name in the layer, looked up at compile time.
macro_rules! tensor {
    ($model:expr, $layer:expr, $kind:ident $name:literal) => {
        $model.$kind($layer, const { position(RWKV7A, $name) })
    };
}

impl<'a> ChannelMix<'a> {
    #[inline(never)]
    fn new(model: &Model<'a>, layer: usize) -> Self {
        Self {
            ln2: (
                tensor!(model, layer, vector "ln2.weight"),
                tensor!(model, layer, vector "ln2.bias"),
            ),
            shift: tensor!(model, layer, vector "ffn.x_k"),
            key: tensor!(model, layer, matrix "ffn.key.weight"),
            value: tensor!(model, layer, sparse "ffn.value.weight"),
            s0: tensor!(model, layer, vector "ffn.s0"),
            s1: tensor!(model, layer, matrix "ffn.s1"),
            s2: tensor!(model, layer, matrix "ffn.s2"),
            table: tensor!(model, layer, rows "ffn.s_emb.weight"),
        }
    }
}

/// Computes a layer: as [`v7::layer`], with [`workspace_len`] elements of `scratch`.
#[inline(never)]
pub(crate) fn layer<K: Kernels, S: StateElement>(
    block: &Block<'_, K>,
    model: &Model<'_>,
    layer: usize,
    x: &mut [f32],
    state: &mut [S],
    v_first: &mut [f32],
    scratch: &mut [f32],
) {
    v7::time_mix(block, model, layer, x, state, v_first, scratch);
    let shifts = block.slots * block.shape.width;
    let channel_shift = &mut state[shifts..2 * shifts];
    ChannelMix::new(model, layer).forward(block, x, channel_shift, scratch);
}

impl ChannelMix<'_> {
    #[inline(never)]
    fn forward<K: Kernels, S: StateElement>(
        &self,
        block: &Block<'_, K>,
        x: &mut [f32],
        shift: &mut [S],
        scratch: &mut [f32],
    ) {
        let Block { shape, kernels, .. } = block;
        let (columns, width, ffn, rank) =
            (block.len(), shape.width, shape.ffn, shape.ranks.deep_embed);
        let mut carver = Carver::new(scratch);
        let [normed, output] = [(); 2].map(|()| carver.floats(columns * width));
        let mut mixed = [carver.quantized(columns, width)];
        let mut unshifted = carver.quantized(columns, width);
        let [hidden, scales] = [(); 2].map(|()| carver.floats(columns * ffn));
        let mut activation = carver.quantized(columns, ffn);
        let [e, seen] = [(); 2].map(|()| carver.floats(columns * rank));
        let mut seen_input = carver.quantized(columns, rank);
        let matrices = carver.floats(columns * rank * rank);

        block.norm(x, self.ln2, normed);
        block.mix(normed, shift, [self.shift], toward_previous, output, &mut mixed);
        block.remember(normed, shift);
        block.activate(normed, |n| n, &mut unshifted);
        let (n_k, n) = (mixed[0].view(), unshifted.view());
        kernels.products(&mut [
            Product { matrix: self.key, input: n_k, output: &mut *hidden },
            Product { matrix: self.s1, input: n, output: &mut *e },
        ]);
        self.look_up(block, e, matrices, seen);
        block.activate(seen, |e| e, &mut seen_input);
        let input = seen_input.view();
        kernels.products(&mut [Product { matrix: self.s2, input, output: &mut *scales }]);

        let scale = |column: usize, h: &mut [f32]| {
            let scales = &scales[column * ffn..][..ffn];
            for ((h, s2), s0) in h.iter_mut().zip(scales).zip(self.s0) {
                *h *= s2 + s0;
            }
        };
        channel_mix::squared(block, hidden, scale, self.value, &mut activation, output);
        block.add(output, x);
    }

    /// `seen = e E`, each column with its token's E.
    ///
    /// * `e`, `seen`: `[column][rank]`
    /// * `matrices`: `[column][rank][rank]`, scratch
    fn look_up<K: Kernels>(
        &self,
        block: &Block<'_, K>,
        e: &[f32],
        matrices: &mut [f32],
        seen: &mut [f32],
    ) {
        let rank = block.shape.ranks.deep_embed;
        let work = 3 * matrices.len();
        let parts = (0..block.len(), Rows::new(matrices, rank * rank), Rows::new(seen, rank));
        block.kernels.for_parts(
            parts,
            work,
            #[inline(always)]
            |(range, matrices, seen)| {
                for (column, (matrix, seen)) in range.zip(matrices.iter().zip(seen.iter())) {
                    self.table.read(block.columns[column].token as usize, matrix);
                    seen.fill(0.0);
                    let e = &e[column * rank..][..rank];
                    for (e, row) in e.iter().zip(matrix.chunks_exact(rank)) {
                        for (seen, x) in seen.iter_mut().zip(row) {
                            *seen += e * x;
                        }
                    }
                }
            },
        );
    }
}
