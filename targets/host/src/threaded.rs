//! Kernels on the threads of a machine with an operating system.

use kinglet::kernels::{Kernels, Product, SparseProduct, Split};

use crate::vectors::{Vectors, whole, whole_sparse};

/// A target's vector instructions as a kernel set.
#[derive(Clone, Copy, Debug)]
pub struct Threaded<V> {
    vectors: V,
}

impl<V: Vectors> Threaded<V> {
    /// A kernel set over `vectors`.
    pub fn new(vectors: V) -> Self {
        Self { vectors }
    }
}

impl<V: Vectors> Kernels for Threaded<V> {
    fn name(&self) -> &'static str {
        self.vectors.name()
    }

    #[inline(always)]
    fn pack(&self, q: &mut [i16]) {
        self.vectors.pack(q);
    }

    fn products(&self, jobs: &mut [Product<'_>]) {
        for job in jobs {
            let (matrix, input) = (job.matrix, job.input);
            self.vectors.product(&matrix, &input, &mut whole(job));
        }
    }

    fn sparse_product(&self, mut job: SparseProduct<'_>) {
        let (matrix, input) = (job.matrix, job.input);
        self.vectors.sparse_product(&matrix, &input, &mut whole_sparse(&mut job));
    }

    fn for_parts<S: Split>(&self, whole: S, _work: usize, f: impl Fn(S) + Sync) {
        self.vectors.run(|| f(whole));
    }
}
