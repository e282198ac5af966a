//! The way without `pull`: what to do by hand where the network does not let it through.

use std::fmt::Write;
use std::path::Path;

use super::client::Failure;
use super::source::Source;
use crate::support::numbers::size;

/// The error, with the way by hand where the network is what is missing.
pub(super) fn explain(failure: Failure, source: &Source, target: &Path) -> anyhow::Error {
    match failure {
        Failure::Network(error) => anyhow::anyhow!("{error:#}\n{}", steps(source, target)),
        Failure::Busy(error) | Failure::Lasting(error) => error,
    }
}

/// The steps, a line each.
fn steps(source: &Source, target: &Path) -> String {
    let name = &source.name;
    let bytes = source.entry.map_or(String::new(), |entry| format!(" ({})", size(entry.bytes)));
    let folder = target.parent().unwrap_or(target).display().to_string();
    let mut steps = String::from(
        "behind a proxy set HTTPS_PROXY, and SSL_CERT_FILE where it has certificates of its own; \
         for a mirror set HF_ENDPOINT; or by hand:\n",
    );
    // A string takes whatever is written to it.
    let _ = writeln!(steps, "  1. get {}{bytes} with a browser, on any machine", source.page);
    let _ = writeln!(steps, "  2. kinglet quantize {} -o {name}.kinglet", quoted(&source.file));
    let _ = writeln!(steps, "  3. put {name}.kinglet into {folder}");
    let chat = cfg!(feature = "chat") && source.entry.is_some();
    let next = if chat { "chat" } else { "run -m" };
    let _ = write!(steps, "  4. kinglet {next} {name}");
    steps
}

/// A name as a shell takes it.
pub(super) fn quoted(name: &str) -> String {
    let plain = |character: char| character.is_alphanumeric() || "._-:/@".contains(character);
    match name.chars().all(plain) {
        true => name.to_owned(),
        false => format!("'{}'", name.replace('\'', r"'\''")),
    }
}
