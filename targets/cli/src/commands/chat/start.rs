//! The start of a chat: model, template and settings, and the conversation that is gone on with.
//!
//! Of two that say the same thing the command line counts before the saved conversation, and that
//! before the model's own. What cannot work (a folder, a template, a state of another model) is
//! told before the first prompt.

use std::io::{self, IsTerminal};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use kinglet::engine::Engine;
use kinglet::format::model::Model;
use kinglet::format::state_file::StateFileError;
use kinglet::num::state_dtype::{StateElement, f16};
use kinglet::sampler::SamplerOptions;
use kinglet::tokenizer::Tokenizer;
use kinglet_talk::grammar::OwnedGrammar;
use kinglet_talk::template::{ChatTemplate, MAX_SOURCE};
use kinglet_talk::{
    Branch, Choice, SaveError, Session, SessionOptions, Settings, Template, TemplateError,
    Thinking, choose,
};
use serde_json::Value;

use super::answer::Times;
use super::display::Display;
use super::input::Input;
use super::storage::Storage;
use super::{Chat, repl};
use crate::args::{ChatArgs, StateType};
use crate::commands::run::drawn_seed;
use crate::support::engine::{max_batch, with_engine};
use crate::support::interrupt::Interrupt;
use crate::support::model::{LoadedModel, tokenizer};
use crate::support::{input, terminal};

/// Tokens of an answer, where nothing else is said.
const ANSWER_TOKENS: usize = 2048;
/// Most bytes of states that are kept for going back, and their part of the machine's memory; what
/// is older is computed again.
const MOST_SNAPSHOT_BYTES: u64 = 256 << 20;
const SNAPSHOT_PART: u64 = 16;
/// Longest file with a template: one of a tokenizer has more in it.
const MAX_TEMPLATE_FILE: u64 = 16 << 20;

pub(crate) fn run(args: &ChatArgs) -> Result<()> {
    #[cfg(feature = "grammar")]
    let grammar = crate::support::grammar::held(&args.held)?;
    #[cfg(not(feature = "grammar"))]
    let grammar = None;
    args.engine.check_device(&args.residence)?;
    let opened = LoadedModel::resident(&args.model.chosen(), &args.residence)?;
    let model = opened.model()?;
    let tokenizer = tokenizer(&model, opened.name())?;
    let storage = storage(args, &model)?;
    let state_type = args.engine.state.state_type;
    let saved = storage.saved().filter(|_| args.resume);
    let branch = saved.map(|path| load(&model, state_type, path)).transpose();
    let branch = branch.map_err(|error| anyhow!("{error}; {}", anew(args)));
    let begun = branch.and_then(|branch| Ok((template(args, &model, branch.as_ref())?, branch)));
    let (choice, branch) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            storage.abandon();
            return Err(error);
        }
    };
    let interrupt = Interrupt::new();
    let batch = max_batch(&model, args.engine.prompt_batch());
    let own = SamplerOptions::for_model(&model);
    with_engine(model, &args.engine, 1, batch, |engine| {
        let end_of_turn = model.end_of_turn();
        let started = Start { args, own, grammar, end_of_turn, tokenizer, branch, choice };
        let (session, seed, reason) = started.session(engine)?;
        let mut chat = Chat {
            session,
            model,
            model_name: opened.name(),
            reason,
            state_type,
            seed,
            input: Input::new(storage.folder().map(Path::to_owned), args.json)?,
            storage,
            display: Display::new(args.json),
            interrupt,
            attached: String::new(),
            initial: String::new(),
            times: Times::default(),
        };
        chat.greet(args.resume);
        repl::talk(&mut chat)
    })
}

/// How to talk where a conversation cannot be gone on with.
fn anew(args: &ChatArgs) -> &'static str {
    match args.session {
        Some(_) => "another file of --session begins a new conversation",
        None => "a chat without --resume begins a new one, and keeps this as last-1",
    }
}

