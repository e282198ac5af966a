//! Models of random weights, made in memory: what speed is measured on when
//! there is no checkpoint.
//!
//! Every tensor has the magnitude that training starts from or ends near, so
//! that activations stay of order one for any number of tokens. Matrices are
//! filled from a panel of quantized Gaussian rows: each cell of 16 outputs by one
//! scale group is a copy of a panel's cell chosen at random, which takes the time
//! of a copy and leaves no two rows of a matrix alike. Embedding rows are made up
//! of pieces of 32 in the same way.

use std::f64::consts::{PI, SQRT_2};
use std::io;

use kinglet::format::layout::{TensorLayout, layout};
use kinglet::format::model::{
    HEADER_LEN, Header, MINOR, RECORD_LEN, Record, Section, SectionEntry,
};
use kinglet::format::shape::{Architecture, Ranks, Shape};
use kinglet::format::tensors::{self, Storage, TensorSpec};
use kinglet::kernels::matrix::{
    ALIGN, GROUPS, INPUT_PAD, ROW_GROUP, TILE_ROWS, padded_sparse_rows,
};
use kinglet::kernels::weights::WeightType;
use kinglet::tokenizer::layout::{Header as TokenizerHeader, Kind};
use memmap2::MmapMut;
use rayon::prelude::*;

use crate::int4;
use crate::int8::{Errors, multiplier};
use crate::packing::Packed;

/// Rows of a panel.
const PANEL_ROWS: usize = 256;
/// Scale groups of a sparse matrix's panel.
const SPARSE_GROUPS: usize = 4;
/// Rows on which the group size is chosen.
const MEASURED_ROWS: usize = 64;
/// Bytes that a thread checksums at a time.
const CRC_CHUNK: usize = 8 << 20;
/// The share of zeros is kept this far from 0 and 1, where the shift is infinite.
const MIN_SHARE: f64 = 1e-3;
/// A token for every byte, after the one that ends a text.
const TOKENIZER: TokenizerHeader =
    TokenizerHeader { kind: Kind::Bytes { offset: 1 }, max_token_len: 1, vocab_len: 257 };
/// Magnitude of each element of the constant direction in `ln2.bias`.
const BIAS: f32 = 0.5;

/// A shape of the official RWKV-7 models: heads of 64, a channel mix four times
/// as wide, the World vocabulary.
const fn official(layers: usize, width: usize, ranks: [usize; 4]) -> Shape {
    let [decay, iclr, value, gate] = ranks;
    Shape {
        architecture: Architecture::Rwkv7,
        layers,
        width,
        head_size: 64,
        ffn: 4 * width,
        vocab: 65536,
        ranks: Ranks { decay, iclr, value, gate, ..Ranks::NONE },
    }
}

/// Names and dimensions of official models.
pub const OFFICIAL: [(&str, Shape); 5] = [
    ("rwkv7-0.1b", official(12, 768, [64, 64, 32, 128])),
    ("rwkv7-0.4b", official(24, 1024, [64, 64, 32, 128])),
    ("rwkv7-1.5b", official(24, 2048, [96, 96, 64, 256])),
    ("rwkv7-2.9b", official(32, 2560, [96, 96, 64, 320])),
    ("rwkv7-7.2b", official(32, 4096, [128, 128, 96, 480])),
];

/// A model file of random weights, in memory.
#[derive(Debug)]
pub struct SyntheticModel {
    /// Page-aligned, hence aligned as a model must be.
    map: MmapMut,
    groups: Vec<(&'static str, usize)>,
}

impl SyntheticModel {
    /// A model of this shape in which about `ffn_sparsity` of the channel mix's
    /// activations are zero; 0.5 is what random weights give by themselves, and
    /// 0 and 1 are approached to 0.001. The same arguments give the same bytes on
    /// every machine; the content hash is left zero. Where the vocabulary has room
    /// for them, its first tokens are the end of a text and the bytes, so that a
    /// program that wants text runs on it.
    ///
    /// The share is brought about by a constant direction in `ln2.bias` along
    /// which every row of `ffn.key` has the same weight.
    ///
    /// # Errors
    /// When there is not enough memory, or the shape is not one of a model, or has
    /// a dimension that is not a multiple of 32.
    pub fn new(shape: &Shape, ffn_sparsity: f64, seed: u64) -> io::Result<Self> {
        Self::with_weights(shape, WeightType::Int8, ffn_sparsity, seed)
    }

