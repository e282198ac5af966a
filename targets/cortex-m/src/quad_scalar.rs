//! Scalar loops that keep the sums of four rows in registers.

use core::ops::Range;

use kinglet::kernels::activations::Quantized;
use kinglet::kernels::matrix::{SparseMatrix, TILE_ROWS};
use kinglet::kernels::{Kernels, Product, Region, SparseProduct, Split};

use crate::SparseRows;
use crate::fpu::fp_mode_is_ieee;
use crate::quads::{self, Fold, INT4_WEIGHTS, Int4, Int8, List, PAIRS, QuadArith, ROWS, WEIGHTS};

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

impl SparseRows for QuadScalar {
    #[inline(never)]
    fn sparse_rows(
        &self,
        matrix: &SparseMatrix<'_>,
        input: &Quantized<'_>,
        rows: Range<usize>,
        output: &mut [f32],
    ) {
        quads::sparse_rows::<Self>(matrix, input, rows, output);
    }
}

/// Adds the products of a row's four weights, the signed bytes of a word, with four activations.
#[inline(always)]
fn add_four(sum: &mut i32, weights: u32, q: [i16; 4]) {
    for (w, q) in weights.to_le_bytes().into_iter().zip(q) {
        *sum += i32::from(w as i8) * i32::from(q);
    }
}

/// Four activations from their two words.
#[inline(always)]
fn four([low, high]: [u32; 2]) -> [i16; 4] {
    [low as i16, (low >> 16) as i16, high as i16, (high >> 16) as i16]
}

impl Fold for QuadScalar {}

impl QuadArith<Int8> for QuadScalar {
    #[inline(always)]
    fn segment(
        mut sums: [i32; ROWS],
        weights: &[u32; WEIGHTS],
        row: usize,
        q: &[u32; PAIRS],
    ) -> [i32; ROWS] {
        let quads = weights.as_chunks::<TILE_ROWS>().0.iter().zip(q.as_chunks::<2>().0);
        for (weights, q) in quads {
            let q = four(*q);
            for (sum, weights) in sums.iter_mut().zip(&weights[row..]) {
                add_four(sum, *weights, q);
            }
        }
        sums
    }

    #[inline(always)]
    fn listed(mut sums: [i32; ROWS], list: List<'_>, weights: &[u8], quad: usize) -> [i32; ROWS] {
        let weights = &weights[quad * ROWS..];
        for entry in list.entries() {
            let weights = &weights[entry.offset as usize..][..ROWS];
            for (sum, w) in sums.iter_mut().zip(weights) {
                *sum += i32::from(*w as i8) * entry.q;
            }
        }
        sums
    }
}

/// The low nibbles of a word's bytes; those of one shifted by four are its high nibbles.
const NIBBLES: u32 = 0x0F0F_0F0F;

impl QuadArith<Int4> for QuadScalar {
    #[inline(always)]
    fn segment(
        mut sums: [i32; ROWS],
        weights: &[u32; INT4_WEIGHTS],
        row: usize,
        q: &[u32; PAIRS],
    ) -> [i32; ROWS] {
        let quads = weights.as_chunks::<TILE_ROWS>().0.iter().zip(q.as_chunks::<4>().0);
        for (weights, [a, b, c, d]) in quads {
            let (low, high) = (four([*a, *b]), four([*c, *d]));
            for (sum, weights) in sums.iter_mut().zip(&weights[row..]) {
                add_four(sum, weights & NIBBLES, low);
                add_four(sum, weights >> 4 & NIBBLES, high);
            }
        }
        sums
    }

    #[inline(always)]
    fn listed(mut sums: [i32; ROWS], list: List<'_>, weights: &[u8], quad: usize) -> [i32; ROWS] {
        let (at, high) = Int4::quad_in_line(quad);
        let (weights, shift) = (&weights[at..], if high { 4 } else { 0 });
        for entry in list.entries() {
            let weights = &weights[entry.offset as usize..][..ROWS];
            for (sum, w) in sums.iter_mut().zip(weights) {
                *sum += i32::from(w >> shift & 15) * entry.q;
            }
        }
        sums
    }
}
