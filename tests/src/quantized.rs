//! Models under test: a checkpoint quantized as a user would, and an engine over it.

use std::path::Path;

use kinglet::engine::{BatchToken, Engine, StepError};
use kinglet::engine::{Cpu, workspace_len};
use kinglet::format::crc32::crc32;
use kinglet::format::layout::TensorLayout;
use kinglet::format::model::{HEADER_LEN, Header, Model, ModelError, RECORD_LEN, Record, Section};
use kinglet::format::shape::{Architecture, Shape};
use kinglet::format::tensors::tensor_count;
use kinglet::kernels::Kernels;
use kinglet::kernels::matrix::ALIGN;
use kinglet::kernels::scalar::Scalar;
use kinglet::kernels::weights::WeightType;
use kinglet::num::state_dtype::StateElement;
use kinglet_host::Threaded;
use kinglet_quantize::calibrate::{RunError, Runner, Seen};
use kinglet_quantize::checkpoint::Checkpoint;
use kinglet_quantize::{Options, Report, convert};

use crate::metrics::widen;
use crate::tensor::{Tensor, Tensors};

/// A model file in memory, aligned as the core needs it.
pub struct ModelBytes {
    /// The file from `start` on, which is a multiple of 64 in memory.
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl ModelBytes {
    /// A copy of `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut memory = vec![0; bytes.len() + ALIGN];
        let start = memory.as_ptr().addr().next_multiple_of(ALIGN) - memory.as_ptr().addr();
        memory[start..start + bytes.len()].copy_from_slice(bytes);
        Self { memory, start, len: bytes.len() }
    }

    /// Quantizes a checkpoint.
    ///
    /// # Panics
    ///
    /// When that fails.
    #[must_use]
    pub fn quantize(checkpoint: &Path) -> (Self, Report) {
        let checkpoint = Checkpoint::open(checkpoint).expect("a readable checkpoint");
        Self::convert(&checkpoint, &Options::default())
    }

    /// Quantizes an open checkpoint.
    ///
    /// # Panics
    ///
    /// When that fails.
    #[must_use]
    pub fn convert(checkpoint: &Checkpoint, options: &Options<'_>) -> (Self, Report) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let out = dir.path().join("model.kinglet");
        let report =
            convert(checkpoint, &out, options, &mut |_, _| ()).expect("a whole checkpoint");
        (Self::new(&std::fs::read(out).expect("the model file")), report)
    }

    /// This model of int8 with the tensors whose place in the directory `choose` picks as `int4` has
    /// them, a model of the same checkpoint. They lie where those of int8 did.
    ///
    /// # Panics
    ///
    /// When the two are not that, or a tensor does not get smaller.
    #[must_use]
    pub fn mixed(&self, int4: &Self, choose: impl Fn(usize) -> bool) -> Self {
        let (mut header, other) = (header(self), header(int4));
        assert_eq!(header.shape, other.shape, "models of one checkpoint");
        let mut bytes = self.bytes().to_vec();
        let records = [&header, &other].map(|header| {
            let directory = header.section(Section::Directory).offset as usize;
            move |index: usize| directory + index * RECORD_LEN
        });
        let record = |bytes: &[u8], at: usize| {
            Record::parse(bytes[at..][..RECORD_LEN].as_array().unwrap()).expect("a record")
        };
        for index in (0..tensor_count(&header.shape)).filter(|&index| choose(index)) {
            let at = records[0](index);
            let (old, new) = (record(&bytes, at), record(int4.bytes(), records[1](index)));
            let Some(storage) = new.storage.filter(|_| new.weights == WeightType::Int4) else {
                continue;
            };
            let len = |Record { weights, rows, cols, group, .. }: Record| {
                let (rows, cols, group) = (rows as usize, cols as usize, group as usize);
                TensorLayout::new(storage, weights, rows, cols, group).len() as usize
            };
            assert!(len(new) <= len(old), "tensor {index} needs more bytes");
            let from = &int4.bytes()[new.offset as usize..][..len(new)];
            bytes[old.offset as usize..][..len(new)].copy_from_slice(from);
            let placed = Record { offset: old.offset, ..new };
            bytes[at..][..RECORD_LEN].copy_from_slice(&placed.emit());
        }
        header.minor = other.minor;
        for entry in &mut header.sections {
            entry.crc = crc32(&bytes[entry.offset as usize..][..entry.len as usize]);
        }
        bytes[..HEADER_LEN].copy_from_slice(&header.emit());
        Self::new(&bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..][..self.len]
    }

    /// The model, verified.
    ///
    /// # Errors
    ///
    /// When the bytes are damaged.
    pub fn model(&self) -> Result<Model<'_>, ModelError> {
        let model = Model::open(self.bytes())?;
        model.verify()?;
        Ok(model)
    }
}

fn header(model: &ModelBytes) -> Header {
    Header::parse(model.bytes()).expect("a header")
}

