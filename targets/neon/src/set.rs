//! The sets under one type, chosen at run time.

use core::error::Error;
use core::fmt;

use kinglet::matrix::{Matrix, SparseMatrix};
use kinglet::quantized::Quantized;
use kinglet_host::{Part, Vectors};

use crate::{Dotprod, I8mm, Neon};

/// A kernel set that this CPU has.
#[derive(Clone, Copy, Debug)]
pub enum Set {
    /// Plain NEON.
    Neon(Neon),
    /// `sdot`.
    Dotprod(Dotprod),
    /// `smmla`, and `sdot`.
    I8mm(I8mm),
}

/// Why a set cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetError {
    /// There is no set of this name.
    Unknown,
    /// The CPU lacks the set's instructions, or the thread's floats do not round
    /// to nearest or flush subnormals.
    Unsupported,
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "there is no kernel set of this name",
            Self::Unsupported => "this CPU lacks the instructions of the kernel set",
        })
    }
}

impl Error for SetError {}

impl Set {
    /// The names of all sets, slowest first, whether this CPU has them or not.
    pub const fn names() -> &'static [&'static str] {
        &["aarch64-neon", "aarch64-dotprod", "aarch64-i8mm"]
    }

    /// The set of that name.
    ///
    /// # Errors
    /// When there is none, or this CPU does not have it.
    pub fn by_name(name: &str) -> Result<Self, SetError> {
        let set = match name {
            "aarch64-neon" => Neon::new().map(Self::Neon),
            "aarch64-dotprod" => Dotprod::new().map(Self::Dotprod),
            "aarch64-i8mm" => I8mm::new().map(Self::I8mm),
            _ => return Err(SetError::Unknown),
        };
        set.ok_or(SetError::Unsupported)
    }

    /// The sets that this CPU has, slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::names().iter().filter_map(|name| Self::by_name(name).ok())
    }

    /// The fastest set that this CPU has. `None` only where the thread's floats
    /// have been set to break the contract.
    pub fn best() -> Option<Self> {
        Self::available().last()
    }
}

macro_rules! each {
    ($self:expr, $set:ident => $call:expr) => {
        match $self {
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
