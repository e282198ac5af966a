//! `kinglet info --decay`: how long each layer remembers.
//!
//! A channel's memory is multiplied by w < 1 at each token. Its horizon is the half-life
//! ln 2 / -ln w, in tokens: what went in so long ago counts half. In RWKV-4 and 5 w is a weight;
//! in RWKV-6 and 7 the text chooses it, so that -ln w is averaged over the tokens of one.
//!
//! The delta rule of RWKV-7 also overwrites what a key finds, which no half-life shows.

mod measure;
mod plot;

use std::io;
use std::path::Path;

use anyhow::{Result, bail};
use kinglet::format::model::{Model, Tensor};
use kinglet::format::shape::{Architecture, Shape};
use kinglet::format::tensors;
use serde_json::{Value, json};

use crate::args::InfoArgs;
use crate::support::stdout::outln;

/// What the horizons are from.
enum Source {
    Weights,
    /// A text, and its number of tokens.
    Text {
        name: String,
        tokens: usize,
    },
}

impl Source {
    fn shown(&self) -> String {
        match self {
            Self::Weights => "from the weights".to_owned(),
            Self::Text { name, tokens } => format!("measured over {tokens} tokens of {name}"),
        }
    }
}

/// The half-lives of a model.
struct Horizons {
    source: Source,
    /// `head` or `channel`.
    unit: &'static str,
    /// `[layer][unit]`, tokens.
    layers: Vec<Vec<f64>>,
}

/// Shares of the units that the table has a column for.
const SHARES: [f64; 5] = [0.0, 0.1, 0.5, 0.9, 1.0];
/// The columns' names.
const NAMES: [&str; 5] = ["shortest", "10 %", "median", "90 %", "longest"];

/// Refuses a file whose ending is that of another picture than is written.
pub(super) fn refuse_other_pictures(output: &Path) -> Result<()> {
    const OTHERS: [&str; 7] = ["png", "jpg", "jpeg", "gif", "webp", "bmp", "pdf"];
    let ending = output.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if OTHERS.contains(&&*ending.to_lowercase()) {
        bail!(
            "--output {}: the plot is an SVG; give a name that ends in .svg, and another program \
             makes .{ending} of it",
            output.display()
        );
    }
    Ok(())
}

pub(super) fn show(name: &str, model: &Model<'_>, args: &InfoArgs) -> Result<()> {
    let horizons = Horizons::of(model, args)?;
    if let Some(path) = &args.output {
        plot::write(name, &horizons, path, args.force)?;
    }
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&horizons.json(name, model.shape()))?)?;
    } else {
        horizons.print(name)?;
    }
    Ok(())
}

impl Horizons {
    fn of(model: &Model<'_>, args: &InfoArgs) -> Result<Self> {
        let (source, rates) = match vector_name(model.shape().architecture) {
            ("att.time_decay", Choice::Weights) => (Source::Weights, weights(model)),
            _ => measure::over_text(model, args)?,
        };
        let per_head =
            matches!(model.shape().architecture, Architecture::Rwkv5_0 | Architecture::Rwkv5_1);
        let half_life = |rates: Vec<f64>| rates.into_iter().map(half_life).collect();
        Ok(Self {
            source,
            unit: if per_head { "head" } else { "channel" },
            layers: rates.into_iter().map(half_life).collect(),
        })
    }

    fn print(&self, name: &str) -> io::Result<()> {
        outln!(
            "{name}: half-life of the memory in tokens, by {}, {}",
            self.unit,
            self.source.shown()
        )?;
        outln!("layer  {}", NAMES.map(|name| format!("{name:>10}")).join("  "))?;
        for (layer, lives) in self.layers.iter().enumerate() {
            let cells = quantiles(lives).map(|life| format!("{:>10}", shown(life)));
            outln!("{layer:>5}  {}", cells.join("  "))?;
        }
        Ok(())
    }

    fn json(&self, name: &str, shape: &Shape) -> Value {
        let layers = self.layers.iter().enumerate().map(|(layer, lives)| {
            let [shortest, tenth, median, ninetieth, longest] = quantiles(lives);
            json!({
                "layer": layer,
                "shortest": shortest,
                "p10": tenth,
                "median": median,
                "p90": ninetieth,
                "longest": longest,
                "half_lives": lives,
            })
        });
        json!({
            "model": name,
            "architecture": shape.architecture.name(),
            "unit": self.unit,
            "source": match &self.source {
                Source::Weights => json!("weights"),
                Source::Text { name, tokens } => json!({ "text": name, "tokens": tokens }),
            },
            "layers": layers.collect::<Vec<_>>(),
        })
    }
}

