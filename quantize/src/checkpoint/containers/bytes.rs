//! A cursor over the binary headers of ggml's formats.

use crate::checkpoint::error::Problem;

/// Reads little-endian numbers one after another; every length is checked before it is used.
pub(super) struct Bytes<'a> {
    file: &'a [u8],
    position: usize,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(file: &'a [u8]) -> Self {
        Self { file, position: 0 }
    }

    /// A cursor that begins at byte `position`, at the file's end at most.
    pub(super) fn at(file: &'a [u8], position: usize) -> Self {
        Self { file, position: position.min(file.len()) }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.position == self.file.len()
    }

    pub(super) fn fault(&self, cause: impl Into<String>) -> Problem {
        Problem::Malformed { position: self.position, cause: cause.into() }
    }

    /// The next `len` bytes; `len` is whatever the file says.
    pub(super) fn take(&mut self, len: u64, what: &str) -> Result<&'a [u8], Problem> {
        let rest = &self.file[self.position..];
        match usize::try_from(len).ok().and_then(|len| rest.get(..len)) {
            Some(bytes) => {
                self.position += bytes.len();
                Ok(bytes)
            }
            None => Err(self.fault(format!(
                "the file ends after {} bytes of {what}; expected {len}",
                rest.len()
            ))),
        }
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Problem> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, what)?);
        Ok(array)
    }

    pub(super) fn u16(&mut self, what: &str) -> Result<u16, Problem> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, Problem> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn i32(&mut self, what: &str) -> Result<i32, Problem> {
        self.array(what).map(i32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, Problem> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// UTF-8 text of `len` bytes.
    pub(super) fn text(&mut self, len: u64, what: &str) -> Result<&'a str, Problem> {
        let bytes = self.take(len, what)?;
        std::str::from_utf8(bytes).map_err(|_| self.fault(format!("{what} is not UTF-8")))
    }
}
