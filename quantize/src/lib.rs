//! Reads RWKV checkpoints and writes Kinglet model files.
//!
//! ```text
//! file or folder -> containers -> wrappings, names, shapes -> Checkpoint   (module checkpoint)
//!                                                                 |
//!         adapters are merged, row by row, when rows are read ----+
//!                                                                 v
//!  model file <- writer <- int8, int4 <- LayerNorm ln0 <- rows <- recognized shape   (convert)
//! ```
//!
//! | module | |
//! |---|---|
//! | [`checkpoint`] | every container as named tensors, decoded to f32 when they are asked for |
//! | [`convert()`] | from a checkpoint to a model file; the version is told from the tensors |
//! | [`int8`], [`int4`] | scales, groups and rounding |
//! | [`calibrate`] | int4 by error feedback from the activations of a text; which tensors take it, by what they lose |
//! | [`packing`] | the order of the integers and scales in the file |
//! | [`vocabulary`] | vocabularies, and the tokenizer section that they are packed into |
//! | [`reference`](mod@reference) | a forward pass in f64 of the same checkpoint, nothing shared with the runtime |
//! | [`evaluate`] | what int8 costs: KL divergence, perplexity, cosine |
//! | [`synthetic`] | model files of any official size with random weights |
//! | [`export()`] | a model file's weights, dequantized |
//!
//! # Examples
//!
//! A model of one layer, from tensors to a file that the runtime opens:
//!
//! ```
//! use kinglet::format::model::Model;
//! use kinglet_quantize::checkpoint::Checkpoint;
//! use kinglet_quantize::vocabulary::Vocabulary;
//! use kinglet_quantize::{Options, convert};
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("tiny.safetensors");
//! # let (width, ffn, vocab) = (32, 64, 48);
//! # let mut header = Vec::new();
//! # let mut data: Vec<u8> = Vec::new();
//! # let mut add = |name: &str, dims: &[usize]| {
//! #     let len = dims.iter().product::<usize>();
//! #     let begin = data.len();
//! #     let value = |i: usize| ((i * 7919 + begin) % 17) as f32 / 40.0 - 0.2;
//! #     data.extend((0..len).flat_map(|i| value(i).to_le_bytes()));
//! #     let end = data.len();
//! #     header.push(format!(
//! #         "\"{name}\":{{\"dtype\":\"F32\",\"shape\":{dims:?},\"data_offsets\":[{begin},{end}]}}"
//! #     ));
//! # };
//! # add("emb.weight", &[vocab, width]);
//! # for norm in ["blocks.0.ln0", "blocks.0.ln1", "blocks.0.ln2", "ln_out"] {
//! #     add(&format!("{norm}.weight"), &[width]);
//! #     add(&format!("{norm}.bias"), &[width]);
//! # }
//! # for name in ["time_decay", "time_first"] {
//! #     add(&format!("blocks.0.att.{name}"), &[width]);
//! # }
//! # for name in ["att.time_mix_k", "att.time_mix_v", "att.time_mix_r", "ffn.time_mix_k", "ffn.time_mix_r"] {
//! #     add(&format!("blocks.0.{name}"), &[1, 1, width]);
//! # }
//! # for name in ["key", "value", "receptance", "output"] {
//! #     add(&format!("blocks.0.att.{name}.weight"), &[width, width]);
//! # }
//! # add("blocks.0.ffn.key.weight", &[ffn, width]);
//! # add("blocks.0.ffn.receptance.weight", &[width, width]);
//! # add("blocks.0.ffn.value.weight", &[width, ffn]);
//! # add("head.weight", &[vocab, width]);
//! # let header = format!("{{{}}}", header.join(","));
//! # let length = (header.len() as u64).to_le_bytes();
//! # std::fs::write(&path, [&length[..], header.as_bytes(), &data].concat())?;
//! # let out = folder.path().join("tiny.kinglet");
//! let checkpoint = Checkpoint::open(&path)?;
//! let vocabulary = Vocabulary::from_rwkv_text(b"1 'a' 1\n2 'b' 1\n")?;
//! let options = Options { vocabulary: Some(&vocabulary), ..Options::default() };
//! let report = convert(&checkpoint, &out, &options, &mut |_done, _all| {})?;
//! assert_eq!((report.shape.layers, report.shape.width), (1, 32));
//!
//! # let bytes = std::fs::read(&out)?;
//! # let mut aligned = vec![0u64; bytes.len().div_ceil(8) + 8];
//! # let raw: &mut [u8] = bytemuck::cast_slice_mut(&mut aligned);
//! # let skip = raw.as_ptr().align_offset(64);
//! # raw[skip..][..bytes.len()].copy_from_slice(&bytes);
//! # let bytes = &raw[skip..][..bytes.len()];
//! let model = Model::open(bytes)?;
//! assert_eq!(model.shape(), &report.shape);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod calibrate;
pub mod checkpoint;
mod content_hash;
mod convert;
mod dual;
pub mod evaluate;
mod export;
mod feedback;
mod files;
mod grid;
pub mod int4;
pub mod int8;
mod multiversion;
mod note;
pub mod packing;
pub mod reference;
mod scales;
pub mod synthetic;
mod threads;
pub mod vocabulary;

pub use self::content_hash::content_hash;
pub use convert::error::{ConvertError, Foreign};
pub use convert::recognize::shape;
pub use convert::tuned_state::TunedState;
pub use convert::{Bits, Hex, Limit, Mix, Options, Progress, Report, TensorReport, convert};
pub use evaluate::{metrics, quality};
pub use export::export;
pub use files::{Partial, abandon, write_beside};
pub use note::Note;
