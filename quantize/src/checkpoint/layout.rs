//! Shapes and strides of tensors, and how the one tensor looks as another.
//!
//! A name's rule says how another program lays a tensor out, and here that is undone without
//! moving a value: transposing, splitting and squeezing change strides alone. What a file states is
//! checked once, when a layout is made; afterwards no product or sum of its numbers overflows.

use super::error::{Problem, clip};

/// Largest number of dimensions of a tensor.
pub(super) const MAX_RANK: usize = 4;

/// Shape and strides, in elements, outermost dimension first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    rank: usize,
    shape: [usize; MAX_RANK],
    strides: [usize; MAX_RANK],
}

impl Layout {
    /// The layout of a row-major tensor.
    pub(super) fn contiguous(tensor: &str, shape: &[u64]) -> Result<Self, Problem> {
        check_rank(tensor, shape.len())?;
        let mut strides = [0; MAX_RANK];
        let mut step = 1u64;
        for (stride, &dim) in strides.iter_mut().rev().zip(shape.iter().rev()) {
            *stride = step;
            step = step.checked_mul(dim.max(1)).ok_or_else(|| overflow(tensor, shape))?;
        }
        Self::strided(tensor, shape, &strides[MAX_RANK - shape.len()..])
    }

    /// A layout as a file declares it.
    pub(super) fn strided(tensor: &str, shape: &[u64], strides: &[u64]) -> Result<Self, Problem> {
        let rank = shape.len();
        check_rank(tensor, rank)?;
        if strides.len() != rank {
            let cause = format!("has {} strides for {rank} dimensions", strides.len());
            return Err(Problem::Shape { tensor: clip(tensor), cause });
        }
        let mut layout = Self { rank, shape: [1; MAX_RANK], strides: [0; MAX_RANK] };
        for i in 0..rank {
            let to_usize = |n: u64| usize::try_from(n).map_err(|_| overflow(tensor, shape));
            layout.shape[i] = to_usize(shape[i])?;
            layout.strides[i] = to_usize(strides[i])?;
        }
        // Counting an empty dimension as one keeps every partial product from overflowing too.
        match layout.shape().iter().try_fold(1usize, |n, &dim| n.checked_mul(dim.max(1))) {
            Some(_) => Ok(layout),
            None => Err(overflow(tensor, shape)),
        }
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.shape[..self.rank]
    }

    /// Number of elements; `strided` proved that the product fits.
    pub(super) fn elements(&self) -> usize {
        self.shape().iter().product()
    }

    /// One past the highest element that is reached from `offset`; `None` when that overflows.
    pub(super) fn end(&self, offset: usize) -> Option<usize> {
        if self.elements() == 0 {
            return Some(offset);
        }
        let mut last = offset;
        for (&dim, &stride) in self.shape().iter().zip(&self.strides) {
            last = last.checked_add((dim - 1).checked_mul(stride)?)?;
        }
        last.checked_add(1)
    }

    /// The vector `[1, 1, d]`; `None` when more than one dimension is larger than one.
    pub(super) fn vector(&self) -> Option<Self> {
        let mut dims = (0..self.rank).filter(|&i| self.shape[i] != 1);
        let (len, stride) = dims.next().map_or((1, 0), |i| (self.shape[i], self.strides[i]));
        let vector = Self { rank: 3, shape: [1, 1, len, 1], strides: [0, 0, stride, 0] };
        dims.next().is_none().then_some(vector)
    }

    /// Index `part` of the outermost dimension, and the elements that it lies behind.
    pub(super) fn part(&self, part: usize) -> Option<(Self, usize)> {
        let mut rest = *self;
        rest.shape.rotate_left(1);
        rest.strides.rotate_left(1);
        rest.rank = self.rank.checked_sub(1)?;
        (part < self.shape[0]).then(|| (rest, part * self.strides[0]))
    }

