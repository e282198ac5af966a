//! Deflated members of an archive, as programs leave them that pack a `.pth` again.
//!
//! Tensors are read from a memory map, which deflated bytes have no place in: they are inflated
//! once, into a temporary file without a name, and mapped from there. Their CRC-32 is compared at
//! once. Deflate packs up to a thousand times, so the whole is bounded by a multiple of the
//! archive, which a checkpoint of floats is far below.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::ops::Range;

use flate2::read::DeflateDecoder;
use memmap2::Mmap;

use crate::checkpoint::error::{Problem, clip};
use crate::checkpoint::map_file;

/// Most bytes for one of the archive, beside [`SPARE`]: bf16 weights deflate to four fifths.
const MAX_RATIO: u64 = 16;

/// Bytes that an archive of any length may inflate to.
const SPARE: u64 = 1 << 20;

/// A deflated member.
pub(super) struct Deflated {
    /// Where it lies in the archive.
    pub(super) bytes: Range<usize>,
    /// Length of what was packed, as the archive states it.
    pub(super) len: u64,
    /// Its CRC-32.
    pub(super) crc: u32,
}

/// Writes what was packed, which must have the length and checksum that the archive states.
pub(super) fn inflate(
    file: &[u8],
    deflated: &Deflated,
    name: &str,
    out: &mut impl Write,
) -> Result<(), Problem> {
    let mut decoder = DeflateDecoder::new(&file[deflated.bytes.clone()]);
    let (mut left, mut crc) = (deflated.len, crc32fast::Hasher::new());
    let mut buffer = [0; 1 << 14];
    let length = |found: String| Problem::PackedMember { member: clip(name), found };
    loop {
        match decoder.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) if len as u64 <= left => {
                left -= len as u64;
                crc.update(&buffer[..len]);
                out.write_all(&buffer[..len]).map_err(Problem::Inflate)?;
            }
            Ok(_) => return Err(length(format!("longer than the {} bytes stated", deflated.len))),
            Err(error) => return Err(length(format!("deflated and damaged ({error})"))),
        }
    }
    if left > 0 {
        return Err(length(format!("{left} bytes shorter than stated")));
    }
    let (found, expected) = (crc.finalize(), deflated.crc);
    if found != expected {
        return Err(Problem::Checksum { member: clip(name), found, expected });
    }
    Ok(())
}

/// The inflated members of one archive, one after another.
pub(super) struct Inflated {
    file: Option<BufWriter<File>>,
    len: u64,
    limit: u64,
}

impl Inflated {
    /// Of an archive of `archive_len` bytes.
    pub(super) fn new(archive_len: usize) -> Self {
        let limit = MAX_RATIO.saturating_mul(archive_len as u64).saturating_add(SPARE);
        Self { file: None, len: 0, limit }
    }

    /// Inflates a member and returns where it lies among the others.
    pub(super) fn add(
        &mut self,
        archive: &[u8],
        deflated: &Deflated,
        name: &str,
    ) -> Result<Range<usize>, Problem> {
        let end = self.len.saturating_add(deflated.len);
        if end > self.limit {
            let found = format!("deflated; the archive's members grow beyond {} bytes", self.limit);
            return Err(Problem::PackedMember { member: clip(name), found });
        }
        if self.file.is_none() {
            let file = tempfile::tempfile().map_err(Problem::Inflate)?;
            self.file = Some(BufWriter::with_capacity(1 << 20, file));
        }
        if let Some(file) = &mut self.file {
            inflate(archive, deflated, name, file)?;
        }
        let start = std::mem::replace(&mut self.len, end);
        Ok(start as usize..end as usize)
    }

    /// A map of all that was inflated; `None` where nothing was.
    pub(super) fn finish(self) -> Result<Option<Mmap>, Problem> {
        let Some(writer) = self.file else { return Ok(None) };
        let map = |file: &File| if self.len == 0 { empty() } else { map_file(file) };
        let file = writer.into_inner().map_err(io::IntoInnerError::into_error);
        file.and_then(|file| map(&file)).map(Some).map_err(Problem::Inflate)
    }
}

/// A map for members without bytes, since an empty file has none.
fn empty() -> io::Result<Mmap> {
    memmap2::MmapMut::map_anon(1)?.make_read_only()
}