    /// [`new`](Self::new) with weights of a type. Of int4, groups are those of the quantizer, and
    /// its rounding to nearest.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_weights(
        shape: &Shape,
        weights: WeightType,
        ffn_sparsity: f64,
        seed: u64,
    ) -> io::Result<Self> {
        let invalid = |message| io::Error::new(io::ErrorKind::InvalidInput, message);
        shape.check().map_err(|error| invalid(error.to_string()))?;
        if shape.architecture != Architecture::Rwkv7 {
            return Err(invalid(format!("a model of {}, not RWKV-7", shape.architecture)));
        }
        let Ranks { decay, iclr, value, gate, .. } = shape.ranks;
        let dims = [shape.width, shape.ffn, shape.vocab, decay, iclr, value, gate];
        if dims.iter().any(|dim| !dim.is_multiple_of(INPUT_PAD)) {
            return Err(invalid(format!("a dimension is not a multiple of {INPUT_PAD}")));
        }
        let panels = Recipe::new(shape, weights, ffn_sparsity, seed).panels();
        let plan = Plan::new(shape, &panels);
        let mut map = MmapMut::map_anon(plan.len)?;
        // Fewer page faults while it is filled, and fewer misses of the TLB when it
        // is read. A system may refuse, which costs speed only.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        plan.fill(&mut map, &panels, seed);
        let groups = panels.iter().filter(|panel| panel.record.group != 0);
        let groups = groups.map(|panel| (panel.spec.name, panel.record.group as usize)).collect();
        Ok(Self { map, groups })
    }

    /// The bytes of the model file.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Name, without the layer, and inputs per scale of every quantized tensor:
    /// as the quantizer chooses them for Gaussian weights.
    pub fn groups(&self) -> &[(&'static str, usize)] {
        &self.groups
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    /// The generator of one of many independent streams.
    fn stream(seed: u64, stream: u64) -> Self {
        Self(Self(seed ^ Self(stream).next()).next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One of `0..len`; the bias of the remainder is of no account here.
    fn below(&mut self, len: usize) -> usize {
        ((u128::from(self.next()) * len as u128) >> 64) as usize
    }

    /// Two independent standard normal numbers (Box and Muller, 1958). The
    /// functions of the libm crate are the same on every machine.
    fn normals(&mut self) -> [f32; 2] {
        let bits = self.next();
        let unit = |bits: u64| ((bits as u32 >> 8) as f32 + 0.5) * (1.0 / (1 << 24) as f32);
        let radius = (-2.0 * libm::logf(unit(bits))).sqrt();
        let (sin, cos) = libm::sincosf(2.0 * std::f32::consts::PI * unit(bits >> 32));
        [radius * cos, radius * sin]
    }

    fn fill_normal(&mut self, out: &mut [f32], std: f32) {
        for pair in out.chunks_mut(2) {
            for (out, x) in pair.iter_mut().zip(self.normals()) {
                *out = x * std;
            }
        }
    }
}

/// The standard normal distribution function.
fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x / SQRT_2)
}

/// The x below which a standard normal number lies with this probability.
fn normal_quantile(probability: f64) -> f64 {
    let (mut low, mut high) = (-10.0, 10.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if normal_cdf(middle) < probability { low = middle } else { high = middle }
    }
    low
}

/// E relu(g + mean)^4 for a standard normal g.
fn relu_fourth_moment(mean: f64) -> f64 {
    let square = mean * mean;
    let density = libm::exp(-0.5 * square) / (2.0 * PI).sqrt();
    (square * square + 6.0 * square + 3.0) * normal_cdf(mean) + (square + 5.0) * mean * density
}

/// How the tensors of a model are drawn.
struct Recipe<'a> {
    shape: &'a Shape,
    weights: WeightType,
    seed: u64,
    /// Pre-activations of the channel mix lie this many deviations below zero.
    shift: f64,
    /// Signs of the constant direction in `ln2.bias`: `[width]`.
    direction: Vec<f32>,
}

impl<'a> Recipe<'a> {
    fn new(shape: &'a Shape, weights: WeightType, ffn_sparsity: f64, seed: u64) -> Self {
        let share = ffn_sparsity.clamp(MIN_SHARE, 1.0 - MIN_SHARE);
        let mut random = Random::stream(seed, u64::MAX);
        let sign = |bit: u64| if bit & 1 == 0 { -1.0 } else { 1.0 };
        let direction = (0..shape.width).map(|_| sign(random.next())).collect();
        Self { shape, weights, seed, shift: normal_quantile(share), direction }
    }

