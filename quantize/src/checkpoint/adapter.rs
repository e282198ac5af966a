//! Adapters as RWKV-PEFT and Hugging Face PEFT save them, merged into their base.
//!
//! What an adapter is follows from the names of its tensors; `X` is a matrix `X.weight` of the
//! base.
//!
//! | tensors | kind |
//! |---|---|
//! | `X.lora_A` `[r, in]`, `X.lora_B` `[out, r]` | LoRA: `W + alpha / r B A` |
//! | those and `X.lora_E` `[r, 1]` | AdaLoRA: `W + alpha / (r + 1e-5) B (E A)`, E for each row of A |
//! | those, `X.init_lora_A` and `X.init_lora_B` | PiSSA: `W - B0 A0 + B A` |
//! | `X.disha` or `X.bone` `[r, out]` | DiSHA: the block is added to every `r` columns |
//! | `X.disha` or `X.bone` `[in / r, r, r]` | Bone: tiles `T` become `T + T b + b` |
//! | `X.miss_block` or `X.bone_block` `[r, out]` | MiSS, DiSHA's name in PEFT; `[r, m]` is repeated over the outputs |
//! | `X.miss_block` or `X.bone_block` `[out / r, r, r]` | the same as Bone, by tiles' rows |
//! | any other | replaces the tensor of the base |

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::error::{CheckpointError, Problem, clip};
use super::tensor::{Tensor, TensorEntry};
use super::update::{Product, Update};
use super::{Checkpoint, Role};

/// Endings of the tensors of an adapter.
const ENDINGS: [(&str, Factor); 9] = [
    (".lora_A", Factor::A),
    (".lora_B", Factor::B),
    (".lora_E", Factor::E),
    (".init_lora_A", Factor::StartA),
    (".init_lora_B", Factor::StartB),
    (".disha", Factor::Block),
    (".bone", Factor::Block),
    (".miss_block", Factor::PeftBlock),
    (".bone_block", Factor::PeftBlock),
];

/// What a tensor of an adapter is to its matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Factor {
    A,
    B,
    E,
    StartA,
    StartB,
    Block,
    PeftBlock,
}

impl Factor {
    /// The factor as what training began with.
    fn of_start(self) -> Self {
        match self {
            Self::A => Self::StartA,
            Self::B => Self::StartB,
            other => other,
        }
    }
}

/// What PEFT adds to AdaLoRA's rank before it divides by it.
const ADALORA_EPS: f64 = 1e-5;

/// Values that are checked at a time.
const CHUNK: usize = 1 << 16;

/// How many tensors of the base an adapter has changed, by its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Merged {
    /// Matrices with a LoRA adapter.
    pub lora: usize,
    /// Matrices with an AdaLoRA adapter.
    pub adalora: usize,
    /// Matrices with a PiSSA adapter.
    pub pissa: usize,
    /// Matrices with a DiSHA adapter of two dimensions.
    pub disha: usize,
    /// Matrices with a DiSHA adapter of three dimensions, Bone.
    pub bone: usize,
    /// Tensors that were replaced whole.
    pub replaced: usize,
}

impl Merged {
    /// Whether any update was scaled by alpha.
    pub fn is_scaled(&self) -> bool {
        self.lora + self.adalora > 0
    }
}

impl fmt::Display for Merged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            ("LoRA", self.lora),
            ("AdaLoRA", self.adalora),
            ("PiSSA", self.pissa),
            ("DiSHA", self.disha),
            ("Bone", self.bone),
        ];
        for (kind, count) in kinds.into_iter().filter(|&(_, count)| count > 0) {
            write!(f, "{kind} on {count} matrices, ")?;
        }
        write!(f, "{} tensors replaced", self.replaced)
    }
}

/// The tensors of one or more adapter files.
struct Adapter<'a> {
    files: &'a [Checkpoint],
    /// Matrix without `.weight` -> its parts.
    parts: BTreeMap<&'a str, Factors<'a>>,
    /// Whole tensors.
    whole: BTreeMap<&'a str, (usize, &'a TensorEntry)>,
}

