//! What an engine allocates, known before it allocates anything.
//!
//! Weights, states and buffers are laid out by functions over [`Memory`]. A [`Counter`] runs them
//! first and adds up; the device sets the sum aside at once, and then the same functions take it.

use kinglet::format::shape::{Architecture, Shape};
use kinglet::kernels::matrix::padded_inputs;

use crate::StateType;
use crate::device::{Address, Device};
use crate::error::DeviceError;
use crate::params::Quantized;

/// Bytes that an engine allocates on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryPlan {
    /// The tensors of the model, or of its layers on the device.
    pub weights: u64,
    /// The states of all sequences.
    pub states: u64,
    /// Activations, logits and the list of tokens of the largest batch.
    pub buffers: u64,
}

impl MemoryPlan {
    /// The sum.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.weights + self.states + self.buffers
    }
}

/// Allocations are multiples of this many bytes.
const GRAIN: u64 = 256;

/// Something that gives memory.
pub(crate) trait Memory {
    /// `bytes` bytes that nothing has written.
    fn bytes(&mut self, bytes: usize) -> Result<Address, DeviceError>;

    /// `len` f32.
    fn floats(&mut self, len: usize) -> Result<Address, DeviceError> {
        self.bytes(4 * len)
    }

    /// Activations of `tokens` tokens with `inputs` each.
    fn quantized(&mut self, tokens: usize, inputs: usize) -> Result<Quantized, DeviceError> {
        let q = self.bytes(2 * tokens * padded_inputs(inputs))?;
        Ok(Quantized { q, scale: self.floats(tokens)? })
    }
}

impl<D: Device> Memory for D {
    fn bytes(&mut self, bytes: usize) -> Result<Address, DeviceError> {
        self.allocate((bytes as u64).next_multiple_of(GRAIN))
    }
}

/// Adds up what would be allocated.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    pub(crate) bytes: u64,
}

impl Memory for Counter {
    fn bytes(&mut self, bytes: usize) -> Result<Address, DeviceError> {
        self.bytes += (bytes as u64).next_multiple_of(GRAIN);
        Ok(Address::NULL)
    }
}

/// Bytes of one sequence's state of `layers` layers.
pub(crate) const fn state_bytes(shape: &Shape, layers: usize, state: StateType) -> usize {
    let element = match state {
        StateType::F32 => size_of::<f32>(),
        StateType::F16 => size_of::<kinglet::f16>(),
    };
    layers * shape.layer_state_len() * element
}

/// Buffers of a batch. Those that an architecture does not have are null.
#[derive(Debug)]
pub(crate) struct Buffers {
    /// The lists of [`BatchLists`](crate::batch::BatchLists).
    pub(crate) lists: Address,
    /// The residual stream: `[token][width]`, like all that follow to `shifted`.
    pub(crate) x: Address,
    /// The input of the time mix, kept until its end for the token shift's state.
    pub(crate) time_input: Address,
    /// The same of the channel mix.
    pub(crate) channel_input: Address,
    pub(crate) r: Address,
    pub(crate) k: Address,
    pub(crate) v: Address,
    pub(crate) g: Address,
    pub(crate) w: Address,
    pub(crate) a: Address,
    pub(crate) v_mix: Address,
    pub(crate) v_first: Address,
    pub(crate) y: Address,
    /// What the data adds to the shares of RWKV-6's token shift.
    pub(crate) corrections: [Address; 5],
    /// Inputs of the products after a token shift.
    pub(crate) shifted: [Quantized; 6],
    /// Hidden vectors of low-rank pairs: decay, iclr, value, gate; `[token][rank]` each.
    pub(crate) low_rank: [Address; 4],
    pub(crate) low_rank_input: [Quantized; 4],
    /// Those of RWKV-6's token shift: `[token][5][rank]`.
    pub(crate) shift_hidden: Address,
    pub(crate) shift_input: [Quantized; 5],
    /// The channel mix: `[token][ffn]`.
    pub(crate) hidden: Address,
    pub(crate) hidden_input: Quantized,
    /// DeepEmbed: e and e', `[token][rank]` each, and its factors, `[token][ffn]`.
    pub(crate) e: Address,
    pub(crate) embedded: Address,
    pub(crate) embedded_input: Quantized,
    pub(crate) factors: Address,
    /// `[wanted][width]` and `[wanted][vocab]`.
    pub(crate) head: Address,
    pub(crate) head_input: Quantized,
    pub(crate) logits: Address,
}

