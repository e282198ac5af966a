//! What is to be pulled: a name of the catalogue, a file of a repository, or a URL.
//!
//! Each becomes a URL to ask, a page to show and a name for the model. A URL's secrets (a token in
//! its query, a password) go into the first alone.

use std::path::Path;

use anyhow::{Result, bail};

use crate::catalogue::{self, ENTRIES, Entry};
use crate::support::models::{folder, is_name, near};
use crate::support::shapes::known;

/// The hub itself, whatever the endpoint is.
pub(super) const HUB: &str = "https://huggingface.co";

/// A checkpoint to download.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// The name that the model gets.
    pub(super) name: String,
    /// With what is secret in it: it is asked for, and never shown.
    pub(super) url: String,
    /// Where people find it with a browser.
    pub(super) page: String,
    /// What names it among all others: `hf:OWNER/REPO/FILE`, or the URL without its secrets.
    pub(super) from: String,
    /// Whether the hub or its mirror has it.
    pub(super) of_hub: bool,
    /// The name of the file.
    pub(super) file: String,
    pub(super) entry: Option<&'static Entry>,
}

impl Source {
    /// The source that `given` means: a name of the catalogue, `hf:OWNER/REPO[@REVISION]/FILE`, or
    /// a URL. `name` is the one that the user wants for the model.
    pub(super) fn parse(given: &str, name: Option<&str>, endpoint: &str) -> Result<Self> {
        let mut source = if let Some(path) = given.strip_prefix("hf:") {
            Self::of_repository(path, endpoint)?
        } else if given.starts_with("https://") || given.starts_with("http://") {
            Self::of_url(given, endpoint)?
        } else {
            Self::of_catalogue(given, endpoint)?
        };
        if let Some(name) = name {
            source.name = name.strip_suffix(".kinglet").unwrap_or(name).to_owned();
        }
        if matches!(&*source.file, "." | "..") {
            bail!("{} does not end in the name of a file", source.from);
        }
        if !is_name(&source.name) {
            bail!("`{}` cannot be the name of a model; give another with --as NAME", source.name);
        }
        Ok(source)
    }

    fn of_catalogue(name: &str, endpoint: &str) -> Result<Self> {
        let Some(entry) = catalogue::find(name) else {
            refuse_file(name)?;
            // A shape's name says which model is meant.
            let shape = known(name).map(|known| known.shape);
            let meant = shape.and_then(|shape| ENTRIES.iter().find(|entry| entry.shape == shape));
            let near = near(name, ENTRIES.iter().map(|entry| entry.name));
            let near = match (meant, near.is_empty()) {
                (Some(meant), _) => format!(" (did you mean {}?)", meant.name),
                (None, true) => String::new(),
                (None, false) => format!(", near is {}", near.join(", ")),
            };
            bail!(
                "`{name}` is not in the list of models{near}; `kinglet pull` alone shows the list, \
                 and hf:OWNER/REPO/FILE or a URL gets what it has not"
            );
        };
        let path = format!("{}/resolve/main/{}", entry.repository, entry.file);
        Ok(Self {
            name: entry.name.to_owned(),
            url: format!("{endpoint}/{path}"),
            page: format!("{HUB}/{path}"),
            from: of_path(&path),
            of_hub: true,
            file: entry.file.to_owned(),
            entry: Some(entry),
        })
    }

    fn of_repository(path: &str, endpoint: &str) -> Result<Self> {
        let parts: Vec<_> = path.split('/').collect();
        let [owner, repository, within @ .., file] = &parts[..] else {
            bail!("`hf:{path}` is not hf:OWNER/REPO/FILE");
        };
        let (repository, revision) = repository.split_once('@').unwrap_or((repository, "main"));
        if [owner, repository, revision, file].iter().any(|part| part.is_empty()) {
            bail!("`hf:{path}` is not hf:OWNER/REPO/FILE");
        }
        let within: String = within.iter().map(|folder| format!("{}/", escaped(folder))).collect();
        let revision = escaped(revision);
        let path = format!("{owner}/{repository}/resolve/{revision}/{within}{}", escaped(file));
        Ok(Self {
            name: stem(file),
            url: format!("{endpoint}/{path}"),
            page: format!("{HUB}/{path}"),
            from: of_path(&path),
            of_hub: true,
            file: (*file).to_owned(),
            entry: None,
        })
    }

    fn of_url(url: &str, endpoint: &str) -> Result<Self> {
        let path = url.split(['?', '#']).next().unwrap_or(url);
        let file = path.rsplit('/').next().unwrap_or_default();
        let file = file.replace("%20", " ");
        if file.is_empty() || path.matches('/').count() < 3 {
            bail!("{} does not end in the name of a file", without_secrets(url));
        }
        // A browser shows pages about files, which lie elsewhere.
        let within = [HUB, endpoint].into_iter().find_map(|hub| {
            let within = path.strip_prefix(hub)?.strip_prefix('/')?;
            Some((hub, within.replacen("/blob/", "/resolve/", 1)))
        });
        let (url, from) = match &within {
            Some((hub, within)) => (format!("{hub}/{within}"), of_path(within)),
            None => (url.to_owned(), without_secrets(url)),
        };
        let (page, of_hub) = (without_secrets(&url), within.is_some());
        Ok(Self { name: stem(&file), page, url, from, of_hub, file, entry: None })
    }
}

