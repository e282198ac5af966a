//! `kinglet info`: what a model is and what it needs, or what a state file holds.
//!
//! The facts are collected first and printed as text or JSON from one struct, so that neither
//! tells what the other leaves out. Texts of the file (its provenance) are shown with control
//! characters made visible: they come from whoever wrote it.

#[cfg(feature = "decay")]
mod decay;
mod state;

use std::{fmt, io};

use anyhow::Result;
#[cfg(feature = "decay")]
use anyhow::bail;
use kinglet::engine::Requirements;
use kinglet::format::model::{Model, Section};
use kinglet::format::shape::{Ranks, Shape};
use kinglet::format::tensors::tensor_count;
use kinglet::kernels::weights::WeightType;
use kinglet::sampler::SamplerOptions;
use kinglet_quantize::Hex;
use serde_json::json;

use crate::args::InfoArgs;
use crate::support::device::{self, Room};
use crate::support::model::{LoadedModel, tokenizer};
use crate::support::numbers::grouped;
#[cfg(feature = "decay")]
use crate::support::output;
use crate::support::sampling::{flags, sampling_json};
use crate::support::stdout::outln;
use crate::support::terminal::visible;
use crate::support::traffic::{parameters, read_per_token};

pub(crate) fn run(args: &InfoArgs) -> Result<()> {
    #[cfg(not(feature = "decay"))]
    if args.decay {
        anyhow::bail!(
            "`info --decay` is left out of this build; another machine's full one has it"
        );
    }
    let chosen = args.model.chosen();
    #[cfg(feature = "decay")]
    if let Some(output) = &args.output {
        output::refuse_overwrite(chosen.model.iter().chain(&args.text), "--output", output)?;
        decay::refuse_other_pictures(output)?;
    }
    if let Some(path) = chosen.model.as_ref().filter(|path| state::begins_like_one(path)) {
        #[cfg(feature = "decay")]
        if args.decay {
            bail!(
                "{} is a state; --decay is of a model's weights: give the model file",
                path.display()
            );
        }
        return state::show(path, args.json);
    }
    args.device.check()?;
    let opened = LoadedModel::new(&chosen)?;
    let model = opened.model()?;
    #[cfg(feature = "decay")]
    if args.decay {
        return decay::show(opened.name(), &model, args);
    }
    let facts = Facts { room: device::room(&model, &args.device)?, ..Facts::new(&model) };
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&facts.json(opened.name()))?)?;
    } else {
        facts.print(opened.name())?;
    }
    Ok(())
}

struct Facts<'a> {
    model: &'a Model<'a>,
    parameters: u64,
    weights: WeightTypes,
    read_per_token: u64,
    tokens: Option<usize>,
    /// Of the device that was asked for.
    room: Option<Room>,
}

impl<'a> Facts<'a> {
    fn new(model: &'a Model<'a>) -> Self {
        let tokens = tokenizer(model, "").ok().map(|tokenizer| tokenizer.vocab_len());
        Self {
            model,
            parameters: parameters(model),
            weights: WeightTypes::of(model),
            read_per_token: read_per_token(model),
            tokens,
            room: None,
        }
    }

    fn state_bytes(&self) -> usize {
        Requirements::of::<f32>(self.model.shape(), 1).state_bytes
    }

    fn sampling(&self) -> SamplerOptions {
        SamplerOptions::for_model(self.model)
    }

    /// Whether the file states the sampler's options; else they are those of its kind.
    fn is_sampling_stated(&self) -> bool {
        self.sampling().stated_in(self.model.provenance()).is_some()
    }

    fn workspace_bytes(&self) -> usize {
        Requirements::of::<f32>(self.model.shape(), 1).workspace_bytes()
    }

    fn json(&self, name: &str) -> serde_json::Value {
        let shape = self.model.shape();
        let header = self.model.header();
        let sections: serde_json::Map<_, _> = Section::ALL
            .into_iter()
            .map(|section| (section.name().replace(' ', "_"), header.section(section).len.into()))
            .collect();
        json!({
            "model": name,
            "architecture": shape.architecture.name(),
            "layers": shape.layers,
            "width": shape.width,
            "heads": shape.heads(),
            "head_size": shape.head_size,
            "ffn": shape.ffn,
            "vocab": shape.vocab,
            "tokenizer_tokens": self.tokens,
            "sampling": sampling_json(&self.sampling()),
            "sampling_stated": self.is_sampling_stated(),
            "tuned_start_state": self.model.start_state().is_some(),
            "ranks": ranks(shape).map(|(_, key, rank)| (key.to_owned(), rank.into()))
                .collect::<serde_json::Map<_, _>>(),
            "parameters": self.parameters,
            "int8_tensors": self.weights.int8,
            "int4_tensors": self.weights.int4,
            "file_bytes": self.model.bytes().len(),
            "section_bytes": sections,
            "state_bytes": self.state_bytes(),
            "workspace_bytes": self.workspace_bytes(),
            "bytes_read_per_token": self.read_per_token,
            "device": self.room.as_ref().map(|room| json!({
                "name": room.name,
                "layers": room.layers,
                "weights_bytes": room.weights,
                "states_bytes": room.states,
                "buffers_bytes": room.buffers,
                "free_bytes": room.free,
                "total_bytes": room.total,
            })),
            "content_hash": Hex(&header.content_hash).to_string(),
            "provenance": self.model.provenance(),
        })
    }

