//! RWKV-5.0, 5.1 and 5.2 "Eagle" (arXiv 2404.05892), the forward pass of a layer.
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
//! n_c = p + (n - p) * time_mix_c                 for c in k, v, r and from 5.1 on g
//! r = receptance n_r;  k = key n_k;  v = value n_v;  g = gate n_g
//! w = exp(-exp(time_decay))                      per head; from 5.2 on per channel
//! u = exp(time_first)                            per head; in 5.2 time_faaaa, per channel
//! y = LinearAttention(r, k, v, w, u, g)          per head, see `heads`
//! TimeMix = output y
//! ```
//!
//! **Channel mix**: see [`channel_mix`](crate::rwkv::channel_mix).

use crate::format::model::Model;
use crate::format::shape::{Architecture, Shape};
use crate::format::tensors::{RWKV5_1, position};
use crate::kernels::matrix::Matrix;
use crate::kernels::{Kernels, Product, Rows};
use crate::num::math;
use crate::num::state_dtype::StateElement;
use crate::rwkv::batch::{Block, toward_current};
use crate::rwkv::channel_mix::{self, GatedChannelMix};
use crate::rwkv::scratch::{Carver, floats_len, quantized_len};
use crate::rwkv::wkv::LinearAttention;

/// Elements of a layer's scratch for a block of `columns`.
pub(crate) const fn workspace_len(shape: &Shape, columns: usize) -> usize {
    // normed, r, k, v, gate, y; w and u for all columns
    let time_mix = 6 * floats_len(columns * shape.width)
        + 2 * floats_len(shape.width)
        + 4 * quantized_len(columns, shape.width);
    let channel_mix = channel_mix::gated_len(shape, columns);
    if time_mix > channel_mix { time_mix } else { channel_mix }
}

/// The bonus of the current token, as the version stores it.
#[derive(Debug)]
enum Bonus<'a> {
    /// `time_first` of 5.0 and 5.1: the logarithm, `[head]`.
    Logarithm(&'a [f32]),
    /// `time_faaaa` of 5.2: `[head][channel]`.
    Itself(&'a [f32]),
}

/// The gate, which 5.0 does not have.
#[derive(Debug)]
struct Gate<'a> {
    /// Token shift: `[width]`
    shift: &'a [f32],
    /// `[width][width]`
    matrix: Matrix<'a>,
}

/// Weights of a layer's time mix.
#[derive(Debug)]
struct TimeMix<'a> {
    /// Weight and bias of ln1: `[width]` each.
    ln1: (&'a [f32], &'a [f32]),
    /// Token shift for k, v, r: `[width]` each.
    shift: [&'a [f32]; 3],
    /// `[head]`; in 5.2 `[head][channel]`.
    time_decay: &'a [f32],
    bonus: Bonus<'a>,
    /// Weight and bias of the per-head norm: `[width]` each.
    ln_x: (&'a [f32], &'a [f32]),
    gate: Option<Gate<'a>>,
    /// `[width][width]` each.
    receptance: Matrix<'a>,
    key: Matrix<'a>,
    value: Matrix<'a>,
    output: Matrix<'a>,
}

/// The tensor of that name in the layer, looked up at compile time: the tables
/// of 5.0 to 5.2 have at one position what plays one part.
macro_rules! tensor {
    ($model:expr, $layer:expr, $kind:ident $name:literal) => {
        $model.$kind($layer, const { position(RWKV5_1, $name) })
    };
}

impl<'a> TimeMix<'a> {
    #[inline(never)]
    fn new(model: &Model<'a>, layer: usize) -> Self {
        let architecture = model.shape().architecture;
        let bonus = tensor!(model, layer, vector "att.time_first");
        Self {
            ln1: (
                tensor!(model, layer, vector "ln1.weight"),
                tensor!(model, layer, vector "ln1.bias"),
            ),
            shift: [
                tensor!(model, layer, vector "att.time_mix_k"),
                tensor!(model, layer, vector "att.time_mix_v"),
                tensor!(model, layer, vector "att.time_mix_r"),
            ],
            time_decay: tensor!(model, layer, vector "att.time_decay"),
            bonus: match architecture {
                Architecture::Rwkv5_2 => Bonus::Itself(bonus),
                _ => Bonus::Logarithm(bonus),
            },
            ln_x: (
                tensor!(model, layer, vector "att.ln_x.weight"),
                tensor!(model, layer, vector "att.ln_x.bias"),
            ),
            gate: match architecture {
                Architecture::Rwkv5_0 => None,
                _ => Some(Gate {
                    shift: tensor!(model, layer, vector "att.time_mix_g"),
                    matrix: tensor!(model, layer, matrix "att.gate.weight"),
                }),
            },
            receptance: tensor!(model, layer, matrix "att.receptance.weight"),
            key: tensor!(model, layer, matrix "att.key.weight"),
            value: tensor!(model, layer, matrix "att.value.weight"),
            output: tensor!(model, layer, matrix "att.output.weight"),
        }
    }
}

