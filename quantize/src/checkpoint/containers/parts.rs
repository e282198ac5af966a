//! Files that are one part of several, `NAME-00002-of-00003.ENDING`: each finds the others.
//!
//! transformers and `huggingface_hub` split `.safetensors` and `.bin` so, beside an index, and
//! llama.cpp splits GGUF so, without one.

use std::path::{Path, PathBuf};

use crate::checkpoint::error::{Problem, clip};

/// Endings of files that come in parts.
const ENDINGS: [&str; 5] = ["safetensors", "bin", "gguf", "pth", "st"];

/// Most parts of a file; official models have a few.
const MAX_PARTS: usize = 4096;

/// All parts of the file that one is a part of, in order; `None` for a whole file.
///
/// # Errors
///
/// When one of them is missing.
pub(in crate::checkpoint) fn of(path: &Path) -> Result<Option<Vec<PathBuf>>, Problem> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(None) };
    let Some(split) = Split::of(name) else { return Ok(None) };
    let parts = (1..=split.count).map(|number| path.with_file_name(split.name(number)));
    let parts: Vec<PathBuf> = parts.collect();
    match parts.iter().find(|part| !part.is_file()) {
        None => Ok(Some(parts)),
        Some(missing) => {
            let missing = missing.file_name().unwrap_or_default().to_string_lossy();
            Err(Problem::PartMissing { part: clip(&missing), count: split.count })
        }
    }
}

/// The first part of a split file in a directory, which holds no other.
pub(in crate::checkpoint) fn first_in(directory: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(directory).ok()?;
    let parts = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.and_then(Split::of).is_some_and(|split| split.number == 1)
    });
    let mut parts: Vec<_> = parts.collect();
    if parts.len() == 1 { parts.pop() } else { None }
}

/// The name of a part.
struct Split<'a> {
    stem: &'a str,
    number: usize,
    count: usize,
    /// Digits of both numbers.
    digits: usize,
    ending: &'a str,
}

impl<'a> Split<'a> {
    fn of(name: &'a str) -> Option<Self> {
        let (rest, ending) = name.rsplit_once('.')?;
        let (rest, count) = rest.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let digits = count.len();
        let is_number =
            |text: &str| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
        let ending_is_known = ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known));
        if !ending_is_known || !is_number(number) || !is_number(count) {
            return None;
        }
        let (number, count) = (number.parse().ok()?, count.parse().ok()?);
        let is_part = (1..=count).contains(&number) && (2..=MAX_PARTS).contains(&count);
        is_part.then_some(Self { stem, number, count, digits, ending })
    }

    fn name(&self, number: usize) -> String {
        let Self { stem, count, digits, ending, .. } = self;
        format!("{stem}-{number:0digits$}-of-{count:0digits$}.{ending}")
    }
}

#[cfg(test)]
mod tests {
    use super::Split;

    #[test]
    fn names_of_parts_count_each_other() {
        let split = Split::of("rwkv-7-00002-of-00003.gguf").unwrap();
        assert_eq!((split.number, split.count), (2, 3));
        assert_eq!(split.name(1), "rwkv-7-00001-of-00003.gguf");
        for whole in [
            "model.safetensors",
            "model-00001-of-00001.safetensors",
            "model-00004-of-00003.safetensors",
            "model-1-of-00003.bin",
            "a-00001-of-00002.txt",
        ] {
            assert!(Split::of(whole).is_none(), "{whole}");
        }
    }
}
