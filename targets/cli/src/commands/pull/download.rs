//! The file on its way: asked for from where it ended, hashed while it comes, compared at the end.
//!
//! ```text
//! loop
//!     answer = GET with Range and If-Range          from the byte where the part ends
//!     200: the server begins at 0, and so does the part; 206: it goes on
//!     the record (what file it is, its length, the server's tag) is written, then bytes
//!     until the end, or the network breaks: a few tries more as long as bytes have come
//! SHA-256 of the part == the hub's, or both files are removed
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use ureq::http::StatusCode;

use super::client::{Answer, Client, Failure, Start, text};
use super::room;
use super::source::Source;
use crate::support::models;
use crate::support::numbers::size;
use crate::support::terminal;

/// Tries after which nothing has come that end it.
const TRIES: u32 = 5;
/// How often a part is given up for the server to begin at 0.
const RESTARTS: u32 = 2;
/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;
const BAR: &str = "{bar:30} {percent}% · {decimal_bytes} of {decimal_total_bytes} · {decimal_bytes_per_sec}{left}";

/// What there is of a file, for this process alone.
pub(super) struct Part {
    /// The part, locked as long as the value lives.
    file: File,
    path: PathBuf,
    record_path: PathBuf,
    record: Record,
    len: u64,
}

/// What is known of the file, in JSON beside the part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    url: String,
    /// The hub's tag of the content: its SHA-256 where the file is a large one.
    identity: Option<String>,
    /// The tag of the server that sent the bytes.
    etag: Option<String>,
    size: Option<u64>,
    /// Whether all of it is there, and was compared.
    whole: bool,
}

impl Record {
    /// Whether it says if a server has the same file still.
    fn tells_files_apart(&self) -> bool {
        self.identity.is_some() || self.etag.is_some()
    }
}

impl Part {
    /// What an earlier download left; an empty part where there was none.
    pub(super) fn open(folder: &Path, name: &str) -> Result<Self> {
        let (path, record_path) = (models::part(folder, name), models::record(folder, name));
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).read(true).write(true).open(&path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            bail!("another kinglet writes {}; wait for it, or end it", path.display());
        }
        let record = fs::read(&record_path).ok();
        let record: Option<Record> = record.and_then(|json| serde_json::from_slice(&json).ok());
        let len = file.metadata().map_or(0, |metadata| metadata.len());
        let (record, len) = record.map_or((Record::default(), 0), |record| (record, len));
        Ok(Self { file, path, record_path, record, len })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what is known of the part, for it has another name now.
    pub(super) fn forget(&self) {
        let _ = fs::remove_file(&self.record_path);
    }

    /// Removes part and record, as far as they are there.
    pub(super) fn remove(&self) {
        let _ = fs::remove_file(&self.path);
        self.forget();
    }

    /// Whether the bytes were compared with a checksum.
    pub(super) fn is_compared(&self) -> bool {
        sha256(&self.record).is_some()
    }

    /// Has the bytes compared again before they are used again, or fetched again where there is
    /// nothing to compare them with.
    pub(super) fn distrust(&mut self) {
        self.record.whole = false;
        if !self.is_compared() || self.save().is_err() {
            self.forget();
        }
    }

    fn begin_again(&mut self) {
        self.len = 0;
        self.record = Record::default();
    }

    /// Goes to where the part ends.
    fn seek_end(&mut self) -> io::Result<()> {
        self.file.set_len(self.len)?;
        self.file.seek(SeekFrom::Start(self.len)).map(|_| ())
    }

    /// Removes the files where nothing of the checkpoint is in them.
    fn remove_empty(&self) {
        if self.len == 0 {
            self.remove();
        }
    }

    fn save(&self) -> Result<()> {
        let json = serde_json::to_vec_pretty(&self.record)?;
        write_private(&self.record_path, &json)
            .with_context(|| format!("cannot write {}", self.record_path.display()))
    }