/// Refuses a file of this machine, and says what makes a model of it.
fn refuse_file(name: &str) -> Result<()> {
    let path = Path::new(name);
    if !path.exists() {
        return Ok(());
    }
    if path.extension().is_some_and(|ending| ending == "kinglet") {
        bail!("{name} is a model file that is here: `-m {name}` runs it");
    }
    bail!(
        "{name} is here already: `kinglet quantize {name} -o NAME.kinglet` makes a model of a \
         checkpoint, and {} is the folder for it",
        folder()?.display()
    );
}

/// `hf:OWNER/REPO[@REVISION]/FILE` for a path of the hub.
fn of_path(path: &str) -> String {
    let parts = path.split_once("/resolve/").and_then(|(repository, rest)| {
        let (revision, file) = rest.split_once('/')?;
        Some((repository, revision, file))
    });
    match parts {
        Some((repository, "main", file)) => format!("hf:{repository}/{file}"),
        Some((repository, revision, file)) => format!("hf:{repository}@{revision}/{file}"),
        None => format!("{HUB}/{path}"),
    }
}

/// A URL without user, query and fragment, where passwords and signatures are.
pub(super) fn without_secrets(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let Some((scheme, rest)) = path.split_once("://") else { return path.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// The name of a file without its ending, with what no name of a model has replaced.
fn stem(file: &str) -> String {
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let allowed = |character: char| character.is_alphanumeric() || "._-".contains(character);
    let name: String =
        stem.chars().map(|character| if allowed(character) { character } else { '-' }).collect();
    name.trim_start_matches(['.', '-']).to_owned()
}

/// A part of a path as a URL has it.
fn escaped(part: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte);
    part.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIRROR: &str = "https://mirror.example";

    fn parse(given: &str) -> Source {
        Source::parse(given, None, MIRROR).unwrap()
    }

    #[test]
    fn names_of_the_catalogue_are_files_of_the_hub() {
        let source = parse("G1D-0.1B");
        assert_eq!(source.name, "g1-0.1b");
        assert_eq!(
            source.url,
            "https://mirror.example/BlinkDL/rwkv7-g1/resolve/main/rwkv7-g1d-0.1b-20260129-ctx8192.pth"
        );
        assert!(source.page.starts_with("https://huggingface.co/BlinkDL/rwkv7-g1/"));
        let error = Source::parse("g1-0.2b", None, MIRROR).unwrap_err().to_string();
        assert!(error.contains("near is g1-0.1b") || error.contains("near is g1-2.9b"), "{error}");
        let refused = |name: &str| Source::parse(name, None, MIRROR).unwrap_err().to_string();
        assert!(refused("rwkv7-0.1b").contains("did you mean g1-0.1b?"));
        assert!(refused("./Cargo.toml").contains("`kinglet quantize ./Cargo.toml -o"));
    }

    #[test]
    fn repositories_have_revisions_and_folders() {
        let source = parse("hf:a/b@refs/c.pth");
        assert_eq!(source.from, "hf:a/b@refs/c.pth");
        assert_eq!(source.url, "https://mirror.example/a/b/resolve/refs/c.pth");
        let source = parse("hf:a/b/sub/50%_x.pth");
        assert_eq!(source.url, "https://mirror.example/a/b/resolve/main/sub/50%25_x.pth");
        assert_eq!(source.name, "50-_x");
        assert!(Source::parse("hf:x/A/..", Some("dots"), MIRROR).is_err());
        for wrong in ["hf:a", "hf:a/b", "hf:a/b/", "hf:/b/c", "hf:a/@x/c"] {
            assert!(Source::parse(wrong, None, MIRROR).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pages_about_files_become_files() {
        let source = parse("https://huggingface.co/a/b/blob/main/c.pth?x=1");
        assert_eq!(source.url, "https://huggingface.co/a/b/resolve/main/c.pth");
        assert_eq!((&*source.from, source.of_hub), ("hf:a/b/c.pth", true));
        let source = parse("http://user:pw@elsewhere:1/blob/d.safetensors?x=1#y");
        assert_eq!(source.from, "http://elsewhere:1/blob/d.safetensors");
        assert_eq!((&source.page, source.of_hub), (&source.from, false));
        let source = parse("http://elsewhere/blob/d.safetensors?x=1");
        assert_eq!(source.url, "http://elsewhere/blob/d.safetensors?x=1");
        assert_eq!(source.name, "d");
        for wrong in ["https://huggingface.co", "https://huggingface.co/", "https://x/a/"] {
            assert!(Source::parse(wrong, None, MIRROR).is_err(), "{wrong}");
        }
        assert!(Source::parse("https://x/a.pth", Some("../a"), MIRROR).is_err());
        assert_eq!(Source::parse("https://x/a.pth", Some("b.kinglet"), MIRROR).unwrap().name, "b");
    }
}
