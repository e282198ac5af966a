//! Where conversations are on disk.
//!
//! ```text
//! DATA/kinglet/chat/MODEL/session.state    the conversation under way, after its last whole turn
//!                         session-2.state  that of a second chat at the same time, and so on
//!                         last-1.state     the one before, then last-2 ...
//!                         NAME.state       kept by name
//! STATE/kinglet/chat-history               what was entered
//! ```
//!
//! DATA and STATE are the user's data and state folders (XDG, or the system's), MODEL the front of
//! the model's content hash. All are state files with the text of a session, written whole or not
//! at all. A conversation that another takes the place of moves to `last-1` first.
//!
//! A chat holds a lock as long as a file is its own: `session.lock` and so on, and for a file of
//! `--session` one beside it, `.FILE.lock`, because the file itself is replaced after every turn.
//! `last.lock` is held while the `last-N` move.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use etcetera::BaseStrategy;
use kinglet_quantize::Hex;

use crate::support::models;
use crate::support::output::{self, Kind, Output};

/// Chats with one model at the same time that are kept.
const SLOTS: usize = 9;
/// Conversations before this one that are kept.
const EARLIER: usize = 5;
/// Digits of the content hash in a folder's name.
const HASH_LEN: usize = 16;
const EXTENSION: &str = "state";

/// The files of a chat's conversations.
pub(super) struct Storage {
    /// The folder of the model's conversations.
    folder: Option<PathBuf>,
    /// Where the conversation is kept.
    session: Option<PathBuf>,
    /// Whether `session` is in the folder.
    in_folder: bool,
    /// Held as long as the file is this chat's.
    _lock: Option<File>,
    /// The file of the lock, beside a file of `--session`.
    lock_file: Option<PathBuf>,
    /// Whether an earlier conversation is at `session`, and not this one yet.
    is_earlier: bool,
    /// A name under which the conversation is kept, too.
    name: Option<String>,
}

/// A conversation that was kept by name.
pub(super) struct Kept {
    pub(super) name: String,
    pub(super) len: u64,
    pub(super) changed: Option<SystemTime>,
}

impl Storage {
    /// The files of a chat with the model of that content hash that is kept only by name.
    pub(super) fn unkept(hash: &[u8; 32]) -> Self {
        Self { folder: model_folder(hash), ..Self::none() }
    }

    /// The files of a chat with the model of that content hash. `resume` goes on with what is
    /// there, at `file` where one is given.
    pub(super) fn open(hash: &[u8; 32], file: Option<&Path>, resume: bool) -> Result<Self> {
        let folder = model_folder(hash);
        let mut storage = Self { folder, in_folder: file.is_none(), ..Self::none() };
        match file {
            Some(file) => storage.take_file(file, resume)?,
            None => storage.take_slot(resume)?,
        }
        storage.is_earlier = !resume && storage.in_folder && storage.saved().is_some();
        Ok(storage)
    }

