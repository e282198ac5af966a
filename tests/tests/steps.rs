//! A pass that is computed in pieces: the same bits whatever the pieces, none of which is longer
//! than its budget allows, and what an abandoned one leaves.

use std::sync::atomic::{AtomicUsize, Ordering};

use kinglet::engine::{BatchToken, Engine, Progress, StateError, Step, StepError};
use kinglet::format::shape::Shape;
use kinglet::kernels::scalar::Scalar;
use kinglet::kernels::{Kernels, Product, Region, SparseProduct, Split};
use kinglet::num::state_dtype::{StateElement, f16};
use kinglet_host::Threaded;
use kinglet_tests::oracle::Version;
use kinglet_tests::quantized::{ModelBytes, with_engine, with_states};
use kinglet_tests::random::{Dims, checkpoint, write_safetensors};

const VERSIONS: [Version; 7] = [
    Version::V4,
    Version::V5_0,
    Version::V5_1,
    Version::V5_2,
    Version::V6,
    Version::V7,
    Version::V7a,
];

/// Dimensions of which nothing is a multiple of anything.
const ODD: Dims =
    Dims { layers: 3, width: 24, head_size: 8, ffn: 36, vocab: 77, ranks: [5, 3, 7, 9, 5, 5] };

/// A random checkpoint of a version, quantized.
fn random(version: Version) -> ModelBytes {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    write_safetensors(&checkpoint(version, ODD, 7), &path);
    ModelBytes::quantize(&path).0
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Numbers from 0 to `below`, always the same ones.
fn numbers(mut seed: u64, below: usize) -> impl FnMut() -> usize {
    move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    }
}

/// Batches of up to `most` tokens of `sequences` sequences, some without logits.
fn batches(shape: &Shape, sequences: usize, most: usize) -> Vec<Vec<BatchToken>> {
    let mut number = numbers(most as u64, shape.vocab);
    let mut batch = || {
        let len = 1 + number() % most;
        let mut token = |_| BatchToken {
            token: number() as u32,
            sequence: number() % sequences,
            logits: !number().is_multiple_of(3),
        };
        (0..len).map(&mut token).collect()
    };
    (0..6).map(|_| batch()).collect()
}

fn logits_of(shape: &Shape, batch: &[BatchToken]) -> Vec<f32> {
    vec![f32::NAN; shape.vocab * batch.iter().filter(|token| token.logits).count()]
}

fn states(engine: &impl Engine) -> Vec<u32> {
    let mut state = vec![0.0; engine.shape().state_len()];
    let mut all = Vec::new();
    for sequence in 0..engine.sequences() {
        engine.store_state(sequence, &mut state).unwrap();
        all.extend(bits(&state));
    }
    all
}

/// Polls a step to its end with the budgets that `budget` gives; how often.
fn finish<E: Engine>(
    mut step: Step<'_, E>,
    layers: usize,
    mut budget: impl FnMut() -> usize,
) -> usize {
    let (mut polls, mut before) = (1, 0);
    while let Progress::More { layers: now } = step.poll(budget()).unwrap() {
        assert!(before <= now && now <= layers);
        (polls, before) = (polls + 1, now);
    }
    assert_eq!(step.poll(1), Ok(Progress::Done));
    polls
}

/// Logits and states of every batch, undivided and in pieces.
fn assert_pieces_agree<S: StateElement>(model: &ModelBytes, what: &str) {
    let model = model.model().unwrap();
    let layers = model.shape().layers;
    for (sequences, most) in [(1, 1), (2, 5)] {
        let batches = batches(model.shape(), sequences, most);
        let whole: Vec<_> = with_states::<_, S, _>(model, Scalar, sequences, most, |engine| {
            let run = |batch: &Vec<BatchToken>| {
                let mut logits = logits_of(engine.shape(), batch);
                engine.forward(batch, &mut logits).unwrap();
                (bits(&logits), states(engine))
            };
            batches.iter().map(run).collect()
        });
        for most_budget in [1, 300, 2000, 40_000] {
            let mut number = numbers(most_budget as u64, most_budget);
            with_states::<_, S, _>(model, Threaded::new(Scalar, 2), sequences, most, |engine| {
                for (batch, whole) in batches.iter().zip(&whole) {
                    let mut logits = logits_of(engine.shape(), batch);
                    let polls =
                        finish(engine.begin(batch, &mut logits).unwrap(), layers, &mut number);
                    assert!(polls > 1 || most_budget > 300, "{what}: {polls} pieces");
                    assert!(bits(&logits) == whole.0, "{what}: logits, {most_budget}");
                    assert!(states(engine) == whole.1, "{what}: states, {most_budget}");
                }
            });
        }
    }
}