impl Checkpoint {
    /// Merges adapters of RWKV-PEFT into this base: LoRA, AdaLoRA, PiSSA, and DiSHA in both forms,
    /// told apart by their tensors' names; tensors that belong to none replace those of the base.
    ///
    /// Nothing is computed yet: matrices are merged, in f32, when their rows are read, so memory
    /// stays bounded by the rows that are asked for and the adapter's factors for one matrix.
    ///
    /// `files` together are one adapter: one file, or for PiSSA two, of which one holds what
    /// training started from (`init_pissa.pth`). `alpha` is LoRA's, whose updates are scaled by
    /// `alpha / rank`; the other kinds have no scale.
    ///
    /// # Errors
    ///
    /// When the files hold no adapter, a matrix or tensor that the base lacks, a shape or rank
    /// that does not fit, a value that is not finite, or LoRA and `alpha` is not given. The base
    /// is then as it was.
    pub fn merge(
        &mut self,
        files: Vec<Self>,
        alpha: Option<f64>,
    ) -> Result<Merged, CheckpointError> {
        let mut merged = Merged::default();
        let own = self.own_adapter();
        let has_own = own.is_some();
        let files: Vec<Self> = own.into_iter().chain(files).collect();
        if files.is_empty() {
            return Ok(merged);
        }
        let adapter = Adapter::new(&files)?;
        let mut changed = Vec::new();
        for (&matrix, parts) in &adapter.parts {
            let change = adapter.update(self, matrix, parts, alpha, &mut merged);
            changed.push(change.map_err(|error| match *error.problem() {
                Problem::AlphaMissing { rank } if has_own => {
                    CheckpointError::new(&self.path, Problem::BaseAndAdapter { rank })
                }
                _ => error,
            })?);
        }
        for (&name, &(file, entry)) in &adapter.whole {
            adapter.check_whole(self, name, file, entry)?;
            merged.replaced += 1;
            changed.push((name.to_owned(), Change::Whole(adapter.shifted(self, file, entry))));
        }
        for (name, change) in changed {
            match (self.index.get(&name), change) {
                (Some(&at), Change::Update(update)) => self.entries[at].update = Some(update),
                (Some(&at), Change::Whole(entry)) => self.entries[at] = entry,
                (None, Change::Whole(entry)) => {
                    self.index.insert(name, self.entries.len());
                    self.entries.push(entry);
                }
                (None, Change::Update(_)) => unreachable!("the base's matrix was found before"),
            }
        }
        for file in files {
            let alpha = alpha.or(file.peft.as_ref().and_then(|config| config.alpha));
            self.adopt(file, Role::Adapter { alpha: alpha.filter(|_| merged.is_scaled()) });
        }
        if has_own {
            self.entries.retain(|entry| factor_of(&entry.name).is_none());
            let names = self.entries.iter().map(|entry| entry.name.clone());
            self.index = names.zip(0..).collect();
        }
        Ok(merged)
    }

    /// Whether it is a base and its adapter in one, as the state dict of a model in training is.
    /// [`merge`](Self::merge) makes one of both.
    pub fn is_base_and_adapter(&self) -> bool {
        let has_adapter = self.entries.iter().any(|entry| factor_of(&entry.name).is_some());
        has_adapter && self.index.contains_key("emb.weight")
    }

    /// The adapter in a base's own files, as a checkpoint of its own.
    fn own_adapter(&self) -> Option<Self> {
        if !self.is_base_and_adapter() {
            return None;
        }
        let is_adapter = |entry: &&TensorEntry| factor_of(&entry.name).is_some();
        Some(Self {
            path: self.path.clone(),
            sources: self.sources.first().cloned().into_iter().collect(),
            files: self.files.clone(),
            entries: self.entries.iter().filter(is_adapter).cloned().collect(),
            index: HashMap::new(),
            naming: None,
            declared: Vec::new(),
            checksums: Vec::new(),
            grids: HashMap::new(),
            version: None,
            peft: None,
            ..*self
        })
    }
}

/// The matrix and the part of an adapter's tensor; `None` for any other tensor.
fn factor_of(name: &str) -> Option<(&str, Factor)> {
    ENDINGS.iter().find_map(|&(ending, part)| Some((name.strip_suffix(ending)?, part)))
}

/// The parts of one matrix's adapter: the file, and the entry in it.
type Factors<'a> = BTreeMap<Factor, (usize, &'a TensorEntry)>;

/// A matrix of the base.
struct Target {
    name: String,
    /// Outputs and inputs.
    dims: [usize; 2],
}

