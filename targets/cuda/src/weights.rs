//! The model's tensors on the device, as they lie in the model file: the layout of a tile of 16
//! rows by 4 inputs suits the kernels as it is, and so do nibbles in pairs of tiles, so nothing is
//! packed again. Each matrix has the type of weights that its record says.
//!
//! [`weights_bytes`] counts first what a number of layers takes, with the device's rounding, so that
//! what has no room stays on the processor before anything is allocated; an [`Uploader`] copies then,
//! in pieces whose progress shows. Which tensors a layer has is the runtime's table alone.

use kinglet::format::model::{LayerNorm as HostNorm, Model, Tensor};
use kinglet::format::shape::{Architecture, Shape};
use kinglet::format::tensors;
use kinglet::kernels::matrix::{ROW_GROUP, padded_inputs};
use kinglet::kernels::weights::{WeightType, Weights as HostWeights};

use crate::device::{Address, Device};
use crate::error::DeviceError;
use crate::memory::{Counter, Memory};

/// Parameters of a LayerNorm: `[channel]` each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerNorm {
    pub(crate) weight: Address,
    pub(crate) bias: Address,
}

/// A matrix of eight or four bits, dense, sparse or a table of rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix {
    pub(crate) weights: Address,
    /// Of four bits, otherwise of eight.
    pub(crate) is_int4: bool,
    pub(crate) scales: Address,
    pub(crate) multiplier: f32,
    pub(crate) rows: u32,
    pub(crate) padded_inputs: u32,
    pub(crate) group: u32,
}

/// A tensor on the device.
#[derive(Clone, Copy, Debug)]
enum Placed {
    Vector(Address),
    Matrix(Matrix),
}

/// The tensors of one layer, in the order of the architecture's table.
#[derive(Debug)]
pub(crate) struct Layer {
    architecture: Architecture,
    placed: Vec<Option<Placed>>,
}

/// The tensors of the device's layers and of the head.
#[derive(Debug)]
pub(crate) struct Weights {
    /// Absent where the first layers are on the processor, which reads it.
    pub(crate) embedding: Option<Matrix>,
    pub(crate) ln_out: LayerNorm,
    pub(crate) lm_head: Matrix,
    pub(crate) layers: Vec<Layer>,
}

/// A tensor's bytes, and how they are described on the device.
struct Source<'a> {
    values: &'a [u8],
    /// Empty for a vector.
    scales: &'a [u8],
    describe: Describe,
}

struct Describe {
    multiplier: f32,
    rows: usize,
    inputs: usize,
    group: usize,
    is_int4: bool,
}

fn is_int4(weights: HostWeights<'_>) -> Result<bool, DeviceError> {
    match weights.weight_type() {
        WeightType::Int8 => Ok(false),
        WeightType::Int4 => Ok(true),
        _ => Err(DeviceError::Storage),
    }
}

fn source<'a>(tensor: &Tensor<'a>) -> Result<Source<'a>, DeviceError> {
    Ok(match *tensor {
        Tensor::Vector(x) => Source {
            values: bytemuck::cast_slice(x),
            scales: &[],
            describe: Describe {
                multiplier: 1.0,
                rows: 1,
                inputs: x.len(),
                group: 0,
                is_int4: false,
            },
        },
        Tensor::Matrix(m) => Source {
            values: m.weights().bytes(),
            scales: bytemuck::cast_slice(m.scales()),
            describe: Describe {
                multiplier: m.multiplier(),
                rows: m.rows(),
                inputs: m.inputs(),
                group: m.group(),
                is_int4: is_int4(m.weights())?,
            },
        },
        Tensor::Sparse(m) => Source {
            values: m.weights().bytes(),
            scales: bytemuck::cast_slice(m.scales()),
            describe: Describe {
                multiplier: m.multiplier(),
                rows: m.rows(),
                inputs: m.inputs(),
                group: m.group(),
                is_int4: is_int4(m.weights())?,
            },
        },
        Tensor::Embedding(t) => Source {
            values: t.weights().bytes(),
            scales: bytemuck::cast_slice(t.scales()),
            describe: Describe {
                multiplier: 1.0,
                rows: t.rows(),
                inputs: t.width(),
                group: ROW_GROUP,
                is_int4: is_int4(t.weights())?,
            },
        },
        _ => return Err(DeviceError::Storage),
    })
}

/// A vector of the device: RWKV-5.0 and 5.1 store decay and bonus for each head, the kernels read
/// one for each channel.
fn widened(shape: &Shape, x: &[f32]) -> Option<Vec<f32>> {
    let per_head = matches!(shape.architecture, Architecture::Rwkv5_0 | Architecture::Rwkv5_1)
        && x.len() == shape.heads()
        && x.len() != shape.width;
    per_head.then(|| x.iter().flat_map(|&x| core::iter::repeat_n(x, shape.head_size)).collect())
}

/// Tensors of a layer, present or not.
fn layer_table(model: &Model<'_>) -> usize {
    tensors::layer_tensors(model.shape().architecture).len()
}

