//! An engine that tells a story: the most probable token always, so that every board and
//! `kinglet run --temp 0` tell the same one.

use core::fmt::Write;
use core::task::Poll;

use embassy_futures::yield_now;
use kinglet::engine::Progress;
use kinglet::{BatchToken, Engine, Model, Sampler, SamplerOptions, Section, TextStream, Tokenizer};

use crate::buffers::{self, Buffers};
use crate::{Console, Error, model};

/// Starts every text, and ends it.
pub(crate) const END_OF_TEXT: u32 = 0;
/// Most tokens of a story, for models that do not end one.
const MOST: usize = 1024;
/// Multiply-accumulates of a piece: less than 100,000 instructions of a Cortex-M4.
const STEP_PIECE: usize = 20_000;
/// Units of a piece of a draw.
const DRAW_PIECE: usize = 10_000;

/// An engine, its model and its logits.
#[derive(Debug)]
pub struct Teller<'a, E> {
    /// The model.
    pub model: Model<'a>,
    /// An engine over it.
    pub engine: E,
    /// The name of its kernels.
    pub kernels: &'static str,
    /// `[vocab]`
    pub logits: &'a mut [f32],
}

/// The name of the kernels of [`Engine`](crate::Engine).
#[cfg(target_os = "none")]
fn kernels() -> &'static str {
    use kinglet::kernels::Kernels;
    kinglet_cortex_m::Best::new().map_or("none", |kernels| kernels.name())
}

#[cfg(target_os = "none")]
impl Teller<'static, crate::Engine> {
    /// A teller on one core, of the model that the board has in flash. The model's bytes are not
    /// checked yet, but for its header.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    #[inline(never)]
    pub fn new() -> Result<Self, Error> {
        Self::with(model::flashed(), kernels(), |model, state, workspace| {
            Ok(crate::Engine::new(model, state, workspace)?)
        })
    }
}

impl<E: Engine> Teller<'static, E> {
    /// A teller whose engine `make` makes of the model, a state and a workspace.
    ///
    /// * `kernels`: their name
    ///
    /// # Errors
    ///
    /// See [`Error`].
    #[inline(always)]
    pub fn with(
        bytes: &'static [u8],
        kernels: &'static str,
        make: impl FnOnce(Model<'static>, &'static mut [f32], &'static mut [f32]) -> Result<E, Error>,
    ) -> Result<Self, Error> {
        let model = model::open(bytes)?;
        let Buffers { state, workspace, logits } = buffers::take().ok_or(Error::Buffers)?;
        Ok(Self { model, engine: make(model, state, workspace)?, kernels, logits })
    }
}

impl<E: Engine> Teller<'_, E> {
    /// Tells a story from the start, each token at once.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn story<B: crate::Board>(&mut self) -> Result<(), Error> {
        let mut story = Story::new(&self.model)?;
        for _ in 0..MOST {
            self.engine.step(0, story.token, self.logits)?;
            let token = story.sampler.sample(&mut self.logits[..story.tokenizer.vocab_len()])?;
            if !story.tell::<B>(token) {
                break;
            }
        }
        story.end::<B>();
        Ok(())
    }

    /// Tells a story among other tasks, which run after each piece of a token, of a draw, and of
    /// the check of the model before.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn story_in_pieces<B: crate::Board>(&mut self) -> Result<(), Error> {
        model::check_in_pieces(&self.model).await?;
        let mut story = Story::new(&self.model)?;
        for _ in 0..MOST {
            self.compute(story.token).await?;
            let logits = &mut self.logits[..story.tokenizer.vocab_len()];
            let token = {
                let mut sampling = story.sampler.begin(logits)?;
                loop {
                    match sampling.poll(DRAW_PIECE)? {
                        Poll::Ready(token) => break token,
                        Poll::Pending => yield_now().await,
                    }
                }
            };
            if !story.tell::<B>(token) {
                break;
            }
        }
        story.end::<B>();
        Ok(())
    }

    async fn compute(&mut self, token: u32) -> Result<(), Error> {
        let token = [BatchToken { token, sequence: 0, logits: true }];
        let mut step = self.engine.begin(&token, self.logits)?;
        while let Progress::More { .. } = step.poll(STEP_PIECE)? {
            yield_now().await;
        }
        Ok(())
    }
}

/// How far a story is told.
struct Story<'a> {
    tokenizer: Tokenizer<'a>,
    sampler: Sampler,
    text: TextStream,
    /// The last token.
    token: u32,
}

impl<'a> Story<'a> {
    #[inline(never)]
    fn new(model: &Model<'a>) -> Result<Self, Error> {
        let tokenizer = Tokenizer::parse(model.section(Section::Tokenizer));
        let tokenizer = tokenizer.map_err(|_| Error::Tokenizer)?;
        let sampler = Sampler::new(SamplerOptions::greedy(), 0).expect("greedy options are sound");
        Ok(Self { tokenizer, sampler, text: TextStream::new(), token: END_OF_TEXT })
    }

    /// Writes the text of the next token; false at the story's end.
    #[inline(never)]
    fn tell<B: crate::Board>(&mut self, token: u32) -> bool {
        self.token = token;
        if token == END_OF_TEXT {
            return false;
        }
        for part in self.text.push(self.tokenizer.token(token).unwrap_or_default()) {
            B::write(part);
        }
        true
    }

    #[inline(never)]
    fn end<B: crate::Board>(&mut self) {
        // The console never fails.
        let _ = writeln!(Console::<B>::new(), "{}", self.text.finish());
    }
}
