//! What a parallel region costs on this machine, and what tokens made of such
//! regions take: `regions [THREADS] [BUSY]`, beside BUSY threads that never rest.
//! One thread and several take turns, since the machine may not be ours alone.
#![allow(clippy::print_stdout)]

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kinglet::kernels::scalar::Scalar;
use kinglet::kernels::{Kernels, Phase, Region};
use kinglet_host::{Threaded, default_threads};

/// Regions of a token, as in twelve to sixteen layers.
const REGIONS: usize = 80;
/// Steps of [`compute`] in a region and between two: about 40 and 3 microseconds.
const REGION_STEPS: usize = 36_000;
const SERIAL_STEPS: usize = 2_700;
const CHUNKS: usize = 16;
const REGION: Region = Region { phase: Phase::Wkv, operations: usize::MAX };
/// Long enough that the scheduler's memory of the turn before does not count.
const TURN: Duration = Duration::from_millis(700);
const ROUNDS: usize = 5;

/// A chain of dependent operations.
fn compute(steps: usize) {
    black_box((0..steps as u64).fold(black_box(1u64), |x, i| black_box((x ^ i).rotate_left(5))));
}

fn region(kernels: &Threaded<Scalar>, steps: usize) {
    kernels.for_parts(0..CHUNKS, REGION, |part| part.for_each(|_| compute(steps / CHUNKS)));
}

fn token(kernels: &Threaded<Scalar>) {
    for _ in 0..REGIONS {
        compute(SERIAL_STEPS);
        region(kernels, REGION_STEPS);
    }
}

fn time(f: impl FnOnce()) -> Duration {
    let start = Instant::now();
    f();
    start.elapsed()
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[(times.len() as f64 * share) as usize].as_secs_f64() * 1e6;
    let mean = times.iter().sum::<Duration>().as_secs_f64() / times.len() as f64;
    println!(
        "{what}: median {:.2} us, p10 {:.2}, p99 {:.2}; mean {:.2} ({:.1}/s)",
        at(0.5),
        at(0.1),
        at(0.99),
        mean * 1e6,
        mean.recip(),
    );
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|n| n.parse().expect("a number"));
    let threads = arguments.next().unwrap_or_else(default_threads);
    let busy: usize = arguments.next().unwrap_or(0);
    let ending = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..busy {
            scope.spawn(|| {
                while !ending.load(Ordering::Relaxed) {
                    spin_loop()
                }
            });
        }
        let several = Threaded::new(Scalar, threads);
        let one = Threaded::new(Scalar, 1);
        for (name, kernels) in [("1 thread", &one), ("all threads", &several)] {
            let times = (0..200_000).map(|_| time(|| region(kernels, 0))).collect();
            report(&format!("an empty region, {name}"), times);
        }
        let (mut singles, mut multiples) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            for (kernels, times) in [(&one, &mut singles), (&several, &mut multiples)] {
                let start = Instant::now();
                while start.elapsed() < TURN {
                    times.push(time(|| token(kernels)));
                }
            }
        }
        report("a token, 1 thread", singles);
        report(&format!("a token, {threads} threads"), multiples);
        ending.store(true, Ordering::Relaxed);
    });
}
