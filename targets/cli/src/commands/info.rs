//! `kinglet info`: what a model is and what it needs.
#![expect(clippy::print_stdout, reason = "the facts are the output")]

use anyhow::Result;
use kinglet::engine::workspace_len;
use kinglet::format::layout::layout;
use kinglet::format::model::{Model, Section, Tensor};
use kinglet::format::tensors;
use kinglet_quantize::Hex;
use serde_json::json;

use crate::args::InfoArgs;
use crate::support::model::{Opened, tokenizer};

pub(crate) fn run(args: &InfoArgs) -> Result<()> {
    let opened = Opened::new(&args.model)?;
    let model = opened.model()?;
    let facts = Facts::new(&model);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&facts.json(opened.name()))?);
    } else {
        facts.print(opened.name());
    }
    Ok(())
}

struct Facts<'a> {
    model: &'a Model<'a>,
    parameters: u64,
    read_per_token: u64,
    tokens: Option<usize>,
}

impl<'a> Facts<'a> {
    fn new(model: &'a Model<'a>) -> Self {
        let tokens = tokenizer(model, "").ok().map(|tokenizer| tokenizer.vocab_len());
        Self { model, parameters: parameters(model), read_per_token: read_per_token(model), tokens }
    }

    fn state_bytes(&self) -> usize {
        4 * self.model.shape().state_len()
    }

    fn workspace_bytes(&self) -> usize {
        4 * workspace_len(self.model.shape(), 1)
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
            "tuned_start_state": self.model.start_state().is_some(),
            "ranks": {
                "decay": shape.ranks.decay,
                "iclr": shape.ranks.iclr,
                "value": shape.ranks.value,
                "gate": shape.ranks.gate,
            },
            "parameters": self.parameters,
            "file_bytes": self.model.bytes().len(),
            "section_bytes": sections,
            "state_bytes": self.state_bytes(),
            "workspace_bytes": self.workspace_bytes(),
            "bytes_read_per_token": self.read_per_token,
            "content_hash": Hex(&header.content_hash).to_string(),
            "provenance": self.model.provenance(),
        })
    }

    fn print(&self, name: &str) {
        let shape = self.model.shape();
        let header = self.model.header();
        println!("{name}");
        println!(
            "  {}, {} layers, width {}, {} heads of {}, ffn {}, vocabulary {}",
            shape.architecture,
            shape.layers,
            shape.width,
            shape.heads(),
            shape.head_size,
            shape.ffn,
            shape.vocab,
        );
        let ranks = shape.ranks;
        println!(
            "  ranks: decay {}, in-context learning rate {}, value {}, gate {}",
            ranks.decay, ranks.iclr, ranks.value, ranks.gate
        );
        match self.tokens {
            Some(tokens) => println!("  tokenizer: {tokens} token ids"),
            None => println!("  tokenizer: none"),
        }
        if self.model.start_state().is_some() {
            println!("  starts from a tuned state");
        }
        println!("  {:>13} parameters", grouped(self.parameters));
        println!("file, bytes");
        for section in Section::ALL {
            let len = header.section(section).len;
            if len > 0 {
                println!("  {:>13} {section}", grouped(len));
            }
        }
        println!("  {:>13} in all", grouped(self.model.bytes().len() as u64));
        println!("memory, bytes");
        println!(
            "  {:>13} state, whatever the length of the text",
            grouped(self.state_bytes() as u64)
        );
        println!(
            "  {:>13} workspace for one token at a time",
            grouped(self.workspace_bytes() as u64)
        );
        println!("  {:>13} logits", grouped(4 * shape.vocab as u64));
        println!(
            "  {:>13} of the file read per token at most; zeros in the channel mix spare a part",
            grouped(self.read_per_token)
        );
        println!("content hash {}", Hex(&header.content_hash));
        for line in self.model.provenance().lines() {
            println!("{line}");
        }
    }
}

/// Values of all tensors, without padding.
fn parameters(model: &Model<'_>) -> u64 {
    let shape = model.shape();
    (0..tensors::tensor_count(shape))
        .filter(|&index| model.tensor(index).is_some())
        .map(|index| {
            let (_, spec) = tensors::tensor(shape, index);
            spec.rows.of(shape) as u64 * spec.cols.of(shape) as u64
        })
        .sum()
}

/// Bytes of the file that one token reads, nothing skipped: all tensors, but of
/// the embedding one row.
pub(crate) fn read_per_token(model: &Model<'_>) -> u64 {
    let shape = model.shape();
    (0..tensors::tensor_count(shape))
        .map(|index| {
            let (_, spec) = tensors::tensor(shape, index);
            match model.tensor(index) {
                None => 0,
                Some(Tensor::Embedding(table)) => layout(spec, shape, 0).len() / table.rows as u64,
                Some(Tensor::Matrix(matrix)) => layout(spec, shape, matrix.group()).len(),
                Some(Tensor::Sparse(matrix)) => layout(spec, shape, matrix.group()).len(),
                Some(_) => layout(spec, shape, 0).len(),
            }
        })
        .sum()
}

/// 1234567 as 1,234,567.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_grouped() {
        assert_eq!(super::grouped(0), "0");
        assert_eq!(super::grouped(999), "999");
        assert_eq!(super::grouped(1_234_567), "1,234,567");
    }
}
