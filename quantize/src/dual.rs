//! A model in both precisions, in one file: every matrix and table lies in it as int8 and as int4.
//!
//! Which of the two the engine computes is what the directory says, so that a choice of bits is a
//! directory of its own, and no weight is copied to try it. The int4 form takes a byte a weight: any
//! kernel set computes it, with the numbers that nibbles have, and a matrix is replaced in its place.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use half::f16;
use kinglet::format::layout::TensorLayout;
use kinglet::format::model::{HEADER_LEN, Model, Record};
use kinglet::kernels::weights::WeightType;
use memmap2::MmapMut;

use crate::files::Partial;

/// Directory entries of what is quantized, each with its record in int8.
pub(crate) type Int8Records = BTreeMap<usize, Record>;

/// A choice of bits: the directory entries that are int4, the others int8.
pub(crate) type Int4 = BTreeSet<usize>;

/// A model file without a name, in which everything that is quantized lies twice.
#[derive(Debug)]
pub(crate) struct DualModel {
    header: [u8; HEADER_LEN],
    int8: Int8Records,
    /// All entries; what is quantized is int4.
    int4: Vec<Record>,
    map: MmapMut,
    /// After the map, because some systems keep a file that is mapped.
    _file: Partial,
}

/// What a file's directory would be for a [choice of bits](Int4).
#[derive(Clone, Debug)]
pub(crate) struct Directory(Vec<u8>);

/// The integers and scales of one form of a matrix or table, in the order of int8.
pub(crate) struct Weights<'m> {
    pub(crate) values: &'m [i8],
    pub(crate) scales: &'m [f16],
    pub(crate) record: Record,
}

impl DualModel {
    /// From a file whose own directory, `int4`, is that of the int4 forms.
    pub(crate) fn new(file: Partial, int8: Int8Records, int4: Vec<Record>) -> io::Result<Self> {
        // SAFETY: the file is this process's own: it has no name, or one that says so.
        let map = unsafe { MmapMut::map_mut(&file.handle()?) }?;
        let header = map.first_chunk().copied().ok_or_else(|| io::Error::other("no header"))?;
        Ok(Self { header, int8, int4, map, _file: file })
    }

    /// The directory of a choice of bits.
    pub(crate) fn directory(&self, chosen: &Int4) -> Directory {
        let record = |(index, int4): (usize, &Record)| match self.int8.get(&index) {
            Some(int8) if !chosen.contains(&index) => int8.emit(),
            _ => int4.emit(),
        };
        Directory(self.int4.iter().enumerate().flat_map(record).collect())
    }

    /// The model of a directory.
    pub(crate) fn model<'m>(&'m self, directory: &'m Directory) -> io::Result<Model<'m>> {
        Model::open_with(&self.map, &self.header, &directory.0).map_err(io::Error::other)
    }

    /// One form of an entry.
    pub(crate) fn weights(&self, index: usize, form: WeightType) -> io::Result<Weights<'_>> {
        let (record, values, scales) = self.place(index, form)?;
        let [values, scales] = [values, scales].map(|range| &self.map[range]);
        Ok(Weights {
            values: bytemuck::cast_slice(values),
            scales: bytemuck::cast_slice(scales),
            record,
        })
    }

    /// Replaces the int4 form of an entry.
    pub(crate) fn replace(
        &mut self,
        index: usize,
        values: &[i8],
        scales: &[f16],
    ) -> io::Result<()> {
        let (_, at, scales_at) = self.place(index, WeightType::Int4)?;
        self.map[at].copy_from_slice(bytemuck::cast_slice(values));
        self.map[scales_at].copy_from_slice(bytemuck::cast_slice(scales));
        Ok(())
    }

    /// The record of a form, and where its integers and scales are.
    fn place(&self, index: usize, form: WeightType) -> io::Result<(Record, Span, Span)> {
        let record = match form {
            WeightType::Int8 => self.int8.get(&index),
            _ => self.int4.get(index),
        };
        let record = *record.ok_or_else(|| io::Error::other("the model lacks a tensor"))?;
        let storage = record.storage.ok_or_else(|| io::Error::other("the tensor is absent"))?;
        let (rows, cols) = (record.rows as usize, record.cols as usize);
        let layout = TensorLayout::new(storage, record.weights, rows, cols, record.group as usize);
        let span = |offset: u64, len: u64| {
            let start = (record.offset + offset) as usize;
            start..start + len as usize
        };
        Ok((record, span(0, layout.values), span(layout.scales_offset(), 2 * layout.scales)))
    }
}

type Span = std::ops::Range<usize>;
