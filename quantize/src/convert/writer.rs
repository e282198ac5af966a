//! Writes a model file: sections in order, beside the target, then renamed.
//!
//! ```text
//! conversion --buffers--> writer thread: CRC-32, SHA-256, write --every 64 MB--> flusher: fsync
//! ```
//!
//! The thread that quantizes never waits for a hash or the disk unless the queue is full, and
//! gets its buffers back to fill them again. Header and directory come last, because they hold
//! checksums of what follows them; zeros keep their place until then. Whatever ends the
//! conversion early drops the [`Partial`], and with it the file.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::{self, JoinHandle};

use kinglet::format::model::{
    HEADER_LEN, Header, MINOR, RECORD_LEN, Record, Section, SectionEntry,
};
use kinglet::format::shape::Shape;
use kinglet::format::tensors;
use kinglet::kernels::matrix::ALIGN;
use kinglet::kernels::weights::WeightType;
use sha2::{Digest, Sha256};

use crate::files::Partial;
use crate::threads;

/// A model file that is being written. Dropped before [`finish`](Self::finish),
/// it leaves nothing behind.
///
/// What is given to it is hashed and written by a thread of its own.
pub(crate) struct Writer {
    sink: Sink,
    /// Bytes written so far.
    position: u64,
    shape: Shape,
    records: Vec<Record>,
    sections: [SectionEntry; Section::ALL.len()],
    /// The section that is being written.
    open: Option<Section>,
}

/// Sections whose bytes the content hash covers, besides the directory.
const HASHED: [Section; 5] =
    [Section::Vectors, Section::Embedding, Section::Layers, Section::Head, Section::DeepEmbed];

impl Writer {
    /// Starts a file that will replace `target`.
    pub(crate) fn new(target: &Path, shape: Shape) -> io::Result<Self> {
        let mut writer = Self {
            sink: Sink::new(Partial::new(target)?)?,
            position: 0,
            shape,
            records: vec![Record::ABSENT; tensors::tensor_count(&shape)],
            sections: [SectionEntry::default(); Section::ALL.len()],
            open: None,
        };
        // Header and directory are written last, when their contents are known.
        let directory = writer.records.len() * RECORD_LEN;
        writer.sections[Section::Directory as usize] =
            SectionEntry { offset: HEADER_LEN as u64, len: directory as u64, crc: 0 };
        writer.write(&vec![0; HEADER_LEN + directory])?;
        Ok(writer)
    }

    /// `len` bytes to be filled and given to [`put`](Self::put); what they are is not specified.
    pub(crate) fn buffer(&mut self, len: usize) -> Vec<u8> {
        let mut buffer = self.sink.spare.try_recv().unwrap_or_default();
        buffer.resize(len, 0);
        buffer
    }

    /// Appends a [`buffer`](Self::buffer) to the tensor that was begun.
    pub(crate) fn put(&mut self, buffer: Vec<u8>) -> io::Result<()> {
        self.position += buffer.len() as u64;
        self.sink.send(WriteJob::Write(buffer))
    }

