//! What the versions are to one another, and what a checkpoint must hold. Each
//! version contains its predecessor as a special case, so these tie versions to
//! those that golden data pins down.

use kinglet_tests::metrics::max_abs_diff;
use kinglet_tests::oracle::{Error, Oracle, Version};
use kinglet_tests::tensor::{Tensor, Tensors};

const LAYERS: usize = 2;
const HEADS: usize = 2;
const N: usize = 4;
const D: usize = HEADS * N;
const F: usize = 12;
const VOCAB: usize = 10;
const TOKENS: [u32; 8] = [0, 3, 9, 3, 1, 7, 2, 5];

/// Two forward passes that differ only in the order of additions.
const SAME: f64 = 1e-12;

/// Random weights under a checkpoint's names.
struct Builder {
    tensors: Tensors,
    prefix: String,
    random: u64,
}

impl Builder {
    fn new() -> Self {
        let mut builder =
            Self { tensors: Tensors::new(), prefix: String::new(), random: 0x9E37_79B9_7F4A_7C15 };
        builder.add("emb.weight", &[VOCAB, D]);
        builder.add("head.weight", &[VOCAB, D]);
        builder.norm("blocks.0.ln0");
        builder.norm("ln_out");
        builder
    }

    /// Uniform in [-1, 1), by Knuth's MMIX generator.
    fn next(&mut self) -> f64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn add(&mut self, name: &str, shape: &[usize]) {
        let data = (0..shape.iter().product()).map(|_| self.next()).collect();
        let name = format!("{}{name}", self.prefix);
        self.tensors.insert(name, Tensor::new(shape.to_vec(), data));
    }

    fn all(&mut self, names: &str, shape: &[usize]) {
        names.split_whitespace().for_each(|name| self.add(name, shape));
    }

    fn norm(&mut self, name: &str) {
        self.add(&format!("{name}.weight"), &[D]);
        self.add(&format!("{name}.bias"), &[D]);
    }

    /// Builds every layer: `time_mix` and `channel_mix` add what is their own.
    fn layers(mut self, time_mix: fn(&mut Self, usize), channel_mix: fn(&mut Self)) -> Tensors {
        for layer in 0..LAYERS {
            self.prefix = format!("blocks.{layer}.");
            self.norm("ln1");
            self.norm("ln2");
            self.prefix = format!("blocks.{layer}.att.");
            self.all("receptance.weight key.weight value.weight output.weight", &[D, D]);
            time_mix(&mut self, layer);
            self.prefix = format!("blocks.{layer}.ffn.");
            self.add("key.weight", &[F, D]);
            self.add("value.weight", &[D, F]);
            channel_mix(&mut self);
        }
        self.tensors
    }

    fn rwkv4() -> Tensors {
        Self::new().layers(
            |b, _| {
                b.all("time_decay time_first", &[D]);
                b.all("time_mix_k time_mix_v time_mix_r", &[1, 1, D]);
            },
            Self::gated_channel_mix,
        )
    }

    fn rwkv5_0() -> Tensors {
        Self::new().layers(Self::rwkv5_scalar_decay, Self::gated_channel_mix)
    }

    fn rwkv5_1() -> Tensors {
        Self::new().layers(
            |b, layer| {
                b.rwkv5_scalar_decay(layer);
                b.rwkv5_gate();
            },
            Self::gated_channel_mix,
        )
    }

    fn rwkv5_2() -> Tensors {
        Self::new().layers(
            |b, _| {
                b.norm("ln_x");
                b.all("time_decay time_faaaa", &[HEADS, N]);
                b.all("time_mix_k time_mix_v time_mix_r", &[1, 1, D]);
                b.rwkv5_gate();
            },
            Self::gated_channel_mix,
        )
    }

    fn rwkv5_scalar_decay(&mut self, _layer: usize) {
        self.norm("ln_x");
        self.all("time_decay time_first", &[HEADS]);
        self.all("time_mix_k time_mix_v time_mix_r", &[1, 1, D]);
    }

    fn rwkv5_gate(&mut self) {
        self.add("gate.weight", &[D, D]);
        self.add("time_mix_g", &[1, 1, D]);
    }

    fn gated_channel_mix(&mut self) {
        self.add("receptance.weight", &[D, D]);
        self.all("time_mix_k time_mix_r", &[1, 1, D]);
    }

