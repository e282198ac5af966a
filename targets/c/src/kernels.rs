//! The kernel set of an engine that C drives.

use kinglet::kernels::{Kernels, Product, SparseProduct, Split};
use kinglet::scalar::Scalar;

/// The kernel sets that this library brings; the numbers do not depend on which
/// is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KernelSet {
    /// Plain Rust.
    Scalar(Scalar),
}

/// Calls a method of whichever set it is.
macro_rules! either {
    ($set:expr, $kernels:ident => $call:expr) => {
        match $set {
            KernelSet::Scalar($kernels) => $call,
        }
    };
}

impl KernelSet {
    /// The fastest that this machine has.
    pub(crate) fn best() -> Self {
        Self::Scalar(Scalar)
    }
}

impl Kernels for KernelSet {
    fn name(&self) -> &'static str {
        either!(self, kernels => kernels.name())
    }

    #[inline(always)]
    fn pack(&self, q: &mut [i16]) {
        either!(self, kernels => kernels.pack(q));
    }

    fn products(&self, jobs: &mut [Product<'_>]) {
        either!(self, kernels => kernels.products(jobs));
    }

    fn sparse_product(&self, job: SparseProduct<'_>) {
        either!(self, kernels => kernels.sparse_product(job));
    }

    #[inline(always)]
    fn for_parts<S: Split>(&self, whole: S, work: usize, f: impl Fn(S) + Sync) {
        either!(self, kernels => kernels.for_parts(whole, work, f));
    }
}