#[inline(never)]
fn channel_mix<'a>(model: &Model<'a>, layer: usize) -> GatedChannelMix<'a> {
    GatedChannelMix {
        ln2: (tensor!(model, layer, vector "ln2.weight"), tensor!(model, layer, vector "ln2.bias")),
        shift: [
            tensor!(model, layer, vector "ffn.time_mix_k"),
            tensor!(model, layer, vector "ffn.time_mix_r"),
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
    channel_mix(model, layer).forward(block, x, channel_shift, toward_current, scratch);
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
        let Block { shape, kernels, .. } = block;
        let (columns, width) = (block.len(), shape.width);
        let mut carver = Carver::new(scratch);
        let [normed, r, k, v, gate, y] = [(); 6].map(|()| carver.floats(columns * width));
        let [w, u] = [(); 2].map(|()| carver.floats(width));
        let mut mixed = [(); 3].map(|()| carver.quantized(columns, width));
        let mut mixed_g = [carver.quantized(columns, width)];

        block.norm(x, self.ln1, normed);
        block.mix(normed, shift, self.shift, toward_current, y, &mut mixed);
        if let Some(gate) = &self.gate {
            block.mix(normed, shift, [gate.shift], toward_current, y, &mut mixed_g);
        }
        block.remember(normed, shift);
        {
            let [n_k, n_v, n_r] = mixed.each_ref().map(|mixed| mixed.view());
            let mut jobs = heapless::Vec::<_, 4>::from_array([
                Product { matrix: self.receptance, input: n_r, output: &mut *r },
                Product { matrix: self.key, input: n_k, output: &mut *k },
                Product { matrix: self.value, input: n_v, output: &mut *v },
            ]);
            if let Some(g) = &self.gate {
                let (input, output) = (mixed_g[0].view(), &mut *gate);
                let _ = jobs.push(Product { matrix: g.matrix, input, output });
            }
            kernels.products(&mut jobs);
        }
        let n = shape.head_size;
        let parts = (0..shape.heads(), Rows::new(w, n), Rows::new(u, n));
        kernels.for_parts(
            parts,
            60 * width,
            #[inline(always)]
            |(range, w, u)| {
                for (head, (w, u)) in range.zip(w.iter().zip(u.iter())) {
                    self.decay_and_bonus(head, w, u);
                }
            },
        );
        let gate = self.gate.as_ref().map(|_| &*gate);
        LinearAttention { r, k, v, w, u, gate, ln_x: self.ln_x }.forward(block, heads, y);
        block.project(y, n, self.output, [r, k], &mut mixed[0], x);
    }

    /// w and u of one head, `[channel]` each.
    #[inline(always)]
    fn decay_and_bonus(&self, head: usize, w: &mut [f32], u: &mut [f32]) {
        let channels = head * w.len()..(head + 1) * w.len();
        match &self.bonus {
            Bonus::Logarithm(time_first) => {
                w.fill(decay(self.time_decay[head]));
                u.fill(math::exp(time_first[head]));
            }
            Bonus::Itself(time_faaaa) => {
                for (w, time_decay) in w.iter_mut().zip(&self.time_decay[channels.clone()]) {
                    *w = decay(*time_decay);
                }
                u.copy_from_slice(&time_faaaa[channels]);
            }
        }
    }
}

/// What a token leaves of the state: `exp(-exp(x))`.
#[inline(always)]
pub(crate) fn decay(x: f32) -> f32 {
    math::exp(-math::exp(x))
}
