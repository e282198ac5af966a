//! GGUF, as llama.cpp's converter writes `rwkv6` and `rwkv7` models.
//!
//! Magic, version, counts, metadata, tensor descriptions (dimensions innermost first), then the
//! data at the next multiple of the alignment.

use super::Listing;
use super::bytes::Bytes;
use crate::checkpoint::Container;
use crate::checkpoint::declared::{self, Declared, declare};
use crate::checkpoint::dtype::Dtype;
use crate::checkpoint::error::{Problem, clip};
use crate::checkpoint::layout::{Layout, MAX_RANK};
use crate::checkpoint::names::{Facts, GGUF_V6, GGUF_V7, Rule};
use crate::checkpoint::tensor::TensorEntry;
use crate::vocabulary::GgufTokenizer;

pub(in crate::checkpoint) const MAGIC: &[u8] = b"GGUF";

/// Most metadata entries and tensors of a file; the largest official model has 2,500 tensors.
const COUNT_LIMIT: u64 = 1 << 16;

/// Numbers of the metadata's value types.
const FLOAT: u32 = 6;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Most tokens and merges of a tokenizer; a vocabulary has at most 65,536.
const TOKEN_LIMIT: u64 = 1 << 20;

/// Lists the tensors.
pub(super) fn read(file: &[u8]) -> Result<Listing, Problem> {
    let mut bytes = Bytes::new(file);
    let (tensors, values) = counts(&mut bytes)?;
    let metadata = Metadata::read(&mut bytes, values)?;
    let table = table(&metadata)?;
    let mut described = Vec::new();
    for _ in 0..tensors {
        described.push(Description::read(&mut bytes)?);
    }
    let start = (bytes.position() as u64).next_multiple_of(metadata.alignment);
    let entries = described.iter().map(|d| d.entry(file, start, metadata.alignment));
    let facts = Facts {
        head_size: metadata.head_size,
        rescale_every: metadata.rescale_every,
        ..Facts::default()
    };
    let entries = entries.collect::<Result<_, _>>()?;
    let naming = table.map(|table| (table, facts));
    let (declared, end_of_turn) = (metadata.declared, metadata.end_of_turn);
    Ok(Listing { naming, declared, end_of_turn, ..Listing::new(Container::Gguf, entries) })
}

/// The tokenizer that the metadata describe.
pub(in crate::checkpoint) fn tokenizer(file: &[u8]) -> Result<GgufTokenizer<'_>, Problem> {
    let mut bytes = Bytes::new(file);
    let (_, values) = counts(&mut bytes)?;
    let mut tokenizer = GgufTokenizer::default();
    for _ in 0..values {
        let len = bytes.u64("metadata key")?;
        let key = bytes.text(len, "metadata key")?;
        match key.strip_prefix("tokenizer.ggml.") {
            Some("tokens") => tokenizer.tokens = texts(&mut bytes)?,
            Some("merges") => tokenizer.merges = texts(&mut bytes)?,
            Some("token_type") => tokenizer.types = numbers(&mut bytes)?,
            name => match (name, value(&mut bytes)?) {
                (Some("model"), Value::Text(model)) => tokenizer.model = Some(model),
                (Some("pre"), Value::Text(pre)) => tokenizer.pre = Some(pre),
                _ => {}
            },
        }
    }
    Ok(tokenizer)
}

/// The numbers of tensors and of metadata entries.
fn counts(bytes: &mut Bytes<'_>) -> Result<(u64, u64), Problem> {
    bytes.take(MAGIC.len() as u64, "magic")?;
    let version = bytes.u32("version")?;
    if !(2..=3).contains(&version) {
        return Err(bytes.fault(format!("found GGUF version {version}; expected 2 or 3")));
    }
    Ok((count(bytes, "tensors")?, count(bytes, "metadata entries")?))
}

/// The strings of an array that must be one of strings.
fn texts<'a>(bytes: &mut Bytes<'a>) -> Result<Vec<&'a [u8]>, Problem> {
    let len = array_len(bytes, &[STRING])?;
    (0..len)
        .map(|_| {
            let len = bytes.u64("metadata string")?;
            bytes.take(len, "metadata string")
        })
        .collect()
}

/// The numbers of an array of i32 or u32.
fn numbers(bytes: &mut Bytes<'_>) -> Result<Vec<u32>, Problem> {
    let len = array_len(bytes, &[4, 5])?;
    (0..len).map(|_| bytes.u32("metadata number")).collect()
}

