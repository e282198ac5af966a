//! The layers of every architecture: the launches of `runtime/src/rwkv`, whose files have the
//! formulas. Names of tensors are those of the papers.
//!
//! ```text
//! layer = norm, token shift, products, ..., wkv, output     time mix
//!         norm, token shift, key, activation, value         channel mix
//!         keep the inputs of both token shifts
//! ```
//!
//! The state of the token shifts is written last, because all of a layer's shifts read it.

use kinglet::format::shape::Architecture;

use crate::device::{Address, Device, Kernel};
use crate::error::DeviceError;
use crate::memory::Buffers;
use crate::params::{Activation, DeepEmbedParams, Quantized, Wkv4Params, Wkv7Params};
use crate::pass::{Activate, Lerp, Pass, Product, ShiftOf, Store, Wkv5Of};
use crate::weights::Layer;

type Done = Result<(), DeviceError>;

impl<D: Device> Pass<'_, D> {
    /// Layer `index`, whose weights are `layer`.
    pub(crate) fn layer(&self, index: usize, layer: &Layer) -> Done {
        match self.shape.architecture {
            Architecture::Rwkv4 => {
                self.time_mix_4(index, layer)?;
                self.gated_channel_mix(index, layer, ["ffn.time_mix_k", "ffn.time_mix_r"])?;
            }
            Architecture::Rwkv5_0 | Architecture::Rwkv5_1 | Architecture::Rwkv5_2 => {
                self.time_mix_5(index, layer)?;
                self.gated_channel_mix(index, layer, ["ffn.time_mix_k", "ffn.time_mix_r"])?;
            }
            Architecture::Rwkv6 => {
                self.time_mix_6(index, layer)?;
                self.gated_channel_mix(index, layer, ["ffn.time_maa_k", "ffn.time_maa_r"])?;
            }
            Architecture::Rwkv7 => {
                self.time_mix_7(index, layer)?;
                self.channel_mix_7(index, layer)?;
            }
            Architecture::Rwkv7a => {
                self.time_mix_7(index, layer)?;
                self.channel_mix_7a(index, layer)?;
            }
            architecture => return Err(DeviceError::Architecture { architecture }),
        }
        self.save_shift(index)
    }

    /// The first half of a time mix of RWKV-4 and 5: r, k, v, and the gate g where there is one.
    fn receptance_key_value(&self, index: usize, layer: &Layer, gate: bool) -> Done {
        let Buffers { time_input, r, k, v, g, shifted, .. } = *self.buffers;
        let [n_k, n_v, n_r, n_g, ..] = shifted;
        let mut shifts = vec![
            ShiftOf::new(layer.vector("att.time_mix_k"), n_k),
            ShiftOf::new(layer.vector("att.time_mix_v"), n_v),
            ShiftOf::new(layer.vector("att.time_mix_r"), n_r),
        ];
        let mut products = vec![
            Product::assign(layer.matrix("att.receptance.weight"), n_r, r),
            Product::assign(layer.matrix("att.key.weight"), n_k, k),
            Product::assign(layer.matrix("att.value.weight"), n_v, v),
        ];
        if gate {
            shifts.push(ShiftOf::new(layer.vector("att.time_mix_g"), n_g));
            products.push(Product::assign(layer.matrix("att.gate.weight"), n_g, g));
        }
        self.norm(layer.norm("ln1"), time_input)?;
        self.token_shift(time_input, (index, 0), Lerp::ToCurrent, &shifts)?;
        self.products(&products)
    }

    fn time_mix_4(&self, index: usize, layer: &Layer) -> Done {
        const THREADS: u32 = 128;
        self.receptance_key_value(index, layer, false)?;
        let Buffers { r, k, v, y, .. } = *self.buffers;
        let params = Wkv4Params {
            runs: self.runs(index),
            r,
            k,
            v,
            time_decay: layer.vector("att.time_decay"),
            time_first: layer.vector("att.time_first"),
            y,
            width: self.shape.width as u32,
            reserved: 0,
        };
        let blocks = [params.width.div_ceil(THREADS), self.size.runs];
        self.launch(Kernel::Wkv4, blocks, THREADS, &params)?;
        self.project(layer.matrix("att.output.weight"))
    }

    fn time_mix_5(&self, index: usize, layer: &Layer) -> Done {
        let gate = !self.is(Architecture::Rwkv5_0);
        self.receptance_key_value(index, layer, gate)?;
        let is_itself = self.is(Architecture::Rwkv5_2);
        let bonus = if is_itself { "att.time_faaaa" } else { "att.time_first" };
        let wkv = Wkv5Of {
            gate: if gate { self.buffers.g } else { Address::NULL },
            decay: layer.vector("att.time_decay"),
            correction: Address::NULL,
            bonus: layer.vector(bonus),
            bonus_is_logarithm: !is_itself,
            ln_x: layer.norm("att.ln_x"),
        };
        self.wkv5(&wkv, index)?;
        self.project(layer.matrix("att.output.weight"))
    }

    fn time_mix_6(&self, index: usize, layer: &Layer) -> Done {
        /// In the order of `time_maa_w1`.
        const SHIFTS: [&str; 5] = ["w", "k", "v", "r", "g"];
        let Buffers { time_input, r, k, v, g, w, .. } = *self.buffers;
        let Buffers { shifted, corrections, shift_hidden, shift_input, .. } = *self.buffers;
        let Buffers { low_rank: [decay_hidden, ..], low_rank_input: [decay_input, ..], .. } =
            *self.buffers;
        let (at, ranks) = ((index, 0), &self.shape.ranks);

        self.norm(layer.norm("ln1"), time_input)?;
        // What the data adds to the shares.
        let z = shifted[0];
        let shift = ShiftOf::new(layer.vector("att.time_maa_x"), z);
        self.token_shift(time_input, at, Lerp::ToPrevious, &[shift])?;
        let first = layer.matrix("att.time_maa_w1");
        self.products(&[Product::assign(first, z, shift_hidden)])?;
        let stride = SHIFTS.len() * ranks.shift;
        let tanh = |c: usize| Activate {
            stride,
            ..Activate::new(
                shift_hidden.offset(4 * c * ranks.shift),
                ranks.shift,
                Activation::Tanh,
                shift_input[c],
            )
        };
        self.activate(&[0, 1, 2, 3, 4].map(tanh))?;
        let second = |c: usize| {
            let matrix = layer.matrix(&format!("att.time_maa_w2.{}", SHIFTS[c]));
            Product::assign(matrix, shift_input[c], corrections[c])
        };
        self.products(&[0, 1, 2, 3, 4].map(second))?;

        let shift = |c: usize| ShiftOf {
            share: layer.vector(&format!("att.time_maa_{}", SHIFTS[c])),
            correction: corrections[c],
            out: shifted[c],
        };
        self.token_shift(time_input, at, Lerp::ToPrevious, &[0, 1, 2, 3, 4].map(shift))?;
        let [n_w, n_k, n_v, n_r, n_g, _] = shifted;
        self.products(&[
            Product::assign(layer.matrix("att.receptance.weight"), n_r, r),
            Product::assign(layer.matrix("att.key.weight"), n_k, k),
            Product::assign(layer.matrix("att.value.weight"), n_v, v),
            Product::assign(layer.matrix("att.gate.weight"), n_g, g),
            Product::assign(layer.matrix("att.time_decay_w1"), n_w, decay_hidden),
        ])?;
        let tanh = Activate::new(decay_hidden, ranks.decay, Activation::Tanh, decay_input);
        self.activate(&[tanh])?;
        self.products(&[Product::assign(layer.matrix("att.time_decay_w2"), decay_input, w)])?;
        let wkv = Wkv5Of {
            gate: g,
            decay: layer.vector("att.time_decay"),
            correction: w,
            bonus: layer.vector("att.time_faaaa"),
            bonus_is_logarithm: false,
            ln_x: layer.norm("att.ln_x"),
        };
        self.wkv5(&wkv, index)?;
        self.project(layer.matrix("att.output.weight"))
    }

    fn time_mix_7(&self, index: usize, layer: &Layer) -> Done {
        let Buffers { time_input, r, k, v, w, a, v_mix, g, v_first, y, .. } = *self.buffers;
        let Buffers { shifted, low_rank, low_rank_input, .. } = *self.buffers;
        let [n_r, n_w, n_k, n_v, n_a, n_g] = shifted;
        let [w_hidden, a_hidden, v_hidden, g_hidden] = low_rank;
        let [w_input, a_input, v_input, g_input] = low_rank_input;
        let ranks = &self.shape.ranks;

        self.norm(layer.norm("ln1"), time_input)?;
        let shift = |name, out| ShiftOf::new(layer.vector(name), out);
        let shifts = [
            shift("att.x_r", n_r),
            shift("att.x_w", n_w),
            shift("att.x_k", n_k),
            shift("att.x_v", n_v),
            shift("att.x_a", n_a),
            shift("att.x_g", n_g),
        ];
        self.token_shift(time_input, (index, 0), Lerp::ToPrevious, &shifts)?;

        let mut products = vec![
            Product::assign(layer.matrix("att.receptance.weight"), n_r, r),
            Product::assign(layer.matrix("att.key.weight"), n_k, k),
            Product::assign(layer.matrix("att.value.weight"), n_v, v),
            Product::assign(layer.matrix("att.w1"), n_w, w_hidden),
            Product::assign(layer.matrix("att.a1"), n_a, a_hidden),
            Product::assign(layer.matrix("att.g1"), n_g, g_hidden),
        ];
        let mut activations = vec![
            Activate::new(w_hidden, ranks.decay, Activation::Tanh, w_input),
            Activate::new(a_hidden, ranks.iclr, Activation::Identity, a_input),
            Activate::new(g_hidden, ranks.gate, Activation::Sigmoid, g_input),
        ];
        let mut seconds = vec![
            Product::assign(layer.matrix("att.w2"), w_input, w),
            Product::assign(layer.matrix("att.a2"), a_input, a),
            Product::assign(layer.matrix("att.g2"), g_input, g),
        ];
        // From layer 1 on.
        if let (Some(v1), Some(v2)) = (layer.later_matrix("att.v1"), layer.later_matrix("att.v2")) {
            products.push(Product::assign(v1, n_v, v_hidden));
            activations.push(Activate::new(v_hidden, ranks.value, Activation::Identity, v_input));
            seconds.push(Product::assign(v2, v_input, v_mix));
        }
        self.products(&products)?;
        self.activate(&activations)?;
        self.products(&seconds)?;

        let ln_x = layer.norm("att.ln_x");
        let params = Wkv7Params {
            runs: self.runs(index),
            r,
            k,
            v,
            w,
            a,
            v_mix,
            g,
            w0: layer.vector("att.w0"),
            a0: layer.vector("att.a0"),
            v0: layer.vector("att.v0"),
            k_k: layer.vector("att.k_k"),
            k_a: layer.vector("att.k_a"),
            r_k: layer.vector("att.r_k"),
            ln_weight: ln_x.weight,
            ln_bias: ln_x.bias,
            v_first,
            y,
            width: self.shape.width as u32,
            head_size: self.shape.head_size as u32,
        };
        self.heads(self.kernels.wkv7, &params)?;
        self.project(layer.matrix("att.output.weight"))
    }

    /// `relu(hidden)^2` of the buffers, as the input of `ffn.value`.
    fn squared(&self) -> Activate {
        let Buffers { hidden, hidden_input, .. } = *self.buffers;
        Activate::new(hidden, self.shape.ffn, Activation::ReluSquared, hidden_input)
    }

    /// The channel mix of RWKV-4 to 6.
    fn gated_channel_mix(&self, index: usize, layer: &Layer, shares: [&str; 2]) -> Done {
        let Buffers { x, channel_input, r: gate, shifted, hidden, hidden_input, .. } =
            *self.buffers;
        let [n_k, n_r, ..] = shifted;
        let lerp = if self.is(Architecture::Rwkv6) { Lerp::ToPrevious } else { Lerp::ToCurrent };
        self.norm(layer.norm("ln2"), channel_input)?;
        let [k, r] = shares.map(|name| layer.vector(name));
        let shifts = [ShiftOf::new(k, n_k), ShiftOf::new(r, n_r)];
        self.token_shift(channel_input, (index, 1), lerp, &shifts)?;
        self.products(&[
            Product::assign(layer.matrix("ffn.key.weight"), n_k, hidden),
            Product::assign(layer.matrix("ffn.receptance.weight"), n_r, gate),
        ])?;
        self.activate(&[self.squared()])?;
        let matrix = layer.matrix("ffn.value.weight");
        let store = Store::AddGated { out: x, gate };
        self.sparse(&Product { matrix, input: hidden_input, store })
    }

    /// Norm and token shift of the channel mix of RWKV-7, to `shifted[0]`.
    fn shift_7(&self, index: usize, layer: &Layer) -> Result<Quantized, DeviceError> {
        let Buffers { channel_input, shifted: [n_k, ..], .. } = *self.buffers;
        self.norm(layer.norm("ln2"), channel_input)?;
        let shift = ShiftOf::new(layer.vector("ffn.x_k"), n_k);
        self.token_shift(channel_input, (index, 1), Lerp::ToPrevious, &[shift])?;
        Ok(n_k)
    }

    /// `x += value h`
    fn value_7(&self, layer: &Layer) -> Done {
        let (input, store) = (self.buffers.hidden_input, Store::Add(self.buffers.x));
        self.sparse(&Product { matrix: layer.matrix("ffn.value.weight"), input, store })
    }

    fn channel_mix_7(&self, index: usize, layer: &Layer) -> Done {
        let n_k = self.shift_7(index, layer)?;
        let key = layer.matrix("ffn.key.weight");
        self.products(&[Product::assign(key, n_k, self.buffers.hidden)])?;
        self.activate(&[self.squared()])?;
        self.value_7(layer)
    }

    fn channel_mix_7a(&self, index: usize, layer: &Layer) -> Done {
        let Buffers { channel_input, hidden, e, embedded, embedded_input, factors, .. } =
            *self.buffers;
        let (rank, width) = (self.shape.ranks.deep_embed, self.shape.width);
        let n_k = self.shift_7(index, layer)?;
        let n = self.buffers.shifted[1];
        self.activate(&[Activate::new(channel_input, width, Activation::Identity, n)])?;
        self.products(&[
            Product::assign(layer.matrix("ffn.key.weight"), n_k, hidden),
            Product::assign(layer.matrix("ffn.s1"), n, e),
        ])?;
        let table = layer.matrix("ffn.s_emb.weight");
        let params = DeepEmbedParams {
            tokens: self.lists.tokens,
            weights: table.weights,
            scales: table.scales,
            e,
            out: embedded,
            rank: rank as u32,
            is_int4: u32::from(table.is_int4),
        };
        self.launch(Kernel::DeepEmbed, [self.size.tokens, 1], 256, &params)?;
        let input = Activate::new(embedded, rank, Activation::Identity, embedded_input);
        self.activate(&[input])?;
        self.products(&[Product::assign(layer.matrix("ffn.s2"), embedded_input, factors)])?;
        self.activate_scaled(&self.squared(), factors, layer.vector("ffn.s0"))?;
        self.value_7(layer)
    }
}