/// What a session begins with.
struct Start<'a, 'b> {
    args: &'b ChatArgs,
    /// The model's own.
    own: SamplerOptions,
    /// That of the command line.
    grammar: Option<OwnedGrammar>,
    end_of_turn: Option<u32>,
    tokenizer: Tokenizer<'a>,
    branch: Option<Branch>,
    choice: Choice,
}

impl<'a> Start<'a, '_> {
    /// The session, the seed that its generator began with, and why its template is this one.
    fn session(self, engine: &'a mut dyn Engine) -> Result<(Session<'a>, Option<u64>, String)> {
        let Self { args, own, grammar, end_of_turn, tokenizer, branch, choice } = self;
        let Choice { template, reason } = choice;
        let saved = branch.as_ref().and_then(|branch| branch.settings.as_ref());
        let settings = settings(args, own, saved, &template)?;
        let seed = args.sampling.seed.unwrap_or_else(drawn_seed);
        // The system text of a conversation that is gone on with is in its state.
        let system = args.system.clone().filter(|_| branch.is_none());
        let options = SessionOptions {
            system,
            thinking: settings.thinking,
            thought_tokens: settings.thought_tokens,
            answer_tokens: settings.answer_tokens,
            stops: settings.stops,
            grammar: grammar.or(settings.grammar),
            end_of_turn,
            sampling: settings.sampling,
            seed,
            snapshot_bytes: snapshot_bytes(),
            ..SessionOptions::default()
        };
        let mut session = Session::new(engine, tokenizer, template.clone(), options)?;
        let Some(branch) = branch else { return Ok((session, Some(seed), reason)) };
        session.switch(&branch)?;
        if *session.template() != template {
            session.set_template(template)?;
        }
        if args.system.is_some() && args.system != branch.system {
            session.set_system(args.system.clone())?;
        }
        if let Some(seed) = args.sampling.seed {
            session.reseed(seed)?;
        }
        Ok((session, args.sampling.seed, reason))
    }
}

/// Bytes of states that are kept for going back.
fn snapshot_bytes() -> usize {
    let part = kinglet_host::total_memory().map(|total| total / SNAPSHOT_PART);
    part.unwrap_or(MOST_SNAPSHOT_BYTES).min(MOST_SNAPSHOT_BYTES) as usize
}

/// The files of the conversation. One that cannot be kept where nobody asked for it is no reason
/// not to talk; one of a script does not take the place of a person's, unless it asks for that.
fn storage(args: &ChatArgs, model: &Model<'_>) -> Result<Storage> {
    let hash = &model.header().content_hash;
    if !args.resume && args.session.is_none() && !io::stdin().is_terminal() {
        return Ok(Storage::unkept(hash));
    }
    match Storage::open(hash, args.session.as_deref(), args.resume) {
        Err(error) if !args.resume && args.session.is_none() => {
            terminal::note(&format!("note: this conversation is not kept: {error:#}"));
            Ok(Storage::none())
        }
        storage => storage,
    }
}

/// Reads a conversation of an engine that keeps states in `state_type`.
pub(super) fn load(model: &Model<'_>, state_type: StateType, path: &Path) -> Result<Branch> {
    let branch = match state_type {
        StateType::F32 => Branch::load::<f32>(model, path),
        StateType::F16 => Branch::load::<f16>(model, path),
    };
    branch.map_err(|error| match error {
        SaveError::File { .. } => anyhow!("{error}"),
        SaveError::State(StateFileError::Element { found, .. }) if found == f32::CODE => {
            anyhow!("{}: {error} (--state-type f32)", path.display())
        }
        SaveError::State(StateFileError::Element { found, .. }) if found == f16::CODE => {
            anyhow!("{}: {error} (--state-type f16)", path.display())
        }
        _ => anyhow!("{}: {error}", path.display()),
    })
}

