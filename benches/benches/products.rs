//! Products of every kernel set on one thread: decode from memory, prefill,
//! sparse decode and prefill. Bytes are those of the weights read, elements
//! are multiplications of a weight with an activation.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kinglet::kernels::matrix::{Matrix, SparseMatrix, padded_inputs, padded_rows};
use kinglet::kernels::testing::{Activity, Case, Problem};
use kinglet::kernels::weights::Weights;
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

fn name(kernels: &impl Kernels, case: &Case) -> String {
    let Case { rows, inputs, tokens, group, .. } = case;
    format!("{}/{rows}x{inputs}/c{tokens}/g{group}", kernels.name())
}

/// Copies of one problem's weights, one after the other as layers lie in a file.
struct Copies {
    weights: Vec<i8>,
    one: usize,
    next: usize,
}

impl Copies {
    fn new(weights: &[i8], total: usize) -> Self {
        let count = total.div_ceil(weights.len()).max(1);
        Self { weights: weights.repeat(count), one: weights.len(), next: 0 }
    }

    fn next(&mut self) -> &[i8] {
        let at = self.next;
        self.next = (at + self.one) % self.weights.len();
        &self.weights[at..at + self.one]
    }
}

fn decode(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("decode");
    for (rows, inputs) in [(768, 768), (1024, 1024), (2048, 2048), (8192, 2048)] {
        for group in [32, 128, 512] {
            let case = Case::new(rows, inputs, 1, group);
            let problem = Problem::new(case);
            let bytes = padded_rows(rows) * padded_inputs(inputs);
            let scales = padded_rows(rows) * problem.matrix().groups() * 2;
            bench.throughput(Throughput::BytesDecimal((bytes + scales) as u64));
            for (place, total) in [("memory", FAR), ("cache", 0)] {
                let weights = problem.matrix().weights().int8().expect("int8");
                let mut copies = Copies::new(&weights[..bytes], total);
                for kernels in sets() {
                    let q = problem.packed(&kernels);
                    let mut output = problem.output();
                    bench.bench_function(format!("{place}/{}", name(&kernels, &case)), |bench| {
                        bench.iter(|| {
                            let scales = problem.matrix().scales();
                            let weights = Weights::Int8(copies.next());
                            let matrix = Matrix::new(rows, inputs, group, 1.0, weights, scales);
                            let matrix = matrix.expect("all of a matrix");
                            let input = problem.input(&q);
                            kernels.products(&mut [Product { matrix, input, output: &mut output }]);
                        });
                    });
                }
            }
        }
    }
}

fn prefill(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("prefill");
    for (rows, inputs) in [(768, 768), (1024, 1024), (2048, 2048), (8192, 2048), (2048, 64)] {
        for group in [32, 128, 512] {
            let case = Case::new(rows, inputs, 64, group);
            let problem = Problem::new(case);
            bench.throughput(Throughput::Elements((rows * inputs * 64) as u64));
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
                let problem = Problem::new(case);
                let active = problem.natural().q().iter().filter(|q| **q != 0).count();
                let throughput = match tokens {
                    1 => Throughput::BytesDecimal((active * padded_rows(rows)) as u64),
                    _ => Throughput::Elements((rows * inputs * tokens) as u64),
                };
                bench.throughput(throughput);
                let bytes = padded_rows(rows) * padded_inputs(inputs);
                let total = if tokens == 1 { FAR } else { 0 };
                let sparse = problem.sparse_matrix();
                let weights = sparse.weights().int8().expect("int8");
                let mut copies = Copies::new(&weights[..bytes], total);
                for kernels in sets() {
                    let mut output = problem.output();
                    bench.bench_function(format!("{zeros}/{}", name(&kernels, &case)), |bench| {
                        bench.iter(|| {
                            let (scales, weights) = (sparse.scales(), Weights::Int8(copies.next()));
                            let group = sparse.group();
                            let matrix =
                                SparseMatrix::new(rows, inputs, group, 1.0, weights, scales);
                            let matrix = matrix.expect("all of a matrix");
                            let (input, output) = (problem.natural(), &mut *output);
                            kernels.sparse_product(SparseProduct { matrix, input, output });
                        });
                    });
                }
            }
        }
    }
}

criterion_group!(benches, decode, prefill, sparse);
criterion_main!(benches);
