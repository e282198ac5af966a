//! Checking a model's weights, whole or in pieces.
//!
//! ```text
//! each section        its CRC-32 is the header's
//! each tensor         vectors are finite, int8 values and scales keep the format's bounds
//! the start state     is finite
//! ```
//!
//! In that order the first damage is named, however large the pieces are.

use super::{Model, ModelError, RECORD_LEN, Section, TensorProblem};
use crate::format::Progress;
use crate::format::crc32::Crc32;
use crate::format::tensors::{self, Storage, TensorName};

impl<'a> Model<'a> {
    /// Checks the CRC-32 of every section, that vectors are finite, and that
    /// int8 values and scales keep the format's bounds. Reads the whole file.
    ///
    /// # Errors
    ///
    /// Names the first section or tensor that is damaged.
    pub fn verify(&self) -> Result<(), ModelError> {
        self.verifier().finish().map_err(|damage| self.name(damage))
    }

    /// [`verify`](Self::verify) in pieces, for firmware that must not block.
    pub fn verifier(&self) -> Verifier<'a> {
        Verifier::new(*self, Stage::Section(0))
    }

    /// [`verify`](Self::verify) with another implementation of CRC-32, for
    /// machines that have instructions for it.
    ///
    /// # Errors
    ///
    /// As [`verify`](Self::verify).
    pub fn verify_with(&self, crc32: impl Fn(&[u8]) -> u32) -> Result<(), ModelError> {
        for section in Section::ALL {
            self.check_section(section, crc32(self.section(section)))
                .map_err(|damage| self.name(damage))?;
        }
        let values = Verifier::new(*self, Stage::Tensor(0)).finish();
        values.map_err(|damage| self.name(damage))
    }

    /// Refuses a section whose CRC-32 is not the header's.
    fn check_section(&self, section: Section, found: u32) -> Result<(), Damage> {
        let expected = self.header.section(section).crc;
        if found == expected { Ok(()) } else { Err(Damage::Section { section, found, expected }) }
    }

    /// The damage by its name.
    fn name(&self, damage: Damage) -> ModelError {
        let (tensor, problem) = match damage {
            Damage::Section { section, found, expected } => {
                return ModelError::SectionCrc { section, found, expected };
            }
            Damage::Tensor { index, problem } => {
                // Always enabled: this tells the compiler, which then leaves the other names out.
                let (layer, spec) = match self.shape().architecture.enabled() {
                    true => tensors::tensor(self.shape(), index),
                    false => (None, &tensors::GLOBAL[0]),
                };
                (TensorName { layer, name: spec.name }, problem)
            }
            Damage::StartState(problem) => {
                (TensorName { layer: None, name: "start state" }, problem)
            }
        };
        ModelError::Tensor { tensor, problem }
    }

    /// Checks about `most` bytes of the values of tensor `index`, from byte `at` of them on;
    /// returns how many, which is 0 at their end.
    fn check_values(&self, index: usize, at: usize, most: usize) -> Result<usize, TensorProblem> {
        let record = self.record(index);
        let Some(storage) = record.storage else { return Ok(0) };
        if storage == Storage::Vector {
            return check_floats(self.floats(&record), at, most);
        }
        let (values, scales) = self.quantized(&record, storage);
        let values = values.int8().unwrap_or_default();
        let part = part_of(values, at, most);
        if part.contains(&i8::MIN) {
            return Err(TensorProblem::Int8Bounds);
        }
        if !part.is_empty() {
            return Ok(part.len());
        }
        let part = part_of(scales, at - values.len(), most);
        if part.iter().all(|s| s.to_bits() == 0 || (0x0400..0x7C00).contains(&s.to_bits())) {
            Ok(size_of_val(part))
        } else {
            Err(TensorProblem::ScaleBounds)
        }
    }
}

/// Checks about `most` bytes of `values`, from byte `at` on; returns how many.
fn check_floats(values: &[f32], at: usize, most: usize) -> Result<usize, TensorProblem> {
    let part = part_of(values, at, most);
    if part.iter().all(|x| x.is_finite()) {
        Ok(size_of_val(part))
    } else {
        Err(TensorProblem::NonFinite)
    }
}

/// The values from byte `at` on, `most` bytes of them, but at least one value where one is left.
fn part_of<T>(values: &[T], at: usize, most: usize) -> &[T] {
    let rest = values.get(at / size_of::<T>()..).unwrap_or_default();
    rest.get(..(most / size_of::<T>()).max(1)).unwrap_or(rest)
}