/// The length of the array that is next, whose elements must be of one of these types.
fn array_len(bytes: &mut Bytes<'_>, expected: &[u32]) -> Result<u64, Problem> {
    let found = bytes.u32("metadata type")?;
    if found != ARRAY {
        return Err(bytes.fault(format!("found metadata type {found}; expected an array")));
    }
    let element = bytes.u32("metadata array")?;
    if !expected.contains(&element) {
        let cause = format!("found an array of type {element}; expected one of {expected:?}");
        return Err(bytes.fault(cause));
    }
    let len = bytes.u64("metadata array")?;
    if len > TOKEN_LIMIT {
        return Err(bytes.fault(format!("found {len} tokens; expected at most {TOKEN_LIMIT}")));
    }
    Ok(len)
}

fn count(bytes: &mut Bytes<'_>, what: &str) -> Result<u64, Problem> {
    let found = bytes.u64(what)?;
    if found > COUNT_LIMIT {
        return Err(bytes.fault(format!("found {found} {what}; expected at most {COUNT_LIMIT}")));
    }
    Ok(found)
}

/// The naming; none in a part after the first, whose metadata count for all.
fn table(metadata: &Metadata<'_>) -> Result<Option<&'static [Rule]>, Problem> {
    match metadata.architecture {
        "rwkv6" => Ok(Some(GGUF_V6)),
        "rwkv7" => Ok(Some(GGUF_V7)),
        "" if metadata.part > 0 => Ok(None),
        found => Err(Problem::ForeignArchitecture { found: clip(found) }),
    }
}

/// The few metadata entries that matter to weights.
struct Metadata<'a> {
    architecture: &'a str,
    alignment: u64,
    head_size: Option<usize>,
    rescale_every: usize,
    /// Which part of a split file it is, from 0.
    part: u32,
    /// The token that ends a turn.
    end_of_turn: Option<u32>,
    declared: Vec<Declared>,
}

impl<'a> Metadata<'a> {
    fn read(bytes: &mut Bytes<'a>, count: u64) -> Result<Self, Problem> {
        let mut metadata = Self {
            architecture: "",
            alignment: 32,
            head_size: None,
            rescale_every: 0,
            part: 0,
            end_of_turn: None,
            declared: Vec::new(),
        };
        for _ in 0..count {
            let len = bytes.u64("metadata key")?;
            let key = bytes.text(len, "metadata key")?;
            let value = value(bytes)?;
            metadata.set(key, value, bytes)?;
        }
        Ok(metadata)
    }

    fn set(&mut self, key: &str, value: Value<'a>, bytes: &Bytes<'_>) -> Result<(), Problem> {
        // The architecture comes before the keys that begin with its name.
        let of_model =
            key.strip_prefix(self.architecture).filter(|_| !self.architecture.is_empty());
        if let (Some(of_model), Some(number)) = (of_model, value.number()) {
            declare(&mut self.declared, declared::GGUF, of_model, || key.to_owned(), number)?;
        }
        match (key, of_model, value) {
            ("general.architecture", _, Value::Text(name)) => self.architecture = name,
            ("general.alignment", _, Value::Number(n)) if n.is_power_of_two() => {
                self.alignment = u64::from(n);
            }
            ("general.alignment", _, _) => {
                return Err(bytes.fault("found another alignment than a power of two"));
            }
            ("tokenizer.ggml.eot_token_id", _, Value::Number(n)) => self.end_of_turn = Some(n),
            ("split.no", _, Value::Number(n)) => self.part = n,
            (_, Some(".wkv.head_size"), Value::Number(n)) => self.head_size = Some(n as usize),
            (_, Some(".rescale_every_n_layers"), Value::Number(n)) => {
                self.rescale_every = n as usize;
            }
            _ => {}
        }
        Ok(())
    }
}

enum Value<'a> {
    Text(&'a str),
    Number(u32),
    Float(f32),
    Other,
}

impl Value<'_> {
    fn number(&self) -> Option<f64> {
        match *self {
            Self::Number(number) => Some(number.into()),
            Self::Float(number) => Some(number.into()),
            _ => None,
        }
    }
}

fn value<'a>(bytes: &mut Bytes<'a>) -> Result<Value<'a>, Problem> {
    match bytes.u32("metadata type")? {
        // u16 and i16
        2 | 3 => Ok(Value::Number(bytes.u16("metadata number")?.into())),
        // u32 and i32; the numbers that are looked at are small and positive.
        4 | 5 => Ok(Value::Number(bytes.u32("metadata number")?)),
        FLOAT => Ok(Value::Float(f32::from_bits(bytes.u32("metadata number")?))),
        STRING => {
            let len = bytes.u64("metadata string")?;
            // A vocabulary may hold any bytes; the only text that is looked at is ASCII.
            let text = bytes.take(len, "metadata string")?;
            Ok(std::str::from_utf8(text).map_or(Value::Other, Value::Text))
        }
        ARRAY => skip_array(bytes).map(|()| Value::Other),
        other => {
            let size = size_of_number(bytes, other)?;
            bytes.take(size, "metadata number")?;
            Ok(Value::Other)
        }
    }
}

