//! The subset of pickle that `torch.save` writes for a state dict, as data and never as code.
//!
//! A pickle is a program for a stack machine that can call any Python function. This reader runs
//! no function: the few names that a state dict needs are an allow-list, each standing for a plain
//! value, and any other name is an error as soon as it is met. Trainers keep more beside the
//! weights than a state dict needs, such as sizes, sets and their own arguments; the names of those
//! are on the list as well, and stand for a value that is not looked at. Every instruction costs constant
//! memory, values refer to their parts by index (so that nothing nests), and the length of the
//! pickle bounds the rest.

use std::collections::HashSet;

use crate::checkpoint::error::{Problem, clip};
use crate::checkpoint::layout::check_rank;

/// A tensor as the pickle describes it; nothing is checked against the storages yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PickledTensor<'a> {
    pub(super) name: &'a str,
    /// Name of the storage: the zip member `data/<key>`.
    pub(super) key: &'a str,
    pub(super) scalar: Scalar,
    /// Length of the storage in elements.
    pub(super) storage_len: u64,
    /// First element in the storage.
    pub(super) offset: u64,
    pub(super) shape: Vec<u64>,
    pub(super) strides: Vec<u64>,
}

/// Element type of a torch storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    F64,
    F32,
    F16,
    Bf16,
    /// A type without a use in a weight, by its torch name.
    Other(&'static str),
}

impl Scalar {
    /// Bytes of a value.
    pub(super) fn size(self) -> u64 {
        match self {
            Self::F64 | Self::Other("int64" | "complex64") => 8,
            Self::F32 | Self::Other("int32") => 4,
            Self::F16 | Self::Bf16 | Self::Other("int16") => 2,
            Self::Other("complex128") => 16,
            Self::Other(_) => 1,
        }
    }
}

/// Names in module `torch` that stand for storages.
const STORAGES: [(&str, Scalar); 12] = [
    ("DoubleStorage", Scalar::F64),
    ("FloatStorage", Scalar::F32),
    ("HalfStorage", Scalar::F16),
    ("BFloat16Storage", Scalar::Bf16),
    ("LongStorage", Scalar::Other("int64")),
    ("IntStorage", Scalar::Other("int32")),
    ("ShortStorage", Scalar::Other("int16")),
    ("CharStorage", Scalar::Other("int8")),
    ("ByteStorage", Scalar::Other("uint8")),
    ("BoolStorage", Scalar::Other("bool")),
    ("ComplexFloatStorage", Scalar::Other("complex64")),
    ("ComplexDoubleStorage", Scalar::Other("complex128")),
];

/// Parts of the keys under which training keeps what is no model.
const OPTIMIZERS: [&str; 4] = ["optimizer", "scheduler", "callbacks", "frozen_param"];

/// Classes of what Lightning, DeepSpeed and transformers keep beside the weights. Python 3 calls
/// `builtins` by its old name in the protocol that torch uses.
const INERT: [(&str, &str); 22] = [
    ("torch", "Size"),
    ("torch", "device"),
    ("torch", "Tensor"),
    ("torch", "float64"),
    ("torch", "float32"),
    ("torch", "float16"),
    ("torch", "bfloat16"),
    ("torch", "int64"),
    ("torch", "bool"),
    ("torch.nn.parameter", "Parameter"),
    ("collections", "Counter"),
    ("collections", "defaultdict"),
    ("argparse", "Namespace"),
    ("types", "SimpleNamespace"),
    ("pathlib", "PosixPath"),
    ("pathlib", "WindowsPath"),
    ("lightning.fabric.utilities.data", "AttributeDict"),
    ("lightning_fabric.utilities.data", "AttributeDict"),
    ("pytorch_lightning.utilities.parsing", "AttributeDict"),
    ("lightning.pytorch.utilities.parsing", "AttributeDict"),
    ("__builtin__", "set"),
    ("builtins", "set"),
];

/// The allow-list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    /// A tensor with attributes: the function that makes it, its class, and the arguments.
    RebuildFromType,
    Storage(Scalar),
    Inert,
}

