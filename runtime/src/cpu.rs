//! The engine that runs on a processor: the recurrence of each architecture
//! over the target's kernels, in memory that the caller owns.

use core::fmt;

use crate::block::{Block, LN_EPS};
use crate::element::{StateElement, f16};
use crate::engine::{Column, Engine, Hook, StateError, StepError};
use crate::kernels::{Kernels, Product, Rows};
use crate::model::Model;
use crate::reduce;
use crate::shape::{Architecture, Shape};
use crate::workspace::{Carver, floats_len, quantized_len};
use crate::{rwkv4, rwkv5, rwkv6, rwkv7, rwkv7a};

/// Elements (f32) of the workspace of an engine that computes up to `block`
/// columns together. Where that may be more than memory can hold, on a 32-bit
/// machine and for a shape from outside, ask [`checked_workspace_len`].
pub const fn workspace_len(shape: &Shape, block: usize) -> usize {
    let head = floats_len(block * shape.width) + quantized_len(block, shape.width);
    let layer = match shape.architecture {
        Architecture::Rwkv4 => rwkv4::workspace_len(shape, block),
        Architecture::Rwkv5_0 | Architecture::Rwkv5_1 | Architecture::Rwkv5_2 => {
            rwkv5::workspace_len(shape, block)
        }
        Architecture::Rwkv6 => rwkv6::workspace_len(shape, block),
        Architecture::Rwkv7 => rwkv7::workspace_len(shape, block),
        Architecture::Rwkv7a => rwkv7a::workspace_len(shape, block),
    };
    floats_len(block * shape.width)
        + floats_len(carried_len(shape, block))
        + if layer > head { layer } else { head }
}

/// [`workspace_len`], or `None` where so many elements may be more than a memory of
/// this machine's address width can hold.
///
/// Its bound is `block` workspaces of a single column, each of which fits 32 bits
/// for every shape that [`Shape::check`] accepts.
pub const fn checked_workspace_len(shape: &Shape, block: usize) -> Option<usize> {
    if workspace_fits(shape, block, isize::MAX as u64) {
        Some(workspace_len(shape, block))
    } else {
        None
    }
}

/// Whether the bytes of a workspace are surely no more than `limit`.
const fn workspace_fits(shape: &Shape, block: usize, limit: u64) -> bool {
    let column = size_of::<f32>() as u64 * workspace_len(shape, 1) as u64;
    match column.checked_mul(block as u64) {
        Some(bound) => bound <= limit,
        None => false,
    }
}

/// Elements that one layer hands to the next besides the residual stream.
const fn carried_len(shape: &Shape, columns: usize) -> usize {
    match shape.architecture {
        Architecture::Rwkv7 | Architecture::Rwkv7a => rwkv7::carried_len(shape, columns),
        _ => 0,
    }
}

/// A buffer that is not what the engine needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BufferError {
    /// It has too few elements, or the states are no whole number of them.
    Len {
        /// Which buffer.
        buffer: &'static str,
        /// Elements given.
        found: usize,
        /// Elements needed; for the states, a multiple of this.
        needed: usize,
    },
    /// The architecture's state cannot be kept in f16:
    /// [`Architecture::allows_f16_state`].
    F16State {
        /// The model's.
        architecture: Architecture,
    },
}

impl fmt::Display for BufferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Len { buffer, found, needed } => {
                write!(f, "the {buffer} buffer has {found} elements, {needed} are needed")
            }
            Self::F16State { architecture } => {
                write!(f, "the state of {architecture} cannot be kept in f16; keep it in f32")
            }
        }
    }
}

impl core::error::Error for BufferError {}

/// Runs a model on a kernel set, with states kept in `S`.
///
/// With [`struct@f16`] a state takes half the memory, and the numbers are other ones
/// than with f32: each element is rounded after every token, inside a block too,
/// so that again every target, block size and thread count computes the same bits.
///
/// ```
/// use kinglet::cpu::{Cpu, workspace_len};
/// use kinglet::engine::Engine;
/// use kinglet::model::Model;
/// use kinglet::scalar::Scalar;
///
/// # let bytes = kinglet_stories::MODEL;
/// let model = Model::open(bytes)?;
/// let mut state = vec![0.0; model.shape().state_len()];
/// let mut workspace = vec![0.0; workspace_len(model.shape(), 1)];
/// let mut engine = Cpu::new(model, Scalar, 1, &mut state, &mut workspace)?;
/// let mut logits = vec![0.0; model.shape().vocab];
/// engine.step(0, 0, &mut logits)?;
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Cpu<'a, K, S = f32> {
    model: Model<'a>,
    kernels: K,
    block: usize,
    slots: usize,
    /// `[layer]` of the architecture's layer state, all slots together.
    states: &'a mut [S],
    workspace: &'a mut [f32],
}

