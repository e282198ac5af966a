//! `kinglet serve`: a model over HTTP.

use std::net::{IpAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kinglet_serve::{Config, Limits, ScheduleOptions, Served, StateType as ServedState, Stop};
use kinglet_talk::template::BuiltIn;
use kinglet_talk::{Choice, Template};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::args::{ServeArgs, StateType};
use crate::support::engine::{max_batch, with_engine};
use crate::support::model::LoadedModel;
use crate::support::stdout::{self, outln};
use crate::support::{input, terminal};

/// Most bytes of states, and their part of the machine's memory.
const MOST_STATE_BYTES: u64 = 256 << 20;
const STATE_PART: u64 = 16;
/// Longest file of keys.
const MAX_KEY_FILE: u64 = 1 << 16;
/// Between looks for a signal.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &ServeArgs) -> Result<()> {
    args.engine.check_device(&args.residence)?;
    let keys = args.api_key_file.as_deref().map_or_else(|| Ok(Vec::new()), keys)?;
    let opened = LoadedModel::resident(&args.model.chosen(), &args.residence)?;
    let model = opened.model()?;
    let state_type = match args.engine.state.state_type {
        StateType::F32 => ServedState::F32,
        StateType::F16 => ServedState::F16,
    };
    let id = args.model.chosen().model;
    let id = id.as_deref().and_then(Path::file_stem).and_then(|stem| stem.to_str());
    let served = Served::new(&model, id.unwrap_or("stories"), state_type);
    let served = served.with_context(|| opened.name().to_owned())?;
    let served = template(args, served)?;
    let listener = TcpListener::bind((&*args.host, args.port)).with_context(|| {
        let (host, port) = (&args.host, args.port);
        format!("cannot listen at {host} port {port}; --host and --port choose others")
    })?;
    let address = listener.local_addr()?;
    let stop = Stop::new();
    end_by_signal(stop.clone())?;
    let config = config(args, keys, served.state_file_len());
    // A text that is being written has a token in each pass.
    let batch = max_batch(&model, args.engine.prompt_batch()).max(args.slots);
    with_engine(model, &args.engine, args.slots, batch, |engine| {
        outln!("{} is served at http://{address}", opened.name())?;
        stdout::flush()?;
        if !address.ip().is_loopback() && config.keys.is_empty() {
            terminal::note(
                "note: whoever reaches this address can use it; --api-key-file asks for a key",
            );
        }
        Ok(kinglet_serve::serve(engine, served, listener, &config, &stop)?)
    })
}

fn config(args: &ServeArgs, keys: Vec<String>, state_file: usize) -> Config {
    let part = kinglet_host::total_memory().map(|total| total / STATE_PART);
    let bytes = part.unwrap_or(MOST_STATE_BYTES).min(MOST_STATE_BYTES);
    let bytes = usize::try_from(args.state_cache.unwrap_or(bytes)).unwrap_or(usize::MAX);
    let mut hosts = args.allow_host.clone();
    // A number is known as such; anything that listens everywhere has no name.
    if args.host.parse::<IpAddr>().is_err() {
        hosts.push(args.host.clone());
    }
    Config {
        keys,
        hosts,
        origins: args.cors_origin.clone(),
        states: args.states.clone(),
        limits: Limits {
            // A request may have a state in it, as base64.
            body: Limits::default().body + state_file.div_ceil(3) * 4,
            state_bytes: bytes,
            ..Limits::default()
        },
        schedule: ScheduleOptions { cache_bytes: bytes, ..ScheduleOptions::default() },
    }
}

fn template(args: &ServeArgs, served: Served) -> Result<Served> {
    let Some(name) = &args.template else { return Ok(served) };
    let Some(template) = Template::named(name) else {
        let names = BuiltIn::ALL.map(|template| template.name());
        bail!("--template {name} is none of {}", names.join(", "));
    };
    Ok(served.with_template(Choice { template, reason: "as --template says".to_owned() }))
}

/// The keys in a file, a line each.
fn keys(path: &Path) -> Result<Vec<String>> {
    let bytes = input::read(path, MAX_KEY_FILE, "keys")?;
    let text = String::from_utf8(bytes);
    let text = text.with_context(|| format!("{} is not UTF-8", path.display()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let keys: Vec<String> = lines.map(str::to_owned).collect();
    if keys.is_empty() {
        bail!("{} has no key; write one in a line, or leave --api-key-file out", path.display());
    }
    Ok(keys)
}

/// From now on, Ctrl-C and SIGTERM let answers end; a second one does not wait for them.
fn end_by_signal(stop: Stop) -> Result<()> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        #[cfg(unix)]
        if crate::support::signals::is_ignored(signal) {
            continue;
        }
        // In this order, for the first signal must not find what it sets.
        flag::register_conditional_default(signal, Arc::clone(&asked))?;
        flag::register(signal, Arc::clone(&asked))?;
    }
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        while !asked.load(Ordering::SeqCst) {
            thread::sleep(LOOK);
        }
        stop.stop();
    })?;
    Ok(())
}