fn global(module: &str, name: &str) -> Result<Global, Problem> {
    let storage = || STORAGES.iter().find(|s| s.0 == name).map(|s| Global::Storage(s.1));
    let found = match (module, name) {
        ("collections", "OrderedDict") => Some(Global::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2") => Some(Global::RebuildTensor),
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
            Some(Global::RebuildParameter)
        }
        ("torch._tensor", "_rebuild_from_type_v2") => Some(Global::RebuildFromType),
        _ if INERT.contains(&(module, name)) => Some(Global::Inert),
        ("torch", _) => storage(),
        _ => None,
    };
    found.ok_or_else(|| Problem::ForbiddenGlobal { name: clip(&format!("{module}.{name}")) })
}

#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    None,
    Bool,
    Int(i64),
    Float,
    Text(&'a str),
    /// Range of `Machine::cells`.
    Tuple(u32, u32),
    /// Contents are dropped: no list has a meaning in a state dict.
    List,
    /// Index into `Machine::dicts`.
    Dict(u32),
    Global(Global),
    /// Index into `Machine::storages`.
    Storage(u32),
    /// Index into `Machine::views`.
    Tensor(u32),
    /// Anything that is no part of a model.
    Inert,
}

impl Value<'_> {
    fn kind(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool => "a bool",
            Self::Int(_) => "an integer",
            Self::Float => "a float",
            Self::Text(_) => "a string",
            Self::Tuple(..) => "a tuple",
            Self::List => "a list",
            Self::Dict(_) => "a dict",
            Self::Global(_) => "a class or function",
            Self::Storage(_) => "a bare storage",
            Self::Tensor(_) => "a tensor",
            Self::Inert => "an object",
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Storage<'a> {
    key: &'a str,
    scalar: Scalar,
    len: u64,
}

/// Arguments of a rebuilt tensor; the tuples were checked to hold sizes only when it is listed.
#[derive(Debug, Clone, Copy)]
struct View {
    storage: u32,
    offset: i64,
    shape: (u32, u32),
    strides: (u32, u32),
}

/// Reads a pickled state dict; tensors come in the order of the dict.
pub(super) fn read_state_dict(pickle: &[u8]) -> Result<Vec<PickledTensor<'_>>, Problem> {
    let mut machine = Machine::new(pickle);
    let top = machine.run()?;
    machine.tensors_of(top)
}

/// Reads what a `torch.save` of before version 1.6 begins with, from byte `start` on, and returns
/// the tensors, the storages in the order of their data, and where those begin.
///
/// The file is a row of pickles: a magic number, which stands before `start`, the protocol's
/// number, a description of the machine, the state dict, and the list of the storages' keys.
pub(super) fn read_legacy(file: &[u8], start: usize, limit: usize) -> Result<Legacy<'_>, Problem> {
    let mut position = start;
    let mut next = || {
        let rest = &file[position..];
        let mut machine = Machine::new(&rest[..rest.len().min(limit)]);
        let top = machine.run()?;
        position += machine.position;
        Ok((machine, top))
    };
    let (_, protocol) = next()?;
    let Value::Int(1001) = protocol else {
        return Err(Problem::NotAStateDict { found: protocol.kind() });
    };
    next()?;
    let (machine, top) = next()?;
    let (keys, _) = next()?;
    let scalar = |&key: &&'_ str| {
        machine.storages.iter().find(|storage| storage.key == key).map(|storage| storage.scalar)
    };
    let storages = keys.listed.iter().map(|key| (*key, scalar(key))).collect();
    Ok(Legacy { tensors: machine.tensors_of(top)?, storages, data: position })
}

/// What stands before the data of a legacy file.
pub(super) struct Legacy<'a> {
    pub(super) tensors: Vec<PickledTensor<'a>>,
    /// Keys and types, `None` where nothing says the type.
    pub(super) storages: Vec<(&'a str, Option<Scalar>)>,
    /// Where the first storage begins.
    pub(super) data: usize,
}

struct Machine<'a> {
    pickle: &'a [u8],
    position: usize,
    stack: Vec<Value<'a>>,
    /// Stack heights at the open marks.
    marks: Vec<usize>,
    memo: Vec<Option<Value<'a>>>,
    cells: Vec<Value<'a>>,
    dicts: Vec<Vec<(Value<'a>, Value<'a>)>>,
    storages: Vec<Storage<'a>>,
    views: Vec<View>,
    /// The strings that were appended to lists: storages' keys in a legacy file.
    listed: Vec<&'a str>,
}