impl Target {
    /// What is wrong with a tensor of an adapter that does not fit.
    fn misfit(&self, entry: &TensorEntry, expected: &str) -> Problem {
        let (found, dims) = (entry.layout.shape(), self.dims);
        let name = clip(&self.name);
        let cause = format!(
            "has shape {found:?}, expected {expected}; {} of the base is {dims:?}",
            name.escape_debug(),
        );
        Problem::Shape { tensor: clip(&entry.name), cause }
    }
}

/// What happens to a tensor of the base.
enum Change {
    Update(Box<Update>),
    Whole(TensorEntry),
}

impl<'a> Adapter<'a> {
    fn new(files: &'a [Checkpoint]) -> Result<Self, CheckpointError> {
        let mut adapter = Self { files, parts: BTreeMap::new(), whole: BTreeMap::new() };
        let took = |file: &Checkpoint| file.peft.as_ref().is_some_and(|p| p.took_start_from_base);
        let took_start = files.iter().any(took);
        // Two of PEFT's folders: the trained factors, and those that training began with.
        let is_start =
            |file: usize| took_start && files[file].peft.is_some() && !took(&files[file]);
        if took_start && files.len() < 2 {
            return Err(adapter.fault(0, Problem::StartMissing));
        }
        for (file, checkpoint) in files.iter().enumerate() {
            for entry in &checkpoint.entries {
                check_finite(checkpoint, entry)?;
                let earlier = match factor_of(&entry.name) {
                    Some((matrix, part)) => {
                        let part = if is_start(file) { part.of_start() } else { part };
                        adapter.parts.entry(matrix).or_default().insert(part, (file, entry))
                    }
                    None => adapter.whole.insert(&entry.name, (file, entry)),
                };
                if earlier.is_some() {
                    let tensor = clip(&entry.name);
                    return Err(adapter.fault(file, Problem::AdaptedTwice { tensor }));
                }
            }
        }
        if adapter.parts.is_empty() {
            let state = adapter.whole.keys().any(|name| name.ends_with(".att.time_state"));
            return Err(adapter.fault(0, Problem::NoAdapter { state }));
        }
        Ok(adapter)
    }

    fn fault(&self, file: usize, problem: Problem) -> CheckpointError {
        CheckpointError::new(&self.files[file].path, problem)
    }

    /// An entry of file `file`, as one of the base that has taken in all files.
    fn shifted(&self, base: &Checkpoint, file: usize, entry: &TensorEntry) -> TensorEntry {
        let before: usize = self.files[..file].iter().map(|file| file.files.len()).sum();
        TensorEntry { file: base.files.len() + before + entry.file, ..entry.clone() }
    }

    /// The change of one matrix, and the matrix's name.
    fn update(
        &self,
        base: &Checkpoint,
        matrix: &str,
        parts: &Factors<'_>,
        alpha: Option<f64>,
        merged: &mut Merged,
    ) -> Result<(String, Change), CheckpointError> {
        let target = format!("{matrix}.weight");
        let Some((&first, &(file, entry))) = parts.first_key_value() else {
            unreachable!("a matrix is listed with its first part")
        };
        let dims = base.tensor(&target).map(|weight| weight.shape().to_vec());
        let Some(&[outputs, inputs]) = dims.as_deref() else {
            let (tensor, target) = (clip(&entry.name), clip(&target));
            return Err(self.fault(file, Problem::AdapterTarget { tensor, target }));
        };
        let merged_before =
            base.index.get(&target).is_some_and(|&at| base.entries[at].update.is_some());
        if self.whole.contains_key(&*target) {
            return Err(self.fault(file, Problem::AdapterWithBase { tensor: clip(&target) }));
        }
        let is_block = |part: &Factor| matches!(part, Factor::Block | Factor::PeftBlock);
        let two_kinds = parts.keys().any(is_block) && parts.len() > 1;
        if merged_before || two_kinds {
            return Err(self.fault(file, Problem::AdaptedTwice { tensor: clip(&target) }));
        }
        let target = Target { name: target, dims: [outputs, inputs] };
        let update = match first {
            Factor::Block => self.block_update(base, (file, entry), &target, merged)?,
            Factor::PeftBlock => self.peft_block_update(base, (file, entry), &target, merged)?,
            _ => self.low_rank_update(base, parts, (&target, matrix), alpha, merged)?,
        };
        Ok((target.name, Change::Update(Box::new(update))))
    }