    /// A panel for every tensor of the directory that is not a vector of a
    /// layer; the layers share theirs.
    fn panels(&self) -> Vec<Panel> {
        let layer_tensors = tensors::layer_tensors(self.shape.architecture);
        let specs: Vec<&'static TensorSpec> = tensors::GLOBAL.iter().chain(layer_tensors).collect();
        specs.into_par_iter().enumerate().map(|(i, spec)| self.panel(i, spec)).collect()
    }

    fn panel(&self, index: usize, spec: &'static TensorSpec) -> Panel {
        let (rows, inputs) = (spec.rows.of(self.shape), spec.cols.of(self.shape));
        let seed = Random::stream(self.seed, index as u64).next();
        let mut panel = Panel {
            spec,
            layout: layout(spec, self.shape, WeightType::Int8, 32),
            record: Record {
                storage: Some(spec.storage),
                weights: WeightType::Int8,
                rows: rows as u32,
                cols: inputs as u32,
                group: 0,
                multiplier: 1.0,
                offset: 0,
            },
            rows: 0,
            values: Vec::new(),
            scales: Vec::new(),
            vectors: Vec::new(),
        };
        if spec.storage == Storage::Vector {
            let layers = if tensors::GLOBAL.len() > index { 1 } else { self.shape.layers };
            panel.vectors = (0..layers).map(|layer| self.vector(spec, layer, seed)).collect();
            return panel;
        }
        let std = self.deviation(spec, inputs);
        let draw = |rows: usize, inputs: usize| {
            let mut weights = vec![0.0; rows * inputs];
            weights.par_chunks_mut(inputs).enumerate().for_each(|(row, weights)| {
                Random::stream(seed, row as u64).fill_normal(weights, std);
            });
            weights
        };
        let mut weights = draw(rows.min(PANEL_ROWS), inputs);
        if spec.name == FFN_KEY {
            self.lean(&mut weights);
        }
        let largest = weights.iter().fold(0.0f32, |m, w| m.max(w.abs()));
        let (group, factor) = if spec.storage == Storage::Embedding {
            (ROW_GROUP, 1.0)
        } else if self.weights == WeightType::Int4 {
            (int4::GROUP, int4::multiplier(largest))
        } else {
            let mut errors = Errors::default();
            let measured = weights.len().min(MEASURED_ROWS * inputs);
            errors.measure(&weights[..measured], inputs, multiplier(largest));
            (errors.group(spec.storage, inputs), multiplier(largest))
        };
        panel.record.weights = self.weights;
        panel.record.group = group as u32;
        panel.record.multiplier = factor;
        panel.layout = layout(spec, self.shape, self.weights, group);
        // A sparse matrix has its groups of inputs outermost: its panel is some of them.
        let (panel_rows, panel_inputs) = match spec.storage {
            Storage::Sparse => (rows, inputs.min(SPARSE_GROUPS * group)),
            _ => (rows.min(PANEL_ROWS), inputs),
        };
        if spec.storage == Storage::Sparse {
            weights = draw(panel_rows, panel_inputs);
        }
        let Packed { bytes, scales, .. } =
            Packed::new(spec.storage, self.weights, panel_inputs, group, factor, &weights);
        panel.rows = panel_rows;
        panel.values = bytes;
        panel.scales = bytemuck::cast_slice(&scales).to_vec();
        panel
    }

    /// Standard deviation of a matrix's weights.
    fn deviation(&self, spec: &TensorSpec, inputs: usize) -> f32 {
        let inputs = inputs as f64;
        let gain = match spec.name {
            // ln0 is folded in, so a row has variance 1.
            "emb.weight" => return 1.0,
            // Logits of a spread of 3.
            "head.weight" => 3.0,
            "att.g2" => 2.0,
            "att.key.weight" | "att.output.weight" | "att.w2" => 0.5,
            // As much as without a shift, whatever the share of zeros.
            "ffn.value.weight" => {
                0.5 * (relu_fourth_moment(0.0) / relu_fourth_moment(-self.shift)).sqrt()
            }
            _ => 1.0,
        };
        (gain / inputs.sqrt()) as f32
    }