impl<'a, K: Kernels, S: StateElement> Cpu<'a, K, S> {
    /// An engine over `model`, with every state at the model's start state.
    ///
    /// `states` is a multiple of [`Shape::state_len`]: a slot each. `workspace`
    /// is at least [`workspace_len`] of `block`, the most columns computed together.
    ///
    /// # Errors
    /// When a buffer is too short, or the architecture's state cannot be kept in `S`.
    pub fn new(
        model: Model<'a>,
        kernels: K,
        block: usize,
        states: &'a mut [S],
        workspace: &'a mut [f32],
    ) -> Result<Self, BufferError> {
        let architecture = model.shape().architecture;
        if S::CODE == f16::CODE && !architecture.allows_f16_state() {
            return Err(BufferError::F16State { architecture });
        }
        let needed = model.shape().state_len();
        let found = states.len();
        if found == 0 || !found.is_multiple_of(needed) {
            return Err(BufferError::Len { buffer: "states", found, needed });
        }
        let needed = checked_workspace_len(model.shape(), block).unwrap_or(usize::MAX);
        if workspace.len() < needed || block == 0 {
            return Err(BufferError::Len { buffer: "workspace", found: workspace.len(), needed });
        }
        let slots = found / model.shape().state_len();
        let mut engine = Self { model, kernels, block, slots, states, workspace };
        for slot in 0..slots {
            engine.fill(slot, model.start_state());
        }
        Ok(engine)
    }

    /// The model.
    pub fn model(&self) -> &Model<'a> {
        &self.model
    }

    /// The kernel set.
    pub fn kernels(&self) -> &K {
        &self.kernels
    }

    /// Copies the state of `slot` out as it is kept: [`Shape::state_len`] elements.
    ///
    /// # Errors
    /// When the slot or the length is wrong.
    pub fn store_elements(&self, slot: usize, state: &mut [S]) -> Result<(), StateError> {
        self.check_slot(slot, state.len())?;
        let mut at = 0;
        for_slot_pieces(self.model.shape(), self.slots, slot, |piece| {
            let len = piece.len();
            state[at..at + len].copy_from_slice(&self.states[piece]);
            at += len;
        });
        Ok(())
    }

    /// Copies a state of [`Shape::state_len`] elements into `slot`, as
    /// [`store_elements`](Self::store_elements) gave it.
    ///
    /// # Errors
    /// When the slot or the length is wrong, or a value is not finite; the slot
    /// is then as it was.
    pub fn load_elements(&mut self, slot: usize, state: &[S]) -> Result<(), StateError> {
        self.check_slot(slot, state.len())?;
        if let Some(index) = state.iter().position(|x| !x.finite()) {
            return Err(StateError::NonFinite { index });
        }
        let shape = *self.model.shape();
        let mut at = 0;
        for_slot_pieces(&shape, self.slots, slot, |piece| {
            let len = piece.len();
            self.states[piece].copy_from_slice(&state[at..at + len]);
            at += len;
        });
        Ok(())
    }

    fn check(&self, columns: &[Column], logits: &[f32]) -> Result<(), StepError> {
        let vocab = self.model.shape().vocab;
        if columns.is_empty() || columns.len() > self.block {
            return Err(StepError::Block { found: columns.len(), largest: self.block });
        }
        for column in columns {
            if column.token as usize >= vocab {
                return Err(StepError::Token { found: column.token, vocab });
            }
            if column.slot >= self.slots {
                return Err(StepError::Slot { found: column.slot, slots: self.slots });
            }
        }
        let needed = columns.iter().filter(|column| column.logits).count() * vocab;
        if logits.len() != needed {
            return Err(StepError::Logits { found: logits.len(), needed });
        }
        Ok(())
    }

    fn check_slot(&self, slot: usize, len: usize) -> Result<(), StateError> {
        let needed = self.model.shape().state_len();
        if slot >= self.slots {
            return Err(StateError::Slot { found: slot, slots: self.slots });
        }
        if len != needed {
            return Err(StateError::Len { found: len, needed });
        }
        Ok(())
    }

    /// Sets `slot` to `state`, or to what it is before the first token.
    fn fill(&mut self, slot: usize, state: Option<&[f32]>) {
        let shape = *self.model.shape();
        let mut at = 0;
        for_slot_pieces(&shape, self.slots, slot, |piece| {
            let len = piece.len();
            match state {
                Some(state) => S::narrow_all(&state[at..at + len], &mut self.states[piece]),
                None => {
                    let start = shape.start_value(at % shape.layer_state_len());
                    self.states[piece].fill(S::narrow(start));
                }
            }
            at += len;
        });
    }
}