    /// DiSHA or Bone, by the number of dimensions.
    fn block_update(
        &self,
        base: &Checkpoint,
        (file, entry): (usize, &TensorEntry),
        target: &Target,
        merged: &mut Merged,
    ) -> Result<Update, CheckpointError> {
        let [outputs, inputs] = target.dims;
        let block = self.shifted(base, file, entry);
        match *entry.layout.shape() {
            [rank, out] if out == outputs && rank > 0 => {
                merged.disha += 1;
                Ok(Update::Shared(block))
            }
            [blocks, rank, same]
                if rank == same
                    && blocks.checked_mul(rank) == Some(inputs)
                    && outputs.is_multiple_of(rank) =>
            {
                merged.bone += 1;
                Ok(Update::Tiles(block))
            }
            _ => {
                let expected = format!(
                    "[r, {outputs}], or [{inputs} / r, r, r] of an r that divides {outputs}"
                );
                Err(self.fault(file, target.misfit(entry, &expected)))
            }
        }
    }

    /// MiSS, as Hugging Face PEFT has it.
    fn peft_block_update(
        &self,
        base: &Checkpoint,
        (file, entry): (usize, &TensorEntry),
        target: &Target,
        merged: &mut Merged,
    ) -> Result<Update, CheckpointError> {
        let [outputs, inputs] = target.dims;
        let block = self.shifted(base, file, entry);
        match *entry.layout.shape() {
            [rank, repeated] if rank > 0 && repeated > 0 && outputs.is_multiple_of(repeated) => {
                merged.disha += 1;
                Ok(Update::Shared(block))
            }
            [blocks, rank, same]
                if rank == same
                    && blocks.checked_mul(rank) == Some(outputs)
                    && inputs.is_multiple_of(rank) =>
            {
                merged.bone += 1;
                Ok(Update::RowTiles(block))
            }
            _ => {
                let expected = format!(
                    "[r, m] of an m that divides {outputs}, or [{outputs} / r, r, r] of an r that \
                     divides {inputs}"
                );
                Err(self.fault(file, target.misfit(entry, &expected)))
            }
        }
    }

    /// PiSSA where training's start is known, else LoRA.
    fn low_rank_update(
        &self,
        base: &Checkpoint,
        parts: &Factors<'_>,
        (target, matrix): (&Target, &str),
        alpha: Option<f64>,
        merged: &mut Merged,
    ) -> Result<Update, CheckpointError> {
        let start = self.pair(base, parts, (Factor::StartA, Factor::StartB), target)?;
        let trained = self.pair(base, parts, (Factor::A, Factor::B), target)?;
        let singular = self.singular_values(base, parts, trained.as_ref(), target)?;
        let (file, name) =
            parts.values().next().map_or((0, ""), |&(file, entry)| (file, &*entry.name));
        match (trained, start) {
            (Some(trained), Some(start)) => {
                merged.pissa += 1;
                let rank = trained.a.layout.shape()[0];
                // RWKV-PEFT's own PiSSA has no scale; Hugging Face's has LoRA's.
                let peft = self.files[file].peft.as_ref();
                let scale =
                    peft.and_then(|peft| peft.scale(matrix, rank, alpha)).unwrap_or(1.0) as f32;
                let products = [Product { scale, ..trained }, Product { scale: -scale, ..start }];
                Ok(Update::LowRank(products.into()))
            }
            (Some(trained), None) => {
                let rank = trained.a.layout.shape()[0];
                let scale = match &self.files[file].peft {
                    Some(peft) => peft.scale(matrix, rank, alpha),
                    None => alpha.map(|alpha| alpha / rank as f64),
                };
                let Some(scale) = scale else {
                    return Err(self.fault(file, Problem::AlphaMissing { rank }));
                };
                let (rank, is_adaptive) = (rank as f64, singular.is_some());
                if is_adaptive {
                    merged.adalora += 1;
                } else {
                    merged.lora += 1;
                }
                let scale = if is_adaptive { scale * rank / (rank + ADALORA_EPS) } else { scale };
                let scale = scale as f32;
                Ok(Update::LowRank(vec![Product { scale, e: singular, ..trained }]))
            }
            (None, _) => Err(self.fault(file, Problem::PissaStartAlone { tensor: clip(name) })),
        }
    }

