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

use core::convert::identity;

use crate::format::model::Model;
use crate::format::shape::Shape;
use crate::format::weights::LayerNorm;
pub(crate) use crate::format::weights::v7::{ChannelMix, TimeMix};
use crate::kernels::{ChunksOf, Kernels, Phase, Product, Wkv7};
use crate::num::state_dtype::StateElement;
use crate::num::{math, reduce};
use crate::rwkv::batch::{Batch, lerp_to_previous};
use crate::rwkv::channel_mix;
use crate::rwkv::cost::{self, region};
use crate::rwkv::prefetch::{NextHead, Prefetcher};
use crate::rwkv::scratch::{ScratchArena, max, scratch};
use crate::rwkv::wkv::{HEAD_NORM_EPS, Recurrence, first, first_mut, narrow, widened, wkv};

/// -e^-0.5, which training code rounds to -0.606531.
const DECAY: f32 = -0.606_530_66;
/// Least norm that kk is divided by.
const MIN_NORM: f32 = 1e-12;
/// Vectors of a head's scratch: w, kk, b, k, v.
const HEAD_VECTORS: usize = 5;

/// Elements that layer 0 hands to the later ones: v_first, `[head][token][channel]`.
pub(crate) const fn carried_len(shape: &Shape, tokens: usize) -> usize {
    tokens * shape.width
}

/// Elements of a layer's scratch for a batch of `tokens`.
pub(crate) const fn workspace_len(shape: &Shape, tokens: usize) -> usize {
    max(time_mix_len(shape, tokens), ChannelMixBuffers::len(shape, tokens))
}

/// Elements of the time mix's scratch, whose three steps use the same memory in turn.
pub(crate) const fn time_mix_len(shape: &Shape, tokens: usize) -> usize {
    let low_rank = WkvBuffers::len(shape, tokens) + LowRankBuffers::len(shape, tokens);
    let steps = max(ShiftBuffers::len(shape, tokens), low_rank);
    TimeMixBuffers::len(shape, tokens) + max(steps, OutputBuffers::len(shape, tokens))
}

/// Computes a layer: advances `state` and adds to the residual stream.
///
/// * `x`: `[token][width]`, the residual stream
/// * `state`: the layer's states, `shift [sequence][width]` of the time mix, the
///   same of the channel mix, `S [head][sequence][key][value]`
/// * `v_first`: [`carried_len`] elements, written by layer 0
/// * `scratch`: [`workspace_len`] elements
#[inline(never)]
pub(crate) fn layer<K: Kernels, S: StateElement>(
    batch: &Batch<'_, K>,
    model: &Model<'_>,
    layer: usize,
    x: &mut [f32],
    state: &mut [S],
    v_first: &mut [f32],
    scratch: &mut [f32],
) {
    time_mix(batch, model, layer, x, state, v_first, scratch);
    let shifts = batch.sequences * batch.shape.width;
    let channel_shift = &mut state[shifts..2 * shifts];
    ChannelMix::load(&model.layer(layer)).forward(batch, x, channel_shift, scratch);
}

/// The first half of [`layer`], whose arguments it has.
// Not inlined, because its weights are not to lie on the stack during the channel mix.
#[inline(never)]
pub(crate) fn time_mix<K: Kernels, S: StateElement>(
    batch: &Batch<'_, K>,
    model: &Model<'_>,
    layer: usize,
    x: &mut [f32],
    state: &mut [S],
    v_first: &mut [f32],
    scratch: &mut [f32],
) {
    let shifts = batch.sequences * batch.shape.width;
    let (shift, state) = state.split_at_mut(shifts);
    let heads = &mut state[shifts..];
    TimeMix::load(&model.layer(layer)).forward(batch, x, shift, heads, v_first, scratch);
}