    fn take_file(&mut self, file: &Path, resume: bool) -> Result<()> {
        output::refuse_standard_output("--session", file)?;
        let name = file.display();
        if output::refuse_foreign(Kind::State, "--session", file, false).is_err() {
            bail!("--session {name} is there and not a conversation; give another file");
        }
        if file.is_file() && !resume {
            bail!("--session {name} is there; --resume goes on with it, another file begins anew");
        }
        // A folder that takes no files is told now, not after the first answer.
        drop(Output::private(file)?);
        let path = lock_beside(file);
        let lock = lock(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let Some(lock) = lock else {
            bail!("--session {name} is in use by another chat; end that one, or give another file");
        };
        (self.session, self._lock) = (Some(file.to_owned()), Some(lock));
        self.lock_file = Some(path);
        Ok(())
    }

    /// Leaves no lock beside a file of `--session`, because the chat does not begin.
    pub(super) fn abandon(self) {
        if let Some(path) = &self.lock_file {
            let _ = fs::remove_file(path);
        }
    }

    fn take_slot(&mut self, resume: bool) -> Result<()> {
        let folder = self.folder.as_ref().context("there is no home folder (HOME is not set)")?;
        create_private(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let slots = if resume { 1 } else { SLOTS };
        for slot in 1..=slots {
            let name = if slot == 1 { "session".to_owned() } else { format!("session-{slot}") };
            let path = folder.join(&name).with_extension(EXTENSION);
            drop(Output::private(&path)?);
            let Some(lock) = lock(&folder.join(name).with_extension("lock"))? else { continue };
            (self.session, self._lock) = (Some(path), Some(lock));
            return Ok(());
        }
        match resume {
            true => bail!("the conversation is open in another chat; end that one first"),
            false => bail!("{SLOTS} chats with this model are open; end one, or use --session"),
        }
    }

    /// Storage of a chat that is not kept, because of an error.
    pub(super) fn none() -> Self {
        Self {
            folder: None,
            session: None,
            in_folder: false,
            _lock: None,
            lock_file: None,
            is_earlier: false,
            name: None,
        }
    }

    /// Where the conversation is kept.
    pub(super) fn session(&self) -> Option<&Path> {
        self.session.as_deref()
    }

    /// What goes on with the conversation after the chat's end.
    pub(super) fn way_back(&self) -> String {
        let Some(session) = self.session() else { return String::new() };
        let name = session.file_stem().unwrap_or_default().to_string_lossy();
        match (self.in_folder, &*name) {
            (true, "session") => "--resume goes on with it".to_owned(),
            (true, name) => format!("/load {name} goes on with it"),
            (false, _) => format!("--session {} --resume goes on with it", session.display()),
        }
    }

    /// The name under which it is kept, too.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The folder with the conversations kept by name.
    pub(super) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The file to resume, if it is there.
    pub(super) fn saved(&self) -> Option<&Path> {
        self.session().filter(|path| path.is_file())
    }

    /// Writes the conversation after a turn.
    pub(super) fn keep(&mut self, bytes: &[u8]) -> Result<()> {
        if self.is_earlier {
            self.rotate()?;
        }
        if let Some(path) = &self.session {
            write(path, bytes)?;
        }
        if let Some(name) = &self.name {
            write(&self.path(name)?, bytes)?;
        }
        Ok(())
    }

    /// Whether the file at `session` is this conversation's.
    pub(super) fn is_begun(&self) -> bool {
        !self.is_earlier && self.saved().is_some()
    }

    /// Keeps the conversation at `session` for later, if that is `wanted`, because another takes
    /// its place; the name that it has then.
    pub(super) fn leave(&mut self, wanted: bool) -> Result<Option<String>> {
        self.name = None;
        if !wanted || !self.is_begun() {
            return Ok(None);
        }
        self.rotate()
    }

    /// Keeps it under `name` as well, from now on.
    pub(super) fn follow(&mut self, name: &str) {
        self.name = Some(name.to_owned());
    }

    /// The file of a name that a person chose.
    pub(super) fn path(&self, name: &str) -> Result<PathBuf> {
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ');
        if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(fits) {
            bail!(
                "\"{name}\" is no name; one has letters, digits, - and _, and at most 64 bytes of \
                 them"
            );
        }
        let folder = self.folder.as_ref().context("there is no folder to keep conversations in")?;
        // Not `with_extension`: a name may have a point.
        Ok(folder.join(format!("{name}.{EXTENSION}")))
    }

    /// [`path`](Self::path), of a file that is to be written.
    pub(super) fn path_to_write(&self, name: &str, force: bool) -> Result<PathBuf> {
        let path = self.path(name)?;
        let own = ["session", "last-"].into_iter().find(|own| name.starts_with(own));
        if let Some(own) = own {
            bail!("names that begin with {own} are the program's own; give another");
        }
        if path.exists() && !force && self.name() != Some(name) {
            bail!("{name} is there; give another name, or --force after it to replace it");
        }
        create_private(path.parent().unwrap_or(&path))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// All that can be loaded, the latest first.
    pub(super) fn kept(&self) -> Vec<Kept> {
        let mut kept = self.folder().map(list).unwrap_or_default();
        let own = self.session().filter(|_| self.in_folder).and_then(Path::file_stem);
        kept.retain(|kept| own.is_none_or(|own| own != &*kept.name));
        kept.sort_by(|a, b| b.changed.cmp(&a.changed).then_with(|| a.name.cmp(&b.name)));
        kept
    }

    /// Moves the conversation at `session` to `last-1`, or copies it there from a file of
    /// `--session`. One that is kept by name already stays that alone. Its name.
    fn rotate(&mut self) -> Result<Option<String>> {
        self.is_earlier = false;
        let Some(session) = self.saved().map(Path::to_owned) else { return Ok(None) };
        let bytes = fs::read(&session)?;
        let twin = self.twin(&bytes);
        let place = twin.as_ref().map(|name| name.strip_prefix("last-").map(str::parse));
        let name = match (twin, place) {
            (Some(name), Some(None | Some(Err(_)))) => name,
            (_, place) => {
                // Its own copy makes way for it.
                let up_to = place.flatten().and_then(Result::ok).unwrap_or(EARLIER);
                let _lock = self.free_last(up_to)?;
                write(&self.path_of_last(1)?, &bytes)?;
                "last-1".to_owned()
            }
        };
        if self.in_folder {
            fs::remove_file(&session)
                .with_context(|| format!("cannot remove {}", session.display()))?;
        }
        Ok(Some(name))
    }

    /// The name under which a conversation is kept, to the byte, and not as that of another chat.
    fn twin(&self, bytes: &[u8]) -> Option<String> {
        let kept = self.folder().map(list).unwrap_or_default().into_iter();
        let is_twin = |kept: &Kept| {
            kept.len == bytes.len() as u64
                && !kept.name.starts_with("session")
                && self
                    .path(&kept.name)
                    .and_then(|path| Ok(fs::read(path)?))
                    .is_ok_and(|other| other == bytes)
        };
        kept.filter(is_twin).map(|kept| kept.name).next()
    }

    fn path_of_last(&self, place: usize) -> Result<PathBuf> {
        self.path(&format!("last-{place}"))
    }

    /// Moves the earlier conversations on, up to that place, so that `last-1` is free: for no other
    /// chat as long as what is returned is held.
    fn free_last(&self, up_to: usize) -> Result<File> {
        let folder = self.folder().unwrap_or(Path::new("."));
        create_private(folder)?;
        let lock = File::create(folder.join("last.lock"))?;
        // A file system without locks cannot tell of other chats.
        let _ = lock.lock();
        for place in (1..up_to.min(EARLIER)).rev() {
            let (from, to) = (self.path_of_last(place)?, self.path_of_last(place + 1)?);
            if from.is_file() {
                fs::rename(&from, &to).with_context(|| format!("cannot write {}", to.display()))?;
            }
        }
        Ok(lock)
    }
}

/// The lock of a file that the program replaces.
fn lock_beside(file: &Path) -> PathBuf {
    // By one name whichever way leads there.
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let mut name = std::ffi::OsString::from(".");
    name.push(file.file_name().unwrap_or_default());
    name.push(".lock");
    file.with_file_name(name)
}

/// Takes a lock, unless another chat holds it.
fn lock(path: &Path) -> std::io::Result<Option<File>> {
    let lock = File::create(path)?;
    Ok(match lock.try_lock() {
        Err(TryLockError::WouldBlock) => None,
        // A file system without locks cannot tell of other chats.
        Ok(()) | Err(TryLockError::Error(_)) => Some(lock),
    })
}

/// Writes a conversation, whole or not at all.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = Output::private(path)?;
    file.write_all(bytes)?;
    Ok(file.finish()?)
}

/// The state files of a folder.
pub(super) fn list(folder: &Path) -> Vec<Kept> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_stem()?.to_str()?.to_owned();
            let metadata = path.metadata().ok()?;
            let is_state = metadata.is_file() && path.extension()? == EXTENSION;
            let (len, changed) = (metadata.len(), metadata.modified().ok());
            is_state.then_some(Kept { name, len, changed })
        })
        .collect()
}

/// Where the history of what was entered is.
pub(super) fn history() -> Option<PathBuf> {
    // Where there is no place for conversations, there is none for what was entered in them.
    data_folder()?;
    let strategy = etcetera::choose_base_strategy().ok()?;
    let state = strategy.state_dir().unwrap_or_else(|| strategy.data_dir()).join("kinglet");
    create_private(&state).ok()?;
    Some(state.join("chat-history"))
}

/// The folder of the conversations with the model of that content hash.
fn model_folder(hash: &[u8; 32]) -> Option<PathBuf> {
    let model = Hex(hash).to_string();
    Some(data_folder()?.join("chat").join(&model[..HASH_LEN]))
}

fn data_folder() -> Option<PathBuf> {
    models::data_folder()
}

/// Makes a folder for what its owner alone shall read.
fn create_private(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}