fn skip_array(bytes: &mut Bytes<'_>) -> Result<(), Problem> {
    let element = bytes.u32("metadata array")?;
    let len = bytes.u64("metadata array")?;
    if element == STRING {
        // Each string takes eight bytes at least, so the file's length bounds the loop.
        for _ in 0..len {
            let len = bytes.u64("metadata string")?;
            bytes.take(len, "metadata string")?;
        }
        return Ok(());
    }
    let size = size_of_number(bytes, element)?;
    bytes.take(len.saturating_mul(size), "metadata array")?;
    Ok(())
}

fn size_of_number(bytes: &Bytes<'_>, kind: u32) -> Result<u64, Problem> {
    match kind {
        0 | 1 | 7 => Ok(1),
        2 | 3 => Ok(2),
        4..=6 => Ok(4),
        10..=12 => Ok(8),
        _ => Err(bytes.fault(format!("found metadata type {kind}; expected a number or a string"))),
    }
}

struct Description<'a> {
    name: &'a str,
    /// Outermost first.
    shape: Vec<u64>,
    kind: u32,
    offset: u64,
}

impl<'a> Description<'a> {
    fn read(bytes: &mut Bytes<'a>) -> Result<Self, Problem> {
        let len = bytes.u64("tensor name")?;
        let name = bytes.text(len, "tensor name")?;
        let rank = bytes.u32("number of dimensions")?;
        if rank as usize > MAX_RANK {
            let cause = format!("has {rank} dimensions; expected at most {MAX_RANK}");
            return Err(Problem::Shape { tensor: clip(name), cause });
        }
        let mut shape = Vec::new();
        for _ in 0..rank {
            shape.push(bytes.u64("dimension")?);
        }
        shape.reverse();
        Ok(Self { name, shape, kind: bytes.u32("tensor type")?, offset: bytes.u64("offset")? })
    }

    fn entry(&self, file: &[u8], start: u64, alignment: u64) -> Result<TensorEntry, Problem> {
        let dtype = dtype(self.kind).ok_or_else(|| Problem::UnsupportedDtype {
            tensor: clip(self.name),
            found: format!("ggml type {}", self.kind),
        })?;
        if !self.offset.is_multiple_of(alignment) {
            let cause = format!("lies at {}; expected a multiple of {alignment}", self.offset);
            return Err(Problem::Shape { tensor: clip(self.name), cause });
        }
        let layout = Layout::contiguous(self.name, &self.shape)?;
        let begin = start.saturating_add(self.offset);
        ggml_entry(self.name, dtype, layout, begin, file)
    }
}

/// The entry of a ggml tensor whose data begin at byte `begin` of the file.
///
/// ggml cuts rows into blocks, so that a row is a whole number of them.
pub(in crate::checkpoint) fn ggml_entry(
    name: &str,
    dtype: Dtype,
    layout: Layout,
    begin: u64,
    file: &[u8],
) -> Result<TensorEntry, Problem> {
    let (block, _) = dtype.block();
    let row = layout.shape().last().copied().unwrap_or(1);
    let bytes = dtype.bytes_of(layout.elements()).filter(|_| row.is_multiple_of(block));
    let Some(bytes) = bytes else {
        let cause = format!("has rows of {row} values; {dtype} needs a multiple of {block}");
        return Err(Problem::Shape { tensor: clip(name), cause });
    };
    let end = begin.saturating_add(bytes as u64);
    if end > file.len() as u64 {
        let available = file.len() as u64;
        return Err(Problem::ByteRange { tensor: clip(name), begin, end, available });
    }
    TensorEntry::new(name, dtype, begin as usize..end as usize, 0, layout)
}

/// ggml's numbers of the types whose values have one definition.
fn dtype(kind: u32) -> Option<Dtype> {
    match kind {
        0 => Some(Dtype::F32),
        1 => Some(Dtype::F16),
        2 => Some(Dtype::Q4_0),
        3 => Some(Dtype::Q4_1),
        6 => Some(Dtype::Q5_0),
        7 => Some(Dtype::Q5_1),
        8 => Some(Dtype::Q8_0),
        10 => Some(Dtype::Q2K),
        11 => Some(Dtype::Q3K),
        12 => Some(Dtype::Q4K),
        13 => Some(Dtype::Q5K),
        14 => Some(Dtype::Q6K),
        20 => Some(Dtype::Iq4Nl),
        23 => Some(Dtype::Iq4Xs),
        28 => Some(Dtype::F64),
        30 => Some(Dtype::Bf16),
        _ => None,
    }
}