    /// The hash of what is there.
    fn hash(&mut self) -> Result<Sha256> {
        let mut hash = Sha256::new();
        if self.len == 0 {
            return Ok(hash);
        }
        let bar = terminal::progress(
            self.len,
            "{bar:30} {percent}% · reading the part that is there{left}",
        );
        let cannot_read = || format!("cannot read {}", self.path.display());
        self.file.rewind().with_context(cannot_read)?;
        let (mut file, mut piece) = ((&self.file).take(self.len), vec![0; PIECE]);
        loop {
            match file.read(&mut piece).with_context(cannot_read)? {
                0 => break,
                len => {
                    hash.update(&piece[..len]);
                    bar.inc(len as u64);
                }
            }
        }
        bar.finish_and_clear();
        Ok(hash)
    }
}

/// Downloads the file, or what is missing of it.
pub(super) fn download(
    client: &Client,
    source: &Source,
    mut part: Part,
    force: bool,
) -> Result<Part, Failure> {
    if part.record.whole && part.record.url == source.url && part.record.size == Some(part.len) {
        return Ok(part);
    }
    // Without the hub's tag the same file is one of the same URL.
    let is_other = part.record.identity.is_none() && part.record.url != source.url;
    if part.record.whole || is_other || !part.record.tells_files_apart() {
        part.begin_again();
    }
    let mut transfer =
        Transfer { hash: part.hash()?, part, source, force, came: false, restarts: 0 };
    let mut tries = 0;
    loop {
        let before = transfer.part.len;
        let failure = match transfer.attempt(client) {
            Ok(Outcome::Whole) => return transfer.finish(),
            Ok(Outcome::Other) => continue,
            Err(Failure::Lasting(error)) => {
                transfer.part.remove_empty();
                return Err(Failure::Lasting(error));
            }
            Err(failure) => failure,
        };
        tries = if transfer.part.len > before { 0 } else { tries + 1 };
        // A network that was never there will not be in a second.
        let never = matches!(failure, Failure::Network(_)) && !transfer.came;
        if never || tries >= TRIES {
            return Err(transfer.give_up(failure));
        }
        thread::sleep(Duration::from_secs(1 << tries.min(4)));
    }
}

struct Transfer<'a> {
    part: Part,
    hash: Sha256,
    source: &'a Source,
    force: bool,
    /// Whether there was an answer.
    came: bool,
    /// How often the part was given up.
    restarts: u32,
}

/// What an attempt came to.
enum Outcome {
    /// All of the file is there.
    Whole,
    /// The part is of another file than the server has, and is given up.
    Other,
}