scratch! {
    /// Buffers of the time mix.
    struct TimeMixBuffers(shape, tokens) {
        /// `[token][width]` each.
        r: floats(tokens * shape.width),
        k: floats(tokens * shape.width),
        v: floats(tokens * shape.width),
        /// `[head][token][channel]`
        y: floats(tokens * shape.width),
        /// `[head][HEAD_VECTORS][channel]`
        head_vectors: floats(HEAD_VECTORS * shape.width),
        /// `w1 n_w` and its like: `[token][rank]` each.
        w_hidden: floats(tokens * shape.ranks.decay),
        a_hidden: floats(tokens * shape.ranks.iclr),
        v_hidden: floats(tokens * shape.value_rank()),
        g_hidden: floats(tokens * shape.ranks.gate),
    }
}

scratch! {
    /// Buffers of the token shift.
    struct ShiftBuffers(shape, tokens) {
        /// `[token][width]`
        normed: floats(tokens * shape.width),
        /// n_c for r, w, k, v, a, g.
        shifted: quantized(tokens, shape.width) [6],
    }
}

scratch! {
    /// What the low-rank pairs give to the wkv.
    struct WkvBuffers(shape, tokens) {
        /// `w2 tanh(w1 n_w)` and its like: `[token][width]` each.
        w: floats(tokens * shape.width),
        a: floats(tokens * shape.width),
        v_mix: floats(tokens * shape.width),
        g: floats(tokens * shape.width),
    }
}

scratch! {
    /// Buffers of the low-rank pairs.
    struct LowRankBuffers(shape, tokens) {
        /// `tanh(w1 n_w)` and its like.
        w_input: quantized(tokens, shape.ranks.decay),
        a_input: quantized(tokens, shape.ranks.iclr),
        v_input: quantized(tokens, shape.value_rank()),
        g_input: quantized(tokens, shape.ranks.gate),
    }
}

scratch! {
    /// Buffer of the output's product.
    struct OutputBuffers(shape, tokens) {
        y: quantized(tokens, shape.width),
    }
}

/// The products that the wkv reads: `[token][width]` each.
#[derive(Debug)]
struct WkvInputs<'a> {
    r: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    w: &'a [f32],
    a: &'a [f32],
    v_mix: &'a [f32],
    g: &'a [f32],
}