    fn rwkv6() -> Tensors {
        Self::new().layers(
            |b, _| {
                b.norm("ln_x");
                b.add("gate.weight", &[D, D]);
                b.add("time_faaaa", &[HEADS, N]);
                b.all("time_maa_x time_maa_w time_maa_k time_maa_v", &[1, 1, D]);
                b.all("time_maa_r time_maa_g time_decay", &[1, 1, D]);
                b.add("time_maa_w1", &[D, 5 * 3]);
                b.add("time_maa_w2", &[5, 3, D]);
                b.add("time_decay_w1", &[D, 2]);
                b.add("time_decay_w2", &[2, D]);
            },
            |b| {
                b.add("receptance.weight", &[D, D]);
                b.all("time_maa_k time_maa_r", &[1, 1, D]);
            },
        )
    }

    fn rwkv7() -> Tensors {
        Self::new().layers(Self::rwkv7_time_mix, |b| b.add("x_k", &[1, 1, D]))
    }

    fn rwkv7a() -> Tensors {
        Self::new().layers(Self::rwkv7_time_mix, |b| {
            b.add("x_k", &[1, 1, D]);
            b.add("s_emb.weight", &[VOCAB, 9]);
            b.add("s_emb_x.weight", &[9, D]);
            b.add("s0", &[1, 1, F]);
            b.add("s1", &[D, 3]);
            b.add("s2", &[3, F]);
        })
    }

    fn rwkv7_time_mix(&mut self, layer: usize) {
        self.norm("ln_x");
        self.all("x_r x_w x_k x_v x_a x_g w0 a0 k_k k_a", &[1, 1, D]);
        self.add("r_k", &[HEADS, N]);
        for (name, rank) in [("w", 3), ("a", 2), ("g", 5)] {
            self.add(&format!("{name}1"), &[D, rank]);
            self.add(&format!("{name}2"), &[rank, D]);
        }
        if layer > 0 {
            self.add("v0", &[1, 1, D]);
            self.add("v1", &[D, 1]);
            self.add("v2", &[1, D]);
        }
    }
}

fn all_versions() -> [(Version, Tensors); 7] {
    [
        (Version::V4, Builder::rwkv4()),
        (Version::V5_0, Builder::rwkv5_0()),
        (Version::V5_1, Builder::rwkv5_1()),
        (Version::V5_2, Builder::rwkv5_2()),
        (Version::V6, Builder::rwkv6()),
        (Version::V7, Builder::rwkv7()),
        (Version::V7a, Builder::rwkv7a()),
    ]
}

/// Rewrites the tensors whose name ends in `suffix`, renaming them.
fn rewrite(tensors: &mut Tensors, suffix: &str, renamed: &str, f: impl Fn(&Tensor) -> Tensor) {
    let names: Vec<_> = tensors.keys().filter(|name| name.ends_with(suffix)).cloned().collect();
    assert_eq!(names.len() % LAYERS, 0);
    assert!(!names.is_empty(), "nothing ends in {suffix}");
    for name in names {
        let new = f(&tensors.remove(&name).unwrap());
        tensors.insert(name.strip_suffix(suffix).unwrap().to_owned() + renamed, new);
    }
}

fn each(f: impl Fn(f64) -> f64) -> impl Fn(&Tensor) -> Tensor {
    move |t| Tensor::new(t.shape.clone(), t.data.iter().map(|&x| f(x)).collect())
}

#[track_caller]
fn oracle(version: Version, tensors: Tensors) -> Oracle {
    let oracle = Oracle::new(tensors).unwrap();
    assert_eq!(oracle.version(), version);
    oracle
}

#[track_caller]
fn assert_same(mut a: Oracle, mut b: Oracle) {
    let (a, b) = (a.forward(&TOKENS), b.forward(&TOKENS));
    assert!(a.iter().any(|&x| x.abs() > 0.1), "the logits are dead");
    assert!(max_abs_diff(&a, &b) < SAME, "{}", max_abs_diff(&a, &b));
}

#[test]
fn rwkv5_1_is_5_2_with_one_decay_per_head() {
    let old = Builder::rwkv5_1();
    let mut new = old.clone();
    let spread = |t: &Tensor| {
        let per_head = t.data.iter().flat_map(|&x| [x; N]).collect();
        Tensor::new(vec![HEADS, N], per_head)
    };
    rewrite(&mut new, "time_decay", "time_decay", spread);
    rewrite(&mut new, "time_first", "time_faaaa", |t| each(f64::exp)(&spread(t)));
    assert_same(oracle(Version::V5_1, old), oracle(Version::V5_2, new));
}

