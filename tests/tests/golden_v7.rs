//! RWKV-7 on the golden fixtures: the core against the oracle, and what int8 costs.
#![expect(clippy::print_stdout, reason = "the figures are worth seeing with --nocapture")]

use kinglet::format::model::Model;
use kinglet::format::shape::Shape;
use kinglet_tests::fixture::{self, Fixture};
use kinglet_tests::metrics::{
    cosines, mean_cosine_loss, mean_kl_divergence, relative_mean_abs_diff, top1_agreement,
};
use kinglet_tests::oracle::Oracle;
use kinglet_tests::quantized::{ModelBytes, dequantized, reference};
use kinglet_tests::tensor::Tensors;

/// 1 - mean cosine of plain round-to-nearest int8 in groups of 32, for each fixture.
const PLAIN_INT8: [(&str, f64); 2] = [("golden/v7", 0.0046), ("golden/v7_dummy", 0.0071)];

#[test]
fn the_core_computes_what_the_oracle_does() {
    for (name, _) in PLAIN_INT8 {
        let fixture = Fixture::named(name);
        let tokens = fixture.tokens().unwrap();
        let (bytes, _) = ModelBytes::quantize(&fixture.path("model.pth"));
        let model = bytes.model().unwrap();
        let mut oracle = Oracle::new(dequantized(&model)).unwrap();
        let expected = oracle.forward(&tokens);
        let (logits, state) = reference(model, &tokens);
        let difference = relative_mean_abs_diff(&logits, &expected);
        let cosines = cosines(&logits, &expected, model.shape().vocab);
        let least = cosines.into_iter().fold(1.0, f64::min);
        println!(
            "{name}: mean |difference| {difference:.2e} of std, least cosine 1 - {:.2e}",
            1.0 - least
        );
        assert!(difference <= 1e-3, "{name}: {difference}");
        assert!(least >= 0.9999, "{name}: {least}");
        assert_states_agree(model.shape(), &state, &oracle.state());
    }
}

/// Compares the core's state with the oracle's arrays, each to 1e-3 of its spread.
fn assert_states_agree(shape: &Shape, state: &[f32], expected: &Tensors) {
    let (width, n) = (shape.width, shape.head_size);
    let mut arrays = [Vec::new(), Vec::new(), Vec::new()];
    for layer in state.chunks(shape.layer_state_len()) {
        let (shifts, heads) = layer.split_at(2 * width);
        arrays[0].extend(shifts[..width].iter().copied().map(f64::from));
        arrays[1].extend(shifts[width..].iter().copied().map(f64::from));
        for head in heads.chunks(n * n) {
            // The golden layout is [value][key].
            arrays[2].extend((0..n * n).map(|i| f64::from(head[i % n * n + i / n])));
        }
    }
    for (name, array) in ["att_prev", "ffn_prev", "S"].iter().zip(&arrays) {
        let difference = relative_mean_abs_diff(array, &expected[*name].data);
        assert!(difference <= 1e-3, "{name}: {difference}");
    }
}

#[test]
fn int8_costs_no_more_than_plain_rounding() {
    for (name, plain) in PLAIN_INT8 {
        let fixture = Fixture::named(name);
        let tokens = fixture.tokens().unwrap();
        let golden = fixture.logits("logits.npy").unwrap();
        let (bytes, _) = ModelBytes::quantize(&fixture.path("model.pth"));
        let (logits, _) = reference(bytes.model().unwrap(), &tokens);
        let loss = mean_cosine_loss(&logits, &golden.data, golden.shape[1]);
        let top1 = top1_agreement(&logits, &golden.data, golden.shape[1]);
        println!("{name}: 1 - mean cosine {loss:.4} (plain {plain}), top-1 {top1:.2}");
        assert!(loss <= 1.2 * plain, "{name}: {loss}");
    }
}

/// The shipped model against its checkpoint, over texts that the model itself tells.
#[test]
fn the_shipped_model_says_what_its_checkpoint_says() {
    let checkpoint = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/stories/stories.pth");
    let model = Model::open(kinglet_stories::MODEL).unwrap();
    let vocab = model.shape().vocab;
    let mut oracle = Oracle::new(fixture::load(checkpoint.as_ref()).unwrap()).unwrap();
    let (mut kl, mut top1, mut documents) = (0.0, 0.0, 0.0);
    for seed in 0..24 {
        let tokens = told(model, seed, 160);
        oracle.reset();
        let expected = oracle.forward(&tokens);
        let (logits, _) = reference(model, &tokens);
        kl += mean_kl_divergence(&logits, &expected, vocab);
        top1 += top1_agreement(&logits, &expected, vocab);
        documents += 1.0;
    }
    let (kl, top1) = (kl / documents, top1 / documents);
    println!("KL {kl:.2e} nats per token, top-1 agreement {top1:.4}");
    assert!(kl <= 2.5e-4, "{kl}");
    assert!(top1 >= 0.99, "{top1}");
}

/// A text that the model tells, from token 0.
fn told(model: Model<'_>, seed: u64, len: usize) -> Vec<u32> {
    use kinglet::engine::Engine;
    use kinglet::sampler::{Sampler, SamplerOptions};
    let options = SamplerOptions { temperature: 1.0, top_p: 1.0, top_k: 0, ..Default::default() };
    let mut sampler = Sampler::new(options, seed).unwrap();
    sampler.ban(0).unwrap();
    let mut tokens = vec![0];
    kinglet_tests::quantized::with_engine(
        model,
        kinglet::kernels::scalar::Scalar,
        1,
        1,
        |engine| {
            let mut logits = vec![0.0; model.shape().vocab];
            while tokens.len() < len {
                engine.step(0, tokens[tokens.len() - 1], &mut logits).unwrap();
                tokens.push(sampler.sample(&mut logits).unwrap());
            }
        },
    );
    tokens
}
