//! The DSP extension: two multiplications of 16 bits in one instruction.
//!
//! Four weights are a word. SXTB16 widens its bytes 0 and 2 to two halfwords,
//! SXTB16 with ROR #8 its bytes 1 and 3, and SMLAD multiplies both with a pair
//! of activations and adds. [`Dsp::pack`] puts the activations 0 and 2, 1 and 3
//! of every four side by side for that.
//!
//! Eight weights of four bits are a word, too: the low nibbles of its bytes are one four, the high
//! nibbles the next. An AND of the word, shifted on its way, with a mask takes SXTB16's place.

use core::ops::Range;

#[cfg(all(dsp, target_abi = "eabihf"))]
use kinglet::kernels::Wkv7;
use kinglet::kernels::activations::Quantized;
use kinglet::kernels::matrix::{SparseMatrix, TILE_ROWS};
use kinglet::kernels::{Kernels, Product, Region, SparseProduct, Split};
#[cfg(all(dsp, target_abi = "eabihf"))]
use kinglet::num::state_dtype::{StateElement, f16};

use crate::SparseRows;
use crate::fpu::fp_mode_is_ieee;
use crate::quads::{self, Fold, INT4_WEIGHTS, Int4, Int8, List, PAIRS, QuadArith, ROWS, WEIGHTS};

#[cfg(all(dsp, target_abi = "eabihf"))]
use crate::{f16_fpu, wkv7_fpu};

#[cfg_attr(dsp, path = "dsp/instructions.rs")]
#[cfg_attr(not(dsp), path = "dsp/emulated.rs")]
mod instructions;
#[cfg(all(armv8m, target_abi = "eabihf"))]
pub(crate) use instructions::privileged;

/// Kernels for cores with the DSP extension.
#[derive(Clone, Copy, Debug)]
pub struct Dsp(());

impl Dsp {
    /// The kernels, if the core has the instructions and floats have the modes
    /// that they need. On ARMv8-M the extension is optional, and only code with
    /// privilege can ask for it: without, this is `None`.
    pub fn new() -> Option<Self> {
        (instructions::is_available() && fp_mode_is_ieee()).then_some(Self(()))
    }
}

impl Kernels for Dsp {
    #[cfg(all(dsp, target_abi = "eabihf"))]
    const COMPUTES_WKV7: bool = true;

    fn name(&self) -> &'static str {
        "dsp"
    }

    #[inline(always)]
    fn pack(&self, q: &mut [i16]) {
        for q in q.as_chunks_mut::<4>().0 {
            q.swap(1, 2);
        }
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

    /// The FPU's own conversions.
    #[cfg(all(dsp, target_abi = "eabihf"))]
    #[inline(always)]
    fn widen_f16<const C: usize>(&self, elements: &[f16; C]) -> [f32; C] {
        f16_fpu::widen(elements)
    }

    /// The FPU's own conversions, whose infinities and NaN are made the largest numbers.
    #[cfg(all(dsp, target_abi = "eabihf"))]
    #[inline(always)]
    fn narrow_f16<const C: usize>(&self, values: &[f32; C], out: &mut [f16; C]) {
        f16_fpu::narrow(values, out);
    }

    #[cfg(all(dsp, target_abi = "eabihf"))]
    #[inline(always)]
    fn wkv7<S: StateElement>(&self, head: &Wkv7<'_>, state: &mut [S], y: &mut [f32]) -> usize {
        wkv7_fpu::wkv7(head, state, y)
    }

    #[inline(always)]
    fn for_parts<S: Split>(&self, whole: S, _region: Region, f: impl Fn(S) + Sync) {
        f(whole);
    }
}

impl SparseRows for Dsp {
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

impl Fold for Dsp {
    #[cfg(all(dsp, target_abi = "eabihf"))]
    #[inline(always)]
    fn fold(acc: &mut [f32; ROWS], sums: [i32; ROWS], scales: &quads::Scales) {
        instructions::fold(acc, sums, scales);
    }
}

impl QuadArith<Int8> for Dsp {
    #[inline(always)]
    fn segments(
        mut sums: [i32; ROWS],
        weights: &[[u32; WEIGHTS]],
        row: usize,
        q: &[[u32; PAIRS]],
    ) -> [i32; ROWS] {
        for (weights, q) in weights.iter().zip(q) {
            assert!(row <= TILE_ROWS - ROWS, "four rows of sixteen");
            // SAFETY: `row` is at most 12, as just checked.
            sums = unsafe { instructions::segment(sums, weights, row, q) };
        }
        sums
    }