    /// Appends bytes to the tensor that was begun.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut buffer = self.buffer(bytes.len());
        buffer.copy_from_slice(bytes);
        self.put(buffer)
    }

    /// Appends zeros up to the next multiple of 64 bytes.
    pub(crate) fn align(&mut self) -> io::Result<()> {
        let padding = self.position.next_multiple_of(ALIGN as u64) - self.position;
        if padding == 0 { Ok(()) } else { self.write(&[0; ALIGN][..padding as usize]) }
    }

    /// Starts a section; sections come in the order of [`Section::ALL`].
    pub(crate) fn begin(&mut self, section: Section) -> io::Result<()> {
        self.end()?;
        self.align()?;
        self.sections[section as usize].offset = self.position;
        self.open = Some(section);
        self.sink.send(WriteJob::Begin(section))
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(section) = self.open.take() else { return Ok(()) };
        let entry = &mut self.sections[section as usize];
        entry.len = self.position - entry.offset;
        self.sink.send(WriteJob::End)
    }

    /// Starts tensor `index` of the directory. The record's offset is filled in; the tensor's
    /// bytes follow.
    pub(crate) fn tensor(&mut self, index: usize, mut record: Record) {
        record.offset = self.position;
        self.records[index] = record;
    }

    /// The records so far.
    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }

    /// Writes a whole section.
    pub(crate) fn section(&mut self, section: Section, bytes: &[u8]) -> io::Result<()> {
        self.begin(section)?;
        self.write(bytes)
    }

    fn content_hash(&self, header: &Header, sums: &[Checksums]) -> [u8; 32] {
        let mut sha = Sha256::new();
        sha.update(&header.emit()[16..72]);
        for record in &self.records {
            sha.update(Record { offset: 0, ..*record }.emit());
        }
        for hash in sums.iter().filter_map(|sums| sums.hash) {
            sha.update(hash);
        }
        sha.finalize().into()
    }

    /// Writes directory and header, and puts the file in its place.
    pub(crate) fn finish(self) -> io::Result<(Header, u64)> {
        let (header, file) = self.complete()?;
        let len = file.handle()?.metadata()?.len();
        file.persist()?;
        Ok((header, len))
    }

    /// Writes directory and header. The file is whole then, and in nobody's place.
    pub(crate) fn complete(mut self) -> io::Result<(Header, Partial)> {
        self.end()?;
        let (mut file, sums) = self.sink.end()?;
        for sums in &sums {
            self.sections[sums.section as usize].crc = sums.crc;
        }
        let directory: Vec<u8> = self.records.iter().flat_map(Record::emit).collect();
        self.sections[Section::Directory as usize].crc = crc32fast::hash(&directory);
        let int8 = self.records.iter().all(|record| record.weights == WeightType::Int8);
        let minor = if int8 { 0 } else { MINOR };
        let mut header =
            Header { minor, shape: self.shape, content_hash: [0; 32], sections: self.sections };
        header.content_hash = self.content_hash(&header, &sums);
        file.rewind()?;
        file.write_all(&header.emit())?;
        file.write_all(&directory)?;
        Ok((header, file))
    }
}

/// Chunks that wait for being written; each is some megabytes.
const QUEUE_DEPTH: usize = 2;
/// Bytes after which the system is made to put on the disk what it holds of the file: it would
/// otherwise begin when the last byte is there, and the conversion wait for the whole file.
const SYNC_BYTES: usize = 64 << 20;

/// What the thread of a [`Sink`] does.
enum WriteJob {
    /// Starts the sums of a section.
    Begin(Section),
    /// Appends bytes, to the section if one is open.
    Write(Vec<u8>),
    /// Ends the section.
    End,
}

/// Checksums of a section that was written.
struct Checksums {
    section: Section,
    crc: u32,
    /// Where the content hash covers the section.
    hash: Option<[u8; 32]>,
}

type Written = (Partial, Vec<Checksums>);

/// A thread that hashes and writes what it is sent. Dropped, it waits for the thread, which
/// removes the file.
struct Sink {
    /// `None` when the thread shall end.
    jobs: Option<SyncSender<WriteJob>>,
    /// Buffers that were written, to be filled again.
    spare: Receiver<Vec<u8>>,
    thread: Option<JoinHandle<io::Result<Written>>>,
}

impl Sink {
    fn new(file: Partial) -> io::Result<Self> {
        let (jobs, received) = mpsc::sync_channel(QUEUE_DEPTH);
        let (used, spare) = mpsc::channel();
        let body = move || hash_and_write(file, &received, &used);
        let thread = thread::Builder::new().name("writer".to_owned()).spawn(body);
        let thread = thread.map_err(threads::refused)?;
        Ok(Self { jobs: Some(jobs), spare, thread: Some(thread) })
    }