/// The template that was asked for, or that of the conversation, or the model's.
fn template(args: &ChatArgs, model: &Model<'_>, branch: Option<&Branch>) -> Result<Choice> {
    let reason = |reason: &str| reason.to_owned();
    match (&args.template, branch) {
        (Some(name), _) => {
            let template = Template::named(name).map_or_else(|| template_file(name), Ok)?;
            Ok(Choice { template, reason: reason("as --template says") })
        }
        (None, Some(branch)) => {
            let template = branch.template.clone();
            Ok(Choice { template, reason: reason("that of the conversation") })
        }
        (None, None) => Ok(choose(model)),
    }
}

/// A template in a file: the program itself, or the JSON of a tokenizer that has it.
fn template_file(name: &str) -> Result<Template> {
    let path = Path::new(name);
    input::refuse_standard_input(path, "a chat_template")?;
    if !path.exists() {
        let names = kinglet_talk::template::BuiltIn::ALL.map(|template| template.name());
        bail!("--template {name} is no file, and none of {}", names.join(", "));
    }
    let bytes = input::read(path, MAX_TEMPLATE_FILE, "a chat_template")?;
    let source = match serde_json::from_slice::<Value>(&bytes) {
        Ok(json) => template_in(&json).with_context(|| name.to_owned())?,
        Err(_) if bytes.len() > MAX_SOURCE => {
            bail!("{name} has {} bytes; a chat_template has at most {MAX_SOURCE}", bytes.len())
        }
        Err(_) => String::from_utf8(bytes).with_context(|| format!("{name} is not UTF-8"))?,
    };
    let template = ChatTemplate::new(&source);
    // A text that is no Jinja says so itself.
    let is_jinja = !matches!(template, Err(TemplateError::Jinja(_)));
    if is_jinja && !source.contains("messages") {
        bail!(
            "{name}: this is no chat_template, for it never uses `messages`: no question would be \
             in its text; give a Jinja template of Hugging Face"
        );
    }
    Ok(Template::HuggingFace(template.with_context(|| name.to_owned())?))
}

/// The template in the JSON of a tokenizer: a text, or that of the name "default" in a list.
fn template_in(json: &Value) -> Result<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let Some(named) = json.get("chat_template").and_then(Value::as_array) else {
        return json
            .get("chat_template")
            .and_then(text)
            .context("it has no text \"chat_template\"");
    };
    let name = |entry: &Value| entry.get("name").and_then(text);
    let usual = named.iter().find(|entry| name(entry).as_deref() == Some("default"));
    usual.and_then(|entry| text(entry.get("template")?)).with_context(|| {
        let names: Vec<_> = named.iter().filter_map(name).collect();
        format!(
            "none of its templates has the name \"default\"; there are {}: put the text of one \
             into a file",
            names.join(", ")
        )
    })
}

/// How the session answers: as the command line says, or as the conversation did.
fn settings(
    args: &ChatArgs,
    own: SamplerOptions,
    saved: Option<&Settings>,
    template: &Template,
) -> Result<Settings> {
    let asked = args.think.filter(|&thinking| thinking != Thinking::None);
    if asked.is_some() && !template.thinks() {
        bail!("--think: the template {template} has no thoughts");
    }
    let usual = if template.thinks() { Thinking::Fast } else { Thinking::None };
    let usual = Settings {
        thinking: usual,
        thought_tokens: None,
        answer_tokens: ANSWER_TOKENS,
        stops: Vec::new(),
        grammar: None,
        sampling: own,
    };
    let settings = saved.cloned().unwrap_or(usual);
    let stops = args.stop.iter().map(|stop| String::from_utf8(stop.0.clone()));
    let stops = stops.collect::<Result<Vec<_>, _>>()?;
    Ok(Settings {
        thinking: args.think.unwrap_or(settings.thinking),
        thought_tokens: args.think_budget.or(settings.thought_tokens),
        answer_tokens: args.tokens.unwrap_or(settings.answer_tokens),
        stops: if stops.is_empty() { settings.stops } else { stops },
        grammar: settings.grammar,
        sampling: args.sampling.sampler.options(settings.sampling),
    })
}
