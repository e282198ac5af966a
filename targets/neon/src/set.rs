//! The sets under one type, chosen at run time.

use kinglet::matrix::{Matrix, SparseMatrix};
use kinglet::quantized::Quantized;
use kinglet_simd::{Part, Portable, Vectors};

use crate::{Dotprod, I8mm, Neon};

/// A kernel set of this machine.
///
/// ```
/// use kinglet_simd::Vectors;
/// use kinglet_neon::Set;
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
    /// NEON.
    Neon(Neon),
    /// `sdot`.
    Dotprod(Dotprod),
    /// `smmla`, and `sdot` for a single column.
    I8mm(I8mm),
}

impl Set {
    /// The sets that run on this machine, the fastest first.
    pub fn all() -> impl Iterator<Item = Self> {
        let vectors = [
            I8mm::new().map(Self::I8mm),
            Dotprod::new().map(Self::Dotprod),
            Neon::new().map(Self::Neon),
        ];
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

macro_rules! each {
    ($self:expr, $set:ident => $call:expr) => {
        match $self {
            Set::Scalar($set) => $call,
            Set::Neon($set) => $call,
            Set::Dotprod($set) => $call,
            Set::I8mm($set) => $call,
        }
    };
}

impl Vectors for Set {
    fn name(&self) -> &'static str {
        each!(self, set => set.name())
    }

    #[inline(always)]
    fn pack(&self, q: &mut [i16]) {
        each!(self, set => set.pack(q));
    }

    #[inline(always)]
    fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        each!(self, set => set.run(f))
    }

    fn product(&self, matrix: &Matrix<'_>, input: &Quantized<'_>, out: &mut Part<'_>) {
        each!(self, set => set.product(matrix, input, out));
    }

    fn sparse_product(&self, matrix: &SparseMatrix<'_>, input: &Quantized<'_>, out: &mut Part<'_>) {
        each!(self, set => set.sparse_product(matrix, input, out));
    }
}
