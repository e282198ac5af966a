//! DeepEmbed, what RWKV-7a adds to the channel mix of RWKV-7: each token id has
//! a small matrix per layer, through which the sub-layer's input scales the
//! hidden channels.

use super::math::{Matrix, add};
use super::{Error, Source};

pub(super) struct DeepEmbed {
    rank: usize,
    table: Matrix, // [vocab][rank * rank], the embedding's share added
    s0: Vec<f64>,  // [F]
    s1: Matrix,    // [D][rank]
    s2: Matrix,    // [rank][F]
}

impl DeepEmbed {
    /// Takes layer `index`'s tensors; `None` where it has none. `embedding` is
    /// `[vocab][D]` with ln0 applied.
    pub(super) fn take(
        source: &mut Source,
        index: usize,
        f: usize,
        embedding: &Matrix,
    ) -> Result<Option<Self>, Error> {
        let ffn = |name: &str| format!("blocks.{index}.ffn.{name}");
        if !source.has(&ffn("s_emb.weight")) {
            return Ok(None);
        }
        let (vocab, d) = (embedding.rows, embedding.cols);
        let rank = source.dim(&ffn("s1"), 1)?;
        let mut table = source.matrix(&ffn("s_emb.weight"), vocab, rank * rank)?;
        if source.has(&ffn("s_emb_x.weight")) {
            let from_embedding = source.matrix(&ffn("s_emb_x.weight"), rank * rank, d)?;
            table.data = (0..vocab)
                .flat_map(|id| add(table.row(id), &from_embedding.mul(embedding.row(id))))
                .collect();
        }
        Ok(Some(Self {
            rank,
            table,
            s0: source.vector(&ffn("s0"), f)?,
            s1: source.matrix(&ffn("s1"), d, rank)?,
            s2: source.matrix(&ffn("s2"), rank, f)?,
        }))
    }

    /// The factors `[F]` of the hidden channels, from the normalised input `xx`
    /// `[D]` without token shift.
    pub(super) fn scales(&self, xx: &[f64], token: usize) -> Vec<f64> {
        let matrix =
            Matrix { rows: self.rank, cols: self.rank, data: self.table.row(token).to_vec() };
        let ss = matrix.left_mul(&self.s1.left_mul(xx));
        add(&self.s2.left_mul(&ss), &self.s0)
    }
}
