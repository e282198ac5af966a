//! The table of boards, a file of comma-separated values (RFC 4180).

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::record::Record;
use crate::support::input::{self, MAX_TEXT};
use crate::support::numbers::{grouped, rounded};
use crate::support::output::{Output, refuse_standard_output};

/// A column of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// In the file.
    key: &'static str,
    /// For people.
    pub(super) heading: &'static str,
}

const fn column(key: &'static str, heading: &'static str) -> Column {
    Column { key, heading }
}

pub(super) const COLUMNS: [Column; 15] = [
    column("board", "board"),
    column("cpu", "CPU"),
    column("threads", "threads"),
    column("mhz", "MHz"),
    column("model_hash", "model"),
    column("state_type", "state"),
    column("kernels", "kernels"),
    column("tokens_per_second", "tokens/s"),
    column("tokens_per_second_per_mhz", "tokens/s/MHz"),
    column("bytes_per_token", "bytes/token"),
    column("cycles_per_token", "cycles/token"),
    column("instructions_per_token", "instructions/token"),
    column("stack", "stack"),
    column("digest", "digest"),
    column("kinglet", "kinglet"),
];
/// Columns that tell rows apart; a new row takes the place of one with the same.
const KEYS: [usize; 6] = [0, 1, 2, 4, 5, 6];
/// Columns of text; the others are numbers, or empty.
const TEXTS: [usize; 7] = [0, 1, 4, 5, 6, 13, 14];
const MODEL_HASH: usize = 4;
/// Characters of a hash that people are shown.
const SHOWN_HASH: usize = 8;

/// A row, a cell for each column.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row([String; COLUMNS.len()]);

impl Row {
    /// * `bytes`: what a token reads of the model and the state
    pub(super) fn of(record: &Record, bytes: u64) -> Self {
        let number =
            |value: Option<f64>| value.map_or(String::new(), |value| rounded(value).to_string());
        let count = |value: Option<u64>| value.map_or(String::new(), |value| value.to_string());
        let rate = record.tokens_per_second();
        let mhz = record.mhz.filter(|mhz| mhz.is_finite() && *mhz > 0.0);
        Self([
            record.board().to_owned(),
            record.cpu.clone().unwrap_or_default(),
            record.threads.to_string(),
            number(mhz),
            record.model_hash.clone(),
            record.state_name().to_owned(),
            record.kernels.clone(),
            number(rate),
            number(rate.zip(mhz).map(|(rate, mhz)| rate / mhz)),
            bytes.to_string(),
            count(record.cycles_per_token),
            count(record.instructions_per_token),
            count(record.stack),
            record.digest.clone(),
            record.kinglet.clone(),
        ])
    }

    fn is_of_the_same(&self, other: &Self) -> bool {
        KEYS.iter().all(|&key| self.0[key] == other.0[key])
    }

    /// The cells for people.
    pub(super) fn shown(&self) -> [String; COLUMNS.len()] {
        std::array::from_fn(|i| {
            let cell = &self.0[i];
            match cell.parse() {
                Ok(number) if !TEXTS.contains(&i) => grouped(number),
                _ if i == MODEL_HASH => cell.chars().take(SHOWN_HASH).collect(),
                _ => cell.clone(),
            }
        })
    }

    pub(super) fn json(&self) -> Value {
        let cells = COLUMNS.iter().zip(&self.0).enumerate();
        let fields = cells.map(|(i, (column, cell))| {
            let value = match serde_json::from_str(cell) {
                Ok(number @ Value::Number(_)) if !TEXTS.contains(&i) => number,
                _ if cell.is_empty() => Value::Null,
                _ => json!(cell),
            };
            (column.key.to_owned(), value)
        });
        Value::Object(fields.collect::<Map<_, _>>())
    }
}

/// Writes a table, its heading first.
pub(super) fn write(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    writeln!(out, "{}", COLUMNS.map(|column| column.key).join(","))?;
    for row in rows {
        writeln!(out, "{}", row.0.each_ref().map(|cell| quoted(cell)).join(","))?;
    }
    Ok(())
}

/// A cell, quoted where it has to be.
fn quoted(cell: &str) -> String {
    match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    }
}

/// The cells of a line.
fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut cell, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if is_quoted && characters.next_if_eq(&'"').is_some() => cell.push('"'),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(std::mem::take(&mut cell)),
            _ => cell.push(character),
        }
    }
    cells.push(cell);
    cells
}

