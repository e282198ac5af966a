//! Checkpoints of random weights, of any version and dimensions, under the
//! official names and shapes.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use crate::oracle::Version;
use crate::tensor::{Tensor, Tensors};

/// Dimensions of a model.
#[derive(Clone, Copy, Debug)]
pub struct Dims {
    /// Number of layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Channels per head; divides the width.
    pub head_size: usize,
    /// Hidden width of the channel mix.
    pub ffn: usize,
    /// Number of token ids.
    pub vocab: usize,
    /// Ranks of decay, in-context learning rate, value, gate, token shift and DeepEmbed.
    pub ranks: [usize; 6],
}

/// A checkpoint whose activations stay of order one. The same arguments give
/// the same weights.
#[must_use]
pub fn checkpoint(version: Version, dims: Dims, seed: u64) -> Tensors {
    let Dims { layers, width: d, ffn: f, vocab, ranks, .. } = dims;
    let mut builder = Builder { tensors: Tensors::new(), prefix: String::new(), random: seed };
    builder.matrix("emb.weight", &[vocab, d], d);
    builder.matrix("head.weight", &[vocab, d], d);
    builder.norm("ln_out", d);
    builder.norm("blocks.0.ln0", d);
    for layer in 0..layers {
        builder.prefix = format!("blocks.{layer}.");
        builder.norm("ln1", d);
        builder.norm("ln2", d);
        builder.prefix = format!("blocks.{layer}.att.");
        for name in ["receptance", "key", "value", "output"] {
            builder.matrix(&format!("{name}.weight"), &[d, d], d);
        }
        if version != Version::V4 {
            builder.norm("ln_x", d);
        }
        match version {
            Version::V4 => builder.time_mix_4(d),
            Version::V5_0 | Version::V5_1 | Version::V5_2 => builder.time_mix_5(version, dims),
            Version::V6 => builder.time_mix_6(dims),
            Version::V7 | Version::V7a => builder.time_mix_7(layer, dims),
        }
        builder.prefix = format!("blocks.{layer}.ffn.");
        builder.matrix("key.weight", &[f, d], d);
        builder.matrix("value.weight", &[d, f], f);
        match version {
            Version::V7 => builder.shares("x_k", d),
            Version::V7a => {
                let rank = ranks[5];
                builder.shares("x_k", d);
                builder.matrix("s_emb.weight", &[vocab, rank * rank], rank);
                builder.matrix("s_emb_x.weight", &[rank * rank, d], d);
                builder.uniform("s0", &[1, 1, f], 0.5, 1.5);
                builder.matrix("s1", &[d, rank], d);
                builder.matrix("s2", &[rank, f], rank);
            }
            _ => {
                builder.matrix("receptance.weight", &[d, d], d);
                let names = if version == Version::V6 {
                    "time_maa_k time_maa_r"
                } else {
                    "time_mix_k time_mix_r"
                };
                builder.shares(names, d);
            }
        }
    }
    builder.tensors
}

struct Builder {
    tensors: Tensors,
    prefix: String,
    random: u64,
}

impl Builder {
    /// Uniform in [0, 1), by SplitMix64 (Steele, Lea and Flood, 2014), as an
    /// f32, so that a file of f32 holds it exactly.
    fn next(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f64 / f64::from(1 << 24)
    }

    fn uniform(&mut self, name: &str, shape: &[usize], low: f64, high: f64) {
        let rounded = |x: f64| f64::from(x as f32);
        let count = shape.iter().product();
        let data = (0..count).map(|_| rounded(low + (high - low) * self.next())).collect();
        let name = format!("{}{name}", self.prefix);
        self.tensors.insert(name, Tensor::new(shape.to_vec(), data));
    }

    /// A matrix of `inputs` inputs that keeps magnitudes.
    fn matrix(&mut self, name: &str, shape: &[usize], inputs: usize) {
        let bound = (3.0 / inputs as f64).sqrt();
        self.uniform(name, shape, -bound, bound);
    }