impl TimeMix<'_> {
    /// Advances the token shift's state and that of the heads, and adds to `x`; see [`layer`].
    #[inline(never)]
    fn forward<K: Kernels, S: StateElement>(
        &self,
        batch: &Batch<'_, K>,
        x: &mut [f32],
        shift: &mut [S],
        heads: &mut [S],
        v_first: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (shape, tokens) = (&batch.shape, batch.len());
        let mut arena = ScratchArena::new(scratch);
        let mut buffers = TimeMixBuffers::carve(&mut arena, shape, tokens);
        let scratch = arena.rest();

        self.products(batch, x, shift, &mut buffers, &mut *scratch);
        let TimeMixBuffers { r, k, v, y, head_vectors, .. } = buffers;
        let TimeMixBuffers { w_hidden, a_hidden, v_hidden, g_hidden, .. } = buffers;

        let mut arena = ScratchArena::new(&mut *scratch);
        let WkvBuffers { w, a, v_mix, g } = WkvBuffers::carve(&mut arena, shape, tokens);
        let hidden = [w_hidden, a_hidden, v_hidden, g_hidden];
        let outputs = [&mut *w, &mut *a, &mut *v_mix, &mut *g];
        self.low_rank(batch, hidden, outputs, arena.rest());

        let inputs = WkvInputs { r, k, v, w, a, v_mix, g };
        self.wkv(batch, &inputs, heads, v_first, head_vectors, y);

        let mut arena = ScratchArena::new(scratch);
        let OutputBuffers { y: mut quantized } = OutputBuffers::carve(&mut arena, shape, tokens);
        batch.project(y, shape.head_size, self.output, [r, k], &mut quantized, x);
    }

    /// Norm, token shift, and the products of the shifted inputs: `r`, `k`, `v` and the first
    /// halves of the low-rank pairs, of `buffers`.
    // Not inlined, like its siblings: their locals are not to lie on the stack together.
    #[inline(never)]
    fn products<K: Kernels, S: StateElement>(
        &self,
        batch: &Batch<'_, K>,
        x: &[f32],
        shift: &mut [S],
        buffers: &mut TimeMixBuffers<'_>,
        scratch: &mut [f32],
    ) {
        let mut arena = ScratchArena::new(scratch);
        let ShiftBuffers { normed, mut shifted } =
            ShiftBuffers::carve(&mut arena, &batch.shape, batch.len());
        let TimeMixBuffers { r, k, v, w_hidden, a_hidden, v_hidden, g_hidden, .. } = buffers;

        batch.norm(x, self.ln1, normed);
        let shares = [self.x_r, self.x_w, self.x_k, self.x_v, self.x_a, self.x_g];
        batch.token_shift(normed, shift, shares, lerp_to_previous, r, &mut shifted);
        batch.save_shift_state(normed, shift);

        let [n_r, n_w, n_k, n_v, n_a, n_g] = &shifted;
        let mut products = heapless::Vec::<_, 7>::new();
        // One by one, because an array would lie on the stack a second time.
        let mut push = |matrix, input, output| {
            let _ = products.push(Product { matrix, input, output });
        };
        push(self.receptance, n_r.view(), &mut **r);
        push(self.key, n_k.view(), k);
        push(self.value, n_v.view(), v);
        push(self.w1, n_w.view(), w_hidden);
        push(self.a1, n_a.view(), a_hidden);
        push(self.g1, n_g.view(), g_hidden);
        if let Some(v1) = self.v1 {
            push(v1, n_v.view(), v_hidden);
        }
        batch.kernels.products(&mut products);
    }

    /// The second halves of the low-rank pairs, from the first halves.
    ///
    /// * `hidden`: `w1 n_w`, `a1 n_a`, `v1 n_v`, `g1 n_g`, `[token][rank]` each
    /// * `outputs`: `w`, `a`, `v_mix` and `g` of [`WkvBuffers`]
    #[inline(never)]
    fn low_rank<K: Kernels>(
        &self,
        batch: &Batch<'_, K>,
        [w_hidden, a_hidden, v_hidden, g_hidden]: [&mut [f32]; 4],
        [w, a, v_mix, g]: [&mut [f32]; 4],
        scratch: &mut [f32],
    ) {
        let mut arena = ScratchArena::new(scratch);
        let LowRankBuffers { mut w_input, mut a_input, mut v_input, mut g_input } =
            LowRankBuffers::carve(&mut arena, &batch.shape, batch.len());
        batch.activate(w_hidden, math::tanh, &mut w_input);
        batch.activate(a_hidden, identity, &mut a_input);
        batch.activate(g_hidden, math::sigmoid, &mut g_input);
        if self.v2.is_some() {
            batch.activate(v_hidden, identity, &mut v_input);
        }
        let mut products = heapless::Vec::<_, 4>::from_array([
            Product { matrix: self.w2, input: w_input.view(), output: w },
            Product { matrix: self.a2, input: a_input.view(), output: a },
            Product { matrix: self.g2, input: g_input.view(), output: g },
        ]);
        if let Some(v2) = self.v2 {
            let _ = products.push(Product { matrix: v2, input: v_input.view(), output: v_mix });
        }
        batch.kernels.products(&mut products);
    }

    /// The recurrence, head by head: from the products to the input of `output`.
    ///
    /// * `state`: `[head][sequence][key][value]`
    /// * `v_first`, `y`: `[head][token][channel]`
    /// * `vectors`: `[head][HEAD_VECTORS][channel]`, scratch
    #[inline(never)]
    fn wkv<K: Kernels, S: StateElement>(
        &self,
        batch: &Batch<'_, K>,
        inputs: &WkvInputs<'_>,
        state: &mut [S],
        v_first: &mut [f32],
        vectors: &mut [f32],
        y: &mut [f32],
    ) {
        let Batch { shape, tokens, sequences, kernels } = batch;
        let n = shape.head_size;
        let parts = (
            0..shape.heads(),
            ChunksOf::new(state, sequences * n * n),
            ChunksOf::new(v_first, tokens.len() * n),
            ChunksOf::new(vectors, HEAD_VECTORS * n),
            ChunksOf::new(y, tokens.len() * n),
        );
        kernels.for_heads(
            parts,
            region(Phase::Wkv, cost::wkv7(n), tokens.len() * shape.width),
            #[inline(always)]
            |(heads, state, v_first, vectors, y)| {
                let rows = v_first.iter().zip(vectors.iter()).zip(y.iter());
                let mut states = Prefetcher::new(*kernels, state.iter(), n, *sequences);
                for (head, ((v_first, vectors), y)) in heads.zip(rows) {
                    let Some((state, next)) = states.next() else { break };
                    let head = self.head(head, n);
                    let rows = v_first.chunks_exact_mut(n).zip(y.chunks_exact_mut(n));
                    for ((token, name), (v_first, y)) in tokens.iter().enumerate().zip(rows) {
                        let state = &mut state[name.sequence * n * n..][..n * n];
                        let input = inputs.at(token * shape.width + head.channel, n);
                        let next = next.while_first(token);
                        head.step(*kernels, &input, state, v_first, vectors, y, next);
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
            v0: self.v0.map(|v0| &v0[channel..][..n]),
            k_k: &self.k_k[channel..][..n],
            k_a: &self.k_a[channel..][..n],
            r_k: &self.r_k[channel..][..n],
            ln_x: self.ln_x.channels(channel, n),
        }
    }
}

impl WkvInputs<'_> {
    /// The `n` channels from `at` on.
    #[inline(always)]
    fn at(&self, at: usize, n: usize) -> WkvInputs<'_> {
        WkvInputs {
            r: &self.r[at..][..n],
            k: &self.k[at..][..n],
            v: &self.v[at..][..n],
            w: &self.w[at..][..n],
            a: &self.a[at..][..n],
            v_mix: &self.v_mix[at..][..n],
            g: &self.g[at..][..n],
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
    ln_x: LayerNorm<'a>,
}

impl Head<'_> {
    /// One token: advances `state`, `[key][value]`, and writes y, `[channel]`.
    ///
    /// * `v_first`: `[channel]`, written by layer 0
    /// * `vectors`: `[HEAD_VECTORS][channel]`, scratch
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "a head's buffers of a token")]
    fn step<K: Kernels, S: StateElement>(
        &self,
        kernels: &K,
        input: &WkvInputs<'_>,
        state: &mut [S],
        v_first: &mut [f32],
        vectors: &mut [f32],
        y: &mut [f32],
        next: impl NextHead,
    ) {
        let n = y.len();
        // Slices of visibly one length: otherwise the last iterations of every
        // vectorised loop are done one by one, to find where a slice may end.
        let input = input.at(0, n);
        let WkvInputs { r, g, .. } = input;
        let (w, vectors) = vectors.split_at_mut(n);
        let (kk, vectors) = vectors.split_at_mut(n);
        let (b, vectors) = vectors.split_at_mut(n);
        let (k, vectors) = vectors.split_at_mut(n);
        let (v, v_first) = (&mut vectors[..n], &mut v_first[..n]);
        kernels.once(
            region(Phase::Wkv, cost::WKV7_VECTORS, n),
            #[inline(always)]
            || {
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
                            let mix = math::sigmoid(v0[i] + input.v_mix[i]);
                            v[i] = input.v[i] + (v_first[i] - input.v[i]) * mix;
                        }
                    }
                }
            },
        );
        let (w, kk, b, k, v) = (&*w, &*kk, &*b, &*k, &*v);
        let vectors = Wkv7 { w, kk, b, k, v, r };
        // Not a branch, behind which the compiler would write what follows twice.
        let done = kernels.wkv7(&vectors, state, y);
        let vectors = HeadVectors { vectors, next };
        wkv(&vectors, kernels, state, y, cost::WKV7_STATE, done, K::COMPUTES_WKV7);
        kernels.once(
            region(Phase::Wkv, cost::WKV7_OUTPUT, n),
            #[inline(always)]
            || {
                let LayerNorm { weight, bias } = self.ln_x;
                reduce::layer_norm_in_place(y, weight, bias, HEAD_NORM_EPS);
                let bonus = reduce::dot3(r, k, self.r_k);
                for i in 0..n {
                    y[i] = (y[i] + bonus * v[i]) * g[i];
                }
            },
        );
    }
}