    /// A vector as `[heads, head_size]`.
    pub(super) fn heads(&self, head_size: usize) -> Option<Self> {
        let Self { shape: [.., len, _], strides: [.., stride, _], .. } = self.vector()?;
        let heads = len.checked_div(head_size)?;
        let strides = [head_size.checked_mul(stride)?, stride, 0, 0];
        let split = Self { rank: 2, shape: [heads, head_size, 1, 1], strides };
        (heads * head_size == len).then_some(split)
    }

    /// The vector `[1, 1, d]` of all elements in row-major order; `None` where no stride steps
    /// through them.
    pub(super) fn flattened(&self) -> Option<Self> {
        let mut dims = (0..self.rank).rev().filter(|&i| self.shape[i] != 1);
        let last = dims.next();
        let (mut len, stride) = last.map_or((1, 0), |i| (self.shape[i], self.strides[i]));
        for i in dims {
            if self.strides[i] != len.checked_mul(stride)? {
                return None;
            }
            len = len.checked_mul(self.shape[i])?;
        }
        Some(Self { rank: 3, shape: [1, 1, len, 1], strides: [0, 0, stride, 0] })
    }

    /// Two dimensions and ones around them, as those two; `None` for any other shape.
    pub(super) fn without_ones(&self) -> Option<Self> {
        let mut layout = *self;
        while layout.rank > 2 && layout.shape[layout.rank - 1] == 1 {
            layout.rank -= 1;
        }
        while layout.rank > 1 && layout.shape[0] == 1 && self.rank > 2 {
            if layout.rank == 2 {
                // `[1, 1, d]` does not say how many heads there are; `[1, d, 1]` does.
                return (self.shape[self.rank - 1] == 1).then_some(layout);
            }
            (layout, _) = layout.part(0)?;
        }
        (layout.rank == 2).then_some(layout)
    }

    /// A vector `[heads]` as `[heads, channels / heads]`, each value repeated.
    pub(super) fn per_head(&self, channels: usize) -> Option<Self> {
        let Self { shape: [.., heads, _], strides: [.., stride, _], .. } = self.vector()?;
        let size = channels.checked_div(heads)?;
        let repeated = Self { rank: 2, shape: [heads, size, 1, 1], strides: [stride, 0, 0, 0] };
        (size * heads == channels && size > 0).then_some(repeated)
    }

    /// Without trailing dimensions of size one.
    pub(super) fn trimmed(mut self) -> Self {
        while self.rank > 1 && self.shape[self.rank - 1] == 1 {
            self.rank -= 1;
        }
        self
    }

    pub(super) fn transposed(mut self) -> Self {
        if self.rank >= 2 {
            self.shape.swap(self.rank - 1, self.rank - 2);
            self.strides.swap(self.rank - 1, self.rank - 2);
        }
        self
    }

    /// Size and stride of the dimension `from_last` places before the last one.
    pub(super) fn dimension(&self, from_last: usize) -> (usize, usize) {
        match self.rank.checked_sub(from_last + 1) {
            Some(i) => (self.shape[i], self.strides[i]),
            None => (1, 0),
        }
    }

    /// Element offset of row `row`, counted over all dimensions but the last.
    pub(super) fn row_offset(&self, mut row: usize) -> usize {
        let mut offset = 0;
        for i in (0..self.rank.saturating_sub(1)).rev() {
            offset += row % self.shape[i] * self.strides[i];
            row /= self.shape[i];
        }
        offset
    }
}

pub(super) fn check_rank(tensor: &str, rank: usize) -> Result<(), Problem> {
    if rank <= MAX_RANK {
        return Ok(());
    }
    let cause = format!("has {rank} dimensions; expected at most {MAX_RANK}");
    Err(Problem::Shape { tensor: clip(tensor), cause })
}

fn overflow(tensor: &str, shape: &[u64]) -> Problem {
    Problem::Shape {
        tensor: clip(tensor),
        cause: format!("the product of {shape:?} overflows; no file holds that many values"),
    }
}