/// A table in a file.
pub(super) struct Table {
    path: PathBuf,
    rows: Vec<Row>,
}

impl Table {
    /// The table at `path`; empty where there is no file.
    ///
    /// # Errors
    ///
    /// When the file is something else.
    pub(super) fn open(path: &Path) -> Result<Self> {
        refuse_standard_output("--table", path)?;
        let mut rows = Vec::new();
        if path.exists() {
            let text = String::from_utf8(input::read(path, MAX_TEXT, "a table of boards")?);
            let text = text.with_context(|| format!("{}: no text", path.display()))?;
            let mut lines = text.lines();
            let heading = COLUMNS.map(|column| column.key).join(",");
            let found = lines.next().unwrap_or_default();
            if found != heading {
                bail!(
                    "{} is no table of boards: expected the heading {heading}; give a new file",
                    path.display()
                );
            }
            for (number, line) in lines.enumerate().filter(|(_, line)| !line.is_empty()) {
                let cells = cells(line);
                let count = cells.len();
                let Ok(cells) = cells.try_into() else {
                    bail!(
                        "{}, line {}: {count} cells, expected {}; mend the line or take it out",
                        path.display(),
                        number + 2,
                        COLUMNS.len()
                    );
                };
                rows.push(Row(cells));
            }
        }
        Ok(Self { path: path.to_owned(), rows })
    }

    /// Adds a row, in the place of one of the same board, model and kernels.
    pub(super) fn add(&mut self, row: Row) {
        match self.rows.iter_mut().find(|other| other.is_of_the_same(&row)) {
            Some(place) => *place = row,
            None => self.rows.push(row),
        }
    }

    /// Writes the file, and gives its rows.
    pub(super) fn save(self) -> io::Result<Vec<Row>> {
        let mut output = Output::create(&self.path)?;
        {
            let mut out = BufWriter::new(&mut output);
            write(&mut out, &self.rows)?;
            out.flush()?;
        }
        output.finish()?;
        Ok(self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(board: &str, time: &str) -> Record {
        let line = format!(
            r#"{{"kinglet":"0.1.0","board":{board},"cpu":"Cortex-M4","threads":1,"mhz":64.0,"model_hash":"669872725807","state_type":"f32","kernels":"dsp","us_per_token":{time},"cycles_per_token":4000000,"stack":2540,"digest":"5774c7a9"}}"#
        );
        Record::of(&line).unwrap().expect("a record")
    }

    #[test]
    fn a_row_tells_rates() {
        let row = Row::of(&record("\"nrf52840\"", "62500"), 1_650_000);
        let json = row.json();
        assert_eq!(json["tokens_per_second"], 16.0);
        assert_eq!(json["mhz"], 64.0);
        assert_eq!(json["tokens_per_second_per_mhz"], 0.25);
        assert!(json["instructions_per_token"].is_null());
        assert_eq!(json["digest"], "5774c7a9");
        assert_eq!(row.shown()[9], "1,650,000");
        assert_eq!(row.shown()[MODEL_HASH], "66987272");
        // Nothing is made up.
        let json = Row::of(&record("\"qemu\"", "null"), 1).json();
        assert!(json["tokens_per_second"].is_null() && json["tokens_per_second_per_mhz"].is_null());
    }

    #[test]
    fn cells_survive_a_file() {
        let row = Row::of(&record(r#""Maker, \"Board\" 1""#, "10"), 1);
        let mut bytes = Vec::new();
        write(&mut bytes, std::slice::from_ref(&row)).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let line = text.lines().nth(1).unwrap();
        assert!(line.starts_with("\"Maker, \"\"Board\"\" 1\","), "{line}");
        assert_eq!(cells(line), row.0);
    }

    #[test]
    fn a_board_has_one_row_for_each_way_to_compute() {
        let mut table = Table { path: PathBuf::new(), rows: Vec::new() };
        table.add(Row::of(&record("\"a\"", "10"), 1));
        table.add(Row::of(&record("\"b\"", "10"), 1));
        table.add(Row::of(&record("\"a\"", "20"), 1));
        assert_eq!(table.rows.len(), 2);
        assert_eq!(table.rows[0].json()["tokens_per_second"], 50_000.0);
    }
}