/// Bytes that the weights of `model` take on a device that has all layers but the first
/// `host_layers`.
pub(crate) fn weights_bytes(model: &Model<'_>, host_layers: usize) -> Result<u64, DeviceError> {
    let (mut counter, shape) = (Counter::default(), model.shape());
    let mut count = |tensor: &Tensor<'_>| {
        let Source { values, scales, .. } = source(tensor)?;
        let widened = match *tensor {
            Tensor::Vector(x) => widened(shape, x),
            _ => None,
        };
        let values = widened.as_deref().map_or(values.len(), size_of_val);
        for len in [values, scales.len()].into_iter().filter(|&len| len != 0) {
            counter.bytes(len)?;
        }
        Ok::<_, DeviceError>(())
    };
    if host_layers == 0 {
        count(&Tensor::Embedding(model.embedding()))?;
    }
    let HostNorm { weight, bias } = model.ln_out();
    count(&Tensor::Vector(weight))?;
    count(&Tensor::Vector(bias))?;
    count(&Tensor::Matrix(model.lm_head()))?;
    for layer in host_layers..shape.layers {
        let tensors = 0..layer_table(model);
        for tensor in tensors.filter_map(|position| model.layer_tensor(layer, position)) {
            count(&tensor)?;
        }
    }
    Ok(counter.bytes)
}

/// Copies tensors to a device and reports how far it is.
struct Uploader<'d, D> {
    device: &'d mut D,
    done: u64,
    total: u64,
    progress: &'d mut dyn FnMut(u64, u64),
}

/// Bytes that are copied at once.
const PIECE: usize = 64 << 20;

impl<D: Device> Uploader<'_, D> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<Address, DeviceError> {
        if bytes.is_empty() {
            return Ok(Address::NULL);
        }
        let address = self.device.bytes(bytes.len())?;
        // In pieces, so that the progress of a large matrix shows.
        for (at, piece) in bytes.chunks(PIECE).enumerate() {
            // SAFETY: the allocation has this many bytes.
            unsafe { self.device.write(address.offset(at * PIECE), piece) }?;
            self.done += piece.len() as u64;
            (self.progress)(self.done, self.total);
        }
        Ok(address)
    }

    fn tensor(&mut self, shape: &Shape, tensor: &Tensor<'_>) -> Result<Placed, DeviceError> {
        if let Tensor::Vector(x) = tensor {
            let widened = widened(shape, x);
            let x = widened.as_deref().unwrap_or(x);
            return Ok(Placed::Vector(self.bytes(bytemuck::cast_slice(x))?));
        }
        let Source { values, scales, describe } = source(tensor)?;
        Ok(Placed::Matrix(Matrix {
            weights: self.bytes(values)?,
            is_int4: describe.is_int4,
            scales: self.bytes(scales)?,
            multiplier: describe.multiplier,
            rows: describe.rows as u32,
            padded_inputs: padded_inputs(describe.inputs) as u32,
            group: describe.group as u32,
        }))
    }

    fn norm(&mut self, norm: HostNorm<'_>) -> Result<LayerNorm, DeviceError> {
        let weight = self.bytes(bytemuck::cast_slice(norm.weight))?;
        Ok(LayerNorm { weight, bias: self.bytes(bytemuck::cast_slice(norm.bias))? })
    }
}

impl Weights {
    /// Copies the tensors of `model`, without those of the first `host_layers` layers;
    /// `progress(done, total)` is called on the way, in bytes.
    pub(crate) fn upload<D: Device>(
        device: &mut D,
        model: &Model<'_>,
        host_layers: usize,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, DeviceError> {
        let shape = model.shape();
        let total = weights_bytes(model, host_layers)?;
        let mut to = Uploader { device, done: 0, total, progress };
        let layer = |layer, to: &mut Uploader<'_, D>| {
            let tensor = |position| model.layer_tensor(layer, position);
            let placed = (0..layer_table(model))
                .map(|position| tensor(position).map(|x| to.tensor(shape, &x)).transpose())
                .collect::<Result<_, _>>()?;
            Ok(Layer { architecture: shape.architecture, placed })
        };
        let matrix = |to: &mut Uploader<'_, D>, tensor| match to.tensor(shape, &tensor)? {
            Placed::Matrix(matrix) => Ok(matrix),
            Placed::Vector(_) => unreachable!("the model gave a matrix"),
        };
        let embedding = match host_layers {
            0 => Some(matrix(&mut to, Tensor::Embedding(model.embedding()))?),
            _ => None,
        };
        let weights = Self {
            embedding,
            ln_out: to.norm(model.ln_out())?,
            lm_head: matrix(&mut to, Tensor::Matrix(model.lm_head()))?,
            layers: (host_layers..shape.layers)
                .map(|index| layer(index, &mut to))
                .collect::<Result<_, DeviceError>>()?,
        };
        // What rounding up has counted beyond the tensors' bytes.
        (to.progress)(total, total);
        Ok(weights)
    }
}

impl Layer {
    fn placed(&self, name: &str) -> Option<Placed> {
        self.placed[tensors::position(tensors::layer_tensors(self.architecture), name)]
    }

    /// The vector `name`, or null where the layer does not have it.
    pub(crate) fn vector(&self, name: &str) -> Address {
        match self.placed(name) {
            Some(Placed::Vector(address)) => address,
            Some(Placed::Matrix(_)) => unreachable!("{name} is no vector"),
            None => Address::NULL,
        }
    }

    /// The matrix `name`, where the layer has it.
    pub(crate) fn later_matrix(&self, name: &str) -> Option<Matrix> {
        match self.placed(name)? {
            Placed::Matrix(matrix) => Some(matrix),
            Placed::Vector(_) => unreachable!("{name} is no matrix"),
        }
    }

    /// The matrix `name`.
    pub(crate) fn matrix(&self, name: &str) -> Matrix {
        let Some(matrix) = self.later_matrix(name) else { unreachable!("{name} is absent") };
        matrix
    }

    /// The LayerNorm `name`.
    pub(crate) fn norm(&self, name: &str) -> LayerNorm {
        let part = |part| self.vector(&format!("{name}.{part}"));
        LayerNorm { weight: part("weight"), bias: part("bias") }
    }
}
