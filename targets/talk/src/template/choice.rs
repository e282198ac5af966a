//! Which template a model was trained on, as far as its file tells.

use kinglet::format::model::Model;
use kinglet::format::shape::Architecture;

use super::{BuiltIn, Template};

/// Ids of the World vocabulary, with those that stand for nothing.
const WORLD_VOCAB: usize = 65536;
/// Ids of the vocabulary of RWKV-4 Pile and Raven models.
const PILE_VOCAB: usize = 50277;

/// A template, and why it is this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The template.
    pub template: Template,
    /// The reason, a sentence without a full stop.
    pub reason: String,
}

/// The template of `model`: from its architecture, the size of its vocabulary, and the name of
/// the checkpoint that it was made from.
///
/// ```
/// use kinglet::Model;
/// use kinglet_talk::choose;
///
/// let choice = choose(&Model::open(kinglet_stories::MODEL)?);
/// assert_eq!(choice.template.name(), "plain");
/// assert_eq!(choice.reason, "a vocabulary of 1024 ids is none that chat models have");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn choose(model: &Model<'_>) -> Choice {
    let shape = model.shape();
    choose_by(shape.architecture, shape.vocab, source(model.provenance()))
}

/// The name of the checkpoint in a provenance.
fn source(provenance: &str) -> &str {
    provenance.lines().find_map(|line| line.strip_prefix("source: ")).unwrap_or_default()
}

fn choose_by(architecture: Architecture, vocab: usize, source: &str) -> Choice {
    let named = source.to_ascii_lowercase();
    let (template, reason) = match vocab {
        WORLD_VOCAB if named.contains("world") => {
            (BuiltIn::World, format!("the checkpoint \"{source}\" is a World model by its name"))
        }
        WORLD_VOCAB if named.contains("g1") => {
            (BuiltIn::G1, format!("the checkpoint \"{source}\" is a G1 model by its name"))
        }
        WORLD_VOCAB => match architecture {
            Architecture::Rwkv7 | Architecture::Rwkv7a => (
                BuiltIn::G1,
                format!("{architecture} with the World vocabulary is most likely a G1 model"),
            ),
            _ => (BuiltIn::World, format!("{architecture} with the World vocabulary")),
        },
        PILE_VOCAB if named.contains("raven") => {
            (BuiltIn::Raven, format!("the checkpoint \"{source}\" is a Raven model by its name"))
        }
        PILE_VOCAB => (BuiltIn::Plain, "a model of the Pile is not trained to answer".to_owned()),
        _ => (BuiltIn::Plain, format!("a vocabulary of {vocab} ids is none that chat models have")),
    };
    Choice { template: Template::BuiltIn(template), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_get_the_template_that_they_were_trained_on() {
        let name = |architecture, vocab, source| {
            choose_by(architecture, vocab, source).template.name().to_owned()
        };
        let world = WORLD_VOCAB;
        assert_eq!(name(Architecture::Rwkv7, world, "rwkv7-g1h-1.5b.pth"), "g1");
        assert_eq!(name(Architecture::Rwkv7, world, "RWKV-x070-World-0.1B-v2.8.pth"), "world");
        assert_eq!(name(Architecture::Rwkv7, world, "model.safetensors"), "g1");
        assert_eq!(name(Architecture::Rwkv6, world, ""), "world");
        assert_eq!(name(Architecture::Rwkv4, PILE_VOCAB, "RWKV-4-Raven-3B-v12.pth"), "raven");
        assert_eq!(name(Architecture::Rwkv4, PILE_VOCAB, "RWKV-4-Pile-169M.pth"), "plain");
        assert_eq!(name(Architecture::Rwkv7, 1024, "g1"), "plain");
    }
}
