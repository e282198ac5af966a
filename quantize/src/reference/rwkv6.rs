//! RWKV-6 (Finch; Peng et al. 2024, arXiv 2404.05892): token shift and decay
//! depend on the data through low-rank maps.

use super::math::{
    Batch, Matrix, Norm, add, map_each, map2, mix_each_previous, mix_previous, mul, relu_squared,
    silu,
};
use super::rwkv4::received;
use super::rwkv5::{head_size, wkv, zero_state};
use super::{Error, LayerState, Mixers, Source, Tokens};

pub(super) struct Layer<'a> {
    head_size: usize,
    maa_x: Vec<f64>,         // [D]
    maa: [Vec<f64>; 5],      // w, k, v, r, g: [D] each
    maa_w1: Matrix<'a>,      // [D][5 * rank]
    maa_w2: [Matrix<'a>; 5], // w, k, v, r, g: [rank][D] each
    time_decay: Vec<f64>,    // [D]
    decay_w1: Matrix<'a>,    // [D][rank]
    decay_w2: Matrix<'a>,    // [rank][D]
    bonus: Vec<f64>,         // [H][N]
    receptance: Matrix<'a>,  // [D][D]
    key: Matrix<'a>,         // [D][D]
    value: Matrix<'a>,       // [D][D]
    gate: Matrix<'a>,        // [D][D]
    output: Matrix<'a>,      // [D][D]
    ln_x: Norm,
    ffn_maa_k: Vec<f64>,        // [D]
    ffn_maa_r: Vec<f64>,        // [D]
    ffn_receptance: Matrix<'a>, // [D][D]
    ffn_key: Matrix<'a>,        // [F][D]
    ffn_value: Matrix<'a>,      // [D][F]
}

impl<'a> Layer<'a> {
    pub(super) fn take(source: &mut Source<'a>, index: usize, d: usize) -> Result<Self, Error> {
        let att = |name: &str| format!("blocks.{index}.att.{name}");
        let ffn = |name: &str| format!("blocks.{index}.ffn.{name}");
        let heads = source.dim(&att("time_faaaa"), 0)?;
        let head_size = head_size(&att("time_faaaa"), heads, d)?;
        let maa_rank = source.dim(&att("time_maa_w2"), 1)?;
        let decay_rank = source.dim(&att("time_decay_w1"), 1)?;
        let f = source.dim(&ffn("key.weight"), 0)?;
        let mut maa = |name| source.vector(&att(name), d);
        Ok(Self {
            head_size,
            maa_x: maa("time_maa_x")?,
            maa: [
                maa("time_maa_w")?,
                maa("time_maa_k")?,
                maa("time_maa_v")?,
                maa("time_maa_r")?,
                maa("time_maa_g")?,
            ],
            maa_w1: source.matrix(&att("time_maa_w1"), d, 5 * maa_rank)?,
            maa_w2: source.matrices(&att("time_maa_w2"), maa_rank, d)?,
            time_decay: source.vector(&att("time_decay"), d)?,
            decay_w1: source.matrix(&att("time_decay_w1"), d, decay_rank)?,
            decay_w2: source.matrix(&att("time_decay_w2"), decay_rank, d)?,
            bonus: source.per_head(&att("time_faaaa"), heads, head_size)?,
            receptance: source.matrix(&att("receptance.weight"), d, d)?,
            key: source.matrix(&att("key.weight"), d, d)?,
            value: source.matrix(&att("value.weight"), d, d)?,
            gate: source.matrix(&att("gate.weight"), d, d)?,
            output: source.matrix(&att("output.weight"), d, d)?,
            ln_x: Norm::take(source, &att("ln_x"), d)?,
            ffn_maa_k: source.vector(&ffn("time_maa_k"), d)?,
            ffn_maa_r: source.vector(&ffn("time_maa_r"), d)?,
            ffn_receptance: source.matrix(&ffn("receptance.weight"), d, d)?,
            ffn_key: source.matrix(&ffn("key.weight"), f, d)?,
            ffn_value: source.matrix(&ffn("value.weight"), d, f)?,
        })
    }

    pub(super) fn head_size(&self) -> usize {
        self.head_size
    }

    /// The shifted inputs for w, k, v, r and g.
    fn token_shift(&self, xx: &[Vec<f64>], prev: &[f64]) -> [Batch; 5] {
        let hidden = self.maa_w1.left_mul(&mix_previous(xx, prev, &self.maa_x));
        let hidden = map_each(&hidden, f64::tanh); // [token][5 * rank]
        core::array::from_fn(|c| {
            let w2 = &self.maa_w2[c];
            let part: Batch = hidden.iter().map(|h| h[c * w2.rows..][..w2.rows].to_vec()).collect();
            let mixes: Batch =
                w2.left_mul(&part).iter().map(|correction| add(&self.maa[c], correction)).collect();
            mix_each_previous(xx, prev, &mixes)
        })
    }
}

impl Mixers for Layer<'_> {
    fn zero_state(&self) -> LayerState {
        zero_state(self.time_decay.len(), self.head_size)
    }

    fn time_mix(&self, xx: &[Vec<f64>], _: &mut Tokens, state: &mut LayerState) -> Batch {
        let [x_w, x_k, x_v, x_r, x_g] = self.token_shift(xx, &state.att_prev);
        let r = self.receptance.mul(&x_r);
        let k = self.key.mul(&x_k);
        let v = self.value.mul(&x_v);
        let g = map_each(&self.gate.mul(&x_g), silu);
        let lora = self.decay_w2.left_mul(&map_each(&self.decay_w1.left_mul(&x_w), f64::tanh));

        let n = self.head_size;
        let mut gated = Vec::new();
        for (t, g) in g.iter().enumerate() {
            let w = map2(&self.time_decay, &lora[t], |base, lora| (-(base + lora).exp()).exp());
            let y = wkv(n, &r[t], &k[t], &v[t], &w, &self.bonus, &mut state.s);
            gated.push(mul(&self.ln_x.group(&y, n), g));
        }
        self.output.mul(&gated)
    }

    fn channel_mix(&self, xx: &[Vec<f64>], _: &Tokens, state: &mut LayerState) -> Batch {
        let prev = &state.ffn_prev;
        let r = self.ffn_receptance.mul(&mix_previous(xx, prev, &self.ffn_maa_r));
        let k = self.ffn_key.mul(&mix_previous(xx, prev, &self.ffn_maa_k));
        received(&r, &self.ffn_value.mul(&map_each(&k, relu_squared)))
    }
}
