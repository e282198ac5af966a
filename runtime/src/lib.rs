//! The RWKV recurrence on int8 weights, for machines with and without an
//! operating system: `no_std`, no allocation, no unsafe code, and the same bits
//! on every target.
//!
//! An RWKV model is a recurrent network: its state has a fixed size, and a token
//! costs the same memory and time however long the text is. A model file is read
//! where it lies (flash, a static, a memory map), and the caller owns every
//! buffer, whose lengths are constants of the model's shape:
//!
//! ```
//! use kinglet::cpu::{Cpu, workspace_len};
//! use kinglet::model::{Header, Model, Section};
//! use kinglet::{engine::Engine, sampler::Sampler, scalar::Scalar, tokenizer::Tokenizer};
//!
//! static MODEL: &[u8] = kinglet_stories::MODEL;
//! const HEADER: Header = match Header::parse(MODEL) {
//!     Ok(header) => header,
//!     Err(_) => panic!("the model is damaged"),
//! };
//!
//! fn tell(mut print: impl FnMut(&[u8])) -> Option<()> {
//!     let model = Model::open(MODEL).ok()?;
//!     let tokenizer = Tokenizer::parse(model.section(Section::Tokenizer)).ok()?;
//!     let mut sampler = Sampler::new(Default::default(), 42).ok()?;
//!     let mut state = [0.0; HEADER.shape.state_len()];
//!     let mut workspace = [0.0; workspace_len(&HEADER.shape, 1)];
//!     let mut logits = [0.0; HEADER.shape.vocab];
//!     let mut engine = Cpu::new(model, Scalar, 1, &mut state, &mut workspace).ok()?;
//!     let mut token = 0; // the end of a text, which starts the next
//!     loop {
//!         engine.step(0, token, &mut logits).ok()?;
//!         token = sampler.sample(&mut logits).ok()?;
//!         let Some(text) = tokenizer.token(token) else { return Some(()) };
//!         print(text);
//!     }
//! }
//!
//! let mut story = Vec::new();
//! assert_eq!(tell(|text| story.extend_from_slice(text)), Some(()));
//! assert!(story.starts_with(b"Once upon a time"));
//! ```
//!
//! # Where things are
//!
//! * [`engine`]: what runs a model, for programs; [`cpu`]: the engine of processors;
//!   [`element`]: what a state is kept in
//! * [`kernels`]: what a target does for the core; [`scalar`]: the reference in plain Rust
//! * [`model`]: the model file; [`state`]: the state file; [`tokenizer`], [`text`], [`sampler`]
//! * [`math`], [`reduce`], [`quantized`], [`matrix`]: the numbers
//!
//! # The numbers
//!
//! Weights are int8 with an f16 scale per output and group of inputs, activations
//! int16 with a scale per column; their products are exact integers, so any
//! instruction set, thread count and order gives the same sum. What is left in f32
//! is written once, in a fixed order of IEEE operations, without fused
//! multiply-add. The promise holds for finite values; a step that meets another
//! says so.
//!
//! # Features
//!
//! All of these are on by default; code of those left out is not linked.
//!
//! * `rwkv4`, `rwkv5` (5.0 to 5.2), `rwkv6`, `rwkv7`, `rwkv7a`: the architectures whose
//!   models are run. [`Header::parse`](model::Header::parse) refuses a model of another one,
//!   in a constant too, and names the feature
//! * `bpe`: byte-pair vocabularies, whose encoder takes 52 KB of flash on a Cortex-M4
//!
//! These are off:
//!
//! * `defmt`: `defmt::Format` for errors and small structs
//! * `testing`: the tests that every kernel set instantiates
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "testing"))]
extern crate std;

mod block;
mod channel_mix;
pub mod cpu;
pub mod crc32;
pub mod element;
pub mod engine;
mod heads;
pub mod kernels;
pub mod math;
pub mod matrix;
pub mod model;
pub mod quantized;
pub mod reduce;
mod rwkv4;
mod rwkv5;
mod rwkv6;
mod rwkv7;
mod rwkv7a;
pub mod sampler;
pub mod scalar;
pub mod shape;
pub mod state;
pub mod tensors;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;
pub mod tokenizer;
mod workspace;
