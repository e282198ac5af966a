//! RWKV-6 "Finch" (arXiv 2404.05892), the forward pass of a layer: RWKV-5.2
//! whose token shift and decay depend on the data.
//!
//! With `x` the residual stream, `LN` LayerNorm, `*` elementwise, `s` the
//! logistic function, and parentheses as the operations are computed in f32:
//!
//! ```text
//! x = x + TimeMix(LN(x; ln1))
//! x = x + ChannelMix(LN(x; ln2))
//! ```
//!
//! **Time mix** of the normed input `n`, whose predecessor in the sequence is `p`:
//!
//! ```text
//! z   = n + (p - n) * time_maa_x
//! m   = tanh(time_maa_w1 z)                              five vectors: w, k, v, r, g
//! n_c = n + (p - n) * (time_maa_c + time_maa_w2_c m_c)   for c in w, k, v, r, g
//! r = receptance n_r;  k = key n_k;  v = value n_v;  g = gate n_g
//! w = exp(-exp(time_decay + time_decay_w2 tanh(time_decay_w1 n_w)))
//! u = time_faaaa
//! y = LinearAttention(r, k, v, w, u, g)                  per head, see `heads`
//! TimeMix = output y
//! ```
//!
//! **Channel mix**: see [`channel_mix`](crate::rwkv::channel_mix).

use crate::format::model::Model;
use crate::format::shape::Shape;
use crate::format::tensors::{RWKV6, SHIFTS, position};
use crate::kernels::activations::QuantizedMut;
use crate::kernels::matrix::Matrix;
use crate::kernels::{Kernels, Product, Rows};
use crate::num::math;
use crate::num::state_dtype::StateElement;
use crate::rwkv::batch::{Block, toward_previous};
use crate::rwkv::channel_mix::{self, GatedChannelMix};
use crate::rwkv::scratch::{Carver, floats_len, quantized_len};
use crate::rwkv::v5::decay;
use crate::rwkv::wkv::LinearAttention;

/// Elements of a layer's scratch for a block of `columns`.
pub(crate) const fn workspace_len(shape: &Shape, columns: usize) -> usize {
    let time_mix = time_mix_len(shape, columns);
    let channel_mix = channel_mix::gated_len(shape, columns);
    if time_mix > channel_mix { time_mix } else { channel_mix }
}

const fn time_mix_len(shape: &Shape, columns: usize) -> usize {
    let ranks = shape.ranks;
    // normed, the five corrections, y
    (2 + SHIFTS) * floats_len(columns * shape.width)
        + SHIFTS * quantized_len(columns, shape.width)
        + floats_len(columns * SHIFTS * ranks.shift)
        + SHIFTS * quantized_len(columns, ranks.shift)
        + floats_len(columns * ranks.decay)
        + quantized_len(columns, ranks.decay)
}

/// Weights of a layer's time mix.
#[derive(Debug)]
struct TimeMix<'a> {
    /// Weight and bias of ln1: `[width]` each.
    ln1: (&'a [f32], &'a [f32]),
    shift: Shift<'a>,
    /// `[width]`
    time_decay: &'a [f32],
    /// `[rank][width]`
    decay_first: Matrix<'a>,
    /// `[width][rank]`
    decay_second: Matrix<'a>,
    /// Bonus: `[head][channel]`
    time_faaaa: &'a [f32],
    /// Weight and bias of the per-head norm: `[width]` each.
    ln_x: (&'a [f32], &'a [f32]),
    /// `[width][width]` each.
    receptance: Matrix<'a>,
    key: Matrix<'a>,
    value: Matrix<'a>,
    gate: Matrix<'a>,
    output: Matrix<'a>,
}

