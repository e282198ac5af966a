//! Writes a model file: sections in order, beside the target, then renamed.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use kinglet::matrix::ALIGN;
use kinglet::model::{HEADER_LEN, Header, RECORD_LEN, Record, Section, SectionEntry};
use kinglet::shape::Shape;
use kinglet::tensors;
use sha2::{Digest, Sha256};

use crate::output::Partial;

/// A model file that is being written. Dropped before [`finish`](Self::finish),
/// it leaves nothing behind.
pub(crate) struct Writer {
    file: BufWriter<Partial>,
    /// Bytes written so far.
    position: u64,
    shape: Shape,
    records: Vec<Record>,
    sections: [SectionEntry; Section::ALL.len()],
    open: Option<Open>,
    hashes: Vec<[u8; 32]>,
}

/// The section that is being written.
struct Open {
    section: Section,
    crc: crc32fast::Hasher,
    sha: Sha256,
}

/// Sections whose bytes the content hash covers, besides the directory.
const HASHED: [Section; 5] =
    [Section::Vectors, Section::Embedding, Section::Layers, Section::Head, Section::DeepEmbed];

impl Writer {
    /// Starts a file that will replace `target`.
    pub(crate) fn new(target: &Path, shape: Shape) -> io::Result<Self> {
        let mut writer = Self {
            file: BufWriter::with_capacity(1 << 20, Partial::new(target)?),
            position: 0,
            shape,
            records: vec![Record::ABSENT; tensors::tensor_count(&shape)],
            sections: [SectionEntry::default(); Section::ALL.len()],
            open: None,
            hashes: Vec::new(),
        };
        // Header and directory are written last, when their contents are known.
        let directory = writer.records.len() * RECORD_LEN;
        writer.sections[Section::Directory as usize] =
            SectionEntry { offset: HEADER_LEN as u64, len: directory as u64, crc: 0 };
        writer.write(&vec![0; HEADER_LEN + directory])?;
        Ok(writer)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(open) = &mut self.open {
            open.crc.update(bytes);
            if HASHED.contains(&open.section) {
                open.sha.update(bytes);
            }
        }
        self.position += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    fn align(&mut self) -> io::Result<()> {
        let padding = self.position.next_multiple_of(ALIGN as u64) - self.position;
        self.write(&[0; ALIGN][..padding as usize])
    }

    /// Starts a section; sections come in the order of [`Section::ALL`].
    pub(crate) fn begin(&mut self, section: Section) -> io::Result<()> {
        self.end();
        self.align()?;
        self.sections[section as usize].offset = self.position;
        self.open = Some(Open { section, crc: crc32fast::Hasher::new(), sha: Sha256::new() });
        Ok(())
    }

    fn end(&mut self) {
        let Some(open) = self.open.take() else { return };
        let entry = &mut self.sections[open.section as usize];
        entry.len = self.position - entry.offset;
        entry.crc = open.crc.finalize();
        if HASHED.contains(&open.section) {
            self.hashes.push(open.sha.finalize().into());
        }
    }

    /// Writes tensor `index` of the directory: `parts`, each followed by
    /// padding to a multiple of 64. The record's offset is filled in.
    pub(crate) fn tensor(
        &mut self,
        index: usize,
        mut record: Record,
        parts: &[&[u8]],
    ) -> io::Result<()> {
        record.offset = self.position;
        self.records[index] = record;
        for part in parts {
            self.write(part)?;
            self.align()?;
        }
        Ok(())
    }

    /// Writes a whole section.
    pub(crate) fn section(&mut self, section: Section, bytes: &[u8]) -> io::Result<()> {
        self.begin(section)?;
        self.write(bytes)
    }

    fn content_hash(&self, header: &Header) -> [u8; 32] {
        let mut sha = Sha256::new();
        sha.update(&header.emit()[16..72]);
        for record in &self.records {
            sha.update(Record { offset: 0, ..*record }.emit());
        }
        for hash in &self.hashes {
            sha.update(hash);
        }
        sha.finalize().into()
    }

    /// Writes directory and header, and puts the file in its place.
    pub(crate) fn finish(mut self) -> io::Result<(Header, u64)> {
        self.end();
        let directory: Vec<u8> = self.records.iter().flat_map(Record::emit).collect();
        self.sections[Section::Directory as usize].crc = crc32fast::hash(&directory);
        let mut header =
            Header { shape: self.shape, content_hash: [0; 32], sections: self.sections };
        header.content_hash = self.content_hash(&header);
        self.file.rewind()?;
        self.file.write_all(&header.emit())?;
        self.file.write_all(&directory)?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.persist()?;
        Ok((header, self.position))
    }
}

/// SHA-256 of the bytes of files, one after another; the path of one that cannot be read.
pub(crate) fn sha256_of(paths: &[PathBuf]) -> Result<[u8; 32], (PathBuf, io::Error)> {
    let mut sha = Sha256::new();
    for path in paths {
        File::open(path)
            .and_then(|mut file| io::copy(&mut file, &mut sha))
            .map_err(|error| (path.clone(), error))?;
    }
    Ok(sha.finalize().into())
}
