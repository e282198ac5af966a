//! `kinglet run`: text from a prompt.
//!
//! Whatever can be refused is refused before the model is opened or a token computed. With
//! --save-state the file is begun before the first token as well, and finished after the last, so
//! that hours of reading are not lost to a folder that cannot be written.

mod generation;
mod prompt;
mod text;
mod times;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use kinglet::engine::StepError;
use kinglet::format::model::Model;
use kinglet::sampler::{Sampler, SamplerOptions};
use kinglet::tokenizer::stop::StopMatcher;
#[cfg(all(feature = "grammar", any(unix, windows)))]
use kinglet_talk::grammar::OwnedGrammar;

use self::generation::Generation;
use self::prompt::prompt;
use self::text::TextOutput;
use crate::args::RunArgs;
use crate::support::engine::{max_batch, with_engine};
#[cfg(all(feature = "grammar", any(unix, windows)))]
use crate::support::grammar::{self, Held};
use crate::support::model::{LoadedModel, tokenizer};
use crate::support::output::{self, Kind, Output};
use crate::support::sampling::flags;
use crate::support::state_file::SavedState;
use crate::support::stdout::Stdout;
use crate::support::terminal::{self, IgnoreBrokenPipe};

pub(crate) fn run(args: &RunArgs) -> Result<()> {
    if let Some(path) = &args.save_state {
        // The file of --state may be taken further.
        output::refuse_overwrite(&args.model.model, "--save-state", path)?;
        output::refuse_foreign(Kind::State, "--save-state", path, args.force)?;
    }
    #[cfg(all(feature = "grammar", any(unix, windows)))]
    let grammar = grammar(args)?;
    let prompt = prompt(args)?;
    args.engine.check_device(&args.residence)?;
    let opened = LoadedModel::resident(&args.model, &args.residence)?;
    let model = opened.model()?;
    let tokenizer = tokenizer(&model, opened.name())?;
    let state_type = args.engine.state.state_type;
    let start = args.state.as_ref().map(|path| SavedState::read(state_type, model.header(), path));
    let start = start.transpose()?;
    if let Some(path) = &args.state {
        note_other_start(start.as_ref(), &model, path);
    }
    let first = start.as_ref().map_or(tokenizer.end_of_text(), |start| start.next);
    let mut tokens = Vec::from_iter(first);
    for token in tokenizer.encode(&prompt) {
        tokens.push(token.context("the prompt")?);
    }
    if tokens.is_empty() {
        bail!("there is no token to start with; give a prompt to go on with");
    }
    // Logits beyond the tokenizer's last id stand for nothing.
    let drawable_vocab = model.shape().vocab.min(tokenizer.vocab_len());
    let options = args.sampling.sampler.options(SamplerOptions::for_model(&model));
    let (sampler, seed) = sampler(args, options, start.as_ref(), drawable_vocab)?;
    let end_of_turn = model.end_of_turn().filter(|_| !args.ignore_turns);
    #[cfg(all(feature = "grammar", any(unix, windows)))]
    let held = grammar.as_ref().map(|it| Held::new(it, tokenizer, end_of_turn, args.tokens));
    #[cfg(all(feature = "grammar", any(unix, windows)))]
    let held = held.transpose()?;
    let saved = args.save_state.as_deref().map(Output::private).transpose()?;
    let interrupted = interruptible(args);
    let batch = max_batch(&model, args.engine.prompt_batch()).min(tokens.len());
    with_engine(model, &args.engine, 1, batch, |engine| {
        if let Some(start) = &start {
            engine.load_state(0, &start.values)?;
        }
        let stdout = Stdout::lock();
        let out: Box<dyn Write> = match &saved {
            Some(_) => Box::new(IgnoreBrokenPipe::new(stdout)),
            None => Box::new(stdout),
        };
        let mut text = TextOutput::new(out, &model, args.json);
        if let Some(start) = &start {
            text.push(&start.unfinished)?;
        }
        if !args.no_echo {
            text.prompt(&prompt)?;
        }
        let stops = StopMatcher::new(&args.stop);
        let mut generation = Generation {
            engine,
            tokenizer,
            end_of_turn,
            sampler,
            stops,
            #[cfg(all(feature = "grammar", any(unix, windows)))]
            held,
            text,
            drawable_vocab,
            interrupted,
        };
        // A state is saved before its next token, so that this can be fed again.
        let hold = usize::from(args.save_state.is_some() && args.tokens == 0);
        let told = generation.tell(&tokens[..tokens.len() - hold], args.tokens);
        let times = told.map_err(|error| explain(error, args, &mut generation.text))?;
        let unfinished = generation.text.end(saved.is_some())?;
        if let Some(mut file) = saved {
            let next = times.next.or(tokens.last().copied());
            let mut values = vec![0.0; model.shape().state_len()];
            generation.engine.store_state(0, &mut values)?;
            let mut sampler = vec![0; generation.sampler.snapshot_len()];
            generation.sampler.snapshot(&mut sampler)?;
            let start_state = Some(SavedState::start_state_of(model.header()));
            let state =
                SavedState { values, next, unfinished, sampler: Some(sampler), start_state };
            file.write_all(&state.bytes(state_type, model.header())?)?;
            file.finish()?;
        }
        // Where nothing was drawn, there is nothing to say again.
        let drew = times.tokens > 0 && !options.is_greedy();
        if args.json {
            let seed = seed.filter(|_| drew);
            return generation.text.done(&times, &options, seed);
        }
        let again = if drew { format!(" · {}", flags(&options, seed)) } else { String::new() };
        terminal::note(&format!("[{times}{again}]"));
        Ok(())
    })
}