    /// Gives every row of `ffn.key`, `[row][width]`, the weight along the
    /// constant direction that shifts its output by [`shift`](Self::shift)
    /// deviations. Within each piece of 32 inputs, so that rows can be made of
    /// pieces of several.
    fn lean(&self, weights: &mut [f32]) {
        let width = self.shape.width;
        let mix: Vec<f32> =
            (0..self.shape.layers).flat_map(|layer| self.ffn_shift(layer)).collect();
        // A mixture of this and the last token's normed inputs, independent of
        // each other: (1 - x)^2 + x^2 of their variance. The bias is in both.
        let variance = mix.iter().map(|&x| f64::from((1.0 - x) * (1.0 - x) + x * x)).sum::<f64>()
            / mix.len() as f64;
        let mean = -(self.shift * variance.sqrt() / width as f64) as f32 / BIAS;
        for row in weights.chunks_mut(width) {
            for (piece, signs) in row.chunks_mut(INPUT_PAD).zip(self.direction.chunks(INPUT_PAD)) {
                let along = piece.iter().zip(signs).map(|(w, sign)| w * sign).sum::<f32>();
                let change = mean - along / piece.len() as f32;
                piece.iter_mut().zip(signs).for_each(|(w, sign)| *w += change * sign);
            }
        }
    }

    /// `ffn.x_k` of a layer, without noise: `[width]`.
    fn ffn_shift(&self, layer: usize) -> impl Iterator<Item = f32> {
        let Shape { layers, width, .. } = *self.shape;
        let rest = 1.0 - layer as f32 / layers as f32;
        (0..width).map(move |i| 1.0 - libm::powf(i as f32 / width as f32, rest.powi(4)))
    }

    /// A vector of a layer: near where training starts. After the
    /// initialization in BlinkDL's training code, with noise.
    fn vector(&self, spec: &TensorSpec, layer: usize, seed: u64) -> Vec<f32> {
        let Shape { layers, width, head_size, .. } = *self.shape;
        let mut noise = vec![0.0; width];
        Random::stream(seed, layer as u64).fill_normal(&mut noise, 1.0);
        let depth = layer as f32 / layers.saturating_sub(1).max(1) as f32;
        let rest = 1.0 - layer as f32 / layers as f32;
        let mixed = |i: usize, power: f32| 1.0 - libm::powf(i as f32 / width as f32, power * rest);
        let ramp = |i: usize| i as f32 / (width - 1).max(1) as f32;
        let zigzag = |i: usize| {
            let half = (head_size - 1).max(1) as f32 / 2.0;
            let z = ((i % head_size) as f32 - half) / half;
            z * z.abs()
        };
        let norm_gain = libm::powf((1 + layer) as f32 / layers as f32, 0.7);
        let ffn_shift: Vec<f32> = self.ffn_shift(layer).collect();
        let shifted = self.shift.abs() > 1e-6;
        let value = |(i, noise): (usize, f32)| match spec.name {
            "att.x_r" | "att.x_g" => mixed(i, 0.2) + 0.05 * noise,
            "att.x_w" | "att.x_a" => mixed(i, 0.9) + 0.05 * noise,
            "att.x_k" | "att.x_v" => mixed(i, 0.7) + 0.05 * noise,
            "att.w0" => {
                let curve = 1.0 + libm::powf(depth, 0.3);
                -5.5 + 6.0 * libm::powf(ramp(i), curve) + 2.5 * zigzag(i)
            }
            "att.a0" => -0.19 + 0.3 * zigzag(i) + 0.4 * (ramp(i) - 0.5),
            "att.v0" => 0.73 - 0.4 * (ramp(i) - 0.5),
            "att.k_k" => 0.71 - 0.1 * (ramp(i) - 0.5) + 0.05 * noise,
            "att.k_a" => 1.02 + 0.05 * noise,
            "att.r_k" => -0.04 + 0.1 * noise,
            "att.ln_x.weight" => norm_gain * (1.0 + 0.1 * noise),
            "ffn.x_k" => ffn_shift[i] + 0.05 * noise,
            "ln2.bias" if shifted => 0.05 * noise + BIAS * self.direction[i],
            name if name.ends_with(".bias") => 0.05 * noise,
            // Weights of the norms.
            _ => 1.0 + 0.1 * noise,
        };
        noise.iter().copied().enumerate().map(value).collect()
    }
}

const FFN_KEY: &str = "ffn.key.weight";

/// What the tensors of one name are filled from.
struct Panel {
    spec: &'static TensorSpec,
    /// Of the whole tensor.
    layout: TensorLayout,
    record: Record,
    /// Rows of the panel.
    rows: usize,
    /// Quantized rows, and their scales, in the layout of the storage.
    values: Vec<u8>,
    scales: Vec<u8>,
    /// `[layer][width]`, of a vector.
    vectors: Vec<Vec<f32>>,
}

impl Panel {
    /// Writes the tensor of `layer` to `out`, which is as long as its layout and zeros.
    fn fill(&self, layer: usize, out: &mut [u8], random: &mut Random) {
        if self.spec.storage == Storage::Vector {
            let values: &[u8] = bytemuck::cast_slice(&self.vectors[layer]);
            out[..values.len()].copy_from_slice(values);
            return;
        }
        let (values, scales) = out.split_at_mut(self.layout.scales_offset() as usize);
        let values = &mut values[..self.layout.values as usize];
        let scales = &mut scales[..2 * self.layout.scales as usize];
        let group = self.record.group as usize;
        match self.spec.storage {
            Storage::Sparse => self.fill_sparse(group, values, scales, random),
            // A table is a matrix of tiles of one row.
            Storage::Embedding => self.fill_cells(1, group, values, scales, random),
            _ => self.fill_cells(TILE_ROWS, group, values, scales, random),
        }
    }

