//! Products of every kernel set on one thread, with weights of eight and of four bits: decode
//! from memory, prefill, sparse decode and prefill. Bytes are those of the weights read, elements
//! are multiplications of a weight with an activation.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use kinglet::kernels::matrix::{Matrix, SparseMatrix};
use kinglet::kernels::testing::{Activity, Case, Problem};
use kinglet::kernels::weights::{WeightType, Weights};
use kinglet::kernels::{Kernels, Product, SparseProduct};
use kinglet_desktop::KernelSet;
use kinglet_host::Threaded;

/// Bytes that a decode goes through before it reads a matrix again: several
/// times what the caches hold.
const FAR: usize = 256 << 20;

fn sets() -> impl Iterator<Item = Threaded<KernelSet>> {
    KernelSet::all()
        .filter(|set| !matches!(set, KernelSet::Scalar(_)))
        .map(|set| Threaded::new(set, 1))
}

/// Cases with weights of both types, side by side.
fn types(case: Case) -> impl Iterator<Item = Case> {
    let types = [WeightType::Int8, WeightType::Int4].into_iter();
    types
        .filter(move |weights| weights.groups().contains(&case.group))
        .map(move |weights| Case { weights, ..case })
}

fn name(kernels: &impl Kernels, case: &Case) -> String {
    let Case { rows, inputs, tokens, group, .. } = case;
    let weights = if case.weights == WeightType::Int4 { "/int4" } else { "" };
    format!("{}/{rows}x{inputs}/c{tokens}/g{group}{weights}", kernels.name())
}

/// Copies of one problem's weights, one after the other as layers lie in a file.
struct Copies {
    all: All,
    one: usize,
    next: usize,
}

enum All {
    Int8(Vec<i8>),
    Int4(Vec<u8>),
}

impl Copies {
    fn new(weights: Weights<'_>, total: usize) -> Self {
        let one = weights.bytes().len();
        let count = total.div_ceil(one).max(1);
        let all = match weights {
            Weights::Int8(weights) => All::Int8(weights.repeat(count)),
            Weights::Int4(weights) => All::Int4(weights.repeat(count)),
        };
        Self { all, one, next: 0 }
    }

    fn next(&mut self) -> Weights<'_> {
        let at = self.next..self.next + self.one;
        let (next, len) = match &self.all {
            All::Int8(all) => (Weights::Int8(&all[at.clone()]), all.len()),
            All::Int4(all) => (Weights::Int4(&all[at.clone()]), all.len()),
        };
        self.next = at.end % len;
        next
    }
}

fn decode(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("decode");
    for (rows, inputs) in [(768, 768), (1024, 1024), (2048, 2048), (8192, 2048)] {
        for case in [32, 128, 512].map(|group| Case::new(rows, inputs, 1, group)) {
            for case in types(case) {
                decode_case(&mut bench, case);
            }
        }
    }
}

fn decode_case(bench: &mut BenchmarkGroup<'_, WallTime>, case: Case) {
    let Case { rows, inputs, group, .. } = case;
    let problem = Problem::new(case);
    let all = problem.matrix();
    let bytes = all.weights().bytes().len() + all.scales().len() * 2;
    bench.throughput(Throughput::BytesDecimal(bytes as u64));
    for (place, total) in [("memory", FAR), ("cache", 0)] {
        let mut copies = Copies::new(all.weights(), total);
        for kernels in sets() {
            let q = problem.packed(&kernels);
            let mut output = problem.output();
            bench.bench_function(format!("{place}/{}", name(&kernels, &case)), |bench| {
                bench.iter(|| {
                    let matrix = Matrix::new(rows, inputs, group, 1.0, copies.next(), all.scales());
                    let matrix = matrix.expect("all of a matrix");
                    let input = problem.input(&q);
                    kernels.products(&mut [Product { matrix, input, output: &mut output }]);
                });
            });
        }
    }
}

fn prefill(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("prefill");
    for (rows, inputs) in [(768, 768), (1024, 1024), (2048, 2048), (8192, 2048), (2048, 64)] {
        bench.throughput(Throughput::Elements((rows * inputs * 64) as u64));
        for case in [32, 128, 512].map(|group| Case::new(rows, inputs, 64, group)) {
            for case in types(case) {
                let problem = Problem::new(case);
                for kernels in sets() {
                    let q = problem.packed(&kernels);
                    let mut output = problem.output();
                    bench.bench_function(name(&kernels, &case), |bench| {
                        bench.iter(|| {
                            let (matrix, input) = (problem.matrix(), problem.input(&q));
                            kernels.products(&mut [Product { matrix, input, output: &mut output }]);
                        });
                    });
                }
            }
        }
    }
}

/// Zeros of 64 activations: none, half, and what trained models have.
const ACTIVE: [(u64, &str); 3] = [(64, "0%"), (32, "50%"), (8, "87%")];

fn sparse(criterion: &mut Criterion) {
    for tokens in [1, 64] {
        let what = if tokens == 1 { "sparse decode" } else { "sparse prefill" };
        let mut bench = criterion.benchmark_group(what);
        for (rows, inputs) in [(768, 3072), (1024, 4096), (2048, 8192)] {
            for (of_64, zeros) in ACTIVE {
                let activity = Activity::Of64(of_64);
                let case = Case { activity, ..Case::new(rows, inputs, tokens, 128) };
                for case in types(case) {
                    sparse_case(&mut bench, zeros, case);
                }
            }
        }
    }
}

fn sparse_case(bench: &mut BenchmarkGroup<'_, WallTime>, zeros: &str, case: Case) {
    let Case { rows, inputs, tokens, group, .. } = case;
    let problem = Problem::new(case);
    let all = problem.sparse_matrix();
    let active = problem.natural().q().iter().filter(|q| **q != 0).count();
    bench.throughput(match tokens {
        1 => Throughput::BytesDecimal((active * all.input(0).bytes().len()) as u64),
        _ => Throughput::Elements((rows * inputs * tokens) as u64),
    });
    let mut copies = Copies::new(all.weights(), if tokens == 1 { FAR } else { 0 });
    for kernels in sets() {
        let mut output = problem.output();
        bench.bench_function(format!("{zeros}/{}", name(&kernels, &case)), |bench| {
            bench.iter(|| {
                let matrix =
                    SparseMatrix::new(rows, inputs, group, 1.0, copies.next(), all.scales());
                let matrix = matrix.expect("all of a matrix");
                let (input, output) = (problem.natural(), &mut *output);
                kernels.sparse_product(SparseProduct { matrix, input, output });
            });
        });
    }
}

criterion_group!(benches, decode, prefill, sparse);
criterion_main!(benches);