/// The plain kernels on some threads, for a calibration.
pub struct Plain(pub usize);

impl Runner for Plain {
    fn run(
        &self,
        model: Model<'_>,
        sequences: usize,
        max_batch: usize,
        seen: Seen,
        f: &mut dyn FnMut(&mut dyn Engine) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let kernels = Threaded::new(Scalar, self.0).watched(move |w, input| seen(w, input));
        let mut states = vec![0.0f32; sequences * model.shape().state_len()];
        let mut workspace = vec![0.0; workspace_len(model.shape(), max_batch)];
        f(&mut Cpu::new(model, kernels, max_batch, &mut states, &mut workspace)?)
    }
}

/// The dequantized weights under the official names, widened to f64.
///
/// # Panics
///
/// When they cannot be exported and read back.
#[must_use]
pub fn dequantized(model: &Model<'_>) -> Tensors {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let out = dir.path().join("weights.safetensors");
    kinglet_quantize::export(model, &out).expect("an export");
    crate::fixture::load(&out).expect("a readable export")
}

/// Runs `f` with an engine of `sequences` sequences and blocks of `block` columns.
///
/// # Panics
///
/// When the engine cannot be built.
pub fn with_engine<K: Kernels, R>(
    model: Model<'_>,
    kernels: K,
    sequences: usize,
    block: usize,
    f: impl FnOnce(&mut Cpu<'_, K>) -> R,
) -> R {
    with_states(model, kernels, sequences, block, f)
}

/// [`with_engine`], with states kept in `S`.
///
/// # Panics
///
/// When the engine cannot be built.
pub fn with_states<K: Kernels, S: StateElement, R>(
    model: Model<'_>,
    kernels: K,
    sequences: usize,
    block: usize,
    f: impl FnOnce(&mut Cpu<'_, K, S>) -> R,
) -> R {
    let mut states = vec![S::zeroed(); sequences * model.shape().state_len()];
    let mut workspace = vec![f32::NAN; workspace_len(model.shape(), block)];
    let engine = Cpu::new(model, kernels, block, &mut states, &mut workspace);
    f(&mut engine.expect("buffers of the right length"))
}

/// Feeds tokens to sequence 0 in blocks of `chunk` and returns all logits, `[token][vocab]`.
///
/// # Errors
///
/// As [`Engine::forward`].
pub fn forward(
    engine: &mut dyn Engine,
    tokens: &[u32],
    chunk: usize,
) -> Result<Vec<f32>, StepError> {
    let vocab = engine.shape().vocab;
    let mut all = vec![0.0; tokens.len() * vocab];
    for (tokens, logits) in tokens.chunks(chunk).zip(all.chunks_mut(chunk * vocab)) {
        let columns: Vec<BatchToken> =
            tokens.iter().map(|&token| BatchToken { token, sequence: 0, logits: true }).collect();
        engine.forward(&columns, logits)?;
    }
    Ok(all)
}

/// All logits of `tokens` on the reference kernels, `[token][vocab]`, and the
/// state after them.
///
/// # Panics
///
/// When a step fails.
#[must_use]
pub fn reference(model: Model<'_>, tokens: &[u32]) -> (Vec<f64>, Vec<f32>) {
    with_engine(model, Scalar, 1, 16, |engine| {
        let logits = forward(engine, tokens, 16).expect("finite logits");
        let mut state = vec![0.0; engine.shape().state_len()];
        engine.store_state(0, &mut state).expect("sequence 0");
        (widen(&logits), state)
    })
}

/// A state of the core under the golden data's names, and in its layout:
/// [`Oracle::state`](crate::oracle::Oracle::state)'s.
#[must_use]
pub fn arrays(shape: &Shape, state: &[f32]) -> Tensors {
    let (layers, width, n) = (shape.layers, shape.width, shape.head_size);
    let part = |from: usize, to: usize| -> Vec<f64> {
        let layers = state.chunks(shape.layer_state_len());
        layers.flat_map(|layer| widen(&layer[from..to])).collect()
    };
    let vector =
        |index: usize| Tensor::new(vec![layers, width], part(index * width, (index + 1) * width));
    let mut arrays = Tensors::new();
    let names = match shape.architecture {
        Architecture::Rwkv4 => &["att_prev", "ffn_prev", "aa", "bb", "pp"][..],
        _ => &["att_prev", "ffn_prev"],
    };
    for (index, name) in names.iter().enumerate() {
        arrays.insert((*name).to_owned(), vector(index));
    }
    let heads = || {
        let heads = part(2 * width, shape.layer_state_len());
        Tensor::new(vec![layers, shape.heads(), n, n], heads)
    };
    match shape.architecture {
        Architecture::Rwkv4 => None,
        // The golden layout of RWKV-7 is [value][key].
        Architecture::Rwkv7 | Architecture::Rwkv7a => {
            arrays.insert("S".to_owned(), heads().transposed())
        }
        _ => arrays.insert("S".to_owned(), heads()),
    };
    arrays
}