#[test]
fn any_pieces_give_the_bits_of_the_whole() {
    for version in VERSIONS {
        let model = random(version);
        assert_pieces_agree::<f32>(&model, &format!("RWKV-{version}"));
        if version != Version::V4 {
            assert_pieces_agree::<f16>(&model, &format!("RWKV-{version} in f16"));
        }
    }
}

/// Adds up what is computed: multiply-accumulates of products, operations of regions.
#[derive(Default)]
struct Counting {
    /// Since it was last taken.
    work: AtomicUsize,
}

impl Counting {
    fn add(&self, work: usize) {
        self.work.fetch_add(work, Ordering::Relaxed);
    }
}

/// The same, kept by the test.
struct Shared<'a>(&'a Counting);

impl Kernels for Shared<'_> {
    fn name(&self) -> &'static str {
        "counting"
    }

    fn products(&self, products: &mut [Product<'_>]) {
        for Product { matrix, input, .. } in &*products {
            let inputs = matrix.inputs().next_multiple_of(32);
            self.0.add(matrix.row_tiles() * 16 * inputs * input.tokens());
        }
        Scalar.products(products);
    }

    fn sparse_product(&self, product: SparseProduct<'_>) {
        let nonzero = product.input.q().iter().filter(|&&q| q != 0).count();
        self.0.add(product.matrix.rows() * nonzero);
        Scalar.sparse_product(product);
    }

    fn for_parts<S: Split>(&self, whole: S, region: Region, f: impl Fn(S) + Sync) {
        self.0.add(region.operations);
        Scalar.for_parts(whole, region, f);
    }

    /// Not counted: all of it is in calls of `once`.
    fn for_heads<S: Split>(&self, whole: S, region: Region, f: impl Fn(S) + Sync) {
        Scalar.for_heads(whole, region, f);
    }

    fn once(&self, region: Region, f: impl FnOnce()) {
        self.0.add(region.operations);
        f();
    }
}

#[test]
fn no_piece_exceeds_its_budget_by_more_than_a_unit() {
    for version in VERSIONS {
        let bytes = random(version);
        let model = bytes.model().unwrap();
        let batch = [BatchToken { token: 5, sequence: 0, logits: true }];
        // The largest unit: with a budget of nothing each piece is one.
        let mut logits = logits_of(model.shape(), &batch);
        let pieces = |budget: usize, logits: &mut [f32]| {
            let mut pieces = Vec::new();
            let kernels = Counting::default();
            with_engine(model, Shared(&kernels), 1, 1, |engine| {
                let mut step = engine.begin(&batch, logits).unwrap();
                loop {
                    let progress = step.poll(budget).unwrap();
                    pieces.push(kernels.work.swap(0, Ordering::Relaxed));
                    if progress == Progress::Done {
                        return;
                    }
                }
            });
            pieces
        };
        let units = pieces(0, &mut logits);
        let unit = *units.iter().max().unwrap();
        let all: usize = units.iter().sum();
        for budget in [1, unit / 2, unit, 3 * unit, all] {
            let found = pieces(budget, &mut logits);
            let largest = *found.iter().max().unwrap();
            assert!(largest <= budget.max(unit), "RWKV-{version}: {largest} of {budget}, {unit}");
            assert!(found.len() <= units.len());
            // Each is as long as its budget allows, but for the last one.
            let short = found.iter().rev().skip(1).filter(|&&piece| piece + unit < budget).count();
            assert_eq!(short, 0, "RWKV-{version}: {found:?} of {budget}");
        }
    }
}

