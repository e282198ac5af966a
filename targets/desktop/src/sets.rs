//! The kernel sets: types whose values prove the instructions.
//!
//! A set is a pair of a dot product flavour and a register width, compiled with the target
//! features that both need. Only `new` makes a value, after it has asked the CPU, so that a
//! method with `self` may call functions with these features. All kernels are
//! `#[inline(always)]` generics below the four functions of `x86_set!` that name the
//! features: an intrinsic is one instruction only where it is inlined into such a function.

use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use core::ops::Range;

use kinglet::kernels::activations::Quantized;
use kinglet::kernels::matrix::{Matrix, SparseMatrix};
use kinglet::kernels::weights::Weights;
use kinglet_simd::{OutputRows, SimdKernels, fp_mode_is_ieee};

use crate::cpuid::Features;
use crate::dense::{self, Dense};
use crate::dot_product::{Bytes256, Bytes512, DotProduct, Words256};
use crate::sparse::{self, Sparse};
use crate::weight_type::{Int4, Int8, WeightType};

/// Floats of a cache line.
const LINE: usize = 16;

/// Packs a whole token.
///
/// # Safety
///
/// The CPU has the instructions of D, and the caller has them switched on.
#[inline(always)]
unsafe fn pack<D: DotProduct>(q: &mut [i16]) {
    let (sixteens, rest) = q.as_chunks_mut();
    for sixteen in sixteens {
        // SAFETY: the caller's promise.
        unsafe { D::pack_sixteen(sixteen) };
    }
    for four in rest.as_chunks_mut().0 {
        *four = D::pack(*four);
    }
}

/// A kernel set on the instructions `$feature`, each of which `new` asks for.
macro_rules! x86_set {
    (
        $(#[$attribute:meta])*
        $vis:vis $set:ident, $name:literal, $multiply:ty, $sparse:ty, [$($feature:ident),*], $features:literal
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug)]
        $vis struct $set {
            _proof: (),
        }

        impl $set {
            /// The name of this set.
            $vis const NAME: &'static str = $name;

            /// The set, where the CPU has the instructions and this thread's
            /// floats are IEEE: nearest even, subnormals kept.
            $vis fn new() -> Option<Self> {
                let features = Features::detect();
                let has = $(features.$feature)&&*;
                (has && fp_mode_is_ieee()).then_some(Self { _proof: () })
            }

            #[target_feature(enable = $features)]
            fn switched_on<R>(f: impl FnOnce() -> R) -> R {
                f()
            }

            #[target_feature(enable = $features)]
            fn pack_token(q: &mut [i16]) {
                // SAFETY: this function has the features of the set.
                unsafe { pack::<$multiply>(q) }
            }

            #[target_feature(enable = $features)]
            fn dense<W: WeightType>(job: &Dense<'_, W>, out: &mut OutputRows<'_>) {
                // SAFETY: this function has the features of the set.
                unsafe { dense::product::<$multiply, W>(job, out) }
            }

            #[target_feature(enable = $features)]
            fn sparse<W: WeightType>(job: &Sparse<'_, W>, out: &mut OutputRows<'_>) {
                // SAFETY: this function has the features of the set.
                unsafe { sparse::product::<$sparse, W>(job, out) }
            }

            #[target_feature(enable = $features)]
            fn terms<W: WeightType>(
                job: &Sparse<'_, W>,
                groups: Range<usize>,
                terms: &mut [f32],
            ) {
                // SAFETY: this function has the features of the set.
                unsafe { sparse::terms::<$sparse, W>(job, groups, terms) }
            }
        }

        impl SimdKernels for $set {
            fn name(&self) -> &'static str {
                Self::NAME
            }

            #[inline(always)]
            fn pack(&self, q: &mut [i16]) {
                // SAFETY: `new`, which made `self`, found every feature.
                unsafe { Self::pack_token(q) }
            }

            // A closure that is large or called from several places is compiled
            // with these instructions only if it is `#[inline(always)]`.
            #[inline(always)]
            fn run<R>(&self, f: impl FnOnce() -> R) -> R {
                // SAFETY: `new`, which made `self`, found every feature.
                unsafe { Self::switched_on(f) }
            }

            fn product(&self, matrix: &Matrix<'_>, input: &Quantized<'_>, out: &mut OutputRows<'_>) {
                // SAFETY: `new`, which made `self`, found every feature.
                unsafe {
                    match matrix.weights() {
                        Weights::Int8(_) => Self::dense::<Int8>(&Dense::new(matrix, input, out), out),
                        Weights::Int4(_) => Self::dense::<Int4>(&Dense::new(matrix, input, out), out),
                    }
                }
            }

            fn sparse_product(
                &self,
                matrix: &SparseMatrix<'_>,
                input: &Quantized<'_>,
                out: &mut OutputRows<'_>,
            ) {
                let (tokens, rows) = (out.tokens(), out.rows());
                // SAFETY: `new`, which made `self`, found every feature.
                unsafe {
                    match matrix.weights() {
                        Weights::Int8(_) => {
                            Self::sparse::<Int8>(&Sparse::new(matrix, input, tokens, rows), out);
                        }
                        Weights::Int4(_) => {
                            Self::sparse::<Int4>(&Sparse::new(matrix, input, tokens, rows), out);
                        }
                    }
                }
            }

            fn sparse_terms(
                &self,
                matrix: &SparseMatrix<'_>,
                input: &Quantized<'_>,
                groups: Range<usize>,
                terms: &mut [f32],
            ) {
                let rows = 0..matrix.rows();
                // SAFETY: `new`, which made `self`, found every feature.
                unsafe {
                    match matrix.weights() {
                        Weights::Int8(_) => {
                            let job = Sparse::new(matrix, input, 1, rows);
                            Self::terms::<Int8>(&job, groups, terms);
                        }
                        Weights::Int4(_) => {
                            let job = Sparse::new(matrix, input, 1, rows);
                            Self::terms::<Int4>(&job, groups, terms);
                        }
                    }
                }
            }

            #[inline(always)]
            fn prefetch(&self, values: &[f32]) {
                for line in values.chunks(LINE) {
                    // SAFETY: SSE, which every x86-64 has; a prefetch accesses no memory.
                    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) }
                }
            }
        }
    };
}