/// A [`ModelError`] whose tensor has no name yet: the names of all tensors are not linked where
/// nobody asks for them.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Section { section: Section, found: u32, expected: u32 },
    Tensor { index: usize, problem: TensorProblem },
    StartState(TensorProblem),
}

/// What is checked.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Section(usize),
    Tensor(usize),
    StartState,
    End,
}

/// A check of a model that is done in pieces.
///
/// ```
/// # let model = kinglet::Model::open(kinglet_stories::MODEL)?;
/// # let mut feed_the_watchdog = || {};
/// let mut verifier = model.verifier();
/// while !verifier.poll(4096)?.is_complete() {
///     feed_the_watchdog();
/// }
/// # Ok::<(), kinglet::format::model::ModelError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Verifier<'a> {
    model: Model<'a>,
    stage: Stage,
    /// Bytes of the stage that were checked, and the CRC-32 of a section's.
    at: usize,
    crc: Crc32,
    progress: Progress,
    damage: Option<Damage>,
}

impl<'a> Verifier<'a> {
    fn new(model: Model<'a>, stage: Stage) -> Self {
        let total = model.bytes().len().saturating_mul(2);
        Self {
            model,
            stage,
            at: 0,
            crc: Crc32::new(),
            progress: Progress { done: 0, total },
            damage: None,
        }
    }

    /// How far it has come. The file's bytes count twice, because values are looked at after the
    /// checksums of all sections; what is not looked at is done at the end.
    pub const fn progress(&self) -> Progress {
        self.progress
    }

    /// Checks about `bytes` more bytes, at least one value: a time that `bytes` sets, about 5
    /// instructions a byte on a Cortex-M4.
    ///
    /// # Errors
    ///
    /// Names the first section or tensor that is damaged, and again when it is called again.
    #[inline]
    pub fn poll(&mut self, bytes: usize) -> Result<Progress, ModelError> {
        self.check(bytes).map_err(|damage| self.model.name(damage))
    }

    #[inline(never)]
    fn check(&mut self, bytes: usize) -> Result<Progress, Damage> {
        if let Some(damage) = self.damage {
            return Err(damage);
        }
        let mut left = bytes.max(1);
        while left > 0 && !matches!(self.stage, Stage::End) {
            let done = self.piece(left).inspect_err(|damage| self.damage = Some(*damage))?;
            let Progress { done: before, total } = self.progress;
            // Sections of a hostile file may lie upon each other.
            self.progress.done = before.saturating_add(done).min(total - 1);
            self.at += done;
            // Looking a tensor up takes its time, too.
            left = left.saturating_sub(done.max(RECORD_LEN));
        }
        if matches!(self.stage, Stage::End) {
            self.progress.done = self.progress.total;
        }
        Ok(self.progress)
    }

    /// The damage is named by the caller's model, of which the compiler may know more.
    fn finish(mut self) -> Result<(), Damage> {
        while !self.check(usize::MAX)?.is_complete() {}
        Ok(())
    }

    /// Checks at most about `most` bytes of a stage; returns how many, 0 where it has ended and
    /// the next has begun.
    fn piece(&mut self, most: usize) -> Result<usize, Damage> {
        let (done, next) = match self.stage {
            Stage::Section(index) => {
                let section = Section::ALL[index];
                let part = part_of(self.model.section(section), self.at, most);
                if part.is_empty() {
                    self.model.check_section(section, self.crc.finish())?;
                    self.crc = Crc32::new();
                }
                self.crc = self.crc.update(part);
                let last = index + 1 == Section::ALL.len();
                (part.len(), if last { Stage::Tensor(0) } else { Stage::Section(index + 1) })
            }
            Stage::Tensor(index) => {
                let done = self.model.check_values(index, self.at, most);
                let done = done.map_err(|problem| Damage::Tensor { index, problem })?;
                let last = index + 1 == tensors::tensor_count(self.model.shape());
                (done, if last { Stage::StartState } else { Stage::Tensor(index + 1) })
            }
            Stage::StartState => {
                let state = self.model.start_state().unwrap_or_default();
                let done = check_floats(state, self.at, most).map_err(Damage::StartState)?;
                (done, Stage::End)
            }
            Stage::End => (0, Stage::End),
        };
        if done == 0 {
            (self.stage, self.at) = (next, 0);
        }
        Ok(done)
    }
}