#[test]
fn an_abandoned_step_is_not_gone_on_from() {
    for version in [Version::V4, Version::V7] {
        let bytes = random(version);
        let model = bytes.model().unwrap();
        with_engine(model, Scalar, 3, 2, |engine| {
            let mut logits = vec![0.0; 2 * model.shape().vocab];
            let (logits, both) = (&mut logits[..model.shape().vocab], &mut vec![0.0; 2 * 77]);
            let token = |sequence| BatchToken { token: 3, sequence, logits: true };
            for sequence in 0..3 {
                engine.step(sequence, 9, logits).unwrap();
            }
            let mut kept = vec![0.0; model.shape().state_len()];
            engine.store_state(1, &mut kept).unwrap();
            engine.step(1, 3, logits).unwrap();
            let expected = bits(logits);

            // One that was never polled changes nothing.
            engine.load_state(1, &kept).unwrap();
            drop(engine.begin(&[token(1)], logits).unwrap());
            engine.step(1, 3, logits).unwrap();
            assert_eq!(bits(logits), expected);

            engine.load_state(1, &kept).unwrap();
            let batch = [token(1), token(2)];
            let mut step = engine.begin(&batch, both).unwrap();
            assert!(matches!(step.poll(5000), Ok(Progress::More { .. })));
            drop(step);
            for sequence in [1, 2] {
                let unfinished = Err(StepError::Unfinished { sequence });
                assert_eq!(engine.step(sequence, 3, logits), unfinished);
                assert_eq!(engine.prefill(sequence, &[1, 2, 3], logits), unfinished);
                let tokens = [token(sequence)];
                let mut step = engine.begin(&tokens, logits).unwrap();
                assert_eq!(step.poll(1).map(|_| ()), unfinished);
                assert_eq!(step.poll(1).map(|_| ()), unfinished);
            }
            // The other one goes on, and so do these after a state or a start.
            engine.step(0, 3, logits).unwrap();
            engine.load_state(1, &kept).unwrap();
            engine.step(1, 3, logits).unwrap();
            assert_eq!(bits(logits), expected);
            engine.reset(2).unwrap();
            engine.step(2, 3, logits).unwrap();
        });
    }
}

#[test]
fn an_abandoned_state_is_not_stored() {
    fn check<S: StateElement>() {
        let bytes = random(Version::V7);
        let model = bytes.model().unwrap();
        with_states::<_, S, _>(model, Scalar, 2, 1, |engine| {
            let batch = [BatchToken { token: 3, sequence: 1, logits: false }];
            let mut step = engine.begin(&batch, &mut []).unwrap();
            let _ = step.poll(5000).unwrap();
            drop(step);
            let mut state = vec![0.0; model.shape().state_len()];
            let unfinished = Err(StateError::Unfinished { sequence: 1 });
            assert_eq!(engine.store_state(1, &mut state), unfinished);
            let mut elements = vec![S::NAN; state.len()];
            assert_eq!(engine.store_elements(1, &mut elements), unfinished);
            let file = &mut vec![0; engine.state_file_len(&[])];
            assert!(engine.save_state(1, None, &[], file).is_err());
            engine.store_state(0, &mut state).unwrap();
        });
    }
    check::<f32>();
    check::<f16>();
}

#[test]
fn a_step_is_refused_as_a_batch_is() {
    let bytes = random(Version::V7);
    let model = bytes.model().unwrap();
    with_engine(model, Scalar, 1, 1, |engine| {
        let logits = &mut [0.0; 77];
        let token = |token, sequence| [BatchToken { token, sequence, logits: true }];
        let refused = |found: Result<Step<'_, _>, _>| found.map(|_| ()).unwrap_err();
        assert_eq!(
            refused(engine.begin(&token(77, 0), logits)),
            StepError::Token { found: 77, vocab: 77 }
        );
        assert_eq!(
            refused(engine.begin(&token(0, 1), logits)),
            StepError::Sequence { found: 1, sequences: 1 }
        );
        assert_eq!(
            refused(engine.begin(&token(0, 0), &mut logits[1..])),
            StepError::Logits { found: 76, needed: 77 }
        );
        assert_eq!(refused(engine.begin(&[], logits)), StepError::Batch { found: 0, largest: 1 });
    });
}

#[test]
fn a_prompt_has_a_hook() {
    let bytes = random(Version::V7);
    let model = bytes.model().unwrap();
    with_engine(model, Scalar, 1, 2, |engine| {
        let (mut called, mut logits) = (Vec::new(), [0.0; 77]);
        let mut hook = |layers| {
            called.push(layers);
            std::ops::ControlFlow::Continue(())
        };
        engine.prefill_with(0, &[1, 2, 3], &mut logits, &mut hook).unwrap();
        assert_eq!(called, [1, 2, 3, 1, 2, 3]);
        let mut stop = |_| std::ops::ControlFlow::Break(());
        let cancelled = Err(StepError::Cancelled { layers: 1 });
        assert_eq!(engine.prefill_with(0, &[1, 2, 3], &mut logits, &mut stop), cancelled);
    });
}