/// Vectors of one head and token, and what is fetched meanwhile.
#[derive(Debug)]
struct HeadVectors<'a, N> {
    vectors: Wkv7<'a>,
    /// The next head's state, fetched on the way.
    next: N,
}

impl<N: NextHead> Recurrence for HeadVectors<'_, N> {
    /// `p = -S^T kk`, then `S = S diag(w) + p b + v k` and `y = S r`.
    #[inline(always)]
    fn lanes<K: Kernels, S: StateElement, const C: usize>(
        &self,
        kernels: &K,
        state: &mut [S],
        at: usize,
        y: &mut [f32],
    ) {
        let n = y.len();
        let Wkv7 { w, kk, b, k, v, r } = self.vectors;
        // Copies, because a write to the state could otherwise change them, for all that the
        // compiler knows.
        let v: [f32; C] = *first(&v[at..]);
        let mut p = [0.0; C];
        for (s, &kk) in state.chunks_exact(n).zip(kk) {
            let s = widened(kernels, first::<S, C>(&s[at..]));
            for j in 0..C {
                p[j] += s[j] * kk;
            }
        }
        let p = p.map(|p| -p);
        let mut sum = [0.0; C];
        let keys = w.iter().zip(r).zip(b.iter().zip(k));
        let rows = self.next.fetch_along(at, state.chunks_exact_mut(n));
        for (s, ((&w, &r), (&b, &k))) in rows.zip(keys) {
            let s: &mut [S; C] = first_mut(&mut s[at..]);
            let old = widened(kernels, s);
            let mut new = [0.0; C];
            for j in 0..C {
                new[j] = (old[j] * w + p[j] * b) + v[j] * k;
                sum[j] += new[j] * r;
            }
            narrow(kernels, &new, s);
        }
        y[at..at + C].copy_from_slice(&sum);
    }
}