#[test]
fn rwkv5_0_is_5_1_with_an_open_gate() {
    let (mut old, mut new) = (Builder::rwkv5_0(), Builder::rwkv5_0());
    // A norm that gives x in every channel puts the gate at a known constant,
    // which the output matrix can carry instead.
    let (gate, x) = (3.0f64, 2.0f64);
    for tensors in [&mut old, &mut new] {
        rewrite(tensors, "ln1.weight", "ln1.weight", each(|_| 0.0));
        rewrite(tensors, "ln1.bias", "ln1.bias", each(|_| x));
    }
    for layer in 0..LAYERS {
        let att = format!("blocks.{layer}.att.");
        new.insert(att.clone() + "time_mix_g", Tensor::new(vec![1, 1, D], vec![1.0; D]));
        let identity = (0..D * D).map(|i| if i % (D + 1) == 0 { gate / x } else { 0.0 });
        new.insert(att + "gate.weight", Tensor::new(vec![D, D], identity.collect()));
    }
    let silu = gate / (1.0 + (-gate).exp());
    rewrite(&mut old, "att.output.weight", "att.output.weight", each(|w| w * silu));
    assert_same(oracle(Version::V5_0, old), oracle(Version::V5_1, new));
}

#[test]
fn rwkv5_2_is_6_without_its_low_rank_maps() {
    let mut new = Builder::rwkv6();
    for suffix in ["time_maa_w2", "time_decay_w2"] {
        rewrite(&mut new, suffix, suffix, each(|_| 0.0));
    }
    let mut old = new.clone();
    let low_rank = ["time_maa_x", "time_maa_w", "_w1", "_w2"];
    old.retain(|name, _| !low_rank.iter().any(|suffix| name.ends_with(suffix)));
    for name in ["k", "v", "r", "g"] {
        rewrite(
            &mut old,
            &format!("time_maa_{name}"),
            &format!("time_mix_{name}"),
            each(|maa| 1.0 - maa),
        );
    }
    rewrite(&mut old, "time_decay", "time_decay", |t| Tensor::new(vec![HEADS, N], t.data.clone()));
    assert_same(oracle(Version::V5_2, old), oracle(Version::V6, new));
}

#[test]
fn rwkv7_is_7a_with_constant_scales() {
    let mut new = Builder::rwkv7a();
    rewrite(&mut new, "s0", "s0", each(|_| 1.0));
    rewrite(&mut new, "s1", "s1", each(|_| 0.0));
    let mut old = new.clone();
    old.retain(|name, _| !name.contains(".ffn.s"));
    assert_same(oracle(Version::V7, old), oracle(Version::V7a, new));
}

/// Row `index` of a matrix.
fn row(matrix: &Tensor, index: usize) -> &[f64] {
    &matrix.data[index * matrix.shape[1]..][..matrix.shape[1]]
}

/// The embedding as a model file has it: ln0 applied, its tensors gone.
fn fold_ln0(tensors: &mut Tensors) {
    let weight = tensors.remove("blocks.0.ln0.weight").unwrap().data;
    let bias = tensors.remove("blocks.0.ln0.bias").unwrap().data;
    for x in tensors.get_mut("emb.weight").unwrap().data.chunks_exact_mut(D) {
        let mean = x.iter().sum::<f64>() / D as f64;
        let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / D as f64;
        for (x, (w, b)) in x.iter_mut().zip(weight.iter().zip(&bias)) {
            *x = (*x - mean) / (variance + 1e-5).sqrt() * w + b;
        }
    }
}

#[test]
fn embedding_may_be_folded() {
    for (version, tensors) in all_versions() {
        let mut folded = tensors.clone();
        fold_ln0(&mut folded);
        assert_same(oracle(version, tensors), oracle(version, folded));
    }
}

#[test]
fn deep_embed_may_be_folded() {
    let tensors = Builder::rwkv7a();
    let mut folded = tensors.clone();
    fold_ln0(&mut folded);
    for layer in 0..LAYERS {
        let ffn = format!("blocks.{layer}.ffn.");
        let from_embedding = folded.remove(&(ffn.clone() + "s_emb_x.weight")).unwrap();
        let embedding = folded["emb.weight"].clone();
        let table = folded.get_mut(&(ffn + "s_emb.weight")).unwrap();
        for (at, entry) in table.data.iter_mut().enumerate() {
            let (token, column) = (at / 9, at % 9);
            let terms = row(&embedding, token).iter().zip(row(&from_embedding, column));
            *entry += terms.map(|(a, b)| a * b).sum::<f64>();
        }
    }
    assert_same(oracle(Version::V7a, tensors), oracle(Version::V7a, folded));
}

#[test]
fn layer_0_value_residual_is_unused() {
    let tensors = Builder::rwkv7();
    let mut dummy = tensors.clone();
    for name in ["v0", "v1", "v2"] {
        let other_layer = dummy[&format!("blocks.1.att.{name}")].clone();
        dummy.insert(format!("blocks.0.att.{name}"), other_layer);
    }
    assert_same(oracle(Version::V7, tensors), oracle(Version::V7, dummy));
}

