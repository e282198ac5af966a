//! RWKV-7 "Goose" (arXiv 2503.14456), the forward pass of a layer.
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
//! n_c = n + (p - n) * x_c                    for c in r, w, k, v, a, g
//! r = receptance n_r;  k = key n_k;  v = value n_v
//! w = exp(-e^-0.5 * s(w0 + w2 tanh(w1 n_w)))              decay
//! a = s(a0 + a2 (a1 n_a))                                   in-context learning rate
//! g = g2 s(g1 n_g)                                          gate
//! v = v + (v_first - v) * s(v0 + v2 (v1 n_v))               from layer 1; layer 0: v_first = v
//! per head:
//!   kk = k * k_k;  kk = kk * (1 / max(sqrt(sum kk^2), 1e-12))
//!   b  = kk * a
//!   k  = k * (1 + (a - 1) * k_a)
//!   p[j]     = -(sum over i ascending of S[i][j] * kk[i])
//!   S[i][j]  = (S[i][j] * w[i] + p[j] * b[i]) + v[j] * k[i]
//!   y[j]     = sum over i ascending of S[i][j] * r[i]
//!   y = ((y - mean) * rstd) * ln_x.weight + ln_x.bias       eps 64e-5
//!   y = (y + (sum (r * k) * r_k) * v) * g
//! TimeMix = output y
//! ```
//!
//! The state S is `[key][value]`, value innermost: the lanes of a vector
//! register are value channels, and sums over key channels run in ascending
//! order, so every register width gives the same bits. The papers write the
//! state the other way round.
//!
//! **Channel mix**: `n_k = n + (p - n) * x_k`, `h = relu(key n_k)^2`,
//! `ChannelMix = value h`.

use crate::format::model::Model;
use crate::format::shape::{Ranks, Shape};
use crate::format::tensors::{RWKV7, position};
use crate::kernels::matrix::{Matrix, SparseMatrix};
use crate::kernels::{Kernels, Product, Rows};
use crate::num::math;
use crate::num::reduce;
use crate::num::state_dtype::StateElement;
use crate::rwkv::batch::{Block, toward_previous};
use crate::rwkv::channel_mix;
use crate::rwkv::scratch::{Carver, floats_len, quantized_len};
use crate::rwkv::wkv::{HEAD_NORM_EPS, TOGETHER, lanes};

/// -e^-0.5, which training code rounds to -0.606531.
const DECAY: f32 = -0.606_530_66;
/// Least norm that kk is divided by.
const MIN_NORM: f32 = 1e-12;
/// Vectors of a head's scratch: w, kk, b, k, v.
const HEAD_VECTORS: usize = 5;

/// Elements that layer 0 hands to the later ones: v_first, `[head][column][channel]`.
pub(crate) const fn carried_len(shape: &Shape, columns: usize) -> usize {
    columns * shape.width
}

/// Elements of a layer's scratch for a block of `columns`.
pub(crate) const fn workspace_len(shape: &Shape, columns: usize) -> usize {
    let time_mix = time_mix_len(shape, columns);
    let channel_mix = channel_mix_len(shape, columns);
    if time_mix > channel_mix { time_mix } else { channel_mix }
}

pub(crate) const fn time_mix_len(shape: &Shape, columns: usize) -> usize {
    let Ranks { decay, iclr, value, gate, .. } = shape.ranks;
    let row = floats_len(columns * shape.width);
    // normed and its shifted columns, which are gone before there are
    // w, a, residual, gate, made of the low-rank columns
    let shifted = row + 6 * quantized_len(columns, shape.width);
    let low_rank = 4 * row
        + quantized_len(columns, decay)
        + quantized_len(columns, iclr)
        + quantized_len(columns, value)
        + quantized_len(columns, gate);
    // r, k, v, y
    4 * row
        + floats_len(HEAD_VECTORS * shape.width)
        + floats_len(columns * decay)
        + floats_len(columns * iclr)
        + floats_len(columns * value)
        + floats_len(columns * gate)
        + if shifted > low_rank { shifted } else { low_rank }
}

const fn channel_mix_len(shape: &Shape, columns: usize) -> usize {
    // normed, output
    2 * floats_len(columns * shape.width)
        + quantized_len(columns, shape.width)
        + floats_len(columns * shape.ffn)
        + quantized_len(columns, shape.ffn)
}