/// The token shift that depends on the data, for w, k, v, r, g.
#[derive(Debug)]
struct Shift<'a> {
    /// Token shift of its own input: `[width]`
    maa_x: &'a [f32],
    /// `[width]` each.
    maa: [&'a [f32]; SHIFTS],
    /// `[5 rank][width]`
    first: Matrix<'a>,
    /// `[width][rank]` each.
    second: [Matrix<'a>; SHIFTS],
}

/// The tensor of that name in the layer, looked up at compile time.
macro_rules! tensor {
    ($model:expr, $layer:expr, $kind:ident $name:literal) => {
        $model.$kind($layer, const { position(RWKV6, $name) })
    };
}

impl<'a> TimeMix<'a> {
    #[inline(never)]
    fn new(model: &Model<'a>, layer: usize) -> Self {
        Self {
            ln1: (
                tensor!(model, layer, vector "ln1.weight"),
                tensor!(model, layer, vector "ln1.bias"),
            ),
            shift: Shift {
                maa_x: tensor!(model, layer, vector "att.time_maa_x"),
                maa: [
                    tensor!(model, layer, vector "att.time_maa_w"),
                    tensor!(model, layer, vector "att.time_maa_k"),
                    tensor!(model, layer, vector "att.time_maa_v"),
                    tensor!(model, layer, vector "att.time_maa_r"),
                    tensor!(model, layer, vector "att.time_maa_g"),
                ],
                first: tensor!(model, layer, matrix "att.time_maa_w1"),
                second: [
                    tensor!(model, layer, matrix "att.time_maa_w2.w"),
                    tensor!(model, layer, matrix "att.time_maa_w2.k"),
                    tensor!(model, layer, matrix "att.time_maa_w2.v"),
                    tensor!(model, layer, matrix "att.time_maa_w2.r"),
                    tensor!(model, layer, matrix "att.time_maa_w2.g"),
                ],
            },
            time_decay: tensor!(model, layer, vector "att.time_decay"),
            decay_first: tensor!(model, layer, matrix "att.time_decay_w1"),
            decay_second: tensor!(model, layer, matrix "att.time_decay_w2"),
            time_faaaa: tensor!(model, layer, vector "att.time_faaaa"),
            ln_x: (
                tensor!(model, layer, vector "att.ln_x.weight"),
                tensor!(model, layer, vector "att.ln_x.bias"),
            ),
            receptance: tensor!(model, layer, matrix "att.receptance.weight"),
            key: tensor!(model, layer, matrix "att.key.weight"),
            value: tensor!(model, layer, matrix "att.value.weight"),
            gate: tensor!(model, layer, matrix "att.gate.weight"),
            output: tensor!(model, layer, matrix "att.output.weight"),
        }
    }
}

#[inline(never)]
fn channel_mix<'a>(model: &Model<'a>, layer: usize) -> GatedChannelMix<'a> {
    GatedChannelMix {
        ln2: (tensor!(model, layer, vector "ln2.weight"), tensor!(model, layer, vector "ln2.bias")),
        shift: [
            tensor!(model, layer, vector "ffn.time_maa_k"),
            tensor!(model, layer, vector "ffn.time_maa_r"),
        ],
        receptance: tensor!(model, layer, matrix "ffn.receptance.weight"),
        key: tensor!(model, layer, matrix "ffn.key.weight"),
        value: tensor!(model, layer, sparse "ffn.value.weight"),
    }
}

/// Computes a layer: advances `state` and adds to the residual stream.
///
/// * `x`: `[column][width]`, the residual stream
/// * `state`: the layer's states, `shift [slot][width]` of the time mix, the
///   same of the channel mix, `S [head][slot][key][value]`
/// * `scratch`: [`workspace_len`] elements
#[inline(never)]
pub(crate) fn layer<K: Kernels, S: StateElement>(
    block: &Block<'_, K>,
    model: &Model<'_>,
    layer: usize,
    x: &mut [f32],
    state: &mut [S],
    scratch: &mut [f32],
) {
    let shifts = block.slots * block.shape.width;
    let (time_shift, state) = state.split_at_mut(shifts);
    let (channel_shift, heads) = state.split_at_mut(shifts);
    TimeMix::new(model, layer).forward(block, x, time_shift, heads, scratch);
    channel_mix(model, layer).forward(block, x, channel_shift, toward_previous, scratch);
}

