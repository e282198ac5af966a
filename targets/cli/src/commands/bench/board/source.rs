//! Where records come from: a file or standard input, which may hold any number among other lines,
//! or a serial port, of which the next one is awaited.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::record::Record;
use crate::support::{input, terminal};

/// Longest line of a port: a record has about 1,000 bytes.
const MAX_LINE: u64 = 1 << 16;

/// The records of a file, or the next one of a serial port.
pub(super) fn records(source: &Path) -> Result<Vec<Record>> {
    if let Some(port) = port(source)? {
        let name = source.display();
        terminal::note(&format!("{name}: waiting for a board's record; reset the board"));
        return Ok(vec![next(BufReader::new(port)).with_context(|| name.to_string())?]);
    }
    let text = input::text(source, "a board's record")?;
    let name = input::shown(source);
    let mut records = Vec::new();
    for line in String::from_utf8_lossy(&text).lines() {
        records.extend(Record::of(line).with_context(|| name.clone())?);
    }
    if records.is_empty() {
        bail!(
            "{name}: no record in it; the program `record` of a board in targets/boards prints one, \
             and so does `kinglet bench --record`"
        );
    }
    Ok(records)
}

/// The next record among the lines of a port, whose other lines are shown.
fn next(mut port: impl BufRead) -> Result<Record> {
    loop {
        let mut line = Vec::new();
        let read = port.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        if read == 0 {
            bail!("the port was closed before a record came");
        }
        let line = String::from_utf8_lossy(&line);
        if let Some(reason) = line.trim().strip_prefix("FAILED: ") {
            bail!("the board says: {}", terminal::visible(reason));
        }
        match Record::of(&line) {
            Ok(Some(record)) => return Ok(record),
            Ok(None) => terminal::note(terminal::visible(line.trim_end()).as_str()),
            // The port may have been opened in the middle of a line.
            Err(error) => terminal::note(&format!("{error:#}")),
        }
    }
}

/// The port at `path`, at 115,200 baud and raw; `None` where that is something else.
#[cfg(unix)]
fn port(path: &Path) -> Result<Option<File>> {
    use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

    use rustix::termios::{OptionalActions, speed, tcgetattr, tcsetattr};

    let is_device = |metadata: std::fs::Metadata| metadata.file_type().is_char_device();
    if path.as_os_str() == "-" || !std::fs::metadata(path).is_ok_and(is_device) {
        return Ok(None);
    }
    let name = path.display();
    // Not this program's terminal, whose Ctrl-C the port's would be.
    let flags = rustix::fs::OFlags::NOCTTY.bits().cast_signed();
    let port = File::options().read(true).write(true).custom_flags(flags).open(path);
    let port = port.with_context(|| format!("cannot open {name}"))?;
    let mut options = tcgetattr(&port).with_context(|| format!("{name} is no serial port"))?;
    options.make_raw();
    let rate = options.set_speed(speed::B115200);
    rate.and_then(|()| tcsetattr(&port, OptionalActions::Flush, &options))
        .with_context(|| format!("cannot set {name} to 115,200 baud"))?;
    Ok(Some(port))
}

/// The port, which `mode` has set to 115,200 baud; `None` where the name is not one.
#[cfg(not(unix))]
fn port(path: &Path) -> Result<Option<File>> {
    let name = path.to_string_lossy();
    let number = name.trim_start_matches(r"\\.\").to_ascii_uppercase();
    if !number.strip_prefix("COM").is_some_and(|number| number.parse::<u8>().is_ok()) {
        return Ok(None);
    }
    let port = File::open(format!(r"\\.\{number}"));
    Ok(Some(port.with_context(|| format!("cannot open {name}"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"kinglet":"0.1.0","board":"b","cpu":"c","threads":1,"mhz":1.0,"model_hash":"66","state_type":"f32","kernels":"dsp","digest":"1"}"#;

    #[test]
    fn a_port_s_record_is_found_among_other_lines() {
        let half = &LINE[40..];
        let port = format!("{half}\n\u{1b}[0m boot\r\n{}\n{LINE}\r\nmore", &LINE[..50]);
        assert_eq!(next(port.as_bytes()).unwrap().board(), "b");
    }

    #[test]
    fn a_board_that_fails_is_heard() {
        let error = next("boot\n\nFAILED: model at 0x10080000: section layers\n".as_bytes());
        assert!(error.unwrap_err().to_string().contains("section layers"));
        let error = next("boot\n".as_bytes()).unwrap_err();
        assert!(error.to_string().contains("closed"), "{error}");
    }
}