/// Where the decay of an architecture comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    Weights,
    Text,
}

/// The vector of a layer's decay, and whether a text adds to it.
const fn vector_name(architecture: Architecture) -> (&'static str, Choice) {
    match architecture {
        Architecture::Rwkv4
        | Architecture::Rwkv5_0
        | Architecture::Rwkv5_1
        | Architecture::Rwkv5_2 => ("att.time_decay", Choice::Weights),
        Architecture::Rwkv6 => ("att.time_decay", Choice::Text),
        _ => ("att.w0", Choice::Text),
    }
}

/// -ln w for the sum `z` of the vector and what the text adds.
fn rate(architecture: Architecture, z: f64) -> f64 {
    match architecture {
        Architecture::Rwkv7 | Architecture::Rwkv7a => (-0.5f64).exp() / (1.0 + (-z).exp()),
        _ => z.exp(),
    }
}

/// A tensor of a layer, by its name without the block's.
fn tensor<'a>(model: &Model<'a>, layer: usize, name: &str) -> Option<Tensor<'a>> {
    let table = tensors::layer_tensors(model.shape().architecture);
    let position = table.iter().position(|spec| spec.name == name)?;
    model.layer_tensor(layer, position)
}

/// The vector of a layer's decay.
fn base(model: &Model<'_>, layer: usize) -> Vec<f64> {
    match tensor(model, layer, vector_name(model.shape().architecture).0) {
        Some(Tensor::Vector(vector)) => vector.iter().map(|&z| f64::from(z)).collect(),
        _ => Vec::new(),
    }
}

/// `[layer][unit]`: -ln w where it is a weight.
fn weights(model: &Model<'_>) -> Vec<Vec<f64>> {
    let shape = model.shape();
    let rates =
        |layer| base(model, layer).into_iter().map(|z| rate(shape.architecture, z)).collect();
    (0..shape.layers).map(rates).collect()
}

/// Tokens after which half is left; infinite where nothing is lost.
fn half_life(rate: f64) -> f64 {
    std::f64::consts::LN_2 / rate
}

/// The half-lives that these [`SHARES`] of a layer's do not exceed.
fn quantiles(lives: &[f64]) -> [f64; SHARES.len()] {
    let mut sorted = lives.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    SHARES.map(|share| sorted.get((share * last as f64).round() as usize).copied().unwrap_or(0.0))
}

/// A half-life for people.
fn shown(life: f64) -> String {
    match life {
        life if life >= 1e6 => "> 1,000,000".to_owned(),
        life if life >= 99.95 => format!("{life:.0}"),
        life if life >= 9.995 => format!("{life:.1}"),
        life => format!("{life:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_lives_are_those_of_the_formulas() {
        // w = exp(-exp(z)) = 0.5 at z = ln ln 2.
        let z = std::f64::consts::LN_2.ln();
        assert!((half_life(rate(Architecture::Rwkv6, z)) - 1.0).abs() < 1e-12);
        assert!((half_life(rate(Architecture::Rwkv4, z)) - 1.0).abs() < 1e-12);
        // RWKV-7 forgets at most a factor exp(-e^-0.5) a token.
        let fastest = half_life(rate(Architecture::Rwkv7, 1e3));
        assert!((fastest - std::f64::consts::LN_2 / 0.606_530_66).abs() < 1e-6, "{fastest}");
        assert!((half_life(rate(Architecture::Rwkv7, 0.0)) / fastest - 2.0).abs() < 1e-12);
        assert_eq!(half_life(rate(Architecture::Rwkv4, -1e9)), f64::INFINITY);
    }

    #[test]
    fn quantiles_are_of_the_values() {
        let lives: Vec<_> = (0..=100).rev().map(f64::from).collect();
        assert_eq!(quantiles(&lives), [0.0, 10.0, 50.0, 90.0, 100.0]);
        assert_eq!(quantiles(&[7.0]), [7.0; 5]);
        assert_eq!(["0.50", "12.3", "1234"], [0.5, 12.34, 1234.4].map(shown));
    }
}
