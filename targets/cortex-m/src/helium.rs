//! Helium, the vectors of ARMv8.1-M (M55, M85), for products; all else is [`Dsp`]'s.
//!
//! A vector holds sixteen bytes. A tile has the four weights of a row and four inputs in a word, so
//! the words of one row in four tiles are sixteen weights of that row: a gathering load of four words
//! takes them. VMOVLB and VMOVLT widen the even and the odd ones to halfwords, in the order in which
//! [`Dsp`]'s activations lie, and VMLAVA adds eight products to a core register. Of int4 such a load
//! takes thirty-two weights, whose nibbles are taken apart.
//!
//! Floats stay scalar, because vectors of f32 flush subnormals to zero.

use core::ops::Range;

#[cfg(all(dsp, target_abi = "eabihf"))]
use kinglet::kernels::Wkv7;
use kinglet::kernels::activations::Quantized;
use kinglet::kernels::matrix::{LINE_BLOCK, SparseMatrix, TILE_ROWS};
use kinglet::kernels::{Kernels, Product, Region, SparseProduct, Split};
#[cfg(all(dsp, target_abi = "eabihf"))]
use kinglet::num::state_dtype::{StateElement, f16};

use crate::SparseRows;
use crate::dsp::{Dsp, checked};
use crate::quads::{
    self, Fold, INT4_WEIGHTS, Int4, Int8, List, PAIRS, QuadArith, ROWS, Scales, TILE_SCALES, Token,
    WEIGHTS, fold_rows,
};

#[cfg_attr(all(armv8m, target_abi = "eabihf"), path = "helium/instructions.rs")]
#[cfg_attr(not(all(armv8m, target_abi = "eabihf")), path = "helium/emulated.rs")]
mod instructions;

/// Kernels for cores with Helium, whose floats are scalar.
#[derive(Clone, Copy, Debug)]
pub struct Helium(Dsp);

impl Helium {
    /// The kernels, if the core has the instructions and floats have the modes that they need. Only
    /// code with privilege can ask for the instructions: without, this is `None`.
    pub fn new() -> Option<Self> {
        Dsp::new().filter(|_| instructions::is_available()).map(Self)
    }
}

impl Kernels for Helium {
    #[cfg(all(dsp, target_abi = "eabihf"))]
    const COMPUTES_WKV7: bool = true;

    fn name(&self) -> &'static str {
        "helium"
    }

    #[inline(always)]
    fn pack(&self, q: &mut [i16]) {
        self.0.pack(q);
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

    #[cfg(all(dsp, target_abi = "eabihf"))]
    #[inline(always)]
    fn widen_f16<const C: usize>(&self, elements: &[f16; C]) -> [f32; C] {
        self.0.widen_f16(elements)
    }

    #[cfg(all(dsp, target_abi = "eabihf"))]
    #[inline(always)]
    fn narrow_f16<const C: usize>(&self, values: &[f32; C], out: &mut [f16; C]) {
        self.0.narrow_f16(values, out);
    }

    #[cfg(all(dsp, target_abi = "eabihf"))]
    #[inline(always)]
    fn wkv7<S: StateElement>(&self, head: &Wkv7<'_>, state: &mut [S], y: &mut [f32]) -> usize {
        self.0.wkv7(head, state, y)
    }

    #[inline(always)]
    fn for_parts<S: Split>(&self, whole: S, _region: Region, f: impl Fn(S) + Sync) {
        f(whole);
    }
}

impl SparseRows for Helium {
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

impl Fold for Helium {
    #[inline(always)]
    fn fold(acc: &mut [f32; ROWS], sums: [i32; ROWS], scales: &Scales) {
        Dsp::fold(acc, sums, scales);
    }
}

/// The product of a token with sixteen rows that an assembly function writes at its last argument,
/// for as many as `output` has: the last tile may have fewer.
#[inline(always)]
fn sixteen_rows(output: &mut [f32], product: impl FnOnce(*mut f32)) {
    if output.len() == TILE_ROWS {
        return product(output.as_mut_ptr());
    }
    let mut all = [0.0; TILE_ROWS];
    product(all.as_mut_ptr());
    output.copy_from_slice(&all[..output.len()]);
}

/// Folds the sums of listed inputs, which `sums` gives for each tile of rows.
#[inline(always)]
fn fold_tiles(output: &mut [f32], scales: &[Scales], sums: impl Fn(usize) -> [i32; TILE_ROWS]) {
    let tiles = output.chunks_mut(TILE_ROWS).zip(scales.chunks(TILE_ROWS / ROWS));
    for (tile, (output, scales)) in tiles.enumerate() {
        let sums = sums(tile);
        for ((output, sums), scales) in output.chunks_mut(ROWS).zip(sums.as_chunks().0).zip(scales)
        {
            fold_rows::<Helium>(output, *sums, scales);
        }
    }
}

impl QuadArith<Int8> for Helium {
    #[inline(always)]
    fn segments(
        sums: [i32; ROWS],
        weights: &[[u32; WEIGHTS]],
        row: usize,
        q: &[[u32; PAIRS]],
    ) -> [i32; ROWS] {
        <Dsp as QuadArith<Int8>>::segments(sums, weights, row, q)
    }

