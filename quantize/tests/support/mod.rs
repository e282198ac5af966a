//! Writes small checkpoints, good and bad ones.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::io::{Cursor, Write};

use kinglet_quantize::checkpoint::{CheckpointError, Problem};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Builds a pickled state dict, protocol 2, as `torch.save` does.
pub(crate) struct StateDict {
    bytes: Vec<u8>,
    /// Whether storages are named as before PyTorch 1.6.
    legacy: bool,
}

impl StateDict {
    /// A plain dict.
    pub(crate) fn new() -> Self {
        Self { bytes: b"\x80\x02}(".to_vec(), legacy: false }
    }

    /// An OrderedDict, as `Module.state_dict` makes it.
    pub(crate) fn ordered() -> Self {
        Self { bytes: b"\x80\x02ccollections\nOrderedDict\n)R(".to_vec(), legacy: false }
    }

    /// A plain dict in the format of before PyTorch 1.6.
    pub(crate) fn legacy() -> Self {
        Self { legacy: true, ..Self::new() }
    }

    /// A dict under a key of this one.
    pub(crate) fn nest(&mut self, key: &str, inner: &Self) {
        self.text(key);
        self.raw(&inner.bytes[2..]);
        self.raw(b"u");
    }

    /// A number under a key.
    pub(crate) fn number(&mut self, key: &str, value: usize) {
        self.text(key);
        self.integer(value);
    }

    /// A tensor: a view over the storage `key` of `len` elements.
    #[allow(clippy::too_many_arguments, reason = "they are the fields of the format")]
    pub(crate) fn tensor(
        &mut self,
        name: &str,
        storage: &str,
        key: &str,
        len: usize,
        offset: usize,
        shape: &[usize],
        strides: &[usize],
    ) {
        self.text(name);
        self.rebuild(storage, key, len, offset, shape, strides);
    }

    /// The same, wrapped in a parameter.
    #[allow(clippy::too_many_arguments, reason = "they are the fields of the format")]
    pub(crate) fn parameter(
        &mut self,
        name: &str,
        storage: &str,
        key: &str,
        len: usize,
        offset: usize,
        shape: &[usize],
        strides: &[usize],
    ) {
        self.text(name);
        self.raw(b"ctorch._utils\n_rebuild_parameter\n(");
        self.rebuild(storage, key, len, offset, shape, strides);
        self.raw(b"\x88ccollections\nOrderedDict\n)RtR");
    }

    /// Closes the items and sets the attribute `_metadata`.
    pub(crate) fn metadata(&mut self) {
        self.raw(b"u}");
        self.text("_metadata");
        self.raw(b"ccollections\nOrderedDict\n)Rsb(");
    }

