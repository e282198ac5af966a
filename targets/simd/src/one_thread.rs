//! Kernels on the caller's thread alone.

use kinglet::kernels::{Kernels, Product, Region, SparseProduct, Split};

use crate::{OutputRows, SimdKernels};

/// A target's SIMD kernels on the caller's thread. It calls no operating system and takes no
/// memory.
#[derive(Clone, Copy, Debug)]
pub struct OneThread<K>(
    /// The kernels.
    pub K,
);

impl<K: SimdKernels> Kernels for OneThread<K> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    #[inline(always)]
    fn pack(&self, q: &mut [i16]) {
        self.0.pack(q);
    }

    #[inline(always)]
    fn prefetch(&self, values: &[f32]) {
        self.0.prefetch(values);
    }

    fn products(&self, jobs: &mut [Product<'_>]) {
        for Product { matrix, input, output } in jobs {
            let mut part = OutputRows::whole(output, matrix.rows());
            self.0.run(
                #[inline(always)]
                || self.0.product(matrix, input, &mut part),
            );
        }
    }

    fn sparse_product(&self, SparseProduct { matrix, input, output }: SparseProduct<'_>) {
        let mut part = OutputRows::whole(output, matrix.rows());
        self.0.run(
            #[inline(always)]
            || self.0.sparse_product(&matrix, &input, &mut part),
        );
    }

    fn for_parts<S: Split>(&self, whole: S, _region: Region, f: impl Fn(S) + Sync) {
        self.0.run(
            #[inline(always)]
            || f(whole),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::OneThread;
    use kinglet::kernels::scalar::Scalar;

    kinglet::kernel_tests!(Some(OneThread(Scalar)));
}
