//! The engine's scratch memory: one caller-owned `[f32]`, carved into buffers.

use crate::kernels::activations::QuantizedMut;
use crate::kernels::matrix::{INPUT_PAD, padded_inputs};

/// Buffers start at multiples of this many elements: 64 bytes.
const STEP: usize = 16;

/// Elements that [`Carver::floats`] takes for `len` floats.
pub(crate) const fn floats_len(len: usize) -> usize {
    len.next_multiple_of(STEP)
}

/// Elements that [`Carver::quantized`] takes.
pub(crate) const fn quantized_len(columns: usize, inputs: usize) -> usize {
    let q = columns * padded_inputs(inputs);
    floats_len(q.div_ceil(2)) + floats_len(q / INPUT_PAD) + floats_len(columns)
}

/// Takes buffers off the front of a workspace.
#[derive(Debug)]
pub(crate) struct Carver<'a> {
    rest: &'a mut [f32],
}

impl<'a> Carver<'a> {
    pub(crate) fn new(workspace: &'a mut [f32]) -> Self {
        Self { rest: workspace }
    }

    /// The next `len` floats, with whatever was in them.
    pub(crate) fn floats(&mut self, len: usize) -> &'a mut [f32] {
        let (taken, rest) = core::mem::take(&mut self.rest).split_at_mut(floats_len(len));
        self.rest = rest;
        &mut taken[..len]
    }

    /// A block of `columns` quantized columns.
    pub(crate) fn quantized(&mut self, columns: usize, inputs: usize) -> QuantizedMut<'a> {
        let len = columns * padded_inputs(inputs);
        let q = bytemuck::cast_slice_mut(self.floats(len.div_ceil(2)));
        let sums = bytemuck::cast_slice_mut(self.floats(len / INPUT_PAD));
        QuantizedMut::new(inputs, &mut q[..len], sums, self.floats(columns))
    }

    /// What is left.
    pub(crate) fn rest(self) -> &'a mut [f32] {
        self.rest
    }
}
