//! `kinglet fit`: what a model needs, and which boards have it.

mod boards;
mod header;
mod need;
mod show;

use std::path::Path;

use anyhow::{Result, bail};
use kinglet::format::model::Section;
use kinglet::format::shape::Shape;

use self::boards::{BOARDS, Bank, board, nearest};
use self::need::{BYTE_PAIRS, Fit, Need, Place, Use};
use self::show::{Question, all_json, fit_json, print_all, print_fit};
use crate::args::{FitArgs, StateType};
use crate::support::model::{HAS_BUILT_IN, LoadedModel};
use crate::support::models;
#[cfg(all(feature = "pull", any(unix, windows)))]
use crate::support::shapes::WORLD;
use crate::support::shapes::{KNOWN, Known, known};
use crate::support::stdout::outln;
use crate::support::terminal;
use crate::support::traffic::read_per_token;

/// Says whether the model fits; with nothing to fit into, shows all boards.
pub(crate) fn run(args: &FitArgs) -> Result<bool> {
    let chosen = args.model.chosen();
    let place = place(args)?;
    if let Some(path) = &args.header {
        header::check(args, path)?;
    }
    let mut how = Use::from(args);
    let shape = match &args.shape {
        Some(name) => Some(shape(name)?),
        None if args.header.is_some() => None,
        None => chosen.model.as_deref().and_then(not_here),
    };
    if let Some(shape) = &shape {
        refuse_f16(shape.name, &shape.shape, args)?;
        return answer(&Question::of(shape.name, shape, how), place, args.json);
    }
    if !HAS_BUILT_IN && chosen.model.is_none() {
        // Without a model there is no answer for one place, and the boards are still to be seen.
        if place.is_some() || args.header.is_some() {
            LoadedModel::new(&chosen)?;
        }
        return answer(&Question { name: "", need: None, in_4_bits: None, how }, None, args.json);
    }
    let opened = LoadedModel::new(&chosen)?;
    let model = opened.model()?;
    let shape = model.shape();
    refuse_f16(opened.name(), shape, args)?;
    if let Some(path) = &args.header {
        header::write(args, path, opened.name(), &model)?;
        if place.is_none() && !args.json {
            return Ok(true);
        }
    }
    let tokenizer = model.section(Section::Tokenizer);
    let known = Known {
        id: None,
        name: "",
        shape: *shape,
        tokenizer: tokenizer.len() as u64,
        is_to_have: true,
    };
    if args.bits.is_none() {
        how.weights = model.lm_head().weights().weight_type();
    }
    let mut question = Question::of(opened.name(), &known, how);
    if args.bits.is_none() {
        let (file, read) = (model.bytes().len() as u64, read_per_token(&model));
        question.need = Some(Need::new(shape, file, read, how));
    }
    // The first byte of the section is its kind.
    if tokenizer.first() == Some(&2) {
        question.needs().for_each(|need| need.code += BYTE_PAIRS);
    }
    answer(&question, place, args.json)
}

fn refuse_f16(name: &str, shape: &Shape, args: &FitArgs) -> Result<()> {
    if args.state.state_type == StateType::F16 && !shape.architecture.allows_f16_state() {
        bail!(
            "{name}: the state of {} cannot be kept in f16; leave out --state-type f16",
            shape.architecture
        );
    }
    Ok(())
}

/// Prints the answer; whether the model fits.
fn answer(question: &Question<'_>, place: Option<Place>, json: bool) -> Result<bool> {
    let Some((place, need)) = place.zip(question.need.as_ref()) else {
        if json {
            outln!("{}", serde_json::to_string_pretty(&all_json(question))?)?;
        } else {
            print_all(question)?;
        }
        return Ok(true);
    };
    if json {
        outln!("{}", serde_json::to_string_pretty(&fit_json(question, need, &place))?)?;
    } else {
        print_fit(question, need, &place)?;
    }
    Ok(Fit::new(need, &place).fits())
}

fn place(args: &FitArgs) -> Result<Option<Place>> {
    if let Some(id) = &args.board {
        let Some(board) = board(id) else {
            let known: Vec<&str> = BOARDS.iter().map(|board| board.id).collect();
            bail!(
                "board `{id}` is not known{} Known are {}",
                nearest(id).map_or(".".to_owned(), |near| format!("; did you mean `{}`?", near.id)),
                known.join(", ")
            );
        };
        return Ok(Some(board.into()));
    }
    Ok(args.ram.map(|ram| Place {
        name: "the memory given".to_owned(),
        flash: args.flash,
        ram: vec![Bank { name: "RAM", bytes: ram }],
        kept: 0,
        board: None,
    }))
}

/// The shape that `--shape` names.
fn shape(name: &str) -> Result<Known> {
    let Some(known) = known(name).copied().or_else(|| listed(name)) else {
        let names: Vec<_> = KNOWN.iter().filter_map(|known| known.id).collect();
        let others = if cfg!(feature = "pull") { " and the names of `kinglet pull`" } else { "" };
        bail!("shape `{name}` is not known; known are {}{others}", names.join(", "));
    };
    Ok(known)
}

/// The shape of a model that `kinglet pull` knows by that name.
#[cfg(all(feature = "pull", any(unix, windows)))]
fn listed(name: &str) -> Option<Known> {
    crate::catalogue::find(name).map(|entry| Known {
        id: Some(entry.name),
        name: entry.name,
        shape: entry.shape,
        tokenizer: WORLD,
        is_to_have: true,
    })
}
#[cfg(not(all(feature = "pull", any(unix, windows))))]
fn listed(_: &str) -> Option<Known> {
    None
}

/// The shape of a model that `pull` would get, and that is not here.
fn not_here(given: &Path) -> Option<Known> {
    let shape = listed(given.to_str()?).filter(|_| models::resolve(given).is_err())?;
    terminal::note(&format!(
        "note: {0} is not here yet, so that its shape is what counts; `kinglet pull {0}` gets it",
        shape.name
    ));
    Some(shape)
}