/// A matrix pair of low rank: `second f(first n)`.
#[derive(Debug)]
struct LowRank<'a> {
    /// `[rank][width]`
    first: Matrix<'a>,
    /// `[width][rank]`
    second: Matrix<'a>,
}

/// The value residual's parameters, which layer 0 does not have.
#[derive(Debug)]
struct ValueResidual<'a> {
    /// `[width]`
    v0: &'a [f32],
    v: LowRank<'a>,
}

/// Weights of a layer's time mix.
#[derive(Debug)]
pub(crate) struct TimeMix<'a> {
    /// Weight and bias of ln1: `[width]` each.
    ln1: (&'a [f32], &'a [f32]),
    /// Token shift for r, w, k, v, a, g: `[width]` each.
    shift: [&'a [f32]; 6],
    /// `[width]`
    w0: &'a [f32],
    w: LowRank<'a>,
    /// `[width]`
    a0: &'a [f32],
    a: LowRank<'a>,
    residual: Option<ValueResidual<'a>>,
    g: LowRank<'a>,
    /// `[width]`
    k_k: &'a [f32],
    /// `[width]`
    k_a: &'a [f32],
    /// `[head][channel]`
    r_k: &'a [f32],
    /// Weight and bias of the per-head norm: `[width]` each.
    ln_x: (&'a [f32], &'a [f32]),
    /// `[width][width]` each.
    receptance: Matrix<'a>,
    key: Matrix<'a>,
    value: Matrix<'a>,
    output: Matrix<'a>,
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
}

/// The tensor of that name in the layer, looked up at compile time.
macro_rules! tensor {
    ($model:expr, $layer:expr, $kind:ident $name:literal) => {
        $model.$kind($layer, const { position(RWKV7, $name) })
    };
}

impl<'a> TimeMix<'a> {
    // Like its siblings not inlined, so that its temporaries do not lie on the
    // stack of a microcontroller during the products.
    #[inline(never)]
    pub(crate) fn new(model: &Model<'a>, layer: usize) -> Self {
        Self {
            ln1: (
                tensor!(model, layer, vector "ln1.weight"),
                tensor!(model, layer, vector "ln1.bias"),
            ),
            shift: [
                tensor!(model, layer, vector "att.x_r"),
                tensor!(model, layer, vector "att.x_w"),
                tensor!(model, layer, vector "att.x_k"),
                tensor!(model, layer, vector "att.x_v"),
                tensor!(model, layer, vector "att.x_a"),
                tensor!(model, layer, vector "att.x_g"),
            ],
            w0: tensor!(model, layer, vector "att.w0"),
            w: LowRank {
                first: tensor!(model, layer, matrix "att.w1"),
                second: tensor!(model, layer, matrix "att.w2"),
            },
            a0: tensor!(model, layer, vector "att.a0"),
            a: LowRank {
                first: tensor!(model, layer, matrix "att.a1"),
                second: tensor!(model, layer, matrix "att.a2"),
            },
            residual: (layer > 0).then(|| ValueResidual {
                v0: tensor!(model, layer, vector "att.v0"),
                v: LowRank {
                    first: tensor!(model, layer, matrix "att.v1"),
                    second: tensor!(model, layer, matrix "att.v2"),
                },
            }),
            g: LowRank {
                first: tensor!(model, layer, matrix "att.g1"),
                second: tensor!(model, layer, matrix "att.g2"),
            },
            k_k: tensor!(model, layer, vector "att.k_k"),
            k_a: tensor!(model, layer, vector "att.k_a"),
            r_k: tensor!(model, layer, vector "att.r_k"),
            ln_x: (
                tensor!(model, layer, vector "att.ln_x.weight"),
                tensor!(model, layer, vector "att.ln_x.bias"),
            ),
            receptance: tensor!(model, layer, matrix "att.receptance.weight"),
            key: tensor!(model, layer, matrix "att.key.weight"),
            value: tensor!(model, layer, matrix "att.value.weight"),
            output: tensor!(model, layer, matrix "att.output.weight"),
        }
    }
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
        }
    }
}

