//! `bench --board`: what a board measured of itself, checked here.
//!
//! A firmware of `targets/boards` prints its record on a serial port; on Linux `bench --record`
//! prints one with the same keys. The record is believed when its digest is the one that this
//! machine computes with the same model.

mod record;
mod source;
mod table;

use std::io;

use anyhow::{Result, bail};
use kinglet::format::model::Model;
use kinglet_quantize::Hex;
use serde_json::Value;

use self::record::Record;
use self::table::{COLUMNS, Row, Table};
use super::measure::zero_share;
use super::print;
use crate::args::{BenchArgs, BoardArgs, EngineArgs, StateTypeArgs};
use crate::commands::digest;
use crate::support::model::LoadedModel;
use crate::support::stdout::outln;
use crate::support::terminal;
use crate::support::traffic::Traffic;

/// Reads the records of `board`, checks them, adds them to the table, and prints it: all rows of
/// the table's file, or those of the records where there is none.
pub(super) fn run(args: &BenchArgs, board: &BoardArgs) -> Result<()> {
    let opened = LoadedModel::resident(&args.model.chosen(), &args.residence)?;
    let model = opened.model()?;
    // Opened before a board is waited for.
    let mut table = board.table.as_deref().map(Table::open).transpose()?;
    let mut rows = Vec::new();
    for record in source::records(&board.source)? {
        let row = row(&record, opened.name(), model)?;
        match &mut table {
            Some(table) => table.add(row),
            None => rows.push(row),
        }
    }
    if let Some(table) = table {
        rows = table.save()?;
    }
    print(args, &rows)?;
    Ok(())
}

/// The row of a record that is believed.
fn row(record: &Record, name: &str, model: Model<'_>) -> Result<Row> {
    let hash = Hex(&model.header().content_hash).to_string();
    if record.model_hash != hash {
        bail!(
            "the board ran the model with the hash {}, and {name} has {hash}: give the board's with \
             -m MODEL",
            terminal::visible(&record.model_hash)
        );
    }
    let state = StateTypeArgs { state_type: record.state_type()? };
    let engine = EngineArgs { state, ..EngineArgs::default() };
    let expected = digest::of(model, &engine, super::record::DIGEST_TOKENS)?;
    if record.digest != expected {
        bail!(
            "{}: its digest is {}, and here it is {expected}: the board computes other numbers, so \
             that its record is of no use; look at its clock, its supply and the flash that the \
             model is in",
            terminal::visible(record.board()),
            terminal::visible(&record.digest),
        );
    }
    let traffic = Traffic::new(&model, zero_share(&model, &engine)?, state.state_type);
    Ok(Row::of(record, traffic.read))
}

fn print(args: &BenchArgs, rows: &[Row]) -> Result<()> {
    let cells: Vec<_> = rows.iter().map(Row::shown).collect();
    if args.json {
        let array: Vec<Value> = rows.iter().map(Row::json).collect();
        outln!("{}", serde_json::to_string_pretty(&array)?)?;
    } else if args.csv {
        table::write(&mut io::stdout().lock(), rows)?;
    } else if args.md {
        print::markdown(&COLUMNS.map(|column| column.heading), &cells)?;
    } else {
        print::table(&COLUMNS.map(|column| column.heading), &cells)?;
    }
    Ok(())
}