impl Buffers {
    /// Buffers of up to `tokens` tokens, whose lists take `lists` words.
    pub(crate) fn new(
        memory: &mut impl Memory,
        shape: &Shape,
        tokens: usize,
        lists: usize,
    ) -> Result<Self, DeviceError> {
        const NONE: Quantized = Quantized { q: Address::NULL, scale: Address::NULL };
        let seven = matches!(shape.architecture, Architecture::Rwkv7 | Architecture::Rwkv7a);
        let six = matches!(shape.architecture, Architecture::Rwkv6);
        let wide = tokens * shape.width;
        let ranks = &shape.ranks;
        let mut buffers = Self {
            lists: memory.floats(lists)?,
            x: memory.floats(wide)?,
            time_input: memory.floats(wide)?,
            channel_input: memory.floats(wide)?,
            r: memory.floats(wide)?,
            k: memory.floats(wide)?,
            v: memory.floats(wide)?,
            g: memory.floats(wide)?,
            y: memory.floats(wide)?,
            w: Address::NULL,
            a: Address::NULL,
            v_mix: Address::NULL,
            v_first: Address::NULL,
            corrections: [Address::NULL; 5],
            shifted: [NONE; 6],
            low_rank: [Address::NULL; 4],
            low_rank_input: [NONE; 4],
            shift_hidden: Address::NULL,
            shift_input: [NONE; 5],
            hidden: memory.floats(tokens * shape.ffn)?,
            hidden_input: memory.quantized(tokens, shape.ffn)?,
            e: Address::NULL,
            embedded: Address::NULL,
            embedded_input: NONE,
            factors: Address::NULL,
            head: memory.floats(wide)?,
            head_input: memory.quantized(tokens, shape.width)?,
            logits: memory.floats(tokens * shape.vocab)?,
        };
        for shifted in &mut buffers.shifted {
            *shifted = memory.quantized(tokens, shape.width)?;
        }
        if seven || six {
            buffers.w = memory.floats(wide)?;
        }
        if seven {
            for wide_buffer in [&mut buffers.a, &mut buffers.v_mix, &mut buffers.v_first] {
                *wide_buffer = memory.floats(wide)?;
            }
        }
        let pairs = [ranks.decay, ranks.iclr, shape.value_rank(), ranks.gate];
        let low_rank = buffers.low_rank.iter_mut().zip(&mut buffers.low_rank_input);
        for ((hidden, input), rank) in low_rank.zip(pairs) {
            if rank != 0 {
                *hidden = memory.floats(tokens * rank)?;
                *input = memory.quantized(tokens, rank)?;
            }
        }
        if six {
            buffers.shift_hidden = memory.floats(5 * tokens * ranks.shift)?;
            for (correction, input) in buffers.corrections.iter_mut().zip(&mut buffers.shift_input)
            {
                *correction = memory.floats(wide)?;
                *input = memory.quantized(tokens, ranks.shift)?;
            }
        }
        if ranks.deep_embed != 0 {
            buffers.e = memory.floats(tokens * ranks.deep_embed)?;
            buffers.embedded = memory.floats(tokens * ranks.deep_embed)?;
            buffers.embedded_input = memory.quantized(tokens, ranks.deep_embed)?;
            buffers.factors = memory.floats(tokens * shape.ffn)?;
        }
        Ok(buffers)
    }
}