/// Computes a layer: advances `state` and adds to the residual stream.
///
/// * `x`: `[column][width]`, the residual stream
/// * `state`: the layer's states, `shift [slot][width]` of the time mix, the
///   same of the channel mix, `S [head][slot][key][value]`
/// * `v_first`: [`carried_len`] elements, written by layer 0
/// * `scratch`: [`workspace_len`] elements
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
    time_mix(block, model, layer, x, state, v_first, scratch);
    let shifts = block.slots * block.shape.width;
    let channel_shift = &mut state[shifts..2 * shifts];
    ChannelMix::new(model, layer).forward(block, x, channel_shift, scratch);
}

/// The first half of [`layer`], whose arguments it has.
// Its weights are not to lie on the stack during the channel mix.
#[inline(never)]
pub(crate) fn time_mix<K: Kernels, S: StateElement>(
    block: &Block<'_, K>,
    model: &Model<'_>,
    layer: usize,
    x: &mut [f32],
    state: &mut [S],
    v_first: &mut [f32],
    scratch: &mut [f32],
) {
    let shifts = block.slots * block.shape.width;
    let (shift, state) = state.split_at_mut(shifts);
    let heads = &mut state[shifts..];
    TimeMix::new(model, layer).forward(block, x, shift, heads, v_first, scratch);
}