impl Transfer<'_> {
    /// Asks for what is missing, and takes what comes.
    fn attempt(&mut self, client: &Client) -> Result<Outcome, Failure> {
        if self.part.len > 0 && !self.part.record.tells_files_apart() {
            self.begin_again("the server, which tells no file from another,")?;
        }
        let etag = self.part.record.etag.as_deref();
        let start = Start { byte: self.part.len, etag };
        let answer = client.get(&self.source.url, start)?;
        self.came = true;
        let begin = match answer.status {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT => {
                range(&answer).with_context(|| format!("{}: Content-Range", answer.host))?.0
            }
            StatusCode::RANGE_NOT_SATISFIABLE if self.part.len > 0 => {
                if self.part.record.size == Some(self.part.len) {
                    return Ok(Outcome::Whole);
                }
                self.begin_again(&answer.host)?;
                return Ok(Outcome::Other);
            }
            _ => return Err(refused(&answer, self.source).into()),
        };
        if begin != 0 && begin != self.part.len {
            let (host, len) = (&answer.host, self.part.len);
            return Err(anyhow!("{host} sends from byte {begin}, asked for byte {len}").into());
        }
        let total = range(&answer).and_then(|(_, all)| all).or(answer.linked_size);
        let known = self.part.record.size;
        let is_longer = total.zip(known).is_some_and(|(total, known)| total != known);
        let is_other = answer.linked_etag != self.part.record.identity || is_longer;
        if begin != 0 && is_other {
            self.begin_again(&answer.host)?;
            return Ok(Outcome::Other);
        }
        if begin == 0 {
            self.begin_again(&answer.host)?;
        }
        self.note(&answer)?;
        self.take(answer).map(|()| Outcome::Whole)
    }

    /// Gives up the part: the file is another one by now, or the server sends no ranges.
    fn begin_again(&mut self, host: &str) -> Result<()> {
        self.restarts += u32::from(self.part.len > 0);
        if self.restarts > RESTARTS {
            bail!(
                "{host} sends {} from its beginning each time, and never all of it",
                self.source.file
            );
        }
        self.part.begin_again();
        self.hash = Sha256::new();
        Ok(())
    }

    /// Keeps what the answer says of the file, and checks that there is room for it.
    fn note(&mut self, answer: &Answer) -> Result<()> {
        let sent = text(&answer.headers, "content-length").and_then(|len| len.parse().ok());
        let sent: Option<u64> = match range(answer) {
            Some((_, total)) => total,
            None => sent,
        };
        if let (Some(stated), Some(sent)) = (answer.linked_size, sent)
            && stated != sent
        {
            return Err(anyhow!(
                "{} has {sent} bytes for {}, the hub states {stated}",
                answer.host,
                self.source.file
            ));
        }
        let strong = text(&answer.headers, "etag")
            .filter(|etag| !etag.is_empty() && !etag.starts_with("W/"));
        let record = Record {
            url: self.source.url.clone(),
            identity: answer.linked_etag.clone(),
            etag: strong.map(str::to_owned),
            size: answer.linked_size.or(sent),
            whole: false,
        };
        if let (Some(entry), Some(found)) = (self.source.entry, sha256(&record))
            && found != entry.sha256
        {
            return Err(anyhow!(
                "{} on the hub has the SHA-256 {found}, the list has {}: it was replaced; \
                 `kinglet pull hf:{}/{}` takes it as it is",
                entry.file,
                entry.sha256,
                entry.repository,
                entry.file
            ));
        }
        if !self.force {
            let left = record.size.map(|size| size.saturating_sub(self.part.len));
            room::check_disk(&self.part.path, left, record.size, self.source)?;
        }
        if record != self.part.record {
            self.part.record = record;
            self.part.save()?;
        }
        Ok(())
    }

    /// Writes the body to the part.
    fn take(&mut self, answer: Answer) -> Result<(), Failure> {
        let size_known = self.part.record.size;
        let path = self.part.path.clone();
        let cannot_write = || format!("cannot write {}, which stays as it is", path.display());
        self.part.seek_end().with_context(cannot_write)?;
        let bar = terminal::progress(size_known.unwrap_or(0), BAR);
        bar.set_position(self.part.len);
        bar.reset_eta();
        let mut body = answer.body.into_with_config().limit(u64::MAX).reader();
        let mut piece = vec![0; PIECE];
        let ended = loop {
            let len = match body.read(&mut piece) {
                Ok(0) => break None,
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => break Some(error),
            };
            if size_known.is_some_and(|size| self.part.len + len as u64 > size) {
                return Err(anyhow!("{} sends more bytes than the file has", answer.host).into());
            }
            // What is on the disk is what counts, also where a part of the piece is.
            let written = write(&mut self.part.file, &piece[..len]);
            let done = written.as_ref().map_or_else(|(done, _)| *done, |()| len);
            self.hash.update(&piece[..done]);
            self.part.len += done as u64;
            written.map_err(|(_, error)| error).with_context(cannot_write)?;
            bar.inc(len as u64);
        };
        bar.finish_and_clear();
        match (ended, size_known) {
            (None, None) => Ok(()),
            (None, Some(size)) if self.part.len == size => Ok(()),
            (cause, _) => {
                let cause = cause.map_or_else(|| anyhow!("the connection ended"), Into::into);
                Err(Failure::Network(cause.context(answer.host)))
            }
        }
    }

    /// Compares the checksum.
    fn finish(mut self) -> Result<Part, Failure> {
        let found = format!("{:x}", self.hash.finalize());
        let expected = sha256(&self.part.record).map(str::to_owned);
        let expected = expected.or(self.source.entry.map(|entry| entry.sha256.to_owned()));
        match expected {
            Some(expected) if expected != found => {
                self.part.remove();
                return Err(anyhow!(
                    "{}: the {} that came have the SHA-256 {found}, expected {expected}; they are \
                     removed: pull it again",
                    self.source.file,
                    size(self.part.len)
                )
                .into());
            }
            Some(_) => {}
            None => terminal::note(&format!(
                "note: the server states no SHA-256 for {}; it has {found}",
                self.source.file
            )),
        }
        // The record must not say so of what a power cut takes.
        self.part
            .file
            .sync_all()
            .with_context(|| format!("cannot write {}", self.part.path.display()))?;
        (self.part.record.whole, self.part.record.size) = (true, Some(self.part.len));
        self.part.record.url.clone_from(&self.source.url);
        self.part.save()?;
        Ok(self.part)
    }

    /// The failure, with what is there by now.
    fn give_up(&self, failure: Failure) -> Failure {
        if self.part.len == 0 {
            self.part.remove();
            return failure;
        }
        let (Failure::Network(error) | Failure::Busy(error) | Failure::Lasting(error)) = failure;
        let all = self.part.record.size.map_or("an unknown length".to_owned(), size);
        Failure::Busy(error.context(format!(
            "{} of {all} are there, and the same command goes on with the rest",
            size(self.part.len)
        )))
    }
}

