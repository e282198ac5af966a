//! The kernel sets as one type, chosen at run time.

use core::ops::Range;

use kinglet::matrix::{Matrix, SparseMatrix};
use kinglet::quantized::Quantized;
use kinglet_simd::{Part, Portable, Vectors};

#[cfg(target_arch = "x86_64")]
use crate::sets::{Avx2, Avx512Vnni, AvxVnni};

/// A kernel set of this machine.
///
/// ```
/// use kinglet_desktop::Set;
/// use kinglet_simd::Vectors;
///
/// assert!(Set::names().any(|name| name == Set::best().name()));
/// assert_eq!(Set::by_name("scalar").map(|set| set.name()), Some("scalar"));
/// assert!(Set::by_name("abacus").is_none());
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Set {
    /// Plain Rust.
    Scalar(Portable),
    /// AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// AVX-VNNI.
    #[cfg(target_arch = "x86_64")]
    AvxVnni(AvxVnni),
    /// AVX-512 VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(Avx512Vnni),
}

impl Set {
    /// The sets that run on this machine, the fastest first.
    pub fn all() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let vectors = [
            Avx512Vnni::new().map(Self::Avx512Vnni),
            AvxVnni::new().map(Self::AvxVnni),
            Avx2::new().map(Self::Avx2),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let vectors: [Option<Self>; 0] = [];
        vectors.into_iter().flatten().chain([Self::Scalar(Portable)])
    }

    /// Names of the sets that run on this machine, the fastest first.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::all().map(|set| set.name())
    }

    /// The set of that name, if it runs on this machine.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::all().find(|set| set.name() == name)
    }

    /// The fastest set.
    pub fn best() -> Self {
        Self::all().next().unwrap_or(Self::Scalar(Portable))
    }
}

/// Does the same with whatever set it is.
macro_rules! dispatch {
    ($set:expr, $vectors:ident => $body:expr) => {
        match $set {
            Set::Scalar($vectors) => $body,
            #[cfg(target_arch = "x86_64")]
            Set::Avx2($vectors) => $body,
            #[cfg(target_arch = "x86_64")]
            Set::AvxVnni($vectors) => $body,
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Vnni($vectors) => $body,
        }
    };
}

impl Vectors for Set {
    fn name(&self) -> &'static str {
        dispatch!(self, vectors => vectors.name())
    }

    #[inline(always)]
    fn pack(&self, q: &mut [i16]) {
        dispatch!(self, vectors => vectors.pack(q));
    }

    #[inline(always)]
    fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        dispatch!(self, vectors => vectors.run(f))
    }

    fn product(&self, matrix: &Matrix<'_>, input: &Quantized<'_>, out: &mut Part<'_>) {
        dispatch!(self, vectors => vectors.product(matrix, input, out));
    }

    fn sparse_product(&self, matrix: &SparseMatrix<'_>, input: &Quantized<'_>, out: &mut Part<'_>) {
        dispatch!(self, vectors => vectors.sparse_product(matrix, input, out));
    }

    fn sparse_terms(
        &self,
        matrix: &SparseMatrix<'_>,
        input: &Quantized<'_>,
        groups: Range<usize>,
        terms: &mut [f32],
    ) {
        dispatch!(self, vectors => vectors.sparse_terms(matrix, input, groups, terms));
    }

    #[inline(always)]
    fn prefetch(&self, values: &[f32]) {
        dispatch!(self, vectors => vectors.prefetch(values));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinglet_host::Threaded;

    kinglet::kernel_tests!(Some(Threaded::new(Set::best(), 3)));

    #[test]
    fn every_set_is_found_by_its_name() {
        for name in Set::names() {
            assert_eq!(Set::by_name(name).map(|set| set.name()), Some(name));
        }
    }
}
