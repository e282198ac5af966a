//! DeepEmbed, what RWKV-7a adds to the channel mix of RWKV-7: each token id has
//! a small matrix per layer, through which the sub-layer's input scales the
//! hidden channels.

use super::math::{Batch, Matrix, Weights, add};
use super::{Error, Source, Tokens};

pub(super) struct DeepEmbed<'a> {
    rank: usize,
    table: Matrix<'a>,                  // [vocab][rank * rank]
    from_embedding: Option<Matrix<'a>>, // [rank * rank][D], adds to the table
    s0: Vec<f64>,                       // [F]
    s1: Matrix<'a>,                     // [D][rank]
    s2: Matrix<'a>,                     // [rank][F]
}

impl<'a> DeepEmbed<'a> {
    /// Takes layer `index`'s tensors; `None` where it has none.
    pub(super) fn take(
        source: &mut Source<'a>,
        index: usize,
        f: usize,
        [vocab, d]: [usize; 2],
    ) -> Result<Option<Self>, Error> {
        let ffn = |name: &str| format!("blocks.{index}.ffn.{name}");
        if !source.has(&ffn("s_emb.weight")) {
            return Ok(None);
        }
        let rank = source.dim(&ffn("s1"), 1)?;
        let table = source.matrix(&ffn("s_emb.weight"), vocab, rank * rank)?;
        let from_embedding = if source.has(&ffn("s_emb_x.weight")) {
            Some(source.matrix(&ffn("s_emb_x.weight"), rank * rank, d)?)
        } else {
            None
        };
        Ok(Some(Self {
            rank,
            table,
            from_embedding,
            s0: source.vector(&ffn("s0"), f)?,
            s1: source.matrix(&ffn("s1"), d, rank)?,
            s2: source.matrix(&ffn("s2"), rank, f)?,
        }))
    }

    /// The tokens' matrices, `[token][rank * rank]`.
    fn matrices(&self, tokens: &Tokens) -> Batch {
        let row = |&id: &usize| self.table.read(id..id + 1);
        let mut matrices: Batch = tokens.ids.iter().map(row).collect();
        if let Some(from_embedding) = &self.from_embedding {
            let shares = from_embedding.mul(&tokens.embedded);
            matrices = matrices.iter().zip(&shares).map(|(own, share)| add(own, share)).collect();
        }
        matrices
    }

    /// The factors `[F]` of the hidden channels for every token, from the
    /// normalised input `xx` `[D]` without token shift.
    pub(super) fn scales(&self, xx: &[Vec<f64>], tokens: &Tokens) -> Batch {
        let rank = self.rank;
        let low = self.s1.left_mul(xx).into_iter().zip(self.matrices(tokens));
        let ss: Batch = low
            .flat_map(|(low, data)| {
                Matrix { rows: rank, cols: rank, weights: Weights::Held(data) }.left_mul(&[low])
            })
            .collect();
        self.s2.left_mul(&ss).iter().map(|scales| add(scales, &self.s0)).collect()
    }
}
