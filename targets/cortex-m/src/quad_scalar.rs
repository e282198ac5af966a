//! Scalar loops that keep the sums of four rows in registers.

use core::ops::Range;

use kinglet::kernels::activations::Quantized;
use kinglet::kernels::matrix::{SparseMatrix, TILE_ROWS};
use kinglet::kernels::{Kernels, Product, Region, SparseProduct, Split};
#[cfg(any(soft_float, test))]
use kinglet::num::state_dtype::f16;

use crate::SparseRows;
#[cfg(any(soft_float, test))]
use crate::f16_soft;
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

    /// Integers, where floats are soft.
    #[cfg(any(soft_float, test))]
    #[inline(always)]
    fn widen_f16<const C: usize>(&self, elements: &[f16; C]) -> [f32; C] {
        elements.map(f16_soft::widen)
    }

    /// Integers, where floats are soft.
    #[cfg(any(soft_float, test))]
    #[inline(always)]
    fn narrow_f16<const C: usize>(&self, values: &[f32; C], out: &mut [f16; C]) {
        *out = values.map(f16_soft::narrow);
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

/// [`QuadArith::segments`] of int8 for ARMv6-M, whose loads that extend a sign have no constant
/// offset: a word's bytes cost less there than four loads.
#[inline(always)]
fn segments_by_words(
    mut sums: [i32; ROWS],
    weights: &[[u32; WEIGHTS]],
    row: usize,
    q: &[[u32; PAIRS]],
) -> [i32; ROWS] {
    for (weights, q) in weights.iter().zip(q) {
        let quads = weights.as_chunks::<TILE_ROWS>().0.iter().zip(q.as_chunks::<2>().0);
        for (weights, q) in quads {
            let q = four(*q);
            for (sum, weights) in sums.iter_mut().zip(&weights[row..]) {
                add_four(sum, *weights, q);
            }
        }
    }
    sums
}

impl Fold for QuadScalar {}

impl QuadArith<Int8> for QuadScalar {
    #[inline(always)]
    fn segments(
        mut sums: [i32; ROWS],
        weights: &[[u32; WEIGHTS]],
        row: usize,
        q: &[[u32; PAIRS]],
    ) -> [i32; ROWS] {
        if cfg!(armv6m) {
            return segments_by_words(sums, weights, row, q);
        }
        // A constant number of rows from a quad's start on, so that the sums stay in registers.
        let weights: &[[[[i8; 4]; ROWS]; TILE_ROWS / ROWS]] = bytemuck::cast_slice(weights);
        let q: &[[i16; 4]] = bytemuck::cast_slice(q);
        for (weights, q) in weights.iter().zip(q) {
            for (sum, weights) in sums.iter_mut().zip(&weights[row / ROWS]) {
                for (w, q) in weights.iter().zip(q) {
                    *sum += i32::from(*w) * i32::from(*q);
                }
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

/// [`QuadArith::segments`] of int4, for words of weights and activations.
#[inline(always)]
fn int4_quads(mut sums: [i32; ROWS], weights: &[u32], row: usize, q: &[u32]) -> [i32; ROWS] {
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

impl QuadArith<Int4> for QuadScalar {
    #[inline(always)]
    fn segments(
        mut sums: [i32; ROWS],
        weights: &[[u32; INT4_WEIGHTS]],
        row: usize,
        q: &[[u32; PAIRS]],
    ) -> [i32; ROWS] {
        if cfg!(armv6m) {
            // A loop of known length for each segment, which the compiler writes out.
            for (weights, q) in weights.iter().zip(q) {
                sums = int4_quads(sums, weights, row, q);
            }
            return sums;
        }
        int4_quads(sums, weights.as_flattened(), row, q.as_flattened())
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