    /// Bytes of `n` weights.
    const fn bytes(&self, n: usize) -> usize {
        self.record.weights.bytes(n as u64) as usize
    }

    /// Cells of `height` rows by one group of inputs lie in one piece, values and scales.
    fn fill_cells(
        &self,
        height: usize,
        group: usize,
        values: &mut [u8],
        scales: &mut [u8],
        random: &mut Random,
    ) {
        let inputs = self.record.cols as usize;
        let (tile, cell) = (self.bytes(height * inputs), self.bytes(height * group));
        let tile_scales = 2 * height * inputs.div_ceil(group);
        let tiles = self.rows / height;
        let seed = random.next();
        let rows = values.par_chunks_mut(tile).zip(scales.par_chunks_mut(tile_scales));
        rows.enumerate().with_min_len(16).for_each(|(row, (values, scales))| {
            let mut random = Random::stream(seed, row as u64);
            let cells = values.chunks_mut(cell).zip(scales.chunks_mut(2 * height));
            for (g, (values, scales)) in cells.enumerate() {
                let from = random.below(tiles);
                let at = from * tile + g * cell;
                values.copy_from_slice(&self.values[at..][..values.len()]);
                let at = from * tile_scales + g * 2 * height;
                scales.copy_from_slice(&self.scales[at..][..scales.len()]);
            }
        });
    }