impl TimeMix<'_> {
    /// Advances the token shift's state and that of the heads, and adds to `x`;
    /// see [`layer`].
    #[inline(never)]
    pub(crate) fn forward<K: Kernels, S: StateElement>(
        &self,
        block: &Block<'_, K>,
        x: &mut [f32],
        shift: &mut [S],
        heads: &mut [S],
        v_first: &mut [f32],
        scratch: &mut [f32],
    ) {
        let shape = &block.shape;
        let (columns, width) = (block.len(), shape.width);
        let mut carver = Carver::new(scratch);
        let [r, k, v, y] = [(); 4].map(|()| carver.floats(columns * width));
        let vectors = carver.floats(HEAD_VECTORS * width);
        let Ranks { decay, iclr, value, gate: gate_rank, .. } = shape.ranks;
        let [w_hidden, a_hidden, v_hidden, g_hidden] =
            [decay, iclr, value, gate_rank].map(|rank| carver.floats(columns * rank));
        let scratch = carver.rest();

        let hidden = [&mut *w_hidden, &mut *a_hidden, &mut *v_hidden, &mut *g_hidden];
        self.products(block, x, shift, [&mut *r, &mut *k, &mut *v], hidden, scratch);
        // In the place of what the products have read.
        let mut carver = Carver::new(&mut *scratch);
        let [w, a, residual, gate] = [(); 4].map(|()| carver.floats(columns * width));
        let low_rank = carver.rest();
        let hidden = [w_hidden, a_hidden, v_hidden, g_hidden];
        let outputs = [&mut *w, &mut *a, &mut *residual, &mut *gate];
        self.low_rank(block, hidden, outputs, low_rank);

        let inputs = HeadInputs { r, k, v, w, a, residual, gate };
        self.heads(block, &inputs, heads, v_first, vectors, y);

        let mut quantized = Carver::new(scratch).quantized(columns, width);
        block.project(y, shape.head_size, self.output, [r, k], &mut quantized, x);
    }

    /// Norm, token shift, and the products of the shifted inputs: r, k and v, and
    /// `hidden`, as in [`low_rank`](Self::low_rank).
    // Not inlined, like its siblings: their locals are not to lie on the stack together.
    #[inline(never)]
    fn products<K: Kernels, S: StateElement>(
        &self,
        block: &Block<'_, K>,
        x: &[f32],
        shift: &mut [S],
        [r, k, v]: [&mut [f32]; 3],
        hidden: [&mut [f32]; 4],
        scratch: &mut [f32],
    ) {
        let (columns, width) = (block.len(), block.shape.width);
        let [w_hidden, a_hidden, v_hidden, g_hidden] = hidden;
        let mut carver = Carver::new(scratch);
        let normed = carver.floats(columns * width);
        let mut mixed = [(); 6].map(|()| carver.quantized(columns, width));

        block.norm(x, self.ln1, normed);
        block.mix(normed, shift, self.shift, toward_previous, r, &mut mixed);
        block.remember(normed, shift);

        let [n_r, n_w, n_k, n_v, n_a, n_g] = &mixed;
        let mut jobs = heapless::Vec::<_, 7>::new();
        // One by one: an array would lie on the stack a second time.
        let mut push = |matrix, input, output| {
            let _ = jobs.push(Product { matrix, input, output });
        };
        push(self.receptance, n_r.view(), r);
        push(self.key, n_k.view(), k);
        push(self.value, n_v.view(), v);
        push(self.w.first, n_w.view(), w_hidden);
        push(self.a.first, n_a.view(), a_hidden);
        push(self.g.first, n_g.view(), g_hidden);
        if let Some(p) = &self.residual {
            push(p.v.first, n_v.view(), v_hidden);
        }
        block.kernels.products(&mut jobs);
    }

    /// `second f(first n)` of the low-rank pairs, from `hidden`, which is `first n`
    /// of w, a, v and g.
    ///
    /// * `hidden`: `[column][rank]` each
    /// * `outputs`: w, a, residual and gate as in [`HeadInputs`]
    #[inline(never)]
    fn low_rank<K: Kernels>(
        &self,
        block: &Block<'_, K>,
        hidden: [&mut [f32]; 4],
        outputs: [&mut [f32]; 4],
        scratch: &mut [f32],
    ) {
        let [w_hidden, a_hidden, v_hidden, g_hidden] = hidden;
        let [w, a, residual, gate] = outputs;
        let mut carver = Carver::new(scratch);
        let Ranks { decay, iclr, value, gate: gate_rank, .. } = block.shape.ranks;
        let [mut w_input, mut a_input, mut v_input, mut g_input] =
            [decay, iclr, value, gate_rank].map(|rank| carver.quantized(block.len(), rank));
        block.activate(w_hidden, math::tanh, &mut w_input);
        block.activate(a_hidden, |x| x, &mut a_input);
        block.activate(g_hidden, math::sigmoid, &mut g_input);
        if self.residual.is_some() {
            block.activate(v_hidden, |x| x, &mut v_input);
        }
        let mut jobs = heapless::Vec::<_, 4>::from_array([
            Product { matrix: self.w.second, input: w_input.view(), output: w },
            Product { matrix: self.a.second, input: a_input.view(), output: a },
            Product { matrix: self.g.second, input: g_input.view(), output: gate },
        ]);
        if let Some(p) = &self.residual {
            let _ =
                jobs.push(Product { matrix: p.v.second, input: v_input.view(), output: residual });
        }
        block.kernels.products(&mut jobs);
    }

    /// The recurrence, head by head: from the products to the input of `output`.
    ///
    /// * `state`: `[head][slot][key][value]`
    /// * `v_first`, `y`: `[head][column][channel]`
    /// * `vectors`: `[head][HEAD_VECTORS][channel]`, scratch
    #[inline(never)]
    fn heads<K: Kernels, S: StateElement>(
        &self,
        block: &Block<'_, K>,
        inputs: &HeadInputs<'_>,
        state: &mut [S],
        v_first: &mut [f32],
        vectors: &mut [f32],
        y: &mut [f32],
    ) {
        let Block { shape, columns, slots, kernels } = block;
        let n = shape.head_size;
        let parts = (
            0..shape.heads(),
            Rows::new(state, slots * n * n),
            Rows::new(v_first, columns.len() * n),
            Rows::new(vectors, HEAD_VECTORS * n),
            Rows::new(y, columns.len() * n),
        );
        let fetch = |row: &[S]| {
            if let Some(row) = S::as_f32(row) {
                kernels.prefetch(row);
            }
        };
        // Seven operations for each element of the state, besides the vectors.
        let work = columns.len() * shape.width * (7 * n + 100);
        kernels.for_parts(
            parts,
            work,
            #[inline(always)]
            |(heads, state, v_first, vectors, y)| {
                let mut states = state.iter();
                let mut next = states.next();
                // Those of several sequences are too much at once.
                if let Some(state) = next.as_deref().filter(|_| *slots == 1) {
                    state.chunks_exact(n).for_each(fetch);
                }
                let rows = v_first.iter().zip(vectors.iter()).zip(y.iter());
                for (head, ((v_first, vectors), y)) in heads.zip(rows) {
                    let Some(state) = next else { break };
                    next = states.next();
                    let head = self.head(head, n);
                    let rows = v_first.chunks_exact_mut(n).zip(y.chunks_exact_mut(n));
                    for ((column, name), (v_first, y)) in columns.iter().enumerate().zip(rows) {
                        let state = &mut state[name.slot * n * n..][..n * n];
                        // While the first column is computed, the next head's
                        // states are fetched.
                        let next = next.as_deref().filter(|_| column == 0).unwrap_or_default();
                        let at = column * shape.width + head.channel;
                        head.step(
                            &inputs.at(at, n),
                            state,
                            v_first,
                            vectors,
                            y,
                            #[inline(always)]
                            |key| {
                                if let Some(row) = next.get(key * n..(key + 1) * n) {
                                    fetch(row);
                                }
                            },
                        );
                    }
                }
            },
        );
    }

    /// The parameters of one head of `n` channels.
    #[inline(always)]
    fn head(&self, head: usize, n: usize) -> Head<'_> {
        let channel = head * n;
        Head {
            channel,
            w0: &self.w0[channel..][..n],
            a0: &self.a0[channel..][..n],
            v0: self.residual.as_ref().map(|p| &p.v0[channel..][..n]),
            k_k: &self.k_k[channel..][..n],
            k_a: &self.k_a[channel..][..n],
            r_k: &self.r_k[channel..][..n],
            ln_x: (&self.ln_x.0[channel..][..n], &self.ln_x.1[channel..][..n]),
        }
    }
}