    fn norm(&mut self, name: &str, d: usize) {
        self.uniform(&format!("{name}.weight"), &[d], 0.5, 1.5);
        self.uniform(&format!("{name}.bias"), &[d], -0.3, 0.3);
    }

    /// Token shifts, separated by spaces.
    fn shares(&mut self, names: &str, d: usize) {
        names.split(' ').for_each(|name| self.uniform(name, &[1, 1, d], 0.0, 1.0));
    }

    fn time_mix_4(&mut self, d: usize) {
        self.shares("time_mix_k time_mix_v time_mix_r", d);
        self.uniform("time_decay", &[d], -5.0, 2.0);
        self.uniform("time_first", &[d], -2.0, 2.0);
    }

    fn time_mix_5(&mut self, version: Version, Dims { width: d, head_size: n, .. }: Dims) {
        self.shares("time_mix_k time_mix_v time_mix_r", d);
        if version == Version::V5_2 {
            self.uniform("time_decay", &[d / n, n], -5.0, 1.0);
            self.uniform("time_faaaa", &[d / n, n], -1.0, 1.0);
        } else {
            self.uniform("time_decay", &[d / n], -5.0, 1.0);
            self.uniform("time_first", &[d / n], -2.0, 1.0);
        }
        if version != Version::V5_0 {
            self.shares("time_mix_g", d);
            self.matrix("gate.weight", &[d, d], d);
        }
    }

    fn time_mix_6(&mut self, Dims { width: d, head_size: n, ranks, .. }: Dims) {
        let [decay, .., shift, _] = ranks;
        self.shares("time_maa_x time_maa_w time_maa_k time_maa_v time_maa_r time_maa_g", d);
        self.matrix("time_maa_w1", &[d, 5 * shift], d);
        self.matrix("time_maa_w2", &[5, shift, d], 4 * shift);
        self.uniform("time_decay", &[1, 1, d], -5.0, 1.0);
        self.matrix("time_decay_w1", &[d, decay], d);
        self.matrix("time_decay_w2", &[decay, d], decay);
        self.uniform("time_faaaa", &[d / n, n], -1.0, 1.0);
        self.matrix("gate.weight", &[d, d], d);
    }

    fn time_mix_7(&mut self, layer: usize, Dims { width: d, head_size: n, ranks, .. }: Dims) {
        self.shares("x_r x_w x_k x_v x_a x_g", d);
        for (letter, rank) in ["w", "a", "v", "g"].into_iter().zip(ranks) {
            if letter == "v" && layer == 0 {
                continue;
            }
            if letter != "g" {
                self.uniform(&format!("{letter}0"), &[1, 1, d], -2.0, 1.0);
            }
            self.matrix(&format!("{letter}1"), &[d, rank], d);
            self.matrix(&format!("{letter}2"), &[rank, d], rank);
        }
        self.uniform("k_k", &[1, 1, d], 0.5, 1.0);
        self.uniform("k_a", &[1, 1, d], 0.5, 1.0);
        self.uniform("r_k", &[d / n, n], -0.5, 0.5);
    }
}

/// Writes tensors as a safetensors file of f32.
///
/// # Panics
///
/// When the file cannot be written.
pub fn write_safetensors(tensors: &Tensors, path: &Path) {
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, tensor) in tensors {
        let start = end;
        end += 4 * tensor.data.len();
        let entry = json!({ "dtype": "F32", "shape": tensor.shape, "data_offsets": [start, end] });
        header.insert(name.clone(), entry);
    }
    let header = serde_json::to_vec(&header).expect("names are text");
    let mut file = Vec::with_capacity(8 + header.len() + end);
    let values = tensors.values().flat_map(|tensor| &tensor.data);
    let write = |file: &mut Vec<u8>| -> std::io::Result<()> {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        values.map(|&x| (x as f32).to_le_bytes()).try_for_each(|bytes| file.write_all(&bytes))?;
        std::fs::write(path, file)
    };
    write(&mut file).expect("a checkpoint to test with");
}
