//! How `bench` prints: a table, Markdown, CSV.

use std::io;

use serde_json::Value;

use super::Measured;
use crate::support::numbers::grouped;
use crate::support::stdout::outln;

/// Headings for people; rates are medians with smallest and largest.
pub(super) const COLUMNS: [&str; 10] = [
    "threads",
    "prefill tokens/s",
    "decode tokens/s",
    "ms p50",
    "ms p99",
    "MB/token",
    "GB/s",
    "memory GB/s",
    "ratio",
    "peak MB",
];

/// What is the same for all thread counts.
fn summary(results: &[Measured<'_>]) -> Option<String> {
    let Measured { model, device, kernel, state, zeros, traffic, .. } = results.first()?;
    Some(format!(
        "{model} on {device}, kernel {kernel}, {state} state; {:.0} % of the channel mix's activations are zero, which \
         leaves {} of {} bytes to read per token",
        100.0 * zeros,
        grouped(traffic.read),
        grouped(traffic.dense),
    ))
}

pub(super) fn print_table(results: &[Measured<'_>]) -> io::Result<()> {
    let rows: Vec<_> = results.iter().map(Measured::cells).collect();
    outln!("{}", summary(results).unwrap_or_default())?;
    table(&COLUMNS, &rows)
}

/// Prints rows under their headings, in columns.
pub(super) fn table<const N: usize>(headings: &[&str; N], rows: &[[String; N]]) -> io::Result<()> {
    let width = |cell: &str| cell.chars().count();
    let widths: [usize; N] = std::array::from_fn(|i| {
        rows.iter().map(|row| width(&row[i])).fold(width(headings[i]), usize::max)
    });
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:>width$}"));
        padded.collect::<Vec<_>>().join("  ")
    };
    outln!("{}", line(&headings.map(str::to_owned)))?;
    for row in rows {
        outln!("{}", line(row))?;
    }
    Ok(())
}

pub(super) fn print_markdown(results: &[Measured<'_>]) -> io::Result<()> {
    outln!("{}\n", summary(results).unwrap_or_default())?;
    let rows: Vec<_> = results.iter().map(Measured::cells).collect();
    markdown(&COLUMNS, &rows)
}

/// Prints rows under their headings, in Markdown.
pub(super) fn markdown<const N: usize>(
    headings: &[&str; N],
    rows: &[[String; N]],
) -> io::Result<()> {
    outln!("| {} |", headings.join(" | "))?;
    outln!("|{}", "---:|".repeat(N))?;
    for row in rows {
        outln!("| {} |", row.join(" | "))?;
    }
    Ok(())
}

/// The keys of the JSON, those of inner objects after a dot.
pub(super) fn print_csv(results: &[Measured<'_>]) -> io::Result<()> {
    for (i, result) in results.iter().enumerate() {
        let (names, values): (Vec<_>, Vec<_>) = flat(&result.json()).into_iter().unzip();
        if i == 0 {
            outln!("{}", names.join(","))?;
        }
        outln!("{}", values.join(","))?;
    }
    Ok(())
}

/// Names and values of an object and the objects in it. A text is quoted, with
/// quotes in it doubled (RFC 4180); null is empty.
pub(super) fn flat(value: &Value) -> Vec<(String, String)> {
    let fields = value.as_object().into_iter().flatten();
    let cells = fields.flat_map(|(name, value)| match value {
        Value::Object(_) => {
            let inner = flat(value).into_iter();
            inner.map(|(key, value)| (format!("{name}.{key}"), value)).collect()
        }
        Value::String(text) => {
            vec![(name.clone(), format!("\"{}\"", text.replace('"', "\"\"")))]
        }
        Value::Null => vec![(name.clone(), String::new())],
        other => vec![(name.clone(), other.to_string())],
    });
    cells.collect()
}