/// What the products give to the recurrence: `[column][width]` each.
#[derive(Debug)]
struct HeadInputs<'a> {
    r: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    w: &'a [f32],
    a: &'a [f32],
    residual: &'a [f32],
    gate: &'a [f32],
}

impl HeadInputs<'_> {
    /// The `n` channels from `at` on.
    #[inline(always)]
    fn at(&self, at: usize, n: usize) -> HeadInputs<'_> {
        HeadInputs {
            r: &self.r[at..][..n],
            k: &self.k[at..][..n],
            v: &self.v[at..][..n],
            w: &self.w[at..][..n],
            a: &self.a[at..][..n],
            residual: &self.residual[at..][..n],
            gate: &self.gate[at..][..n],
        }
    }
}

/// The parameters of one head: `[channel]` each.
#[derive(Debug)]
struct Head<'a> {
    /// First channel of the head.
    channel: usize,
    w0: &'a [f32],
    a0: &'a [f32],
    v0: Option<&'a [f32]>,
    k_k: &'a [f32],
    k_a: &'a [f32],
    r_k: &'a [f32],
    ln_x: (&'a [f32], &'a [f32]),
}

impl Head<'_> {
    /// One token: advances `state`, `[key][value]`, and writes y, `[channel]`.
    /// Calls `fetch` for each key on the way.
    #[inline(always)]
    fn step<S: StateElement>(
        &self,
        input: &HeadInputs<'_>,
        state: &mut [S],
        v_first: &mut [f32],
        vectors: &mut [f32],
        y: &mut [f32],
        fetch: impl Fn(usize),
    ) {
        let n = y.len();
        // Slices of visibly one length: otherwise the last iterations of every
        // vectorised loop are done one by one, to find where a slice may end.
        let input = input.at(0, n);
        let HeadInputs { r, gate, .. } = input;
        let (w, vectors) = vectors.split_at_mut(n);
        let (kk, vectors) = vectors.split_at_mut(n);
        let (b, vectors) = vectors.split_at_mut(n);
        let (k, vectors) = vectors.split_at_mut(n);
        let (v, v_first) = (&mut vectors[..n], &mut v_first[..n]);
        for i in 0..n {
            w[i] = math::exp(DECAY * math::sigmoid(self.w0[i] + input.w[i]));
            let a = math::sigmoid(self.a0[i] + input.a[i]);
            b[i] = a;
            kk[i] = input.k[i] * self.k_k[i];
            k[i] = input.k[i] * (1.0 + (a - 1.0) * self.k_a[i]);
        }
        let norm = libm::sqrtf(reduce::sum_of_squares(kk));
        let inverse = 1.0 / if norm < MIN_NORM { MIN_NORM } else { norm };
        for (kk, b) in kk.iter_mut().zip(b.iter_mut()) {
            *kk *= inverse;
            *b *= *kk;
        }
        match self.v0 {
            None => {
                v.copy_from_slice(input.v);
                v_first.copy_from_slice(input.v);
            }
            Some(v0) => {
                for i in 0..n {
                    let blend = math::sigmoid(v0[i] + input.residual[i]);
                    v[i] = input.v[i] + (v_first[i] - input.v[i]) * blend;
                }
            }
        }
        recurrence(state, &Step { w, kk, b, k, v, r }, y, fetch);
        reduce::layer_norm_in_place(y, self.ln_x.0, self.ln_x.1, HEAD_NORM_EPS);
        let bonus = reduce::dot3(r, k, self.r_k);
        for i in 0..n {
            y[i] = (y[i] + bonus * v[i]) * gate[i];
        }
    }
}

