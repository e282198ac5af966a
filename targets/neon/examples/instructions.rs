//! Runs one product, for an emulator to count instructions:
//!
//! ```text
//! instructions SET FORM TOKENS GROUP TIMES [WEIGHTS]
//! ```
//!
//! SET is a kernel set or `plain`, the core's loop as the compiler has it;
//! FORM is `dense` or `sparse` (one input in eight is active); WEIGHTS is `int8` or `int4`.

#[cfg(target_arch = "aarch64")]
fn main() {
    aarch64::main();
}

#[cfg(not(target_arch = "aarch64"))]
fn main() {}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use std::hint::black_box;

    use kinglet::kernels::activations::Quantized;
    use kinglet::kernels::matrix::{Matrix, SparseMatrix, TILE_ROWS};
    use kinglet::kernels::scalar;
    use kinglet::kernels::testing::{Activity, Case, Problem};
    use kinglet::kernels::weights::WeightType;
    use kinglet_host::Threaded;
    use kinglet_neon::KernelSet;
    use kinglet_simd::{OutputRows, SimdKernels};

    const ROWS: usize = 256;
    const INPUTS: usize = 512;

    pub(super) fn main() {
        let arguments: Vec<String> = std::env::args().collect();
        let number = |i: usize| arguments[i].parse().expect("a number");
        let (sparse, tokens) = (arguments[2] == "sparse", number(3));
        let activity = if sparse { Activity::Of64(8) } else { Activity::All };
        let weights = match arguments.get(6).map(String::as_str) {
            None | Some("int8") => WeightType::Int8,
            Some("int4") => WeightType::Int4,
            Some(other) => panic!("no weights are {other}"),
        };
        let case = Case::new(ROWS, INPUTS, tokens, number(4));
        let problem = Problem::new(Case { weights, activity, ..case });
        match arguments[1].as_str() {
            "plain" => run(Plain, &problem, sparse, number(5)),
            name => run(KernelSet::by_name(name).expect("a set"), &problem, sparse, number(5)),
        }
    }

    fn run(set: impl SimdKernels + Copy, problem: &Problem, sparse: bool, times: usize) {
        let packed = problem.packed(&Threaded::new(set, 1));
        let mut output = problem.output();
        for _ in 0..times {
            let mut part = OutputRows::whole(&mut output, ROWS);
            if sparse {
                let (matrix, input) = (problem.sparse_matrix(), problem.natural());
                set.sparse_product(&matrix, &input, &mut part);
            } else {
                let (matrix, input) = (problem.matrix(), problem.input(&packed));
                set.product(&matrix, &input, &mut part);
            }
            black_box(&mut output);
        }
    }

    /// The core's loops, compiled with this file's target features.
    #[derive(Clone, Copy)]
    struct Plain;

    impl SimdKernels for Plain {
        fn name(&self) -> &'static str {
            "plain"
        }

        fn pack(&self, _q: &mut [i16]) {}

        fn run<R>(&self, f: impl FnOnce() -> R) -> R {
            f()
        }

        #[inline(never)]
        fn product(&self, matrix: &Matrix<'_>, input: &Quantized<'_>, out: &mut OutputRows<'_>) {
            for token in 0..out.tokens() {
                let (q, scale) = (input.token(token), input.scales()[token] * matrix.multiplier());
                for (tile, out) in out.token(token).chunks_mut(TILE_ROWS).enumerate() {
                    for (out, acc) in out.iter_mut().zip(scalar::row_tile(matrix, tile, q)) {
                        *out = acc * scale;
                    }
                }
            }
        }

        #[inline(never)]
        fn sparse_product(
            &self,
            matrix: &SparseMatrix<'_>,
            input: &Quantized<'_>,
            out: &mut OutputRows<'_>,
        ) {
            for token in 0..out.tokens() {
                let (q, scale) = (input.token(token), input.scales()[token] * matrix.multiplier());
                for (tile, out) in out.token(token).chunks_mut(TILE_ROWS).enumerate() {
                    for (out, acc) in out.iter_mut().zip(scalar::sparse_row_tile(matrix, tile, q)) {
                        *out = acc * scale;
                    }
                }
            }
        }
    }
}
