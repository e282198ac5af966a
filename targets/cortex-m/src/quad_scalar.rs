//! Scalar loops that keep the sums of four rows in registers.

use kinglet::kernels::matrix::TILE_ROWS;
use kinglet::kernels::{Kernels, Product, Region, SparseProduct, Split};

use crate::fpu::fp_mode_is_ieee;
use crate::quads::{self, List, PAIRS, QuadArith, ROWS, WEIGHTS};

/// Kernels for cores without the DSP extension.
#[derive(Clone, Copy, Debug)]
pub struct QuadScalar(());

impl QuadScalar {
    /// The kernels, if floats have the modes that they need.
    pub fn new() -> Option<Self> {
        fp_mode_is_ieee().then_some(Self(()))
    }
}

impl Kernels for QuadScalar {
    fn name(&self) -> &'static str {
        "plain"
    }

    #[inline(never)]
    fn products(&self, jobs: &mut [Product<'_>]) {
        quads::products::<Self>(jobs);
    }

    // Not inlined, so that its list does not lie on the stack during other products.
    #[inline(never)]
    fn sparse_product(&self, job: SparseProduct<'_>) {
        quads::sparse_product::<Self>(job);
    }

    #[inline(always)]
    fn for_parts<S: Split>(&self, whole: S, _region: Region, f: impl Fn(S) + Sync) {
        f(whole);
    }
}

impl QuadArith for QuadScalar {
    #[inline(always)]
    fn segment(
        mut sums: [i32; ROWS],
        weights: &[u32; WEIGHTS],
        row: usize,
        q: &[u32; PAIRS],
    ) -> [i32; ROWS] {
        let quads = weights.as_chunks::<TILE_ROWS>().0.iter().zip(q.as_chunks::<2>().0);
        for (weights, [low, high]) in quads {
            let q = [*low as i16, (low >> 16) as i16, *high as i16, (high >> 16) as i16];
            for (sum, weights) in sums.iter_mut().zip(&weights[row..]) {
                for (w, q) in weights.to_le_bytes().into_iter().zip(q) {
                    *sum += i32::from(w as i8) * i32::from(q);
                }
            }
        }
        sums
    }

    #[inline(always)]
    fn listed(list: List<'_>, weights: &[i8]) -> [i32; ROWS] {
        let mut sums = [0; ROWS];
        for entry in list.entries() {
            let weights = &weights[entry.offset as usize..][..ROWS];
            for (sum, w) in sums.iter_mut().zip(weights) {
                *sum += i32::from(*w) * entry.q;
            }
        }
        sums
    }
}