    /// Each group of inputs is one of the panel's, its rows turned round.
    fn fill_sparse(&self, group: usize, values: &mut [u8], scales: &mut [u8], random: &mut Random) {
        let rows = self.rows;
        let (line, row_pad) = (self.bytes(rows), padded_sparse_rows(self.record.weights, 1));
        // Of whole groups, unless all of the matrix is less than one.
        let panel_groups = (self.values.len() / (line * group)).max(1);
        let seed = random.next();
        let groups = values.par_chunks_mut(line * group).zip(scales.par_chunks_mut(2 * rows));
        groups.enumerate().for_each(|(g, (values, scales))| {
            let mut random = Random::stream(seed, g as u64);
            let from = random.below(panel_groups);
            let turn = row_pad * random.below(rows / row_pad);
            let inputs = self.values[from * line * group..].chunks(line);
            for (out, input) in values.chunks_mut(line).zip(inputs) {
                out.copy_from_slice(input);
                out.rotate_left(self.bytes(turn));
            }
            scales.copy_from_slice(&self.scales[from * 2 * rows..][..2 * rows]);
            scales.rotate_left(2 * turn);
        });
    }
}

/// Where everything lies in the file.
struct Plan {
    shape: Shape,
    records: Vec<Record>,
    sections: [SectionEntry; Section::ALL.len()],
    /// Bytes of the file.
    len: usize,
}

/// The sections that hold tensors.
const FILLED: [Section; 4] = [Section::Vectors, Section::Embedding, Section::Layers, Section::Head];

impl Plan {
    fn new(shape: &Shape, panels: &[Panel]) -> Self {
        let mut records = vec![Record::ABSENT; tensors::tensor_count(shape)];
        let mut sections = [SectionEntry::default(); Section::ALL.len()];
        let directory = (records.len() * RECORD_LEN) as u64;
        let offset = HEADER_LEN as u64;
        sections[Section::Directory as usize] = SectionEntry { offset, len: directory, crc: 0 };
        let mut end = (offset + directory).next_multiple_of(ALIGN as u64);
        for section in FILLED {
            let start = end;
            for (index, record) in records.iter_mut().enumerate() {
                let (layer, spec) = tensors::tensor(shape, index);
                let present = layer.is_none_or(|layer| layer >= spec.first_layer);
                if present && Section::of(layer, spec) == section {
                    let panel = &panels[panel_of(shape, index)];
                    *record = Record { offset: end, ..panel.record };
                    end += panel.layout.len();
                }
            }
            let len = end - start;
            sections[section as usize] = SectionEntry { offset: start, len, crc: 0 };
        }
        if shape.vocab >= TOKENIZER.vocab_len as usize {
            let len = TOKENIZER.section_len();
            sections[Section::Tokenizer as usize] = SectionEntry { offset: end, len, crc: 0 };
            end += len;
        }
        Self { shape: *shape, records, sections, len: end as usize }
    }

    /// Writes the file into `bytes`, zeros.
    fn fill(mut self, bytes: &mut [u8], panels: &[Panel], seed: u64) {
        // In file order, so that each can be cut off the front of what is left.
        let mut order: Vec<usize> =
            (0..self.records.len()).filter(|&i| self.records[i].storage.is_some()).collect();
        order.sort_by_key(|&index| self.records[index].offset);
        let first = self.records[order[0]].offset as usize;
        let mut rest = &mut bytes[first..];
        let mut tensors = Vec::with_capacity(order.len());
        for index in order {
            let panel = &panels[panel_of(&self.shape, index)];
            let (out, after) = rest.split_at_mut(panel.layout.len() as usize);
            rest = after;
            tensors.push((index, panel, out));
        }
        tensors.into_par_iter().for_each(|(index, panel, out)| {
            let layer = tensors::tensor(&self.shape, index).0.unwrap_or(0);
            // Apart from the streams of the panels.
            panel.fill(layer, out, &mut Random::stream(!seed, index as u64));
        });
        let directory: Vec<u8> = self.records.iter().flat_map(Record::emit).collect();
        bytes[HEADER_LEN..][..directory.len()].copy_from_slice(&directory);
        let tokenizer = self.sections[Section::Tokenizer as usize];
        if tokenizer.len != 0 {
            bytes[tokenizer.offset as usize..].copy_from_slice(&TOKENIZER.to_bytes());
        }
        for entry in &mut self.sections {
            entry.crc = crc(&bytes[entry.offset as usize..][..entry.len as usize]);
        }
        let int8 = self.records.iter().all(|record| record.weights == WeightType::Int8);
        let minor = if int8 { 0 } else { MINOR };
        let header =
            Header { minor, shape: self.shape, content_hash: [0; 32], sections: self.sections };
        bytes[..HEADER_LEN].copy_from_slice(&header.emit());
    }
}

/// The panel of directory entry `index`.
fn panel_of(shape: &Shape, index: usize) -> usize {
    let global = tensors::GLOBAL.len();
    let table = tensors::layer_tensors(shape.architecture).len();
    if index < global { index } else { global + (index - global) % table }
}

/// CRC-32, on all cores.
fn crc(bytes: &[u8]) -> u32 {
    let part = |bytes: &[u8]| {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(bytes);
        hasher
    };
    let parts: Vec<_> = bytes.par_chunks(CRC_CHUNK).map(part).collect();
    let mut whole = crc32fast::Hasher::new();
    parts.iter().for_each(|part| whole.combine(part));
    whole.finalize()
}

const _: () = assert!(GROUPS[0] == INPUT_PAD, "a group is made of whole pieces");

#[cfg(test)]
mod tests {
    use super::*;
    use kinglet::engine::Engine;
    use kinglet::engine::{Cpu, workspace_len};
    use kinglet::format::model::{Model, Tensor};
    use kinglet::kernels::scalar::Scalar;
    use kinglet::tokenizer::Tokenizer;

