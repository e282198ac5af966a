//! Two threads in the place of two cores.

use std::boxed::Box;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::vec;
use std::vec::Vec;

use kinglet::engine::{Cpu, Engine, Requirements};
use kinglet::format::crc32::Crc32;
use kinglet::format::model::Model;
use kinglet::kernels::testing::{Activity, Case, Problem};
use kinglet::kernels::{ChunksOf, Kernels, Phase, Product, Region, SparseProduct};
use kinglet::num::state_dtype::StateElement;
use kinglet_stories::{DIGEST, DIGEST_F16, MODEL};
use proptest::prelude::*;

use super::shares::{self, Share};
use super::{Mailbox, SecondCore, SparseRows, TwoCores};
use crate::{Dsp, QuadScalar};

mod dsp {
    kinglet::kernel_tests!(super::two_cores(crate::Dsp::new()));
}

mod plain {
    kinglet::kernel_tests!(super::two_cores(crate::QuadScalar::new()));
}

/// An event for each of two threads, which stays until its thread waits. Its `tell` is the other's
/// event; a thread knows by `of_second` which it is.
#[derive(Default)]
struct Events {
    told: Mutex<[bool; 2]>,
    changed: Condvar,
}

std::thread_local! {
    static IS_SECOND: AtomicBool = const { AtomicBool::new(false) };
}

fn this_core() -> usize {
    IS_SECOND.with(|second| usize::from(second.load(Relaxed)))
}

impl Mailbox for Events {
    fn tell(&self) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)[1 - this_core()] = true;
        self.changed.notify_all();
    }

    fn wait(&self) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let told = self.changed.wait_while(told, |told| !told[this_core()]);
        told.unwrap_or_else(PoisonError::into_inner)[this_core()] = false;
    }
}

/// The kernels on this thread and one that serves until the process ends.
fn two_cores<K: SparseRows>(kernels: Option<K>) -> Option<TwoCores<'static, K, Events>> {
    let second: &SecondCore<Events> = Box::leak(Box::new(SecondCore::new(Events::default())));
    thread::spawn(|| {
        IS_SECOND.with(|second| second.store(true, Relaxed));
        // SAFETY: this thread alone serves.
        unsafe { second.serve() }
    });
    // SAFETY: each test has a set of its own, which its thread calls.
    kernels.map(|kernels| unsafe { TwoCores::new(kernels, second) })
}

/// Runs `f` beside a thread that serves until it ends.
fn beside<R>(f: impl FnOnce(&SecondCore<Events>) -> R) -> R {
    struct End<'a>(&'a AtomicBool, &'a SecondCore<Events>);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Relaxed);
            self.1.mailbox().tell();
        }
    }
    let (second, ended) = (SecondCore::new(Events::default()), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            IS_SECOND.with(|second| second.store(true, Relaxed));
            while !ended.load(Relaxed) {
                // SAFETY: this thread alone serves.
                if !unsafe { second.serve_one() } {
                    second.mailbox().wait();
                }
            }
        });
        let _end = End(&ended, &second);
        f(&second)
    })
}

#[test]
fn each_closure_runs_once_on_its_core() {
    beside(|second| {
        let mut runs = [0; 2];
        for turn in 1..=40 {
            let [first_runs, second_runs] = &mut runs;
            // Closures of any size, which own what they capture.
            let owned = Box::new(turn);
            // SAFETY: this thread alone joins.
            unsafe {
                second.join(
                    || {
                        assert_eq!(this_core(), 0);
                        *first_runs += 1;
                    },
                    || {
                        assert_eq!(this_core(), 1);
                        *second_runs += *owned;
                    },
                );
            }
            assert_eq!(runs, [turn, turn * (turn + 1) / 2]);
        }
    });
}

#[test]
fn a_job_within_a_job_is_done() {
    beside(|second| {
        let runs = AtomicUsize::new(0);
        let run = || {
            runs.fetch_add(1, Relaxed);
        };
        // SAFETY: the joins of the closures are within that of this thread.
        let inner = || unsafe { second.join(run, run) };
        for _ in 0..10 {
            // SAFETY: this thread alone joins.
            unsafe { second.join(inner, inner) };
        }
        assert_eq!(runs.load(Relaxed), 40);
    });
}

#[test]
fn a_panic_of_the_first_share_waits_for_the_second() {
    beside(|second| {
        let done = AtomicBool::new(false);
        let joined = std::panic::catch_unwind(|| {
            // SAFETY: this thread alone joins.
            unsafe {
                second.join(
                    || std::panic::resume_unwind(Box::new("first")),
                    || {
                        thread::sleep(std::time::Duration::from_millis(20));
                        done.store(true, Relaxed);
                    },
                );
            }
        });
        assert_eq!(joined.unwrap_err().downcast_ref(), Some(&"first"));
        assert!(done.load(Relaxed));
    });
}

#[test]
fn a_panic_of_the_second_share_reaches_the_first() {
    let second = SecondCore::new(Events::default());
    thread::scope(|scope| {
        let server = scope.spawn(|| {
            IS_SECOND.with(|second| second.store(true, Relaxed));
            // SAFETY: this thread alone serves.
            while !unsafe { second.serve_one() } {
                second.mailbox().wait();
            }
        });
        // SAFETY: this thread alone joins.
        let join = |f: fn()| unsafe { second.join(|| (), f) };
        let join = |f| std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| join(f)));
        assert!(join(|| std::panic::resume_unwind(Box::new("second"))).is_err());
        assert!(server.join().is_err());
        // There is no second core any more, and none is waited for.
        assert!(join(|| ()).is_ok());
    });
}

