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
//! use kinglet::{Cpu, Engine, Header, Model, Requirements, Scalar, Section, Tokenizer};
//! use kinglet::{Sampler, SamplerOptions};
//! use static_cell::ConstStaticCell;
//!
//! static MODEL: &[u8] = kinglet_stories::MODEL;
//! const HEADER: Header = match Header::parse(MODEL) {
//!     Ok(header) => header,
//!     Err(_) => panic!("the model is damaged"),
//! };
//! // Lengths for a batch of one token; the linker says whether the statics fit.
//! const NEEDS: Requirements = Requirements::of::<f32>(&HEADER.shape, 1);
//! static STATE: ConstStaticCell<[f32; NEEDS.state]> = ConstStaticCell::new([0.0; _]);
//! static WORKSPACE: ConstStaticCell<[f32; NEEDS.workspace]> = ConstStaticCell::new([0.0; _]);
//! static LOGITS: ConstStaticCell<[f32; NEEDS.logits]> = ConstStaticCell::new([0.0; _]);
//!
//! fn tell(mut print: impl FnMut(&[u8])) -> Option<()> {
//!     let model = Model::open(MODEL).ok()?;
//!     let tokenizer = Tokenizer::parse(model.section(Section::Tokenizer)).ok()?;
//!     let mut sampler = Sampler::new(SamplerOptions::for_model(&model), 42).ok()?;
//!     let mut engine = Cpu::single(model, Scalar, STATE.take(), WORKSPACE.take()).ok()?;
//!     let logits = LOGITS.take();
//!     let mut token = 0; // the end of a text, which starts the next
//!     loop {
//!         engine.step(0, token, logits).ok()?; // sequence 0, the only one
//!         token = sampler.sample(logits).ok()?;
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
//! [`Scalar`] runs anywhere. A target's crate brings faster kernels with the same bits:
//! `kinglet-cortex-m` for microcontrollers, `kinglet-desktop` for x86-64, `kinglet-neon` for
//! AArch64; `kinglet-host` adds threads and the memory map of an operating system.
//!
//! # Where things are
//!
//! For programs and firmware, most of it re-exported here:
//!
//! * [`engine`]: what runs a model, and how much memory it needs
//! * [`sampler`]: choosing a token from logits
//! * [`tokenizer`]: text to tokens and back
//! * [`grammar`]: text held to a grammar, such as that of a JSON schema
//! * [`format`](mod@format): the model file and the state file
//!
//! For kernel authors:
//!
//! * [`kernels`]: what a target does for the core, the reference in plain Rust, and the tests
//!   that every kernel set instantiates
//! * [`num`]: the numbers contract, and the functions that keep it
//!
//! For tools that write model files: [`format::layout`], [`format::tensors`],
//! [`tokenizer::layout`].
//!
//! # The numbers
//!
//! Weights are int8 or int4 with an f16 scale per output and group of inputs, activations
//! int16 with a scale per token; their products are exact integers, so any
//! instruction set, thread count and order gives the same sum. What is left in f32
//! is written once, in a fixed order of IEEE operations, without fused
//! multiply-add. The promise holds for finite values; a step that meets another
//! says so. [The contract](num), formula by formula.
//!
//! # Features
//!
//! All of these are on by default; code of those left out is not linked.
//!
//! * `rwkv4`, `rwkv5` (5.0 to 5.2), `rwkv6`, `rwkv7`, `rwkv7a`: the architectures whose
//!   models are run. [`Header::parse`] refuses a model of another one,
//!   in a constant too, and names the feature
//! * `q4`: weights of four bits; without it a model that has some is refused
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

pub mod engine;
pub mod format;
pub mod grammar;
pub mod kernels;
pub mod num;
mod rwkv;
pub mod sampler;
pub mod tokenizer;

pub use engine::{BatchToken, Cpu, Engine, Progress, Requirements, Step};
pub use format::model::{Header, Model, Section};
pub use format::shape::{Architecture, Shape};
pub use format::state_file::StateFile;
pub use kernels::scalar::Scalar;
pub use num::state_dtype::f16;
pub use sampler::{Sampler, SamplerOptions};
pub use tokenizer::Tokenizer;
pub use tokenizer::stop::StopMatcher;
pub use tokenizer::text_stream::TextStream;
