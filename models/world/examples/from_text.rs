//! Makes `world.vocab` from the text form of the vocabulary, `rwkv_vocab_v20230424.txt`.

use std::env;
use std::error::Error;
use std::fs;

use kinglet_quantize::vocabulary::Vocabulary;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [from, to] = &arguments[..] else { return Err("give the text form and a file".into()) };
    let vocabulary = Vocabulary::read(&fs::read(from)?)?;
    let tokens: Option<Vec<_>> =
        (1..vocabulary.vocab_len() as u32).map(|id| vocabulary.token(id)).collect();
    let tokens = tokens.ok_or("an id has no bytes")?;
    if !tokens.is_sorted_by_key(|token| (token.len(), *token)) {
        return Err("the ids do not ascend with length and bytes".into());
    }
    let mut counts = [0_u16; 128];
    for token in &tokens {
        counts[token.len() - 1] += 1;
    }
    let counts: Vec<u8> = counts.into_iter().flat_map(u16::to_le_bytes).collect();
    Ok(fs::write(to, [counts, tokens.concat()].concat())?)
}
