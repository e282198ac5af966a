//! The steps that every architecture's layers are made of, each a launch.
//!
//! A step says which kernel, over which grid, with which parameters; what it computes stands in
//! `kernels/`. Grids depend on the shape and the number of tokens alone, so that a batch of a size
//! that was seen before can be replayed as a graph.

use kinglet::format::shape::{Architecture, Shape};

use crate::batch::{BatchLists, BatchSize};
use crate::device::{Address, Device, Kernel, Launch};
use crate::error::DeviceError;
use crate::memory::Buffers;
use crate::params::{
    ActivateJob, ActivateParams, Activation, EmbedParams, FiniteParams, MAX_ACTIVATIONS,
    MAX_PRODUCTS, MAX_SHIFTS, NormParams, Output, Params, ProductJob, ProductKernels,
    ProductParams, Quantized, Runs, SaveShiftParams, Shift, ShiftParams, SparseParams,
    StateKernels, Wkv5Params,
};
use crate::weights::{LayerNorm, Matrix, Weights};

/// Epsilon of every LayerNorm but the per-head one.
const LN_EPS: f32 = 1e-5;
/// Threads of a block, where a kernel does not say otherwise.
const THREADS: u32 = 256;
/// Rows of a tile, and of a block of the tensor cores' kernels.
const TILE_ROWS: u32 = 16;
const MMA_ROWS: u32 = 128;
/// Tokens of a block of each product kernel.
const DENSE_TOKENS: u32 = 8;
const MMA_TOKENS: u32 = 64;
/// From this many tokens on tensor cores are used: less leave most of their columns empty. An
/// eighth of a sparse product's inputs are not zero, so that so many tokens, each reading its own,
/// read the matrix twice.
const MIN_MMA_TOKENS: u32 = 17;
/// Elements of a block of `find_not_finite`.
const FINITE_BLOCK: u64 = 4096;

/// Token shift: which of the two the share is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lerp {
    /// RWKV-4 and 5: `p + (n - p) * x`.
    ToCurrent,
    /// RWKV-6 and 7: `n + (p - n) * x`.
    ToPrevious,
}

/// A vector of a token shift and where its result goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShiftOf {
    pub(crate) share: Address,
    /// `[token][width]`, added to the share; null where there is none.
    pub(crate) correction: Address,
    pub(crate) out: Quantized,
}

impl ShiftOf {
    pub(crate) const fn new(share: Address, out: Quantized) -> Self {
        Self { share, correction: Address::NULL, out }
    }
}

/// `out = f(x)`, quantized.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Activate {
    pub(crate) x: Address,
    /// From one token's x to the next.
    pub(crate) stride: usize,
    pub(crate) inputs: usize,
    pub(crate) f: Activation,
    pub(crate) out: Quantized,
}

impl Activate {
    pub(crate) const fn new(x: Address, inputs: usize, f: Activation, out: Quantized) -> Self {
        Self { x, stride: inputs, inputs, f, out }
    }

    const fn job(&self, factor: Address, offset: Address) -> ActivateJob {
        ActivateJob {
            x: self.x,
            stride: self.stride as u32,
            inputs: self.inputs as u32,
            activation: self.f as u32,
            reserved: 0,
            factor,
            offset,
            out: self.out,
        }
    }
}

/// What becomes of a product.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Store {
    /// `out = y`
    Assign(Address),
    /// `out += y`
    Add(Address),
    /// `out += s(gate) * y`
    AddGated { out: Address, gate: Address },
}

impl Store {
    const fn output(self, rows: u32) -> Output {
        let (out, gate, store) = match self {
            Self::Assign(out) => (out, Address::NULL, 0),
            Self::Add(out) => (out, Address::NULL, 1),
            Self::AddGated { out, gate } => (out, gate, 2),
        };
        Output { out, gate, store, rows }
    }
}

/// A matrix times activations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    pub(crate) matrix: Matrix,
    pub(crate) input: Quantized,
    pub(crate) store: Store,
}

impl Product {
    pub(crate) const fn assign(matrix: Matrix, input: Quantized, out: Address) -> Self {
        Self { matrix, input, store: Store::Assign(out) }
    }
}

/// One batch on its way through the layers.
#[derive(Debug)]
pub(crate) struct Pass<'a, D> {
    pub(crate) device: &'a D,
    pub(crate) shape: &'a Shape,
    pub(crate) buffers: &'a Buffers,
    pub(crate) lists: BatchLists,
    pub(crate) size: BatchSize,
    /// Layers before the device's first one.
    pub(crate) host_layers: usize,
    /// The states of all sequences: `[sequence][state_len]`, each as it is stored in a file, from
    /// the device's first layer on.
    pub(crate) states: Address,
    pub(crate) kernels: StateKernels,
}