/// Calls `f` with the pieces of `slot` in the states of `slots` sequences, in
/// the order of a single state.
///
/// Between sequences the states are interleaved so that what one head owns stays
/// together: `[layer]{shift [slot][width]; shift [slot][width]; [head][slot][key][value]}`;
/// see [`rwkv4`] for its averages.
fn for_slot_pieces(
    shape: &Shape,
    slots: usize,
    slot: usize,
    mut f: impl FnMut(core::ops::Range<usize>),
) {
    let mut start = 0;
    for _ in 0..shape.layers {
        for (pieces, len) in [(2, shape.width), shape.recurrent_pieces()] {
            for _ in 0..pieces {
                let at = start + slot * len;
                f(at..at + len);
                start += slots * len;
            }
        }
    }
}

/// A layer of the model's architecture; those that are not enabled are not linked.
fn forward_layer<K: Kernels, S: StateElement>(
    block: &Block<'_, K>,
    model: &Model<'_>,
    layer: usize,
    x: &mut [f32],
    state: &mut [S],
    carried: &mut [f32],
    scratch: &mut [f32],
) {
    match block.shape.architecture {
        Architecture::Rwkv4 if const { Architecture::Rwkv4.enabled() } => {
            // `Cpu::new` has refused other elements.
            if let Some(state) = S::as_f32_mut(state) {
                rwkv4::layer(block, model, layer, x, state, scratch);
            }
        }
        Architecture::Rwkv5_0 | Architecture::Rwkv5_1 | Architecture::Rwkv5_2
            if const { Architecture::Rwkv5_0.enabled() } =>
        {
            rwkv5::layer(block, model, layer, x, state, scratch)
        }
        Architecture::Rwkv6 if const { Architecture::Rwkv6.enabled() } => {
            rwkv6::layer(block, model, layer, x, state, scratch)
        }
        Architecture::Rwkv7 if const { Architecture::Rwkv7.enabled() } => {
            rwkv7::layer(block, model, layer, x, state, carried, scratch)
        }
        Architecture::Rwkv7a if const { Architecture::Rwkv7a.enabled() } => {
            rwkv7a::layer(block, model, layer, x, state, carried, scratch)
        }
        // `Model::open` has refused them.
        _ => {}
    }
}

/// ln_out and head for the columns that want logits.
#[inline(never)]
fn head<K: Kernels>(
    block: &Block<'_, K>,
    model: &Model<'_>,
    x: &[f32],
    scratch: &mut [f32],
    logits: &mut [f32],
) -> Result<(), StepError> {
    if logits.is_empty() {
        return Ok(());
    }
    let Block { shape, columns, kernels, .. } = block;
    let wanted = logits.len() / shape.vocab;
    let mut carver = Carver::new(scratch);
    let gathered = carver.floats(wanted * shape.width);
    let mut input = carver.quantized(wanted, shape.width);
    let rows = columns.iter().zip(x.chunks_exact(shape.width)).filter(|(column, _)| column.logits);
    for (gathered, (_, x)) in gathered.chunks_exact_mut(shape.width).zip(rows) {
        gathered.copy_from_slice(x);
    }
    let (weight, bias) = model.ln_out();
    kernels.for_parts(
        (Rows::new(gathered, shape.width), input.reborrow()),
        8 * wanted * shape.width,
        #[inline(always)]
        |(x, input)| {
            for (x, input) in x.iter().zip(input.columns()) {
                reduce::layer_norm_in_place(x, weight, bias, LN_EPS);
                input.quantize(x, |q| kernels.pack(q));
            }
        },
    );
    let job = Product { matrix: model.head(), input: input.view(), output: logits };
    kernels.products(&mut [job]);
    if all_finite(logits) { Ok(()) } else { Err(StepError::NonFinite) }
}

/// Whether no value is NaN or infinite.
fn all_finite(x: &[f32]) -> bool {
    x.iter().fold(0, |m: u32, x| m.max(x.to_bits() & 0x7FFF_FFFF)) < 0x7F80_0000
}

