//! Writes a model of random weights: what start-up is measured on.
//!
//! `synthetic rwkv7-1.5b FILE.kinglet`; shapes are those of `kinglet bench --shape`.

use std::env;
use std::error::Error;
use std::fs;

use kinglet_quantize::synthetic::{OFFICIAL, SyntheticModel};
use kinglet_quantize::write_beside;

/// Share of zero activations in the channel mix, and seed, of `kinglet bench`.
const SPARSITY: f64 = 0.5;
const SEED: u64 = 7;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [name, path] = arguments.as_slice() else {
        return Err("usage: synthetic SHAPE FILE.kinglet".into());
    };
    let Some((_, shape)) = OFFICIAL.iter().find(|(known, _)| known == name) else {
        let known = OFFICIAL.map(|(name, _)| name).join(", ");
        return Err(format!("{name} is not a shape that is known; there are {known}").into());
    };
    let model = SyntheticModel::new(shape, SPARSITY, SEED)?;
    write_beside(path.as_ref(), |partial| fs::write(partial, model.bytes()))?;
    Ok(())
}