#[test]
fn state_carries_everything() {
    for (version, tensors) in all_versions() {
        let mut first = oracle(version, tensors.clone());
        let whole = first.forward(&TOKENS);
        first.reset();
        first.forward(&TOKENS[..5]);

        let mut second = oracle(version, tensors);
        second.set_state(first.state()).unwrap();
        assert_eq!(second.forward(&TOKENS[5..]), whole[5 * VOCAB..], "{version}");
        first.reset();
        assert_eq!(first.forward(&TOKENS), whole, "{version}");
    }
}

#[test]
fn tuned_state_is_value_by_key_in_every_version() {
    for (version, tensors) in all_versions().into_iter().skip(1) {
        let mut tuned = tensors.clone();
        let mut plain = oracle(version, tensors);
        let mut state = plain.state();
        // One entry, at key 1 and value 2 of head 1 in layer 1.
        let name = |layer| format!("blocks.{layer}.att.time_state");
        for layer in 0..LAYERS {
            tuned.insert(name(layer), Tensor::new(vec![HEADS, N, N], vec![0.0; HEADS * N * N]));
        }
        tuned.get_mut(&name(1)).unwrap().data[(N + 2) * N + 1] = 3.0;
        let (outer, inner) = match version {
            Version::V7 | Version::V7a => (2, 1),
            _ => (1, 2),
        };
        state.get_mut("S").unwrap().data[((HEADS + 1) * N + outer) * N + inner] = 3.0;
        let untuned = plain.forward(&TOKENS);
        plain.set_state(state.clone()).unwrap();

        let tuned = oracle(version, tuned);
        assert_eq!(tuned.state(), state, "{version}");
        assert_ne!({ plain.forward(&TOKENS) }, untuned, "{version}");
        plain.set_state(state).unwrap();
        assert_same(plain, tuned);
    }
    let mut rwkv4 = Builder::rwkv4();
    let state = Tensor::new(vec![HEADS, N, N], vec![0.0; HEADS * N * N]);
    for layer in 0..LAYERS {
        rwkv4.insert(format!("blocks.{layer}.att.time_state"), state.clone());
    }
    assert!(matches!(Oracle::new(rwkv4), Err(Error::Unknown(_))));
}

#[test]
fn states_of_another_shape_are_refused() {
    let mut oracle = oracle(Version::V7, Builder::rwkv7());
    oracle.forward(&TOKENS);
    let good = oracle.state();
    let mut missing = good.clone();
    missing.remove("ffn_prev");
    let mut extra = good.clone();
    extra.insert("pp".to_owned(), good["att_prev"].clone());
    let mut reshaped = good.clone();
    reshaped.get_mut("S").unwrap().shape = vec![LAYERS, HEADS, N * N];
    assert!(matches!(oracle.set_state(missing), Err(Error::Missing(n)) if n == "ffn_prev"));
    assert!(matches!(oracle.set_state(extra), Err(Error::Unknown(n)) if n == "pp"));
    assert!(matches!(oracle.set_state(reshaped), Err(Error::Shape { name, .. }) if name == "S"));
    assert_eq!(oracle.state(), good);
}

#[test]
fn every_tensor_is_needed_in_its_shape() {
    for (version, tensors) in all_versions() {
        for name in tensors.keys() {
            let mut reshaped = tensors.clone();
            reshaped.get_mut(name).unwrap().shape.insert(0, 7);
            reshaped.get_mut(name).unwrap().data = vec![0.0; tensors[name].data.len() * 7];
            assert!(Oracle::new(reshaped).is_err(), "{version}: {name} seven times");

            // Without it a DeepEmbed table counts as folded.
            if !name.ends_with("s_emb_x.weight") {
                let mut missing = tensors.clone();
                missing.remove(name);
                assert!(Oracle::new(missing).is_err(), "{version}: no {name}");
            }
        }
    }
}

#[test]
fn what_the_oracle_does_not_compute_is_refused() {
    let with = |name: &str| {
        let mut tensors = Builder::rwkv7a();
        tensors.insert(name.to_owned(), Tensor::new(vec![1], vec![0.0]));
        Oracle::new(tensors).unwrap_err()
    };
    assert!(matches!(with("blocks.0.qkv.qq.weight"), Error::Unsupported { .. }));
    assert!(matches!(with("blocks.0.ffn.enn.weight"), Error::Unsupported { .. }));
    assert!(matches!(with("_strategy"), Error::Unsupported { .. }));
    assert!(matches!(with("blocks.0.att.extra"), Error::Unknown(_)));
}