impl<K: Kernels, S: StateElement> Engine for Cpu<'_, K, S> {
    fn shape(&self) -> &Shape {
        self.model.shape()
    }

    fn block(&self) -> usize {
        self.block
    }

    fn slots(&self) -> usize {
        self.slots
    }

    fn forward_with(
        &mut self,
        columns: &[Column],
        logits: &mut [f32],
        hook: Hook<'_>,
    ) -> Result<(), StepError> {
        self.check(columns, logits)?;
        let Self { model, kernels, slots, states, workspace, .. } = self;
        let shape = *model.shape();
        let mut carver = Carver::new(workspace);
        // x: [column][width], the residual stream.
        let x = carver.floats(columns.len() * shape.width);
        let carried = carver.floats(carried_len(&shape, columns.len()));
        let scratch = carver.rest();

        let embedding = model.embedding();
        let parts = (0..columns.len(), Rows::new(x, shape.width));
        kernels.for_parts(
            parts,
            columns.len() * shape.width,
            #[inline(always)]
            |(range, x)| {
                for (column, x) in columns[range].iter().zip(x.iter()) {
                    embedding.read(column.token as usize, x);
                }
            },
        );

        let block = Block { shape, columns, slots: *slots, kernels };
        let layer_states = states.chunks_exact_mut(shape.layer_state_len() * *slots);
        for (layer, state) in layer_states.enumerate() {
            forward_layer(&block, model, layer, x, state, carried, scratch);
            if hook(layer + 1).is_break() {
                return Err(StepError::Cancelled { layers: layer + 1 });
            }
        }
        if !all_finite(x) {
            return Err(StepError::NonFinite);
        }
        head(&block, model, x, scratch, logits)
    }

    fn reset(&mut self, slot: usize) -> Result<(), StateError> {
        self.check_slot(slot, self.model.shape().state_len())?;
        self.fill(slot, self.model.start_state());
        Ok(())
    }

    fn load_state(&mut self, slot: usize, state: &[f32]) -> Result<(), StateError> {
        self.check_slot(slot, state.len())?;
        if let Some(index) = state.iter().position(|x| !x.is_finite()) {
            return Err(StateError::NonFinite { index });
        }
        self.fill(slot, Some(state));
        Ok(())
    }

    fn store_state(&self, slot: usize, state: &mut [f32]) -> Result<(), StateError> {
        self.check_slot(slot, state.len())?;
        let mut at = 0;
        for_slot_pieces(self.model.shape(), self.slots, slot, |piece| {
            let len = piece.len();
            S::widen_all(&self.states[piece], &mut state[at..at + len]);
            at += len;
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::shape::Ranks;

    const ARCHITECTURES: [Architecture; 7] = [
        Architecture::Rwkv4,
        Architecture::Rwkv5_0,
        Architecture::Rwkv5_1,
        Architecture::Rwkv5_2,
        Architecture::Rwkv6,
        Architecture::Rwkv7,
        Architecture::Rwkv7a,
    ];

    /// A shape of two layers, with `rank` for every rank that the architecture has.
    fn shape(architecture: Architecture, width: usize, ffn: usize, rank: usize) -> Shape {
        let has = |wanted: &[Architecture]| if wanted.contains(&architecture) { rank } else { 0 };
        let seven = has(&[Architecture::Rwkv7, Architecture::Rwkv7a]);
        let ranks = Ranks {
            decay: seven.max(has(&[Architecture::Rwkv6])),
            iclr: seven,
            value: seven,
            gate: seven,
            shift: has(&[Architecture::Rwkv6]),
            deep_embed: has(&[Architecture::Rwkv7a]).min(256),
        };
        let shape = Shape { architecture, layers: 2, width, head_size: 1, ffn, vocab: 1, ranks };
        shape.check().unwrap();
        shape
    }

    #[test]
    fn one_column_of_the_largest_shape_fits_32_bits() {
        for architecture in ARCHITECTURES {
            let largest = shape(architecture, 1 << 20, 1 << 20, 1 << 20);
            assert!(workspace_fits(&largest, 1, i32::MAX as u64), "{architecture}");
            assert_eq!(checked_workspace_len(&largest, usize::MAX), None);
        }
    }

    /// Ranks alone make a workspace too large.
    #[test]
    fn workspaces_beyond_32_bits_are_told() {
        for (architecture, rank) in [(Architecture::Rwkv6, 1 << 20), (Architecture::Rwkv7a, 256)] {
            let shape = shape(architecture, 64, 64, rank);
            let block = 1 << 14;
            // Elsewhere the length itself has no room.
            #[cfg(target_pointer_width = "64")]
            assert!(4 * workspace_len(&shape, block) as u64 > u64::from(u32::MAX));
            assert!(!workspace_fits(&shape, block, i32::MAX as u64), "{architecture}");
            assert!(workspace_fits(&shape, 16, i32::MAX as u64), "{architecture}");
        }
    }

    proptest! {
        #[test]
        fn a_workspace_is_no_longer_than_one_for_each_column(
            architecture in prop::sample::select(&ARCHITECTURES[..]),
            dimensions in prop::array::uniform3(1_usize..5000),
            block in 1_usize..300,
        ) {
            let [width, ffn, rank] = dimensions;
            let shape = shape(architecture, width, ffn, rank);
            let len = workspace_len(&shape, block);
            prop_assert!(len <= block * workspace_len(&shape, 1));
            prop_assert_eq!(checked_workspace_len(&shape, block), Some(len));
        }
    }
}
