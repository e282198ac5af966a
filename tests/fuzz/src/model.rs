//! Model files: checksums that fit whatever the bytes are, and an engine over what opens.

use kinglet::format::model::{HEADER_LEN, MAGIC, Model};
use kinglet::kernels::matrix::ALIGN;
use kinglet::num::state_dtype::StateElement;
use kinglet::{Cpu, Requirements, Scalar, Section, engine::Engine};

/// Where the section table lies, and the length of an entry.
const TABLE: (usize, usize) = (112, 24);
/// Where the header's CRC-32 lies.
const HEADER_CRC: usize = HEADER_LEN - 4;

fn u64_at(bytes: &[u8], at: usize) -> usize {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes")) as usize
}

/// Sets magic and checksums right, as a hostile writer would.
pub fn seal(file: &mut [u8]) {
    if file.len() < HEADER_LEN {
        return;
    }
    file[..MAGIC.len()].copy_from_slice(&MAGIC);
    for index in 0..Section::ALL.len() {
        let at = TABLE.0 + index * TABLE.1;
        let (offset, len) = (u64_at(file, at), u64_at(file, at + 8));
        let section = file.get(offset..).and_then(|rest| rest.get(..len));
        if let Some(crc) = section.map(crc32fast::hash) {
            file[at + 16..at + 20].copy_from_slice(&crc.to_le_bytes());
        }
    }
    let crc = crc32fast::hash(&file[..HEADER_CRC]);
    file[HEADER_CRC..HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
}

/// The offset and length of a section as the header says, if they lie in the file.
pub fn section(file: &[u8], section: Section) -> Option<std::ops::Range<usize>> {
    let at = TABLE.0 + section as usize * TABLE.1;
    (file.len() >= HEADER_LEN).then_some(())?;
    let (offset, len) = (u64_at(file, at), u64_at(file, at + 8));
    let end = offset.checked_add(len)?;
    (end <= file.len()).then_some(offset..end)
}

/// A copy at an address that a model may have.
pub struct Aligned {
    memory: Vec<u8>,
    start: usize,
}

impl Aligned {
    /// Copies `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        let mut memory = vec![0; bytes.len() + ALIGN];
        let start = memory.as_ptr().addr().next_multiple_of(ALIGN) - memory.as_ptr().addr();
        memory[start..start + bytes.len()].copy_from_slice(bytes);
        memory.truncate(start + bytes.len());
        Self { memory, start }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..]
    }
}

/// Computes `tokens` tokens one by one. Logits are finite unless the engine says that they are not.
pub fn run<S: StateElement>(model: Model<'_>, tokens: u32) {
    let needs = Requirements::of::<S>(model.shape(), 1);
    let most = 4 * model.bytes().len() + (1 << 20);
    assert!(needs.total_bytes(1) <= most, "an engine needs {} bytes", needs.total_bytes(1));
    let mut state = vec![S::zeroed(); needs.state];
    let mut workspace = vec![0.0; needs.workspace];
    let mut logits = vec![0.0; needs.logits];
    let Ok(mut engine) = Cpu::single(model, Scalar, &mut state, &mut workspace) else { return };
    let vocab = needs.logits as u32;
    for token in (0..tokens).map(|i| (i * 7919) % vocab) {
        if engine.step(0, token, &mut logits).is_err() {
            return;
        }
        assert!(logits.iter().all(|x| x.is_finite()), "logits that are not finite");
    }
}