impl TimeMix<'_> {
    #[inline(never)]
    fn forward<K: Kernels, S: StateElement>(
        &self,
        block: &Block<'_, K>,
        x: &mut [f32],
        shift: &mut [S],
        heads: &mut [S],
        scratch: &mut [f32],
    ) {
        let (columns, width) = (block.len(), block.shape.width);
        let rank = block.shape.ranks.decay;
        let mut carver = Carver::new(scratch);
        let normed = carver.floats(columns * width);
        let mut outputs = [(); SHIFTS].map(|()| carver.floats(columns * width));
        let y = carver.floats(columns * width);
        let mut mixed = [(); SHIFTS].map(|()| carver.quantized(columns, width));
        let hidden = carver.floats(columns * rank);
        let mut decay_input = carver.quantized(columns, rank);

        block.norm(x, self.ln1, normed);
        self.shift.mix(block, normed, shift, &mut outputs, y, &mut mixed, carver);
        block.remember(normed, shift);

        // The corrections are used up; their buffers take the products.
        let [w, k, v, r, g] = outputs;
        {
            let [n_w, n_k, n_v, n_r, n_g] = mixed.each_ref().map(QuantizedMut::view);
            block.kernels.products(&mut [
                Product { matrix: self.receptance, input: n_r, output: &mut *r },
                Product { matrix: self.key, input: n_k, output: &mut *k },
                Product { matrix: self.value, input: n_v, output: &mut *v },
                Product { matrix: self.gate, input: n_g, output: &mut *g },
                Product { matrix: self.decay_first, input: n_w, output: &mut *hidden },
            ]);
        }
        block.activate(hidden, math::tanh, &mut decay_input);
        let input = decay_input.view();
        let job = Product { matrix: self.decay_second, input, output: &mut *w };
        block.kernels.products(&mut [job]);
        let work = 60 * w.len();
        block.kernels.for_parts(
            (0..columns, Rows::new(w, width)),
            work,
            #[inline(always)]
            |(_, w)| {
                for w in w.iter() {
                    for (w, base) in w.iter_mut().zip(self.time_decay) {
                        *w = decay(base + *w);
                    }
                }
            },
        );
        let (u, gate, ln_x) = (self.time_faaaa, Some(&*g), self.ln_x);
        LinearAttention { r, k, v, w, u, gate, ln_x }.forward(block, heads, y);
        block.project(y, block.shape.head_size, self.output, [r, k], &mut mixed[0], x);
    }
}

impl Shift<'_> {
    /// Quantizes the shifted inputs for w, k, v, r and g into `mixed`.
    ///
    /// * `normed`, `scratch`: `[column][width]`
    /// * `state`: `[slot][width]`
    /// * `corrections`: `[column][width]` each, scratch
    /// * `carver`: memory for what is of the pairs' rank
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "buffers that the time mix carves once")]
    fn mix<K: Kernels, S: StateElement>(
        &self,
        block: &Block<'_, K>,
        normed: &[f32],
        state: &[S],
        corrections: &mut [&mut [f32]; SHIFTS],
        scratch: &mut [f32],
        mixed: &mut [QuantizedMut<'_>; SHIFTS],
        mut carver: Carver<'_>,
    ) {
        let Block { shape, kernels, .. } = block;
        let (columns, width, rank) = (block.len(), shape.width, shape.ranks.shift);
        let hidden = carver.floats(columns * SHIFTS * rank);
        let mut inputs = [(); SHIFTS].map(|()| carver.quantized(columns, rank));

        let [z, ..] = &mut *mixed;
        let mut z = [z.reborrow()];
        block.mix(normed, state, [self.maa_x], toward_previous, scratch, &mut z);
        let input = z[0].view();
        kernels.products(&mut [Product { matrix: self.first, input, output: &mut *hidden }]);
        let parts =
            (Rows::new(hidden, SHIFTS * rank), inputs.each_mut().map(QuantizedMut::reborrow));
        kernels.for_parts(
            parts,
            40 * columns * SHIFTS * rank,
            #[inline(always)]
            |(hidden, inputs)| {
                let mut inputs = inputs.map(QuantizedMut::columns);
                for hidden in hidden.iter() {
                    for (m, input) in hidden.chunks_exact_mut(rank).zip(&mut inputs) {
                        for m in m.iter_mut() {
                            *m = math::tanh(*m);
                        }
                        if let Some(input) = input.next() {
                            input.quantize(m, |q| kernels.pack(q));
                        }
                    }
                }
            },
        );
        let jobs = self.second.iter().zip(&inputs).zip(&mut *corrections);
        let jobs =
            jobs.map(|((&matrix, input), output)| Product { matrix, input: input.view(), output });
        kernels.products(&mut heapless::Vec::<_, SHIFTS>::from_iter(jobs));
        let corrections = corrections.each_ref().map(|correction| &**correction);
        let share = |column: usize, c: usize| {
            let correction = &corrections[c][column * width..][..width];
            self.maa[c].iter().zip(correction).map(|(maa, m)| maa + m)
        };
        block.mix_with(normed, state, share, toward_previous, scratch, mixed);
    }
}