    fn print(&self, name: &str) -> io::Result<()> {
        let shape = self.model.shape();
        let header = self.model.header();
        outln!("{}", visible(name))?;
        outln!(
            "  {}, {} layers, width {}, {} heads of {}, ffn {}, vocabulary {}",
            shape.architecture,
            shape.layers,
            shape.width,
            shape.heads(),
            shape.head_size,
            shape.ffn,
            grouped(shape.vocab as u64),
        )?;
        let ranks: Vec<_> = ranks(shape).map(|(name, _, rank)| format!("{name} {rank}")).collect();
        if !ranks.is_empty() {
            outln!("  ranks: {}", ranks.join(", "))?;
        }
        match self.tokens {
            Some(tokens) => outln!(
                "  tokenizer: {} token ids{}",
                grouped(tokens as u64),
                beside(tokens, shape.vocab)
            )?,
            None => outln!("  tokenizer: none")?,
        }
        if self.model.start_state().is_some() {
            outln!("  starts from a tuned state")?;
        }
        let whose = if self.is_sampling_stated() { "its own" } else { "of its kind" };
        outln!("  sampling, {whose}: {}", flags(&self.sampling(), None))?;
        outln!("  weights: {}", self.weights)?;
        outln!("  {:>13} parameters", grouped(self.parameters))?;
        outln!("file, bytes")?;
        for section in Section::ALL {
            let len = header.section(section).len;
            if len > 0 {
                outln!("  {:>13} {section}", grouped(len))?;
            }
        }
        outln!("  {:>13} in all", grouped(self.model.bytes().len() as u64))?;
        outln!("memory, bytes")?;
        outln!(
            "  {:>13} state, whatever the length of the text",
            grouped(self.state_bytes() as u64)
        )?;
        outln!(
            "  {:>13} workspace for one token at a time",
            grouped(self.workspace_bytes() as u64)
        )?;
        outln!("  {:>13} logits", grouped(4 * shape.vocab as u64))?;
        outln!(
            "  {:>13} of the file read per token at most; zeros in the channel mix spare a part",
            grouped(self.read_per_token)
        )?;
        if let Some(room) = &self.room {
            print_room(room, shape.layers)?;
        }
        outln!("  `kinglet fit` with the same model says which boards have that")?;
        outln!("content hash {}", Hex(&header.content_hash))?;
        for line in self.model.provenance().lines() {
            outln!("{}", visible(line))?;
        }
        Ok(())
    }
}

/// Matrices and tables of each type.
struct WeightTypes {
    int8: usize,
    int4: usize,
}

impl WeightTypes {
    fn of(model: &Model<'_>) -> Self {
        let tensors = (0..tensor_count(model.shape())).filter_map(|index| model.tensor(index));
        let types: Vec<_> = tensors.filter_map(|tensor| tensor.weight_type()).collect();
        let int4 = types.iter().filter(|&&weights| weights == WeightType::Int4).count();
        Self { int8: types.len() - int4, int4 }
    }
}

impl fmt::Display for WeightTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self { int4: 0, .. } => f.write_str("int8"),
            Self { int8: 0, .. } => f.write_str("int4"),
            Self { int8, int4 } => {
                let all = int8 + int4;
                write!(f, "int4 of {int4} of {all} matrices and tables, int8 of the others")
            }
        }
    }
}

fn print_room(room: &Room, layers: usize) -> io::Result<()> {
    outln!("{}, bytes", room.name)?;
    let Room { weights, states, buffers, free, total, .. } = *room;
    outln!("  {:>13} weights, {} of {layers} layers", grouped(weights), room.layers)?;
    outln!("  {:>13} state of one sequence", grouped(states))?;
    outln!("  {:>13} activations and logits of a prompt's batch", grouped(buffers))?;
    outln!("  {:>13} in all", grouped(weights + states + buffers))?;
    outln!("  {:>13} free of {}", grouped(free), grouped(total))?;
    Ok(())
}

/// Names, JSON keys and values of the ranks that the architecture has.
fn ranks(shape: &Shape) -> impl Iterator<Item = (&'static str, &'static str, usize)> {
    let Ranks { decay, iclr, value, gate, shift, deep_embed } = shape.ranks;
    let ranks = [
        ("decay", "decay", decay),
        ("in-context learning rate", "iclr", iclr),
        ("value", "value", value),
        ("gate", "gate", gate),
        ("token shift", "shift", shift),
        ("DeepEmbed", "deep_embed", deep_embed),
    ];
    ranks.into_iter().filter(|(_, _, rank)| *rank > 0)
}

/// Vocabularies are padded to a round number, by less than this.
const MAX_PADDING: usize = 1024;

/// What to say of a tokenizer that leaves logits without a text.
fn beside(tokens: usize, vocab: usize) -> String {
    match vocab.saturating_sub(tokens) {
        0 => String::new(),
        1..=MAX_PADDING => format!("; the other {} are padding", vocab - tokens),
        _ => ", far fewer than the model has logits: is it the one that it was trained with?"
            .to_owned(),
    }
}