fn kernels() -> Dsp {
    Dsp::new().expect("emulated here")
}

/// The CRC-32 of 64 tokens' logits, as `kinglet digest` has it.
fn digest<S: StateElement>(kernels: impl Kernels) -> u32 {
    let model = Model::open(MODEL).expect("the shipped model");
    let needs = Requirements::of::<S>(model.shape(), 1);
    let (mut state, mut workspace) =
        (vec![S::narrow(0.0); needs.state], vec![0.0; needs.workspace]);
    let mut logits = vec![0.0; needs.logits];
    let mut engine = Cpu::new(model, kernels, 1, &mut state, &mut workspace).expect("buffers");
    let mut crc = Crc32::new();
    for i in 0..64 {
        let token = (7919 * i + 1) % logits.len();
        engine.step(0, token as u32, &mut logits).expect("a token");
        for logit in &logits {
            crc = crc.update(&logit.to_le_bytes());
        }
    }
    crc.finish()
}

#[test]
fn a_model_has_its_digest() {
    let two = || two_cores(Some(kernels())).expect("a set");
    assert_eq!(digest::<f32>(two()), DIGEST);
    assert_eq!(digest::<kinglet::num::state_dtype::f16>(two()), DIGEST_F16);
    assert_eq!(digest::<f32>(two_cores(QuadScalar::new()).expect("a set")), DIGEST);
}

/// The last logits of a prompt in batches of up to 7 tokens.
fn prefill(kernels: impl Kernels) -> Vec<u32> {
    let model = Model::open(MODEL).expect("the shipped model");
    let needs = Requirements::of::<f32>(model.shape(), 7);
    let (mut state, mut workspace) = (vec![0.0; needs.state], vec![0.0; needs.workspace]);
    let mut logits = vec![0.0; needs.logits];
    let mut engine = Cpu::new(model, kernels, 7, &mut state, &mut workspace).expect("buffers");
    let prompt: Vec<u32> = (1..20).collect();
    engine.prefill(0, &prompt, &mut logits).expect("a prompt");
    logits.into_iter().chain(state).map(f32::to_bits).collect()
}

#[test]
fn batches_have_the_bits_of_one_core() {
    assert!(prefill(two_cores(Some(kernels())).expect("a set")) == prefill(kernels()));
}

/// Which core runs what.
fn cores_of(operations: usize, len: usize) -> Vec<usize> {
    let two = two_cores(Some(kernels())).expect("a set");
    let mut cores = vec![9; len];
    let region = Region { phase: Phase::Norm, operations };
    two.for_parts(ChunksOf::new(&mut cores, 1), region, |cores| {
        cores.into_slice().fill(this_core());
    });
    cores
}

#[test]
fn parts_are_shared_where_they_are_worth_it() {
    assert_eq!(cores_of(usize::MAX, 5), [0, 0, 0, 1, 1]);
    assert_eq!(cores_of(super::LEAST_OPERATIONS, 2), [0, 1]);
    assert_eq!(cores_of(super::LEAST_OPERATIONS - 1, 2), [0, 0]);
    assert_eq!(cores_of(usize::MAX, 1), [0]);
}

/// Multiplications of a share.
fn share_cost(share: &Share<'_, '_>) -> usize {
    let parts = share.parts.iter().flatten();
    shares::cost(share.whole) + parts.map(shares::product_cost).sum::<usize>()
}

proptest! {
    /// No cut at a tile would be nearer to the middle.
    #[test]
    fn the_shares_are_of_a_size(
        sizes in prop::collection::vec((1..80usize, 1..90usize, 1..4usize), 1..5),
    ) {
        let cases = sizes.iter().map(|&(rows, inputs, tokens)| Case::new(rows, inputs, tokens, 32));
        let problems: Vec<_> = cases.map(Problem::new).collect();
        let mut outputs: Vec<_> = problems.iter().map(Problem::output).collect();
        let products = problems.iter().zip(&mut outputs).map(|(problem, output)| Product {
            matrix: problem.matrix(),
            input: problem.natural(),
            output,
        });
        let mut products: Vec<_> = products.collect();
        let all = shares::cost(&products);
        let largest = products.iter().map(|product| 16 * product.input.q().len() / product.input.tokens()).max();
        let [first, second] = shares::of_products(&mut products).map(|share| share_cost(&share));
        prop_assert_eq!(first + second, all);
        prop_assert!(first.abs_diff(second) <= largest.expect("a product"));
    }

    #[test]
    fn sparse_rows_are_shared(rows in 1..200usize, tokens in 1..4usize) {
        let activity = Activity::Of64(8);
        let problem = Problem::new(Case { activity, ..Case::new(rows, 40, tokens, 32) });
        let mut output = problem.output();
        let (matrix, input) = (problem.sparse_matrix(), problem.natural());
        let product = SparseProduct { matrix, input, output: &mut output };
        let tiles = |share: [shares::SparsePart<'_>; 2]| {
            share.map(|part| part.rows.len().div_ceil(16) * part.input.tokens()).iter().sum::<usize>()
        };
        let [first, second] = shares::of_sparse(product).map(tiles);
        prop_assert_eq!(first + second, tokens * rows.div_ceil(16));
        prop_assert!(first - second <= 1);
    }
}