    /// AdaLoRA's singular values, one for each row of A.
    fn singular_values(
        &self,
        base: &Checkpoint,
        parts: &Factors<'_>,
        trained: Option<&Product>,
        target: &Target,
    ) -> Result<Option<TensorEntry>, CheckpointError> {
        let Some(&(file, entry)) = parts.get(&Factor::E) else { return Ok(None) };
        let Some(rank) = trained.map(|product| product.a.layout.shape()[0]) else {
            return Err(self.fault(file, Problem::AdapterHalf { tensor: clip(&entry.name) }));
        };
        if *entry.layout.shape() != [rank, 1] {
            return Err(self.fault(file, target.misfit(entry, &format!("[{rank}, 1]"))));
        }
        Ok(Some(self.shifted(base, file, entry)))
    }

    /// The product of two factors, with scale 1; `None` when the adapter has neither.
    fn pair(
        &self,
        base: &Checkpoint,
        parts: &Factors<'_>,
        (a, b): (Factor, Factor),
        target: &Target,
    ) -> Result<Option<Product>, CheckpointError> {
        let [outputs, inputs] = target.dims;
        let ((file_a, a), (file_b, b)) = match (parts.get(&a), parts.get(&b)) {
            (Some(&a), Some(&b)) => (a, b),
            (None, None) => return Ok(None),
            (Some(&(file, lone)), None) | (None, Some(&(file, lone))) => {
                let tensor = clip(&lone.name);
                return Err(self.fault(file, Problem::AdapterHalf { tensor }));
            }
        };
        let shape = |file, entry: &TensorEntry, fits: bool, expected: String| {
            if fits { Ok(()) } else { Err(self.fault(file, target.misfit(entry, &expected))) }
        };
        let fits = matches!(*a.layout.shape(), [rank, i] if i == inputs && rank > 0);
        shape(file_a, a, fits, format!("[r, {inputs}]"))?;
        let fits = matches!(*b.layout.shape(), [o, rank] if o == outputs && rank > 0);
        shape(file_b, b, fits, format!("[{outputs}, r]"))?;
        let ranks = [a.layout.shape()[0], b.layout.shape()[1]];
        if ranks[0] != ranks[1] {
            let tensors = [clip(&a.name), clip(&b.name)];
            return Err(self.fault(file_b, Problem::AdapterRanks { tensors, ranks }));
        }
        let (a, b) = (self.shifted(base, file_a, a), self.shifted(base, file_b, b));
        Ok(Some(Product { scale: 1.0, a, b, e: None }))
    }

    /// Checks that a whole tensor can take the place of the base's.
    fn check_whole(
        &self,
        base: &Checkpoint,
        name: &str,
        file: usize,
        entry: &TensorEntry,
    ) -> Result<(), CheckpointError> {
        let Some(of_base) = base.tensor(name) else {
            // Some containers drop what the model does not use, and none has a state.
            let unused = ["v0", "v1", "v2"].iter().any(|v| name == format!("blocks.0.att.{v}"));
            if unused || name.ends_with(".att.time_state") {
                return Ok(());
            }
            return Err(self.fault(file, Problem::NotInBase { tensor: clip(name) }));
        };
        // A vector comes as `[d]` and as `[1, 1, d]`.
        let squeezed =
            |shape: &[usize]| shape.iter().copied().filter(|&n| n != 1).collect::<Vec<_>>();
        if squeezed(entry.layout.shape()) == squeezed(of_base.shape()) {
            return Ok(());
        }
        let problem = Problem::ReplacementShape {
            tensor: clip(name),
            found: entry.layout.shape().to_vec(),
            expected: of_base.shape().to_vec(),
        };
        Err(self.fault(file, problem))
    }
}

/// Checks an adapter's tensor, whose values would otherwise be blamed on the base.
fn check_finite(checkpoint: &Checkpoint, entry: &TensorEntry) -> Result<(), CheckpointError> {
    let tensor = Tensor::new(entry, &checkpoint.files);
    let (rows, columns) = (tensor.rows(), tensor.columns());
    // A file may claim any number of rows of no values.
    if columns == 0 {
        return Ok(());
    }
    let step = (CHUNK / columns).max(1);
    let mut values = Vec::new();
    for first in (0..rows).step_by(step) {
        let range = first..rows.min(first + step);
        values.resize(range.len() * columns, 0.0);
        tensor.read_rows(range, &mut values);
        if let Some(found) = values.iter().copied().find(|value| !value.is_finite()) {
            let problem = Problem::NonFinite { tensor: clip(&entry.name), found };
            return Err(CheckpointError::new(&checkpoint.path, problem));
        }
    }
    Ok(())
}