/// Writes all of a piece, or says how much of it was written.
fn write(file: &mut File, piece: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut done = 0;
    while done < piece.len() {
        match file.write(&piece[done..]) {
            Ok(0) => return Err((done, io::ErrorKind::WriteZero.into())),
            Ok(len) => done += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((done, error)),
        }
    }
    Ok(())
}

/// Writes what its owner alone shall read: a URL may have a password in it.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    file.write_all(bytes)
}

/// The SHA-256 that the hub states, where its tag is one.
fn sha256(record: &Record) -> Option<&str> {
    let tag = record.identity.as_deref()?;
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (tag.len() == 64 && tag.bytes().all(is_hex)).then_some(tag)
}

/// First byte and whole length, of `Content-Range: bytes FIRST-LAST/ALL`.
fn range(answer: &Answer) -> Option<(u64, Option<u64>)> {
    let range = text(&answer.headers, "content-range")?.strip_prefix("bytes ")?;
    let (first, rest) = range.split_once('-')?;
    let (_, all) = rest.split_once('/')?;
    Some((first.trim().parse().ok()?, all.trim().parse().ok()))
}

/// Why the server does not send the file.
fn refused(answer: &Answer, source: &Source) -> anyhow::Error {
    let (host, status) = (&answer.host, answer.status);
    match status.as_u16() {
        401 | 403 if !source.of_hub => anyhow!(
            "{host} does not give {} to everyone ({status}); check the user or the signature in \
             its URL, or get it with a browser and convert it by `kinglet quantize`",
            source.file
        ),
        401 | 403 => anyhow!(
            "{host} wants to know who asks for {} ({status}); set HF_TOKEN to a token of an \
             account that may read it",
            source.file
        ),
        404 | 410 => anyhow!("{host} has no {} ({status}); {}", source.file, elsewhere(source)),
        _ => anyhow!("{host} answers {status} for {}", source.file),
    }
}

/// Where else a file may be that is not there.
fn elsewhere(source: &Source) -> String {
    match source.entry {
        Some(entry) => format!(
            "its place may be taken by a newer one: look at {}/{}/tree/main and take that by \
             `kinglet pull hf:{}/FILE`",
            super::source::HUB,
            entry.repository,
            entry.repository
        ),
        None if !source.of_hub => "check its URL".to_owned(),
        None => "check owner, repository and file, or a private repository's HF_TOKEN".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_checksum_where_it_looks_like_one() {
        let of = |identity: &str| {
            let record = Record { identity: Some(identity.to_owned()), ..Record::default() };
            sha256(&record).is_some()
        };
        assert!(of(&"0a".repeat(32)));
        // A file of git alone has its SHA-1.
        for other in ["0a".repeat(20), "0A".repeat(32), "0g".repeat(32), String::new()] {
            assert!(!of(&other), "{other}");
        }
    }
}
