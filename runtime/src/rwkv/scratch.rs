//! The scratch memory of the forward pass: one caller-owned `[f32]`, carved into buffers.
//!
//! [`scratch!`](scratch) declares the buffers of a step once. Both the length that a workspace
//! must have and the carving follow from that declaration, so they cannot disagree:
//!
//! ```text
//! scratch! {
//!     struct Buffers(shape, tokens) {
//!         normed: floats(tokens * shape.width),            // &mut [f32]
//!         shifted: quantized(tokens, shape.width) [6],     // [QuantizedMut; 6]
//!     }
//! }
//! Buffers::len(&shape, tokens)                  // const fn: elements of f32
//! Buffers::carve(&mut arena, &shape, tokens)    // the buffers, with whatever was in them
//! ```

use crate::kernels::activations::QuantizedMut;
use crate::kernels::matrix::{INPUT_PAD, padded_inputs};

/// Buffers start at multiples of this many elements: 64 bytes, a cache line.
const ALIGN_ELEMENTS: usize = 16;

/// Elements that [`ScratchArena::floats`] takes for `len` floats.
#[inline]
pub(crate) const fn floats_len(len: usize) -> usize {
    len.next_multiple_of(ALIGN_ELEMENTS)
}

/// Elements that [`ScratchArena::quantized`] takes.
pub(crate) const fn quantized_len(tokens: usize, inputs: usize) -> usize {
    let q = tokens * padded_inputs(inputs);
    floats_len(q.div_ceil(2)) + floats_len(q / INPUT_PAD) + floats_len(tokens)
}

/// The larger of two lengths: what steps need that use the same memory one after the other.
pub(crate) const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// Takes buffers off the front of a workspace.
#[derive(Debug)]
pub(crate) struct ScratchArena<'a> {
    rest: &'a mut [f32],
}

// Inlined where a forward pass is instantiated, which is another crate: without LTO a call would
// return each buffer through the caller's stack.
impl<'a> ScratchArena<'a> {
    #[inline]
    pub(crate) fn new(workspace: &'a mut [f32]) -> Self {
        Self { rest: workspace }
    }

    /// The next `len` floats, with whatever was in them.
    #[inline]
    pub(crate) fn floats(&mut self, len: usize) -> &'a mut [f32] {
        let (taken, rest) = core::mem::take(&mut self.rest).split_at_mut(floats_len(len));
        self.rest = rest;
        &mut taken[..len]
    }

    /// Activations of `tokens` tokens with `inputs` each.
    pub(crate) fn quantized(&mut self, tokens: usize, inputs: usize) -> QuantizedMut<'a> {
        let len = tokens * padded_inputs(inputs);
        let q = bytemuck::cast_slice_mut(self.floats(len.div_ceil(2)));
        let sums = bytemuck::cast_slice_mut(self.floats(len / INPUT_PAD));
        QuantizedMut::new(inputs, &mut q[..len], sums, self.floats(tokens))
    }

    /// All that is left.
    #[inline]
    pub(crate) fn rest(self) -> &'a mut [f32] {
        self.rest
    }
}

/// Declares the buffers of a step; see the [module](self).
macro_rules! scratch {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident($shape:ident, $tokens:ident) {
            $(
                $(#[$field_meta:meta])*
                $field:ident: $kind:ident($($dimension:expr),+) $([$count:expr])?,
            )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug)]
        $vis struct $name<'a> {
            $($(#[$field_meta])* $vis $field: $crate::rwkv::scratch::scratch!(@type $kind $([$count])?),)+
        }

        impl<'a> $name<'a> {
            /// Elements of f32 that the buffers take for `tokens` tokens.
            $vis const fn len($shape: &$crate::format::shape::Shape, $tokens: usize) -> usize {
                0 $(+ $crate::rwkv::scratch::scratch!(@len $kind($($dimension),+) $([$count])?))+
            }

            /// Takes the buffers off the front of `arena`.
            #[inline(always)]
            $vis fn carve(
                arena: &mut $crate::rwkv::scratch::ScratchArena<'a>,
                $shape: &$crate::format::shape::Shape,
                $tokens: usize,
            ) -> Self {
                Self {
                    $($field: $crate::rwkv::scratch::scratch!(
                        @carve arena $kind($($dimension),+) $([$count])?
                    ),)+
                }
            }
        }
    };
    (@type floats $([$count:expr])?) => {
        $crate::rwkv::scratch::scratch!(@array (&'a mut [f32]) $([$count])?)
    };
    (@type quantized $([$count:expr])?) => {
        $crate::rwkv::scratch::scratch!(
            @array ($crate::kernels::activations::QuantizedMut<'a>) $([$count])?
        )
    };
    (@array ($type:ty)) => { $type };
    (@array ($type:ty) [$count:expr]) => { [$type; $count] };
    (@len floats($len:expr) $([$count:expr])?) => {
        $($count *)? $crate::rwkv::scratch::floats_len($len)
    };
    (@len quantized($tokens:expr, $inputs:expr) $([$count:expr])?) => {
        $($count *)? $crate::rwkv::scratch::quantized_len($tokens, $inputs)
    };
    (@carve $arena:ident $kind:ident($($dimension:expr),+)) => {
        $arena.$kind($($dimension),+)
    };
    (@carve $arena:ident $kind:ident($($dimension:expr),+) [$count:expr]) => {
        core::array::from_fn::<_, { $count }, _>(|_| $arena.$kind($($dimension),+))
    };
}
pub(crate) use scratch;