    #[cfg(all(dsp, target_abi = "eabihf"))]
    #[inline(always)]
    fn four_rows(
        weights: &[[u32; WEIGHTS]],
        scales: &[[u32; quads::TILE_SCALES]],
        token: quads::Token<'_>,
        quad: usize,
        group: usize,
    ) -> [f32; ROWS] {
        let segments = token.q.len();
        if group != 1 || segments == 0 || weights.len() != segments || scales.len() != segments {
            return quads::four_rows::<Self, Int8>(weights, scales, token, quad, group);
        }
        assert!(quad < TILE_ROWS / ROWS, "four quads to a tile");
        // SAFETY: all three have `segments` elements, of which there is one, and `quad` is at
        // most 3, as just checked.
        unsafe { instructions::four_rows(weights, scales, token.q, quad) }
    }

    #[inline(always)]
    fn listed(sums: [i32; ROWS], list: List<'_>, weights: &[u8], quad: usize) -> [i32; ROWS] {
        let weights = checked(list, &weights[quad * ROWS..], ROWS);
        // SAFETY: the entries' weights are in `weights`, as just checked.
        unsafe { instructions::listed(sums, list, weights) }
    }
}

impl QuadArith<Int4> for Dsp {
    #[inline(always)]
    fn segments(
        mut sums: [i32; ROWS],
        weights: &[[u32; INT4_WEIGHTS]],
        row: usize,
        q: &[[u32; PAIRS]],
    ) -> [i32; ROWS] {
        for (weights, q) in weights.iter().zip(q) {
            assert!(row <= TILE_ROWS - ROWS, "four rows of sixteen");
            // SAFETY: `row` is at most 12, as just checked.
            sums = unsafe { instructions::segment_int4(sums, weights, row, q) };
        }
        sums
    }

    #[cfg(all(dsp, target_abi = "eabihf"))]
    #[inline(always)]
    fn four_rows(
        weights: &[[u32; INT4_WEIGHTS]],
        scales: &[[u32; quads::TILE_SCALES]],
        token: quads::Token<'_>,
        quad: usize,
        group: usize,
    ) -> [f32; ROWS] {
        let segments = token.q.len();
        assert!(segments > 0 && group > 0, "a token and groups");
        assert!(weights.len() == segments && token.sums.len() == segments, "one token's");
        assert!(scales.len() * group >= segments, "a scale to each group");
        assert!(quad < TILE_ROWS / ROWS, "four quads to a tile");
        // SAFETY: there is one segment at least, as many of weights and sums, as many scales as
        // groups, and `quad` is at most 3, as just checked.
        unsafe {
            if group == 1 {
                instructions::four_rows_int4(weights, scales, token, quad)
            } else {
                instructions::four_rows_int4_groups(weights, scales, token, quad, group)
            }
        }
    }

    #[inline(always)]
    fn listed(sums: [i32; ROWS], list: List<'_>, weights: &[u8], quad: usize) -> [i32; ROWS] {
        let (at, high) = Int4::quad_in_line(quad);
        let weights = checked(list, &weights[at..], ROWS);
        // SAFETY: the entries' weights are in `weights`, as just checked.
        unsafe {
            if high {
                instructions::listed_high(sums, list, weights)
            } else {
                instructions::listed_low(sums, list, weights)
            }
        }
    }
}

/// The weights again, where they have `bytes` bytes at the offset of each entry.
#[inline(always)]
pub(crate) fn checked<'a>(list: List<'_>, weights: &'a [u8], bytes: usize) -> &'a [u8] {
    // A list is in ascending order of offsets.
    if let Some(last) = list.entries().last() {
        let end = last.offset as usize + bytes;
        assert!(end <= weights.len(), "the list is of other weights");
    }
    weights
}