/// The first values of an array of N, the rest being `rest`.
fn filled<T: Copy, const N: usize>(values: impl Iterator<Item = T>, rest: T) -> [T; N] {
    let mut all = [rest; N];
    for (to, value) in all.iter_mut().zip(values) {
        *to = value;
    }
    all
}

impl<D: Device> Pass<'_, D> {
    pub(crate) fn launch<P: Params>(
        &self,
        kernel: Kernel,
        blocks: [u32; 2],
        threads: u32,
        params: &P,
    ) -> Result<(), DeviceError> {
        let (params, params_len) = ((&raw const *params).cast(), size_of::<P>());
        let launch = Launch { kernel, blocks, threads, params, params_len };
        // SAFETY: the callers, all in this crate, give the kernel's own struct. Its addresses are
        // those of `Buffers` and `Weights`, whose lengths follow from the same shape as what the
        // kernels access, for no more tokens than the engine's largest batch.
        unsafe { self.device.launch(&launch) }
    }

    fn per_token(
        &self,
        kernel: Kernel,
        jobs: usize,
        params: &impl Params,
    ) -> Result<(), DeviceError> {
        self.launch(kernel, [self.size.tokens, jobs as u32], THREADS, params)
    }

    /// All launches of the batch, from the embedding, or x of the layers on the processor, to the
    /// logits.
    pub(crate) fn all(&self, weights: &Weights) -> Result<(), DeviceError> {
        if let Some(embedding) = &weights.embedding {
            self.embed(embedding)?;
        }
        for (index, layer) in weights.layers.iter().enumerate() {
            self.layer(self.host_layers + index, layer)?;
        }
        let BatchSize { tokens, wanted, .. } = self.size;
        self.find_not_finite(self.buffers.x, tokens as usize * self.shape.width)?;
        if wanted == 0 {
            return Ok(());
        }
        self.lm_head(weights.ln_out, weights.lm_head)?;
        self.find_not_finite(self.buffers.logits, wanted as usize * self.shape.vocab)
    }

    /// `x = emb[token]`
    fn embed(&self, table: &Matrix) -> Result<(), DeviceError> {
        let params = EmbedParams {
            tokens: self.lists.tokens,
            weights: table.weights,
            scales: table.scales,
            x: self.buffers.x,
            width: self.shape.width as u32,
            is_int4: u32::from(table.is_int4),
        };
        self.per_token(Kernel::Embed, 1, &params)
    }

    /// `out = LN(x)`
    pub(crate) fn norm(&self, ln: LayerNorm, out: Address) -> Result<(), DeviceError> {
        self.norm_of(ln, Address::NULL, self.size.tokens, out)
    }

    fn norm_of(
        &self,
        ln: LayerNorm,
        rows: Address,
        count: u32,
        out: Address,
    ) -> Result<(), DeviceError> {
        let LayerNorm { weight, bias } = ln;
        let width = self.shape.width as u32;
        let params = NormParams { x: self.buffers.x, rows, weight, bias, out, width, eps: LN_EPS };
        self.launch(Kernel::LayerNorm, [count, 1], THREADS, &params)
    }

    /// Where a layer's state is in a sequence's: of the time mix's token shift, then the channel
    /// mix's, then the wkv.
    const fn state_at(&self, layer: usize, part: usize) -> u64 {
        let layer = layer - self.host_layers;
        (layer * self.shape.layer_state_len() + part * self.shape.width) as u64
    }

    /// Elements of a sequence's state on the device.
    const fn state_len(&self) -> u64 {
        ((self.shape.layers - self.host_layers) * self.shape.layer_state_len()) as u64
    }

    /// The token shift of the time mix, `mix` 0, or the channel mix, 1.
    pub(crate) fn token_shift(
        &self,
        normed: Address,
        (layer, mix): (usize, usize),
        lerp: Lerp,
        shifts: &[ShiftOf],
    ) -> Result<(), DeviceError> {
        let of = |shift: &ShiftOf| {
            let ShiftOf { share, correction, out } = *shift;
            Shift { share, correction, out }
        };
        let params = ShiftParams {
            normed,
            previous: self.lists.previous,
            sequence: self.lists.sequence,
            state: self.states,
            state_len: self.state_len(),
            state_at: self.state_at(layer, mix),
            width: self.shape.width as u32,
            share_of_current: u32::from(lerp == Lerp::ToCurrent),
            shift: filled::<_, MAX_SHIFTS>(shifts.iter().map(of), of(&shifts[0])),
        };
        self.per_token(self.kernels.token_shift, shifts.len(), &params)
    }

    /// Keeps the inputs of both token shifts for the next batch.
    pub(crate) fn save_shift(&self, layer: usize) -> Result<(), DeviceError> {
        let params = SaveShiftParams {
            normed: [self.buffers.time_input, self.buffers.channel_input],
            order: self.lists.order,
            starts: self.lists.starts,
            sequence: self.lists.sequence,
            state: self.states,
            state_len: self.state_len(),
            state_at: [self.state_at(layer, 0), self.state_at(layer, 1)],
            width: self.shape.width as u32,
            reserved: 0,
        };
        self.launch(self.kernels.save_shift, [self.size.runs, 2], THREADS, &params)
    }

    /// Quantizes activations of a batch.
    pub(crate) fn activate(&self, jobs: &[Activate]) -> Result<(), DeviceError> {
        self.activate_tokens(jobs, self.size.tokens)
    }

    fn activate_tokens(&self, jobs: &[Activate], tokens: u32) -> Result<(), DeviceError> {
        let job = |job: &Activate| job.job(Address::NULL, Address::NULL);
        let job = filled::<_, MAX_ACTIVATIONS>(jobs.iter().map(job), job(&jobs[0]));
        let blocks = [tokens, jobs.len() as u32];
        self.launch(Kernel::Activate, blocks, THREADS, &ActivateParams { job })
    }

    /// Quantizes `f(x) * (factor + offset)`, with factor `[token][inputs]` and offset `[inputs]`.
    pub(crate) fn activate_scaled(
        &self,
        job: &Activate,
        factor: Address,
        offset: Address,
    ) -> Result<(), DeviceError> {
        let job = [job.job(factor, offset); MAX_ACTIVATIONS];
        self.per_token(Kernel::Activate, 1, &ActivateParams { job })
    }

    /// Independent products of a batch: a launch for those of each type of weights.
    pub(crate) fn products(&self, products: &[Product]) -> Result<(), DeviceError> {
        self.products_of(products, self.size.tokens)
    }

    fn products_of(&self, products: &[Product], tokens: u32) -> Result<(), DeviceError> {
        for is_int4 in [false, true] {
            let of_type = products.iter().filter(|product| product.matrix.is_int4 == is_int4);
            self.products_with(ProductKernels::of(is_int4), of_type, tokens)?;
        }
        Ok(())
    }

    /// Products whose weights are those of `kernels`, one launch.
    fn products_with<'p>(
        &self,
        kernels: &ProductKernels,
        products: impl Iterator<Item = &'p Product>,
        tokens: u32,
    ) -> Result<(), DeviceError> {
        let (kernel, tiles, block_tokens) = match tokens {
            1 => (kernels.dense_1, 1, 1),
            MIN_MMA_TOKENS.. => (kernels.dense_mma, MMA_ROWS / TILE_ROWS, MMA_TOKENS),
            _ => (kernels.dense_8, 1, DENSE_TOKENS),
        };
        let mut first_tile = 0;
        let mut jobs = Vec::with_capacity(MAX_PRODUCTS);
        for Product { matrix, input, store } in products {
            jobs.push(ProductJob {
                weights: matrix.weights,
                scales: matrix.scales,
                input: *input,
                output: store.output(matrix.rows),
                multiplier: matrix.multiplier,
                padded_inputs: matrix.padded_inputs,
                group: matrix.group,
                first_tile,
            });
            first_tile += matrix.rows.div_ceil(TILE_ROWS).next_multiple_of(tiles);
        }
        let Some(&first) = jobs.first() else { return Ok(()) };
        let job = filled::<_, MAX_PRODUCTS>(jobs.iter().copied(), first);
        let params = ProductParams { count: jobs.len() as u32, tokens, job };
        let blocks = [first_tile / tiles, tokens.div_ceil(block_tokens)];
        self.launch(kernel, blocks, THREADS, &params)
    }

    /// The product of `ffn.value`, whose activations are mostly zero: each token reads the inputs
    /// that are not, or many tokens read all of them together.
    pub(crate) fn sparse(&self, product: &Product) -> Result<(), DeviceError> {
        let Product { matrix, input, store } = *product;
        let kernels = ProductKernels::of(matrix.is_int4);
        let (kernel, rows, tokens) = match self.size.tokens {
            MIN_MMA_TOKENS.. => (kernels.sparse_mma, MMA_ROWS, MMA_TOKENS),
            _ => (kernels.sparse, kernels.sparse_rows, 1),
        };
        let params = SparseParams {
            weights: matrix.weights,
            scales: matrix.scales,
            input,
            output: store.output(matrix.rows),
            multiplier: matrix.multiplier,
            padded_inputs: matrix.padded_inputs,
            group: matrix.group,
            tokens: self.size.tokens,
        };
        let blocks = [matrix.rows.div_ceil(rows), self.size.tokens.div_ceil(tokens)];
        self.launch(kernel, blocks, THREADS, &params)
    }

    /// The end of a time mix: `x += matrix y`.
    pub(crate) fn project(&self, matrix: Matrix) -> Result<(), DeviceError> {
        let Buffers { x, y, shifted: [input, ..], .. } = *self.buffers;
        self.activate(&[Activate::new(y, self.shape.width, Activation::Identity, input)])?;
        self.products(&[Product { matrix, input, store: Store::Add(x) }])
    }

    /// The runs of the batch and layer `layer`'s wkv state.
    pub(crate) fn runs(&self, layer: usize) -> Runs {
        Runs {
            order: self.lists.order,
            starts: self.lists.starts,
            sequence: self.lists.sequence,
            state: self.states,
            state_len: self.state_len(),
            state_at: self.state_at(layer, 2),
        }
    }

    /// Launches a wkv, of `[generic, head size 64]` kernels.
    pub(crate) fn heads(
        &self,
        [generic, of_64]: [Kernel; 2],
        params: &impl Params,
    ) -> Result<(), DeviceError> {
        let n = self.shape.head_size as u32;
        let kernel = if n == 64 { of_64 } else { generic };
        let blocks = [self.shape.heads() as u32, self.size.runs];
        self.launch(kernel, blocks, n.next_multiple_of(32), params)
    }

    /// The wkv of RWKV-5 and 6, from r, k and v of the buffers to y.
    pub(crate) fn wkv5(&self, params: &Wkv5Of, layer: usize) -> Result<(), DeviceError> {
        let Buffers { r, k, v, y, .. } = *self.buffers;
        let params = Wkv5Params {
            runs: self.runs(layer),
            r,
            k,
            v,
            gate: params.gate,
            decay: params.decay,
            correction: params.correction,
            bonus: params.bonus,
            ln_weight: params.ln_x.weight,
            ln_bias: params.ln_x.bias,
            y,
            width: self.shape.width as u32,
            head_size: self.shape.head_size as u32,
            bonus_is_logarithm: u32::from(params.bonus_is_logarithm),
            reserved: 0,
        };
        self.heads(self.kernels.wkv5, &params)
    }

    /// ln_out and the output matrix for the tokens that want logits.
    fn lm_head(&self, ln_out: LayerNorm, matrix: Matrix) -> Result<(), DeviceError> {
        let wanted = self.size.wanted;
        let Buffers { head, head_input, logits, .. } = *self.buffers;
        self.norm_of(ln_out, self.lists.wanted, wanted, head)?;
        let input = Activate::new(head, self.shape.width, Activation::Identity, head_input);
        self.activate_tokens(&[input], wanted)?;
        self.products_of(&[Product::assign(matrix, head_input, logits)], wanted)
    }

    /// Raises the flag where one of `len` values is not finite.
    fn find_not_finite(&self, x: Address, len: usize) -> Result<(), DeviceError> {
        let len = len as u64;
        let params = FiniteParams { x, len, flag: self.lists.not_finite };
        let blocks = len.div_ceil(FINITE_BLOCK).max(1) as u32;
        self.launch(Kernel::FindNotFinite, [blocks, 1], THREADS, &params)
    }

    /// Whether the architecture is `architecture`.
    pub(crate) fn is(&self, architecture: Architecture) -> bool {
        self.shape.architecture == architecture
    }
}

/// What the wkv of RWKV-5 and 6 differ in.
#[derive(Debug)]
pub(crate) struct Wkv5Of {
    /// `[token][width]`, or null.
    pub(crate) gate: Address,
    /// `[width]`
    pub(crate) decay: Address,
    /// `[token][width]`, added to it, or null.
    pub(crate) correction: Address,
    /// `[width]`
    pub(crate) bonus: Address,
    pub(crate) bonus_is_logarithm: bool,
    pub(crate) ln_x: LayerNorm,
}