    #[inline(always)]
    fn tile(
        weights: &[[u32; WEIGHTS]],
        scales: &[[u32; TILE_SCALES]],
        token: Token<'_>,
        group: usize,
        scale: f32,
        output: &mut [f32],
    ) {
        let segments = token.q.len();
        assert!(segments > 0 && group > 0 && weights.len() == segments, "a token and groups");
        assert!(scales.len() * group >= segments, "a scale to each group");
        sixteen_rows(output, |y| {
            // SAFETY: there is one segment at least, as many of weights, and as many scales as
            // groups, as just checked, and room for sixteen values.
            unsafe { instructions::tile(weights, scales, token, group, scale, y) };
        });
    }

    #[inline(always)]
    fn listed(sums: [i32; ROWS], list: List<'_>, weights: &[u8], quad: usize) -> [i32; ROWS] {
        <Dsp as QuadArith<Int8>>::listed(sums, list, weights, quad)
    }

    #[inline(always)]
    fn listed_rows(
        [start, ..]: [i32; ROWS],
        list: List<'_>,
        weights: &[u8],
        scales: &[Scales],
        first: usize,
        output: &mut [f32],
    ) {
        fold_tiles(output, scales, |tile| {
            let tile = first + tile;
            let weights = checked(list, &weights[tile * TILE_ROWS..], TILE_ROWS);
            // SAFETY: sixteen weights of each entry are in `weights`, as just checked.
            unsafe { instructions::listed(start, list, weights) }
        });
    }
}

impl QuadArith<Int4> for Helium {
    #[inline(always)]
    fn segments(
        sums: [i32; ROWS],
        weights: &[[u32; INT4_WEIGHTS]],
        row: usize,
        q: &[[u32; PAIRS]],
    ) -> [i32; ROWS] {
        <Dsp as QuadArith<Int4>>::segments(sums, weights, row, q)
    }

    #[inline(always)]
    fn tile(
        weights: &[[u32; INT4_WEIGHTS]],
        scales: &[[u32; TILE_SCALES]],
        token: Token<'_>,
        group: usize,
        scale: f32,
        output: &mut [f32],
    ) {
        let segments = token.q.len();
        assert!(segments > 0 && group > 0, "a token and groups");
        assert!(weights.len() == segments && token.sums.len() == segments, "one token's");
        assert!(scales.len() * group >= segments, "a scale to each group");
        sixteen_rows(output, |y| {
            // SAFETY: there is one segment at least, as many of weights and sums, and as many scales
            // as groups, as just checked, and room for sixteen values.
            unsafe { instructions::tile_int4(weights, scales, token, group, scale, y) };
        });
    }

    #[inline(always)]
    fn listed(sums: [i32; ROWS], list: List<'_>, weights: &[u8], quad: usize) -> [i32; ROWS] {
        <Dsp as QuadArith<Int4>>::listed(sums, list, weights, quad)
    }

    #[inline(always)]
    fn listed_rows(
        [start, ..]: [i32; ROWS],
        list: List<'_>,
        weights: &[u8],
        scales: &[Scales],
        first: usize,
        output: &mut [f32],
    ) {
        fold_tiles(output, scales, |tile| {
            let tile = first + tile;
            let (at, high) = Int4::quad_in_line(tile * (TILE_ROWS / ROWS));
            let weights = checked(list, &weights[at..], LINE_BLOCK);
            // SAFETY: sixteen bytes of each entry are in `weights`, as just checked.
            unsafe {
                if high {
                    instructions::listed_high(start, list, weights)
                } else {
                    instructions::listed_low(start, list, weights)
                }
            }
        });
    }
}
