//! The kernel sets of an architecture under one type, chosen at run time.

/// Declares an enum of kernel sets, the fastest first, each made by its `new() -> Option<Self>`.
/// The core's scalar reference is the last one, as the variant `Scalar`: it runs anywhere.
///
/// The enum implements [`SimdKernels`](crate::SimdKernels) by a `match` per call, so that the
/// set is chosen once per product or loop and everything below is static dispatch. It has
///
/// * `all()`, the sets that run on this machine, and `names()`, both the fastest first;
/// * `by_name(name)` and `best()`.
///
/// ```
/// use kinglet_simd::{Scalar, SimdKernels};
///
/// kinglet_simd::kernel_set! {
///     /// The kernel sets of a machine that nobody has written kernels for.
///     pub enum KernelSet {}
/// }
///
/// assert_eq!(KernelSet::best().name(), "scalar");
/// assert!(KernelSet::names().eq(["scalar"]));
/// assert!(KernelSet::by_name("abacus").is_none());
/// ```
#[macro_export]
macro_rules! kernel_set {
    (
        $(#[$attribute:meta])*
        $vis:vis enum $set:ident {
            $($(#[$variant_attribute:meta])* $variant:ident($kernels:ty),)*
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug)]
        #[non_exhaustive]
        $vis enum $set {
            $($(#[$variant_attribute])* $variant($kernels),)*
            /// The core's reference, in plain Rust.
            Scalar($crate::Scalar),
        }

        impl $set {
            /// The sets that run on this machine, the fastest first.
            $vis fn all() -> impl Iterator<Item = Self> {
                let sets: [Option<Self>; _] = [
                    $(<$kernels>::new().map(Self::$variant),)*
                    Some(Self::Scalar($crate::Scalar)),
                ];
                sets.into_iter().flatten()
            }

            /// Names of the sets that run on this machine, the fastest first.
            $vis fn names() -> impl Iterator<Item = &'static str> {
                Self::all().map(|set| $crate::SimdKernels::name(&set))
            }

            /// The set of that name, if it runs on this machine.
            $vis fn by_name(name: &str) -> Option<Self> {
                Self::all().find(|set| $crate::SimdKernels::name(set) == name)
            }

            /// The fastest set that runs on this machine.
            $vis fn best() -> Self {
                Self::all().next().unwrap_or(Self::Scalar($crate::Scalar))
            }
        }

        impl $crate::SimdKernels for $set {
            fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(set) => $crate::SimdKernels::name(set),)*
                    Self::Scalar(set) => $crate::SimdKernels::name(set),
                }
            }

            #[inline(always)]
            fn pack(&self, q: &mut [i16]) {
                match self {
                    $(Self::$variant(set) => $crate::SimdKernels::pack(set, q),)*
                    Self::Scalar(set) => $crate::SimdKernels::pack(set, q),
                }
            }

            #[inline(always)]
            fn run<R>(&self, f: impl FnOnce() -> R) -> R {
                match self {
                    $(Self::$variant(set) => $crate::SimdKernels::run(set, f),)*
                    Self::Scalar(set) => $crate::SimdKernels::run(set, f),
                }
            }

            fn product(
                &self,
                matrix: &$crate::Matrix<'_>,
                input: &$crate::Quantized<'_>,
                out: &mut $crate::OutputRows<'_>,
            ) {
                match self {
                    $(Self::$variant(set) => {
                        $crate::SimdKernels::product(set, matrix, input, out);
                    })*
                    Self::Scalar(set) => $crate::SimdKernels::product(set, matrix, input, out),
                }
            }

            fn sparse_product(
                &self,
                matrix: &$crate::SparseMatrix<'_>,
                input: &$crate::Quantized<'_>,
                out: &mut $crate::OutputRows<'_>,
            ) {
                match self {
                    $(Self::$variant(set) => {
                        $crate::SimdKernels::sparse_product(set, matrix, input, out);
                    })*
                    Self::Scalar(set) => {
                        $crate::SimdKernels::sparse_product(set, matrix, input, out);
                    }
                }
            }

            fn sparse_terms(
                &self,
                matrix: &$crate::SparseMatrix<'_>,
                input: &$crate::Quantized<'_>,
                groups: ::core::ops::Range<usize>,
                terms: &mut [f32],
            ) {
                match self {
                    $(Self::$variant(set) => {
                        $crate::SimdKernels::sparse_terms(set, matrix, input, groups, terms);
                    })*
                    Self::Scalar(set) => {
                        $crate::SimdKernels::sparse_terms(set, matrix, input, groups, terms);
                    }
                }
            }

            #[inline(always)]
            fn prefetch(&self, values: &[f32]) {
                match self {
                    $(Self::$variant(set) => $crate::SimdKernels::prefetch(set, values),)*
                    Self::Scalar(set) => $crate::SimdKernels::prefetch(set, values),
                }
            }
        }
    };
}