/// The grammar that the text is held to.
#[cfg(all(feature = "grammar", any(unix, windows)))]
fn grammar(args: &RunArgs) -> Result<Option<OwnedGrammar>> {
    let held = grammar::held(&args.held)?;
    if held.is_some() && !args.stop.is_empty() {
        bail!("--stop is for free text: one that a grammar holds ends where the grammar does");
    }
    Ok(held)
}

/// The sampler, and its seed: one that goes on from a saved state has none.
fn sampler(
    args: &RunArgs,
    options: SamplerOptions,
    start: Option<&SavedState>,
    drawable_vocab: usize,
) -> Result<(Sampler<Vec<f32>>, Option<u64>)> {
    let seed = args.sampling.seed.unwrap_or_else(drawn_seed);
    let counts = vec![0.0; drawable_vocab];
    let mut sampler = Sampler::with_counts(options, seed, counts)?;
    let going_on = start.and_then(|start| start.sampler.as_ref());
    match going_on.filter(|_| args.sampling.seed.is_none()) {
        Some(snapshot) => {
            sampler.restore(snapshot).context("the sampler in the state file")?;
            Ok((sampler, None))
        }
        None => Ok((sampler, Some(seed))),
    }
}

/// Whether the generation is to end after the token under way.
fn interruptible(args: &RunArgs) -> Arc<AtomicBool> {
    #[cfg(unix)]
    if args.save_state.is_some() {
        return crate::support::signals::interruptible();
    }
    let _ = args;
    Arc::default()
}

/// Says that a state was saved with another tuned start state. The state itself is of this model.
fn note_other_start(start: Option<&SavedState>, model: &Model<'_>, path: &Path) {
    let expected = SavedState::start_state_of(model.header());
    if start.and_then(|start| start.start_state).is_some_and(|found| found != expected) {
        terminal::note(&format!(
            "note: {} was saved with a model of the same weights and another tuned start state",
            path.display()
        ));
    }
}

/// The error with where it may come from, on a line of its own below the text.
fn explain(error: anyhow::Error, args: &RunArgs, out: &mut TextOutput<'_>) -> anyhow::Error {
    if terminal::is_broken_pipe(&error) {
        return error;
    }
    // The error at hand says more than one of this line.
    let _ = out.end(false);
    match (&args.state, error.downcast_ref::<StepError>()) {
        (Some(path), Some(StepError::NonFinite)) => {
            error.context(format!("from the state in {}", path.display()))
        }
        _ => error,
    }
}

/// A seed that differs between runs.
pub(crate) fn drawn_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = now.map_or(0, |now| now.as_nanos());
    // Short enough to be typed again.
    u64::from((nanos ^ (nanos >> 32)) as u32 % 1_000_000)
}