scratch! {
    /// Buffers of the channel mix.
    struct ChannelMixBuffers(shape, tokens) {
        /// `[token][width]` each.
        normed: floats(tokens * shape.width),
        output: floats(tokens * shape.width),
        /// n_k
        shifted: quantized(tokens, shape.width) [1],
        /// `[token][ffn]`
        hidden: floats(tokens * shape.ffn),
        activation: quantized(tokens, shape.ffn),
    }
}

impl ChannelMix<'_> {
    // Not inlined, because its locals are not to lie on the stack during the time mix.
    #[inline(never)]
    fn forward<K: Kernels, S: StateElement>(
        &self,
        batch: &Batch<'_, K>,
        x: &mut [f32],
        shift: &mut [S],
        scratch: &mut [f32],
    ) {
        let mut arena = ScratchArena::new(scratch);
        let ChannelMixBuffers { normed, output, mut shifted, hidden, mut activation } =
            ChannelMixBuffers::carve(&mut arena, &batch.shape, batch.len());

        batch.norm(x, self.ln2, normed);
        batch.token_shift(normed, shift, [self.x_k], lerp_to_previous, output, &mut shifted);
        batch.save_shift_state(normed, shift);
        let (matrix, input) = (self.key, shifted[0].view());
        batch.kernels.products(&mut [Product { matrix, input, output: &mut *hidden }]);
        channel_mix::squared(batch, hidden, |_, _| (), self.value, &mut activation, output);
        batch.add(output, x);
    }
}
