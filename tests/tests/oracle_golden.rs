//! The oracle against logits and states that an independent implementation
//! computed.

use kinglet_tests::fixture::{Fixture, load};
use kinglet_tests::oracle::{Oracle, Version};
use kinglet_tests::tensor::Tensors;

/// Golden values are float64 results stored as f32: each must be the oracle's
/// value, rounded, but for what the order of float64 additions changes.
#[track_caller]
fn assert_rounds_to(what: &str, got: &[f64], golden: &[f64]) {
    const HALF_ULP: f64 = f32::EPSILON as f64 / 2.0;
    assert_eq!(got.len(), golden.len(), "{what}");
    for (at, (got, golden)) in got.iter().zip(golden).enumerate() {
        let error = (got - golden).abs();
        assert!(error <= golden.abs() * HALF_ULP + 1e-11, "{what}: {got} for {golden} at {at}");
    }
}

#[track_caller]
fn assert_state(oracle: &Oracle, golden: &Tensors) {
    let state = oracle.state();
    assert_eq!(state.len(), golden.len());
    for (name, golden) in golden {
        assert_eq!(state[name].shape, golden.shape, "{name}");
        assert_rounds_to(name, &state[name].data, &golden.data);
    }
}

/// Runs a model and, where the fixture has one, its tuned start state.
fn check(fixture: &Fixture, version: Version) {
    let tokens = fixture.tokens().unwrap();
    let mut oracle = Oracle::new(load(&fixture.path("model.pth")).unwrap()).unwrap();
    assert_eq!(oracle.version(), version);
    let golden = fixture.logits("logits.npy").unwrap();
    assert_eq!(golden.shape, [tokens.len(), oracle.vocab()]);
    assert_rounds_to("logits", &oracle.forward(&tokens), &golden.data);
    assert_state(&oracle, &fixture.state("state.npz").unwrap());

    if fixture.path("state.pth").exists() {
        oracle.tune(load(&fixture.path("state.pth")).unwrap()).unwrap();
        let golden = fixture.logits("logits_tuned.npy").unwrap();
        assert_rounds_to("tuned logits", &oracle.forward(&tokens), &golden.data);
        assert_state(&oracle, &fixture.state("state_tuned.npz").unwrap());
    }
}

#[test]
fn rwkv7() {
    check(&Fixture::named("golden/v7"), Version::V7);
}

#[test]
fn rwkv7_with_unused_value_residual_in_layer_0() {
    check(&Fixture::named("golden/v7_dummy"), Version::V7);
}

/// Every version, over a directory that is too large for the repository.
#[test]
#[ignore = "needs KINGLET_GOLDEN, a directory of fixtures of every version"]
fn every_version() {
    let root = std::env::var_os("KINGLET_GOLDEN").expect("KINGLET_GOLDEN names a directory");
    for (name, version) in [
        ("v4", Version::V4),
        ("v5_0", Version::V5_0),
        ("v5_1", Version::V5_1),
        ("v5_2", Version::V5_2),
        ("v6", Version::V6),
        ("v7", Version::V7),
        ("v7_dummy", Version::V7),
        ("v7_formats", Version::V7),
        ("v7a", Version::V7a),
    ] {
        check(&Fixture::at(std::path::Path::new(&root).join(name)), version);
    }
}