    fn tiny() -> Shape {
        Shape { vocab: 512, ..official(3, 128, [32, 32, 32, 64]) }
    }

    #[test]
    fn a_model_opens_and_stays_finite() {
        use WeightType::{Int4, Int8};
        for (weights, sparsity) in [(Int8, 0.0), (Int8, 0.5), (Int8, 0.87), (Int4, 0.5)] {
            let synthetic = SyntheticModel::with_weights(&tiny(), weights, sparsity, 1).unwrap();
            let model = Model::open(synthetic.bytes()).unwrap();
            model.verify().unwrap();
            let tokenizer = Tokenizer::parse(model.section(Section::Tokenizer)).unwrap();
            assert!(tokenizer.encode(b"AB").eq([Ok(66), Ok(67)]));
            let mut state = vec![0.0; model.shape().state_len()];
            let mut workspace = vec![0.0; workspace_len(model.shape(), 1)];
            let mut engine = Cpu::new(model, Scalar, 1, &mut state, &mut workspace).unwrap();
            let mut logits = vec![0.0; model.shape().vocab];
            for i in 0..300u32 {
                engine.step(0, (7919 * i + 1) % 512, &mut logits).unwrap();
            }
            let power = logits.iter().map(|x| x * x).sum::<f32>() / logits.len() as f32;
            assert!((1.0..30.0).contains(&power), "{sparsity}: {power}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_model() {
        let model = |seed| SyntheticModel::new(&tiny(), 0.5, seed).unwrap();
        assert_eq!(model(1).bytes(), model(1).bytes());
        assert_ne!(model(1).bytes(), model(2).bytes());
        let int4 = || SyntheticModel::with_weights(&tiny(), WeightType::Int4, 0.5, 1).unwrap();
        assert_eq!(int4().bytes(), int4().bytes());
        assert!(int4().bytes().len() * 5 < model(1).bytes().len() * 3);
    }

    #[test]
    fn layers_and_rows_differ() {
        let synthetic = SyntheticModel::new(&tiny(), 0.5, 1).unwrap();
        let model = Model::open(synthetic.bytes()).unwrap();
        let key = tensors::position(tensors::RWKV7, FFN_KEY);
        let keys = [0, 1].map(|layer| match model.layer_tensor(layer, key) {
            Some(Tensor::Matrix(matrix)) => matrix.weights(),
            other => panic!("{other:?}"),
        });
        assert_ne!(keys[0], keys[1]);
        let value = tensors::position(tensors::RWKV7, "ffn.value.weight");
        let Some(Tensor::Sparse(value)) = model.layer_tensor(0, value) else { panic!() };
        assert_ne!(value.input(0), value.input(1));
    }

    #[test]
    fn a_matrix_has_the_deviation_that_was_asked_for() {
        let synthetic = SyntheticModel::new(&tiny(), 0.5, 1).unwrap();
        let head = Model::open(synthetic.bytes()).unwrap().lm_head();
        let square = |i: usize| head.weight(i / 128, i % 128).powi(2);
        let power = (0..512 * 128).map(square).sum::<f32>() / 512.0;
        assert!((8.0..10.0).contains(&power), "{power}, expected 9");
    }

    #[test]
    fn quantiles_invert_the_distribution() {
        assert!((normal_quantile(0.975) - 1.959_964).abs() < 1e-5);
        assert!(normal_quantile(0.5).abs() < 1e-9);
        assert!((relu_fourth_moment(0.0) - 1.5).abs() < 1e-12);
    }

    #[test]
    fn odd_shapes_are_refused() {
        let shape = Shape { vocab: 500, ..tiny() };
        let error = SyntheticModel::new(&shape, 0.5, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