/// Vectors of one head and token, `[channel]` each.
#[derive(Debug)]
struct Step<'a> {
    w: &'a [f32],
    kk: &'a [f32],
    b: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    r: &'a [f32],
}

/// `S = S diag(w) + p b + v k` and `y = S r`, for `state` `[key][value]`.
#[inline(always)]
fn recurrence<S: StateElement>(
    state: &mut [S],
    step: &Step<'_>,
    y: &mut [f32],
    fetch: impl Fn(usize),
) {
    let n = y.len();
    let whole = n / TOGETHER * TOGETHER;
    let mut at = 0;
    while at < whole {
        values::<S, TOGETHER>(state, step, at, y, |key| {
            if at == 0 {
                fetch(key);
            }
        });
        at += TOGETHER;
    }
    while at < n {
        values::<S, 1>(state, step, at, y, |_| ());
        at += 1;
    }
}

/// The recurrence for the value channels `at..at + C`.
#[inline(always)]
fn values<S: StateElement, const C: usize>(
    state: &mut [S],
    step: &Step<'_>,
    at: usize,
    y: &mut [f32],
    fetch: impl Fn(usize),
) {
    let n = y.len();
    let Step { w, kk, b, k, v, r } = *step;
    // Copies, so that no write to the state can change what the registers hold.
    let v: [f32; C] = *lanes(&v[at..]);
    let mut p = [0.0; C];
    for (s, kk) in state.chunks_exact(n).zip(kk) {
        let s: &[S; C] = lanes(&s[at..]);
        for j in 0..C {
            p[j] += s[j].widen() * kk;
        }
    }
    let p = p.map(|p| -p);
    let mut sum = [0.0; C];
    let keys = w.iter().zip(b).zip(k).zip(r).enumerate();
    for (s, (key, (((w, b), k), r))) in state.chunks_exact_mut(n).zip(keys) {
        fetch(key);
        let Some((s, _)) = s[at..].split_first_chunk_mut::<C>() else { unreachable!() };
        let mut next = *s;
        for j in 0..C {
            let new = (next[j].widen() * w + p[j] * b) + v[j] * k;
            sum[j] += new * r;
            next[j] = S::narrow(new);
        }
        *s = next;
    }
    y[at..at + C].copy_from_slice(&sum);
}

impl ChannelMix<'_> {
    // Its locals are not to lie on the stack during the time mix.
    #[inline(never)]
    fn forward<K: Kernels, S: StateElement>(
        &self,
        block: &Block<'_, K>,
        x: &mut [f32],
        shift: &mut [S],
        scratch: &mut [f32],
    ) {
        let Block { shape, kernels, .. } = block;
        let (columns, width) = (block.len(), shape.width);
        let mut carver = Carver::new(scratch);
        let normed = carver.floats(columns * width);
        let output = carver.floats(columns * width);
        let mut mixed = [carver.quantized(columns, width)];
        let hidden = carver.floats(columns * shape.ffn);
        let mut activation = carver.quantized(columns, shape.ffn);

        block.norm(x, self.ln2, normed);
        block.mix(normed, shift, [self.shift], toward_previous, output, &mut mixed);
        block.remember(normed, shift);
        let input = mixed[0].view();
        kernels.products(&mut [Product { matrix: self.key, input, output: &mut *hidden }]);
        channel_mix::squared(block, hidden, |_, _| (), self.value, &mut activation, output);
        block.add(output, x);
    }
}