x86_set! {
    /// AVX2 and F16C: Haswell, Zen and later.
    pub Avx2, "x86-64-avx2", Words256, Words256, [avx2, f16c], "avx2,f16c"
}

x86_set! {
    /// AVX-VNNI: client CPUs from Alder Lake on, which lack AVX-512.
    pub AvxVnni, "x86-64-avx-vnni", Bytes256, Bytes256,
    [avx2, f16c, avx_vnni], "avx2,f16c,avxvnni"
}

x86_set! {
    /// AVX-512 VNNI: Cascade Lake, Zen 4 and later.
    pub Avx512Vnni, "x86-64-avx512-vnni", Bytes512, Bytes512,
    [avx2, f16c, avx512, avx512_vnni],
    "avx2,f16c,avx512f,avx512bw,avx512vnni"
}

#[cfg(test)]
mod tests {
    use core::arch::asm;
    use std::vec::Vec;

    use kinglet::kernels::matrix::{TILE_ROWS, padded_sparse_rows};
    use kinglet::kernels::testing::{Activity, Case, Problem, float_loop};
    use kinglet::kernels::weights;
    use kinglet_host::Threaded;

    use super::*;
    use crate::dot_product::{Bytes256Vl, Words512};

    x86_set! {
        /// The products of [`AvxVnni`], in the encoding of AVX-512 VL.
        pub(super) Avx512Vl, "avx512-vl", Bytes256Vl, Bytes256Vl,
        [avx2, f16c, avx512, avx512_vnni],
        "avx2,f16c,avx512f,avx512vl,avx512vnni"
    }

    x86_set! {
        /// VPDPWSSD on 512 bits.
        pub(super) Avx512Words, "avx512-words", Words512, Words512,
        [avx2, f16c, avx512, avx512_vnni],
        "avx2,f16c,avx512f,avx512bw,avx512vnni"
    }

    mod avx2 {
        kinglet::kernel_tests!(super::Avx2::new().map(|set| super::Threaded::new(set, 1)));
    }

    mod avx_vnni {
        kinglet::kernel_tests!(super::AvxVnni::new().map(|set| super::Threaded::new(set, 1)));
    }

