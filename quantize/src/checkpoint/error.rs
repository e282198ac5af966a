//! Why a checkpoint was refused: one problem for each thing that can be wrong with a file.
//!
//! A message says what was found, what was expected and where. Names come from the file, so they
//! are clipped and printed escaped: a hostile file writes neither pages nor control characters.

use std::io;
use std::path::{Path, PathBuf};

use crate::vocabulary::VocabularyError;

/// Why a checkpoint was refused: the file, and what is wrong with it.
///
/// The message names the file and, where one is concerned, the tensor, what was found and what
/// was expected.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct CheckpointError {
    path: PathBuf,
    problem: Problem,
}

impl CheckpointError {
    pub(super) fn new(path: &Path, problem: Problem) -> Self {
        Self { path: path.to_owned(), problem }
    }

    /// The file that was refused.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong with it.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// What is wrong with it, by value.
    pub fn into_problem(self) -> Problem {
        self.problem
    }
}

/// The containers that are read, as messages list them.
const EXPECTED: &str = ".pth, .safetensors, .st, .gguf or rwkv.cpp .bin";

/// What is wrong with a checkpoint file.
///
/// Names that come from the file are shortened and printed escaped, so that a hostile file
/// cannot write to the terminal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file could not be opened or mapped.
    #[error("cannot be read: {0}")]
    Io(io::Error),
    /// The path is neither a regular file nor a directory.
    #[error("is not a regular file")]
    NotAFile,
    /// The path is a directory that holds no checkpoint of a known layout.
    #[error(
        "is a directory; expected one with model.safetensors, its index, or pytorch_model.bin, or an adapter's with adapter_model.safetensors"
    )]
    Directory,
    /// A Hugging Face index is not the JSON it must be, or names no file beside it.
    #[error("Hugging Face index: {cause}")]
    Index {
        /// What was found and what was expected.
        cause: String,
    },
    /// A Hugging Face index and the files it names disagree.
    #[error("tensor {tensor:?} should be in {file:?} by the index, but is not")]
    NotInShard {
        /// The tensor, by its name in the file.
        tensor: String,
        /// The file that should hold it.
        file: String,
    },
    /// A part of a file that is split in several is not beside the others.
    #[error("is one of {count} parts, of which {part:?} is not beside it; download all of them")]
    PartMissing {
        /// The name of the first that is missing.
        part: String,
        /// How many there are.
        count: usize,
    },
    /// A part of a GGUF file under another name than llama.cpp gives it.
    #[error(
        "is a part of a split GGUF file, whose first part says what it is; name the parts \
         NAME-00001-of-00003.gguf as llama.cpp does, or join them with llama-gguf-split"
    )]
    PartAlone,
    /// A matrix has a bias that no tensor of the architecture can take up.
    #[error(
        "tensor {tensor:?} adds a constant that RWKV has no tensor for; expected zeros or none"
    )]
    MatrixBias {
        /// The bias.
        tensor: String,
    },
    /// The head has a bias that does not go into the norm before it.
    #[error(
        "tensor \"head.bias\" adds a constant to each logit, which goes into ln_out.bias only \
         where the head's rows are independent: with at most as many tokens as channels"
    )]
    HeadBias,
    /// A demo's ROSA layer adds something.
    #[error("{layer:?} is a ROSA layer of RWKV-8 that adds to the model; expected one of zeros")]
    Rosa {
        /// The layer's name.
        layer: String,
    },
    /// The vocabulary that the container brings cannot be used.
    #[error("{0}")]
    Vocabulary(VocabularyError),
    /// The container has a tensor that no checkpoint of its architecture has.
    #[error("tensor {tensor:?} belongs to no RWKV model of this container's naming")]
    UnknownTensor {
        /// The tensor, by its name in the file.
        tensor: String,
    },
    /// The container holds another architecture.
    #[error("is a {found:?} model; expected rwkv6 or rwkv7")]
    ForeignArchitecture {
        /// The architecture that the file names.
        found: String,
    },
    /// The container states another epsilon of LayerNorm than the runtime's.
    #[error(
        "{key} is {found}; expected 0.00001, the epsilon of LayerNorm that models are run with"
    )]
    Epsilon {
        /// The key in the container's metadata.
        key: String,
        /// What it states.
        found: f32,
    },
    /// A `config.json` is not the JSON it must be.
    #[error("config.json: {cause}")]
    Config {
        /// What was found and what was expected.
        cause: String,
    },
    /// An `adapter_config.json` is not the JSON it must be, or states what is not supported.
    #[error("adapter_config.json: {cause}")]
    AdapterConfig {
        /// What was found and what was expected.
        cause: String,
    },
    /// A binary header is cut short or has an impossible value.
    #[error("at byte {position}: {cause}")]
    Malformed {
        /// Offset in the file.
        position: usize,
        /// What was found and what was expected.
        cause: String,
    },
    /// The file has no bytes.
    #[error("is empty; the download or copy did not finish")]
    Empty,
    /// A Git LFS pointer stands in place of the file itself.
    #[error("is a Git LFS pointer, not the checkpoint; fetch it with `git lfs pull`")]
    LfsPointer,
    /// A web page was saved in place of the file.
    #[error("is an HTML page, not a checkpoint; use the direct download link")]
    Html,
    /// A tar archive, as PyTorch saved before version 0.2.
    #[error(
        "is a tar archive, PyTorch's format before 0.2; expected the zip format: save it \
         again with a current PyTorch: torch.save(torch.load(path), new_path)"
    )]
    LegacyTorch,
    /// A known container that this version does not read.
    #[error("is {found}, which is not supported; expected a checkpoint in {EXPECTED}")]
    UnsupportedContainer {
        /// The container's name, with its article.
        found: &'static str,
    },
    /// A file that is known and holds no checkpoint as it is.
    #[error("is {found}, not a checkpoint; {next}")]
    OtherFile {
        /// What it is, with its article.
        found: &'static str,
        /// What to do.
        next: &'static str,
    },
    /// The first bytes belong to no known container.
    #[error("is no known checkpoint: begins with bytes {found}; expected {EXPECTED}")]
    UnknownContainer {
        /// The first bytes in hexadecimal.
        found: String,
    },
    /// The zip archive around a `.pth` is damaged.
    #[error("is not a readable zip archive ({cause}); a .pth cut short looks like this")]
    Zip {
        /// What the archive reader says.
        cause: String,
    },
    /// A zip member is packed in a way that is not read, or is not what the archive says.
    #[error(
        "zip member {member:?} is {found}; expected stored or deflated bytes: save the checkpoint \
         again with torch.save"
    )]
    PackedMember {
        /// The member's name.
        member: String,
        /// How it is stored.
        found: String,
    },
    /// Deflated members could not be written to a temporary file, which they are read from.
    #[error(
        "has deflated members, which need a temporary file: {0}; set TMPDIR to a larger folder"
    )]
    Inflate(io::Error),
    /// A zip member's bytes are not those that were written.
    #[error(
        "zip member {member:?} is damaged: its CRC-32 is {found:08x}, the archive says \
         {expected:08x}; copy or download the file again"
    )]
    Checksum {
        /// The member's name.
        member: String,
        /// What its bytes give.
        found: u32,
        /// What the archive's directory states.
        expected: u32,
    },
    /// A zip member lies outside the file.
    #[error("zip member {member:?} has {found} bytes at {start}, beyond the file's {file_len}")]
    MemberBeyondFile {
        /// The member's name.
        member: String,
        /// Offset of its first byte.
        start: u64,
        /// Its length in bytes.
        found: u64,
        /// The file's length in bytes.
        file_len: u64,
    },
    /// The zip archive is not a `torch.save` archive.
    #[error("is a zip archive with {found} members named data.pkl; expected one (torch.save)")]
    PickleCount {
        /// How many there are.
        found: usize,
    },
    /// The pickle is longer than any checkpoint's.
    #[error("data.pkl has {found} bytes; expected at most {limit}")]
    PickleTooLong {
        /// Length in bytes.
        found: u64,
        /// Longest accepted length in bytes.
        limit: u64,
    },
    /// The tensors were saved on a big-endian machine.
    #[error("was saved with byte order {found:?}; expected \"little\"")]
    ByteOrder {
        /// The archive's `byteorder` member.
        found: String,
    },
    /// The pickle names an object outside the allow-list. Nothing was executed.
    #[error(
        "the pickle asks for {name:?}, which a checkpoint of tensors never needs; refused, and \
         nothing was executed"
    )]
    ForbiddenGlobal {
        /// Module and name, joined by a dot.
        name: String,
    },
    /// The pickle is malformed or uses what `torch.save` never writes for a state dict.
    #[error("data.pkl at byte {position}: {cause}")]
    Pickle {
        /// Offset in the pickle.
        position: usize,
        /// What was found and what was expected.
        cause: String,
    },
    /// The pickle holds something other than a dict of tensors.
    #[error("holds {found}; expected a state dict (name -> tensor)")]
    NotAStateDict {
        /// What it holds, with its article.
        found: &'static str,
    },
    /// The pickle holds several dicts of tensors.
    #[error(
        "holds {found} state dicts, under {}; expected one: save it alone, with torch.save",
        names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
    )]
    Candidates {
        /// How many there are.
        found: usize,
        /// The keys of the first three.
        names: Vec<String>,
    },
    /// A value of the state dict is not a tensor.
    #[error("{key:?} holds {found}; expected a tensor")]
    NotATensor {
        /// The key.
        key: String,
        /// What it holds, with its article.
        found: &'static str,
    },
    /// The file was converted by the `rwkv` PyPI package for one strategy.
    #[error(
        "was converted by the rwkv PyPI package (key {key:?}): its weights are transposed and \
         rescaled; use the original checkpoint"
    )]
    AlreadyConverted {
        /// The key that says so.
        key: String,
    },
    /// The file holds no tensor at all.
    #[error("holds no tensors")]
    NoTensors,
    /// A name occurs twice.
    #[error("tensor {tensor:?} occurs twice")]
    DuplicateTensor {
        /// The tensor.
        tensor: String,
    },
    /// A tensor's values are not floats.
    #[error(
        "tensor {tensor:?} is stored as {found}; expected floats, or in GGUF Q4_0 to Q8_0, Q2_K to \
         Q6_K, IQ4_NL or IQ4_XS"
    )]
    UnsupportedDtype {
        /// The tensor.
        tensor: String,
        /// The stored type.
        found: String,
    },
    /// A shape or stride is impossible.
    #[error("tensor {tensor:?}: {cause}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// What was found and what was expected.
        cause: String,
    },
    /// A tensor's bytes are not in the archive.
    #[error("tensor {tensor:?} refers to zip member {member:?}, which is missing")]
    MissingStorage {
        /// The tensor.
        tensor: String,
        /// The absent member.
        member: String,
    },
    /// A tensor's storage is shorter than the pickle says.
    #[error("tensor {tensor:?}: zip member {member:?} has {found} bytes; expected {expected}")]
    StorageLength {
        /// The tensor.
        tensor: String,
        /// The member.
        member: String,
        /// Its length in bytes.
        found: u64,
        /// The length that the pickle declares, in bytes.
        expected: u64,
    },
    /// A tensor's elements lie outside its storage.
    #[error(
        "tensor {tensor:?} of shape {shape:?} reaches {needed} elements; its storage has {available}"
    )]
    BeyondStorage {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Elements that the shape, strides and offset reach.
        needed: u64,
        /// Elements that exist.
        available: u64,
    },
    /// The safetensors header is longer than the file or than any real header.
    #[error("safetensors header of {found} bytes; expected at most {limit}")]
    HeaderLength {
        /// The length that the file declares, in bytes.
        found: u64,
        /// The longest that would be accepted in this file, in bytes.
        limit: u64,
    },
    /// The safetensors header is not the JSON it must be.
    #[error("safetensors header: {cause}")]
    Header {
        /// What the JSON reader says.
        cause: String,
    },
    /// A tensor's byte range is reversed, or ends beyond the data.
    #[error("tensor {tensor:?} has bytes {begin}..{end} of {available} bytes of data")]
    ByteRange {
        /// The tensor.
        tensor: String,
        /// First byte, relative to the data section.
        begin: u64,
        /// One past the last byte.
        end: u64,
        /// Length of the data section in bytes.
        available: u64,
    },
    /// A tensor's shape and its byte range disagree.
    #[error("tensor {tensor:?} of shape {shape:?} has {found} bytes; expected {expected}")]
    ByteLength {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Length of its byte range.
        found: u64,
        /// Length that its shape and type need.
        expected: u64,
    },
    /// Tensors overlap, or leave bytes that belong to none.
    #[error(
        "tensor {tensor:?} begins at byte {found}; expected {expected}, where the last one ends"
    )]
    NotContiguous {
        /// The tensor.
        tensor: String,
        /// Where it begins, relative to the data section.
        found: u64,
        /// Where the tensor before it ends.
        expected: u64,
    },
    /// Bytes after the last tensor.
    #[error("{found} bytes follow the last tensor; expected none")]
    TrailingBytes {
        /// How many.
        found: u64,
    },
    /// No tensor is named as those of an adapter are.
    #[error(
        "holds no adapter{}; expected tensors X.lora_A and X.lora_B, X.disha, or X.bone",
        if *.state { " but a tuned state" } else { "" }
    )]
    NoAdapter {
        /// Whether it holds a tuned state.
        state: bool,
    },
    /// An adapter belongs to a matrix that the base does not have.
    #[error("tensor {tensor:?} adapts {target:?}, which is no matrix of the base checkpoint")]
    AdapterTarget {
        /// The adapter's tensor.
        tensor: String,
        /// The matrix that it is for.
        target: String,
    },
    /// The two factors of an adapter have different ranks.
    #[error(
        "tensor {:?} is of rank {}, {:?} of rank {}; expected the same", .tensors[0], .ranks[0],
        .tensors[1], .ranks[1]
    )]
    AdapterRanks {
        /// The factors A and B.
        tensors: [String; 2],
        /// Their ranks.
        ranks: [usize; 2],
    },
    /// An adapter has one factor without the other.
    #[error("tensor {tensor:?} is one factor of two; the other is missing")]
    AdapterHalf {
        /// The factor that is there.
        tensor: String,
    },
    /// LoRA without its alpha, which its files do not hold.
    #[error(
        "is a LoRA adapter of rank {rank}, which counts alpha / {rank} times; alpha is not given"
    )]
    AlphaMissing {
        /// The rank.
        rank: usize,
    },
    /// A base checkpoint with its LoRA adapter in one file, and no alpha.
    #[error("is a base checkpoint and its LoRA adapter of rank {rank} in one; alpha is not given")]
    BaseAndAdapter {
        /// The rank.
        rank: usize,
    },
    /// A file that is merged as an adapter holds the adapted matrix too.
    #[error(
        "tensor {tensor:?} is adapted twice: the file holds it and its adapter, so it is base and \
         adapter in one"
    )]
    AdapterWithBase {
        /// The matrix.
        tensor: String,
    },
    /// An adapter whose training took the start of its factors out of the base, without it.
    #[error(
        "is trained from factors that were taken out of its base (init_lora_weights in \
         adapter_config.json); their file is missing"
    )]
    StartMissing,
    /// What a PiSSA adapter was before training, without what it is after.
    #[error("tensor {tensor:?} is the start of a PiSSA adapter; the trained one is missing")]
    PissaStartAlone {
        /// A factor of the start.
        tensor: String,
    },
    /// Two adapters, or an adapter and a replacement, for the same tensor.
    #[error("tensor {tensor:?} is adapted twice; expected one adapter at a time")]
    AdaptedTwice {
        /// The tensor.
        tensor: String,
    },
    /// A whole tensor of an adapter file that the base does not have.
    #[error("tensor {tensor:?} is in no adapter and not in the base checkpoint")]
    NotInBase {
        /// The tensor.
        tensor: String,
    },
    /// A whole tensor of an adapter file has another shape than the base's.
    #[error("tensor {tensor:?} has shape {found:?}; that of the base is {expected:?}")]
    ReplacementShape {
        /// The tensor.
        tensor: String,
        /// Its shape in the adapter file.
        found: Vec<usize>,
        /// Its shape in the base.
        expected: Vec<usize>,
    },
    /// The bonus of an RWKV-5.0 model, stored itself, has no logarithm.
    #[error(
        "tensor {tensor:?} holds {found}; RWKV-5.0 runs with its logarithm, so expected a bonus \
         above 0"
    )]
    Bonus {
        /// The tensor.
        tensor: String,
        /// The value.
        found: f32,
    },
    /// An adapter holds NaN or infinity.
    #[error("tensor {tensor:?} holds {found}; expected finite values")]
    NonFinite {
        /// The tensor.
        tensor: String,
        /// The value.
        found: f32,
    },
}

/// A name out of a file, short enough for a message.
pub(super) fn clip(name: &str) -> String {
    const LIMIT: usize = 120;
    match name.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name.to_owned(),
    }
}