impl<'a> Machine<'a> {
    fn new(pickle: &'a [u8]) -> Self {
        Self {
            pickle,
            position: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
            cells: Vec::new(),
            dicts: Vec::new(),
            storages: Vec::new(),
            views: Vec::new(),
            listed: Vec::new(),
        }
    }

    /// Runs to STOP and returns the pickled object.
    fn run(&mut self) -> Result<Value<'a>, Problem> {
        loop {
            let opcode = self.byte()?;
            if opcode == b'.' {
                return self.pop();
            }
            self.execute(opcode)?;
        }
    }

    fn execute(&mut self, opcode: u8) -> Result<(), Problem> {
        match opcode {
            // PROTO: the number adds opcodes, and unknown ones are refused one by one.
            0x80 => {
                self.byte()?;
            }
            // FRAME
            0x95 => {
                self.take(8)?;
            }
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                self.pop()?;
            }
            b'N' => self.stack.push(Value::None),
            0x88 | 0x89 => self.stack.push(Value::Bool),
            b'J' | b'K' | b'M' | 0x8a => self.push_integer(opcode)?,
            // BINFLOAT
            b'G' => {
                self.take(8)?;
                self.stack.push(Value::Float);
            }
            // BINUNICODE, SHORT_BINUNICODE
            b'X' => self.push_text(4)?,
            0x8c => self.push_text(1)?,
            b']' => self.stack.push(Value::List),
            b'a' => {
                if let Value::Text(text) = self.pop()? {
                    self.listed.push(text);
                }
                self.expect_list()?;
            }
            b'e' => {
                let height = self.pop_mark_height()?;
                let texts = self.stack.drain(height..).filter_map(|value| match value {
                    Value::Text(text) => Some(text),
                    _ => None,
                });
                self.listed.extend(texts);
                self.expect_list()?;
            }
            b')' | b't' | 0x85..=0x87 => self.push_tuple(opcode)?,
            b'}' => self.push_dict()?,
            b's' => {
                let items = self.stack.len().saturating_sub(2);
                self.set_items(items)?;
            }
            b'u' => {
                let items = self.pop_mark_height()?;
                self.set_items(items)?;
            }
            b'q' | b'r' | 0x94 => self.memoize(opcode)?,
            b'h' | b'j' => self.recall(opcode)?,
            b'c' | 0x93 => self.push_global(opcode)?,
            b'Q' => self.push_storage()?,
            // NEWOBJ makes an object of a class as REDUCE does of a function.
            b'R' | 0x81 => self.reduce()?,
            // EMPTY_SET, and what fills it: ADDITEMS.
            0x8f => self.stack.push(Value::Inert),
            0x90 => {
                let height = self.pop_mark_height()?;
                self.stack.truncate(height);
                self.expect_inert()?;
            }
            // BINBYTES, SHORT_BINBYTES
            b'B' | b'C' => {
                let len = self.unsigned(if opcode == b'B' { 4 } else { 1 })? as usize;
                self.take(len)?;
                self.stack.push(Value::Inert);
            }
            b'b' => self.build()?,
            _ => {
                self.position -= 1;
                return Err(self.fault(format!(
                    "found opcode {opcode:#04x}; expected one that torch.save writes"
                )));
            }
        }
        Ok(())
    }

    fn fault(&self, cause: impl Into<String>) -> Problem {
        Problem::Pickle { position: self.position, cause: cause.into() }
    }

    fn expected(&self, what: &str, found: Value<'a>) -> Problem {
        self.fault(format!("found {}; expected {what}", found.kind()))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Problem> {
        let rest = &self.pickle[self.position..];
        let Some(bytes) = rest.get(..len) else {
            return Err(self.fault(format!("found {} bytes; expected {len} more", rest.len())));
        };
        self.position += len;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, Problem> {
        Ok(self.take(1)?[0])
    }

    /// An unsigned little-endian number of `len` bytes.
    fn unsigned(&mut self, len: usize) -> Result<u32, Problem> {
        Ok(self.take(len)?.iter().rev().fold(0, |n, &byte| n << 8 | u32::from(byte)))
    }

    /// An ASCII line, without its end.
    fn line(&mut self) -> Result<&'a str, Problem> {
        let rest = &self.pickle[self.position..];
        let Some(len) = rest.iter().position(|&byte| byte == b'\n') else {
            return Err(self.fault("found no line end; expected a name"));
        };
        let line = self.text(len)?;
        self.position += 1;
        Ok(line)
    }

    fn text(&mut self, len: usize) -> Result<&'a str, Problem> {
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).map_err(|_| self.fault("found a string that is not UTF-8"))
    }

    fn pop(&mut self) -> Result<Value<'a>, Problem> {
        if self.stack.len() <= self.marks.last().copied().unwrap_or(0) {
            return Err(self.fault("the stack is empty"));
        }
        self.stack.pop().ok_or_else(|| self.fault("the stack is empty"))
    }

    /// Closes the innermost mark and returns the stack height at it.
    fn pop_mark_height(&mut self) -> Result<usize, Problem> {
        self.marks.pop().ok_or_else(|| self.fault("no mark is open"))
    }

    /// The value under a finished sequence of items.
    fn top(&self) -> Result<Value<'a>, Problem> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(&value) if self.stack.len() > floor => Ok(value),
            _ => Err(self.fault("the stack is empty")),
        }
    }

    fn expect_list(&self) -> Result<(), Problem> {
        match self.top()? {
            Value::List => Ok(()),
            other => Err(self.expected("a list", other)),
        }
    }

    fn expect_inert(&self) -> Result<(), Problem> {
        match self.top()? {
            Value::Inert => Ok(()),
            other => Err(self.expected("a set", other)),
        }
    }

    fn push_integer(&mut self, opcode: u8) -> Result<(), Problem> {
        let value = match opcode {
            b'K' => i64::from(self.unsigned(1)?),
            b'M' => i64::from(self.unsigned(2)?),
            b'J' => i64::from(self.unsigned(4)? as i32),
            _ => self.long()?,
        };
        self.stack.push(Value::Int(value));
        Ok(())
    }

    /// LONG1: a length byte, then that many bytes of two's complement.
    fn long(&mut self) -> Result<i64, Problem> {
        let len = usize::from(self.byte()?);
        let bytes = self.take(len)?;
        let Some(&last) = bytes.last() else { return Ok(0) };
        if len > 8 {
            return Err(self.fault(format!("found an integer of {len} bytes; expected at most 8")));
        }
        let mut padded = [if last < 0x80 { 0 } else { 0xff }; 8];
        padded[..len].copy_from_slice(bytes);
        Ok(i64::from_le_bytes(padded))
    }

    fn push_text(&mut self, length_bytes: usize) -> Result<(), Problem> {
        let len = self.unsigned(length_bytes)? as usize;
        let text = self.text(len)?;
        self.stack.push(Value::Text(text));
        Ok(())
    }

    fn push_tuple(&mut self, opcode: u8) -> Result<(), Problem> {
        let height = match opcode {
            b')' => self.stack.len(),
            b't' => self.pop_mark_height()?,
            // TUPLE1, TUPLE2, TUPLE3
            _ => self.height_below(usize::from(opcode - 0x84))?,
        };
        let start = self.cells.len() as u32;
        self.cells.extend(self.stack.drain(height..));
        let end = self.cells.len() as u32;
        self.stack.push(Value::Tuple(start, end));
        Ok(())
    }

    /// Stack height below the `count` topmost values, none of which is under a mark.
    fn height_below(&self, count: usize) -> Result<usize, Problem> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(count) {
            Some(height) if height >= floor => Ok(height),
            _ => Err(self.fault("the stack is empty")),
        }
    }

    fn push_dict(&mut self) -> Result<(), Problem> {
        self.stack.push(Value::Dict(self.dicts.len() as u32));
        self.dicts.push(Vec::new());
        Ok(())
    }

    /// SETITEM, SETITEMS: the values from `height` on are keys and values of the dict below them.
    fn set_items(&mut self, height: usize) -> Result<(), Problem> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let dict = match height.checked_sub(1).filter(|&below| below >= floor) {
            Some(below) => self.stack[below],
            None => return Err(self.fault("the stack is empty")),
        };
        let dict = match dict {
            Value::Dict(dict) => Some(dict),
            Value::Inert => None,
            other => return Err(self.expected("a dict", other)),
        };
        if !(self.stack.len() - height).is_multiple_of(2) {
            return Err(self.fault("found a key without a value"));
        }
        let (pairs, _) = self.stack[height..].as_chunks::<2>();
        if let Some(dict) = dict {
            self.dicts[dict as usize].extend(pairs.iter().map(|&[key, value]| (key, value)));
        }
        self.stack.truncate(height);
        Ok(())
    }

    /// BINPUT, LONG_BINPUT, MEMOIZE.
    fn memoize(&mut self, opcode: u8) -> Result<(), Problem> {
        let slot = match opcode {
            b'q' => self.unsigned(1)? as usize,
            b'r' => self.unsigned(4)? as usize,
            _ => self.memo.len(),
        };
        // Slots are numbered in the order of the values, each of which took a byte at least.
        if slot >= self.position {
            return Err(self.fault(format!("found memo slot {slot}; expected the next one")));
        }
        let value = self.top()?;
        if slot >= self.memo.len() {
            self.memo.resize(slot + 1, None);
        }
        self.memo[slot] = Some(value);
        Ok(())
    }

    /// BINGET, LONG_BINGET.
    fn recall(&mut self, opcode: u8) -> Result<(), Problem> {
        let slot = self.unsigned(if opcode == b'h' { 1 } else { 4 })?;
        let Some(&Some(value)) = self.memo.get(slot as usize) else {
            return Err(self.fault(format!("memo slot {slot} is empty")));
        };
        self.stack.push(value);
        Ok(())
    }

    /// GLOBAL, STACK_GLOBAL.
    fn push_global(&mut self, opcode: u8) -> Result<(), Problem> {
        let (module, name) = if opcode == b'c' {
            (self.line()?, self.line()?)
        } else {
            match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => (module, name),
                (other, _) => return Err(self.expected("a module and a name", other)),
            }
        };
        self.stack.push(Value::Global(global(module, name)?));
        Ok(())
    }

    fn tuple(&self, value: Value<'a>) -> Result<&[Value<'a>], Problem> {
        match value {
            Value::Tuple(start, end) => Ok(&self.cells[start as usize..end as usize]),
            other => Err(self.expected("a tuple", other)),
        }
    }

    /// BINPERSID: `("storage", type, key, location, length)`; legacy files add a view, which is
    /// `None` since tensors have views of their own.
    fn push_storage(&mut self) -> Result<(), Problem> {
        let id = self.pop()?;
        let storage = match *self.tuple(id)? {
            [
                Value::Text("storage"),
                Value::Global(Global::Storage(scalar)),
                Value::Text(key),
                Value::Text(_),
                Value::Int(len @ 0..),
            ]
            | [
                Value::Text("storage"),
                Value::Global(Global::Storage(scalar)),
                Value::Text(key),
                Value::Text(_),
                Value::Int(len @ 0..),
                Value::None,
            ] => Storage { key, scalar, len: len as u64 },
            _ => {
                return Err(self.fault(
                    "found another persistent id; expected (\"storage\", type, key, location, length)",
                ));
            }
        };
        self.stack.push(Value::Storage(self.storages.len() as u32));
        self.storages.push(storage);
        Ok(())
    }

    fn reduce(&mut self) -> Result<(), Problem> {
        let arguments = self.pop()?;
        let callable = self.pop()?;
        let Value::Global(callable) = callable else {
            return Err(self.expected("a function", callable));
        };
        let (callable, arguments) = match (callable, self.tuple(arguments)?) {
            (Global::RebuildFromType, &[Value::Global(made_by), Value::Global(_), tuple, _]) => {
                (made_by, tuple)
            }
            _ => (callable, arguments),
        };
        let value = match (callable, self.tuple(arguments)?) {
            (Global::OrderedDict, []) => return self.push_dict(),
            (Global::Inert, _) => Value::Inert,
            (
                Global::RebuildTensor,
                &[
                    Value::Storage(storage),
                    Value::Int(offset),
                    Value::Tuple(shape, shape_end),
                    Value::Tuple(strides, strides_end),
                    Value::Bool,
                    _,
                    ..,
                ],
            ) => {
                let (shape, strides) = ((shape, shape_end), (strides, strides_end));
                self.views.push(View { storage, offset, shape, strides });
                Value::Tensor(self.views.len() as u32 - 1)
            }
            (Global::RebuildParameter, &[tensor @ Value::Tensor(_), ..]) => tensor,
            _ => {
                return Err(self.fault(format!("found other arguments than {callable:?} takes")));
            }
        };
        self.stack.push(value);
        Ok(())
    }

    /// BUILD: attributes of a state dict (`_metadata`), which carry no weights.
    fn build(&mut self) -> Result<(), Problem> {
        self.pop()?;
        match self.top()? {
            Value::Dict(_) | Value::Inert => Ok(()),
            other => Err(self.expected("a dict", other)),
        }
    }

    fn tensors_of(&self, top: Value<'a>) -> Result<Vec<PickledTensor<'a>>, Problem> {
        let Value::Dict(dict) = top else {
            return Err(Problem::NotAStateDict { found: top.kind() });
        };
        for &(key, _) in &self.dicts[dict as usize] {
            if let Value::Text(name @ ("_strategy" | "_version" | "_rescale_layer")) = key {
                return Err(Problem::AlreadyConverted { key: name.to_owned() });
            }
        }
        let items = &self.dicts[self.state_dict(dict)? as usize];
        let mut names = HashSet::new();
        let mut tensors = Vec::with_capacity(items.len());
        for &(key, value) in items {
            let tensor = self.tensor(key, value)?;
            // Found here, because a name repeated by reference costs the pickle two bytes only.
            if !names.insert(tensor.name) {
                return Err(Problem::DuplicateTensor { tensor: clip(tensor.name) });
            }
            tensors.push(tensor);
        }
        Ok(tensors)
    }

    /// The dict of tensors in what training saves around it: `top` itself where it holds a tensor,
    /// else the one such dict at any depth, such as `state_dict` of Lightning or `module` of
    /// DeepSpeed. States of optimizers, whose tensors are no weights, do not count.
    ///
    /// Dicts are visited once each, so a dict that holds itself ends the search as well.
    fn state_dict(&self, top: u32) -> Result<u32, Problem> {
        let mut seen = HashSet::from([top]);
        let mut found: Vec<(u32, &str)> = Vec::new();
        let mut open = vec![(top, "")];
        while let Some((dict, name)) = open.pop() {
            let items = &self.dicts[dict as usize];
            if items.iter().any(|item| matches!(item, (Value::Text(_), Value::Tensor(_)))) {
                found.push((dict, name));
                continue;
            }
            for item in items.iter().rev() {
                if let &(Value::Text(key), Value::Dict(inner)) = item
                    && !OPTIMIZERS.iter().any(|part| key.contains(part))
                    && seen.insert(inner)
                {
                    open.push((inner, key));
                }
            }
        }
        match *found {
            [] => Ok(top),
            [(dict, _)] => Ok(dict),
            _ => {
                // Three names say enough, and a hostile file may have thousands.
                let names = found.iter().take(3).map(|&(_, name)| clip(name)).collect();
                Err(Problem::Candidates { found: found.len(), names })
            }
        }
    }

    fn tensor(&self, key: Value<'a>, value: Value<'a>) -> Result<PickledTensor<'a>, Problem> {
        let Value::Text(name) = key else { return Err(self.expected("a string as key", key)) };
        let Value::Tensor(view) = value else {
            return Err(Problem::NotATensor { key: clip(name), found: value.kind() });
        };
        let view = self.views[view as usize];
        let storage = self.storages[view.storage as usize];
        Ok(PickledTensor {
            name,
            key: storage.key,
            scalar: storage.scalar,
            storage_len: storage.len,
            offset: u64::try_from(view.offset)
                .map_err(|_| negative(name, "offset", view.offset))?,
            shape: self.sizes(name, "dimension", view.shape)?,
            strides: self.sizes(name, "stride", view.strides)?,
        })
    }

    fn sizes(&self, name: &str, what: &str, cells: (u32, u32)) -> Result<Vec<u64>, Problem> {
        let cells = &self.cells[cells.0 as usize..cells.1 as usize];
        check_rank(name, cells.len())?;
        let size = |&cell: &Value<'_>| match cell {
            Value::Int(n) => u64::try_from(n).map_err(|_| negative(name, what, n)),
            other => Err(Problem::Shape {
                tensor: clip(name),
                cause: format!("found {} as {what}; expected an integer", other.kind()),
            }),
        };
        cells.iter().map(size).collect()
    }
}

fn negative(tensor: &str, what: &str, found: i64) -> Problem {
    Problem::Shape {
        tensor: clip(tensor),
        cause: format!("found {what} {found}; expected zero or more"),
    }
}