    mod avx512_vnni {
        kinglet::kernel_tests!(super::Avx512Vnni::new().map(|set| super::Threaded::new(set, 1)));
    }

    mod avx512_vl {
        kinglet::kernel_tests!(super::Avx512Vl::new().map(|set| super::Threaded::new(set, 1)));
    }

    mod avx512_words {
        kinglet::kernel_tests!(super::Avx512Words::new().map(|set| super::Threaded::new(set, 1)));
    }

    fn check_parts(set: Option<impl SimdKernels + Copy>) {
        let Some(set) = set else { return };
        let kernels = Threaded::new(set, 1);
        let types = [weights::WeightType::Int8, weights::WeightType::Int4];
        for (weights, tokens) in types.into_iter().flat_map(|ty| [1, 5, 9].map(|n| (ty, n))) {
            let activity = Activity::Of64(16);
            let case = Case { weights, activity, ..Case::new(219, 300, tokens, 128) };
            let problem = Problem::new(case);
            // Parts of a sparse product begin at a pair of blocks if a byte has two weights.
            let block = padded_sparse_rows(weights, 1);
            let q = problem.packed(&kernels);
            let expected = problem.reference();
            for tiles in [1, 3, 5] {
                let (mut dense, mut sparse) = (problem.output(), problem.output());
                for_parts(&mut dense, tiles * TILE_ROWS, |part| {
                    set.product(&problem.matrix(), &problem.input(&q), part);
                });
                for_parts(&mut sparse, tiles * block, |part| {
                    set.sparse_product(&problem.sparse_matrix(), &problem.natural(), part);
                });
                assert_eq!(dense, expected);
                assert_eq!(sparse, expected);
            }
        }
    }

    fn for_parts(output: &mut [f32], rows: usize, f: impl Fn(&mut OutputRows<'_>)) {
        let mut rest = OutputRows::whole(output, 219);
        while !rest.rows().is_empty() {
            let (mut part, others) = {
                let at = rows.min(rest.rows().len());
                rest.split_at(at)
            };
            f(&mut part);
            rest = others;
        }
    }

    #[test]
    fn parts_make_the_whole() {
        check_parts(Avx2::new());
        check_parts(AvxVnni::new());
        check_parts(Avx512Vnni::new());
        check_parts(Avx512Vl::new());
    }

    /// Dimensions whose products wrap to 0 make no matrix, on which the kernels rest.
    #[test]
    fn matrices_without_the_weights_that_they_state_are_refused() {
        let (rows, inputs) = (usize::MAX / 2 + 1, 64);
        for none in [Weights::Int8(&[]), Weights::Int4(&[])] {
            assert!(Matrix::new(rows, inputs, 32, 1.0, none, &[]).is_none());
            assert!(SparseMatrix::new(rows, inputs, 32, 1.0, none, &[]).is_none());
        }
    }

    fn check_run(set: Option<impl SimdKernels>) {
        let Some(set) = set else { return };
        for len in [1, 15, 16, 17, 61, 128] {
            let mut expected: Vec<f32> = (0..len).map(|i| (i * i) as f32 * 0.01 - 3.0).collect();
            let mut found = expected.clone();
            float_loop(&mut expected);
            set.run(
                #[inline(always)]
                || float_loop(&mut found),
            );
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn loops_that_are_run_have_the_same_bits() {
        check_run(Avx2::new());
        check_run(AvxVnni::new());
        check_run(Avx512Vnni::new());
    }

    #[test]
    fn changed_float_modes_are_refused() {
        let mut usual = 0u32;
        // SAFETY: writes four bytes to `usual`.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut usual, options(nostack)) };
        for bit in [6, 13, 14, 15] {
            let changed = usual | 1 << bit;
            // SAFETY: no float operation happens until the usual mode is back.
            let found = unsafe {
                asm!("ldmxcsr [{}]", in(reg) &raw const changed, options(nostack));
                let found = fp_mode_is_ieee();
                asm!("ldmxcsr [{}]", in(reg) &raw const usual, options(nostack));
                found
            };
            assert!(!found, "bit {bit}");
        }
        assert!(fp_mode_is_ieee());
    }
}