    /// The finished pickle.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.raw(b"u.");
        self.bytes
    }

    fn rebuild(
        &mut self,
        storage: &str,
        key: &str,
        len: usize,
        offset: usize,
        shape: &[usize],
        strides: &[usize],
    ) {
        self.raw(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        self.text("storage");
        self.raw(format!("ctorch\n{storage}\n").as_bytes());
        self.text(key);
        self.text("cpu");
        self.integer(len);
        self.raw(if self.legacy { b"NtQ" } else { b"tQ" });
        self.integer(offset);
        self.sizes(shape);
        self.sizes(strides);
        self.raw(b"\x89ccollections\nOrderedDict\n)RtR");
    }

    fn sizes(&mut self, sizes: &[usize]) {
        self.raw(b"(");
        for &size in sizes {
            self.integer(size);
        }
        self.raw(b"t");
    }

    /// LONG1 of eight bytes; `value` is below 2^63.
    fn integer(&mut self, value: usize) {
        self.raw(b"\x8a\x08");
        self.raw(&(value as i64).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.raw(b"X");
        self.raw(&(text.len() as u32).to_le_bytes());
        self.raw(text.as_bytes());
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

/// A member of a zip archive.
#[derive(Clone, Copy)]
pub(crate) struct Member<'a> {
    name: &'a str,
    bytes: &'a [u8],
}

impl<'a> Member<'a> {
    pub(crate) fn new(name: &'a str, bytes: &'a [u8]) -> Self {
        Self { name, bytes }
    }
}

/// A zip archive of stored members.
pub(crate) fn write_zip(members: &[Member<'_>]) -> Vec<u8> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for member in members {
        zip.start_file(member.name, options).unwrap();
        zip.write_all(member.bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A `torch.save` archive of a pickle and its storages (key, bytes).
pub(crate) fn pth(pickle: &[u8], storages: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let names: Vec<String> = storages.iter().map(|(key, _)| format!("model/data/{key}")).collect();
    let mut members =
        vec![Member::new("model/data.pkl", pickle), Member::new("model/byteorder", b"little")];
    for (name, (_, bytes)) in names.iter().zip(storages) {
        members.push(Member::new(name, bytes));
    }
    write_zip(&members)
}

/// A file of `torch.save` before version 1.6: a pickle, and storages (key, elements, bytes).
pub(crate) fn legacy_pth(pickle: &[u8], storages: &[(&str, u64, Vec<u8>)]) -> Vec<u8> {
    let mut file = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.".to_vec();
    // The machine: a dict of byte order and sizes.
    file.extend_from_slice(b"\x80\x02}q\x00(X\x10\x00\x00\x00protocol_versionq\x01M\xe9\x03");
    file.extend_from_slice(b"X\r\x00\x00\x00little_endianq\x02\x88u.");
    file.extend_from_slice(pickle);
    file.extend_from_slice(b"\x80\x02]q\x00(");
    for (key, ..) in storages {
        file.push(b'X');
        file.extend_from_slice(&(key.len() as u32).to_le_bytes());
        file.extend_from_slice(key.as_bytes());
    }
    file.extend_from_slice(b"e.");
    for (_, elements, bytes) in storages {
        file.extend_from_slice(&elements.to_le_bytes());
        file.extend_from_slice(bytes);
    }
    file
}

/// Overwrites a member's compression method in its local and its central header.
pub(crate) fn set_compression_method(zip: &mut [u8], member: &str, method: u16) {
    let mut found = 0;
    // Distance from the method to the name, by the layout of the two headers.
    for (signature, method_at, name_at) in [(b"PK\x03\x04", 8, 30), (b"PK\x01\x02", 10, 46)] {
        for at in 0..zip.len() - name_at {
            let header = &zip[at..];
            if header.starts_with(signature) && header[name_at..].starts_with(member.as_bytes()) {
                zip[at + method_at..at + method_at + 2].copy_from_slice(&method.to_le_bytes());
                found += 1;
            }
        }
    }
    assert_eq!(found, 2);
}

/// The reason for a refusal.
pub(crate) fn problem_of<T>(result: Result<T, CheckpointError>) -> Result<T, Problem> {
    result.map_err(CheckpointError::into_problem)
}

/// A GGUF metadata value.
#[derive(Clone)]
pub(crate) enum Meta<'a> {
    Text(&'a str),
    Number(u32),
    Float(f32),
    Texts(&'a [&'a str]),
    Numbers(&'a [u32]),
}

/// A tensor of a ggml container: name, dimensions (innermost first), type number, data.
pub(crate) type GgmlTensor<'a> = (&'a str, &'a [u32], u32, Vec<u8>);

/// A GGUF file, version 3, alignment 32.
pub(crate) fn gguf(metadata: &[(&str, Meta<'_>)], tensors: &[GgmlTensor<'_>]) -> Vec<u8> {
    fn text(file: &mut Vec<u8>, text: &str) {
        file.extend_from_slice(&(text.len() as u64).to_le_bytes());
        file.extend_from_slice(text.as_bytes());
    }
    let mut file = b"GGUF\x03\x00\x00\x00".to_vec();
    file.extend_from_slice(&(tensors.len() as u64).to_le_bytes());
    file.extend_from_slice(&(metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        text(&mut file, key);
        match value {
            Meta::Text(value) => {
                file.extend_from_slice(&8u32.to_le_bytes());
                text(&mut file, value);
            }
            Meta::Number(value) => {
                file.extend_from_slice(&4u32.to_le_bytes());
                file.extend_from_slice(&value.to_le_bytes());
            }
            Meta::Float(value) => {
                file.extend_from_slice(&6u32.to_le_bytes());
                file.extend_from_slice(&value.to_le_bytes());
            }
            Meta::Texts(values) => {
                file.extend_from_slice(&9u32.to_le_bytes());
                file.extend_from_slice(&8u32.to_le_bytes());
                file.extend_from_slice(&(values.len() as u64).to_le_bytes());
                values.iter().for_each(|value| text(&mut file, value));
            }
            Meta::Numbers(values) => {
                file.extend_from_slice(&9u32.to_le_bytes());
                file.extend_from_slice(&5u32.to_le_bytes());
                file.extend_from_slice(&(values.len() as u64).to_le_bytes());
                values.iter().for_each(|value| file.extend_from_slice(&value.to_le_bytes()));
            }
        }
    }
    let mut data = Vec::new();
    for (name, dims, kind, bytes) in tensors {
        text(&mut file, name);
        file.extend_from_slice(&(dims.len() as u32).to_le_bytes());
        dims.iter().for_each(|&dim| file.extend_from_slice(&u64::from(dim).to_le_bytes()));
        file.extend_from_slice(&kind.to_le_bytes());
        data.resize(data.len().next_multiple_of(32), 0);
        file.extend_from_slice(&(data.len() as u64).to_le_bytes());
        data.extend_from_slice(bytes);
    }
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend_from_slice(&data);
    file
}

/// An rwkv.cpp file of the given version.
pub(crate) fn rwkv_cpp(version: u32, tensors: &[GgmlTensor<'_>]) -> Vec<u8> {
    let mut file = Vec::new();
    for number in [0x6767_6d66, version, 8, 8, 1, 0] {
        file.extend_from_slice(&number.to_le_bytes());
    }
    for (name, dims, kind, bytes) in tensors {
        for number in [dims.len() as u32, name.len() as u32, *kind] {
            file.extend_from_slice(&number.to_le_bytes());
        }
        dims.iter().for_each(|dim| file.extend_from_slice(&dim.to_le_bytes()));
        file.extend_from_slice(name.as_bytes());
        file.extend_from_slice(bytes);
    }
    file
}

/// A safetensors file of f32 tensors: name, shape, values.
pub(crate) fn safetensors_f32(tensors: &[(&str, Vec<usize>, Vec<f32>)]) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|(_, _, values)| le_bytes(values)).collect();
    let view = |i: usize| {
        safetensors::tensor::TensorView::new(
            safetensors::Dtype::F32,
            tensors[i].1.clone(),
            &bytes[i],
        )
        .unwrap()
    };
    let views = (0..tensors.len()).map(|i| (tensors[i].0, view(i)));
    safetensors::serialize(views, None).unwrap()
}

/// Little-endian f32 values.
pub(crate) fn le_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