    fn send(&mut self, job: WriteJob) -> io::Result<()> {
        match &self.jobs {
            Some(jobs) if jobs.send(job).is_ok() => Ok(()),
            // The thread ends early only when it fails.
            _ => Err(self.end().err().unwrap_or_else(stopped)),
        }
    }

    /// Waits until all is written.
    fn end(&mut self) -> io::Result<Written> {
        self.jobs = None;
        let thread = self.thread.take().ok_or_else(stopped)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("an earlier write failed")
}

/// The body of a [`Sink`]'s thread.
fn hash_and_write(
    file: Partial,
    jobs: &Receiver<WriteJob>,
    used: &Sender<Vec<u8>>,
) -> io::Result<Written> {
    let flusher = Flusher::new(&file)?;
    let mut file = BufWriter::with_capacity(1 << 20, file);
    let mut sums = Vec::new();
    let mut open: Option<OpenSection> = None;
    let mut unflushed = 0;
    for job in jobs {
        match job {
            WriteJob::Begin(section) => open = Some(OpenSection::new(section)),
            WriteJob::End => sums.extend(open.take().map(OpenSection::finish)),
            WriteJob::Write(bytes) => {
                if let Some(open) = &mut open {
                    open.update(&bytes);
                }
                file.write_all(&bytes)?;
                unflushed += bytes.len();
                if unflushed >= SYNC_BYTES {
                    flusher.start();
                    unflushed = 0;
                }
                // Nobody takes it back when the conversion has ended.
                let _ = used.send(bytes);
            }
        }
    }
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    flusher.finish()?;
    Ok((file, sums))
}

/// The section that is being written.
struct OpenSection {
    section: Section,
    crc: crc32fast::Hasher,
    sha: Option<Sha256>,
}

impl OpenSection {
    fn new(section: Section) -> Self {
        let sha = HASHED.contains(&section).then(Sha256::new);
        Self { section, crc: crc32fast::Hasher::new(), sha }
    }

    /// Piece by piece, so that the second sum finds the bytes in the cache.
    fn update(&mut self, bytes: &[u8]) {
        for bytes in bytes.chunks(1 << 16) {
            self.crc.update(bytes);
            if let Some(sha) = &mut self.sha {
                sha.update(bytes);
            }
        }
    }

    fn finish(self) -> Checksums {
        let hash = self.sha.map(|sha| sha.finalize().into());
        Checksums { section: self.section, crc: self.crc.finalize(), hash }
    }
}

/// A thread that waits for the disk, so that nobody else has to. Where the system refuses one, the
/// file waits for the disk when it is finished.
struct Flusher(Option<(SyncSender<()>, JoinHandle<io::Result<()>>)>);

impl Flusher {
    fn new(file: &Partial) -> io::Result<Self> {
        let file = file.handle()?;
        let (start, started) = mpsc::sync_channel(1);
        let body = move || started.into_iter().try_for_each(|()| file.sync_data());
        let thread = thread::Builder::new().name("flusher".to_owned()).spawn(body);
        Ok(Self(thread.ok().map(|thread| (start, thread))))
    }

    /// Flushes what was written so far, unless that is about to happen.
    fn start(&self) {
        if let Some((start, _)) = &self.0 {
            let _ = start.try_send(());
        }
    }

    /// The first error, which the system reports only once.
    fn finish(self) -> io::Result<()> {
        let Some((start, thread)) = self.0 else { return Ok(()) };
        drop(start);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// SHA-256 of the bytes of files, one after another; the path of one that cannot be read.
pub(crate) fn sha256_of(paths: &[PathBuf]) -> Result<[u8; 32], (PathBuf, io::Error)> {
    let mut sha = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    for path in paths {
        hash_file(path, &mut buffer, &mut sha).map_err(|error| (path.clone(), error))?;
    }
    Ok(sha.finalize().into())
}

fn hash_file(path: &Path, buffer: &mut [u8], sha: &mut Sha256) -> io::Result<()> {
    let mut file = File::open(path)?;
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => sha.update(&buffer[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
