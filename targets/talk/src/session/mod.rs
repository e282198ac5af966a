//! Sessions: a conversation with a model, turn by turn and token by token.
//!
//! The state after a turn is a function of the conversation's text and of the tokens that the
//! model wrote, whatever was undone, stopped or tried on the way:
//!
//! ```text
//! before(0)     = start
//! asked(i)      = before(i) + question(i)
//! before(i + 1) = asked(i) + opening + tokens(i) + closing    where that is history's text
//!               = asked(i) + history's text of the answer     otherwise: history has no thoughts
//! ```
//!
//! So undo, retry and edit load a state, or compute it again where it is not kept any more, and
//! equal a session that never took the other way, bit for bit. The generator is the exception: it
//! goes on, so that another try gives another answer.
//!
//! An answer is [settled](Session::settle) when something else follows it; until then it may go
//! on. A stop's text is no part of the turn: a state is kept when one may begin, and taken back
//! when it does. Penalties count the tokens of one answer.

mod answer;
mod held;
mod reading;
mod settings;
mod snapshots;
mod turn;

use std::ops::ControlFlow;

use kinglet::engine::{BatchToken, Engine};
use kinglet::sampler::{Pcg32, Sampler, SamplerOptions};
use kinglet::tokenizer::Tokenizer;

use self::answer::Answer;
pub use self::answer::{Finish, Piece};
use self::held::Holder;
pub use self::reading::{Reading, THOUGHT_END};
pub use self::settings::Settings;
use self::snapshots::{Place, Point, Snapshots};
pub use self::turn::Turn;
use crate::branch::Branch;
use crate::error::TalkError;
use crate::grammar::OwnedGrammar;
use crate::prompt::encode;
use crate::template::{Past, Template, Thinking};

/// Most tokens of a batch of a text that is read.
const LARGEST_BATCH: usize = 256;
/// Bytes of a sampler's snapshot that are its generator.
const GENERATOR_LEN: usize = 8;

/// Options that a session is begun with.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The sequence of the engine whose state is used.
    pub sequence: usize,
    /// The system text: instructions before the first turn.
    pub system: Option<String>,
    /// How the model is to think about the next questions.
    pub thinking: Thinking,
    /// Tokens of a thought after which it is ended; `None` lets it end by itself.
    pub thought_tokens: Option<usize>,
    /// Tokens of an answer, thought included, after which it pauses.
    pub answer_tokens: usize,
    /// Texts that end an answer, besides the template's.
    pub stops: Vec<String>,
    /// A grammar that answers are held to; thoughts are free. Then an answer is complete within
    /// its tokens, and stops end it only where the grammar does:
    /// [`set_grammar`](Session::set_grammar) has another for the next answers.
    pub grammar: Option<OwnedGrammar>,
    /// A token that ends an answer, and is no part of it: [`Model::end_of_turn`].
    ///
    /// [`Model::end_of_turn`]: kinglet::Model::end_of_turn
    pub end_of_turn: Option<u32>,
    /// Options of the sampler.
    pub sampling: SamplerOptions,
    /// The sampler's seed.
    pub seed: u64,
    /// Bytes of states that are kept for going back; those of the last turn are kept in any case.
    pub snapshot_bytes: usize,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            sequence: 0,
            system: None,
            thinking: Thinking::None,
            thought_tokens: None,
            answer_tokens: 2048,
            stops: Vec::new(),
            grammar: None,
            end_of_turn: None,
            sampling: SamplerOptions::default(),
            seed: 0,
            snapshot_bytes: 256 << 20,
        }
    }
}

/// Tokens of a session, for a program that shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Tokens read that the model did not write, those read again included.
    pub read: usize,
    /// Tokens drawn, those that end an answer and a thought whose budget is spent included.
    pub drawn: usize,
    /// States kept for going back.
    pub snapshots: usize,
    /// Bytes of them.
    pub snapshot_bytes: usize,
}

/// Called while a text is read with the tokens done and all of them; `Break` cancels.
pub type Progress<'p> = &'p mut dyn FnMut(usize, usize) -> ControlFlow<()>;

/// Where the engine's state stands.
#[derive(Debug)]
enum Standing {
    /// After the last turn, as history has it.
    Settled,
    /// In the answer of the last turn.
    Answering(Box<Answer>),
    /// Elsewhere, after an error.
    Lost,
}

/// A conversation.
///
/// ```
/// use kinglet::{Cpu, Model, Requirements, Scalar, Section, Tokenizer};
/// use kinglet_talk::{Session, SessionOptions, choose};
///
/// let model = Model::open(kinglet_stories::MODEL)?;
/// let tokenizer = Tokenizer::parse(model.section(Section::Tokenizer))?;
/// let needs = Requirements::of::<f32>(model.shape(), 32);
/// let (mut state, mut workspace) = (vec![0.0; needs.state], vec![0.0; needs.workspace]);
/// let mut engine = Cpu::new(model, Scalar, 32, &mut state, &mut workspace)?;
///
/// let options = SessionOptions { seed: 7, answer_tokens: 12, ..SessionOptions::default() };
/// let mut session = Session::new(&mut engine, tokenizer, choose(&model).template, options)?;
/// session.ask("Once upon a time there was a bird")?;
/// let mut story = String::new();
/// while let Some(piece) = session.next_piece()? {
///     story += &piece.answer; // A program prints it here, and may leave the loop.
/// }
/// assert_eq!(session.turns()[0].tokens.len(), 12);
/// session.undo(1)?;
/// assert!(session.turns().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Session<'a> {
    engine: &'a mut dyn Engine,
    tokenizer: Tokenizer<'a>,
    sampler: Sampler<Vec<f32>>,
    template: Template,
    options: SessionOptions,
    /// The template's stops and the caller's.
    stops: Vec<Vec<u8>>,
    /// There once there was a grammar.
    holder: Option<Holder>,
    turns: Vec<Turn>,
    standing: Standing,
    snapshots: Snapshots,
    /// The state at which a possible stop began.
    mark: Vec<f32>,
    /// `[vocab]`
    logits: Vec<f32>,
    stats: Stats,
}

impl<'a> Session<'a> {
    /// A session over a sequence of `engine`, whose state becomes that of the conversation.
    ///
    /// # Errors
    ///
    /// When an option of the sampler is out of range, the engine does not have the sequence, or
    /// the vocabulary lacks what the system's text or the grammar needs.
    pub fn new(
        engine: &'a mut dyn Engine,
        tokenizer: Tokenizer<'a>,
        template: Template,
        options: SessionOptions,
    ) -> Result<Self, TalkError> {
        let (vocab, len) = (engine.shape().vocab, engine.shape().state_len());
        // Logits beyond the tokenizer's last id stand for nothing.
        let drawable = vocab.min(tokenizer.vocab_len());
        let sampler = Sampler::with_counts(options.sampling, options.seed, vec![0.0; drawable])?;
        let mut session = Self {
            engine,
            tokenizer,
            sampler,
            template,
            stops: Vec::new(),
            holder: None,
            turns: Vec::new(),
            standing: Standing::Lost,
            snapshots: Snapshots::new(len, options.snapshot_bytes),
            mark: vec![0.0; len],
            logits: vec![0.0; vocab],
            stats: Stats::default(),
            options,
        };
        session.check_grammar()?;
        session.take_grammar();
        session.rebuild(&mut uncancelled)?;
        Ok(session)
    }

    /// The turns, the oldest first. Thought and answer of the last one are in it once it is
    /// [settled](Self::settle).
    #[must_use]
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// The template.
    #[must_use]
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// The options in force.
    #[must_use]
    pub fn options(&self) -> &SessionOptions {
        &self.options
    }

    /// Counts of the session's work.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (snapshots, snapshot_bytes) = self.snapshots.kept();
        Stats { snapshots, snapshot_bytes, ..self.stats }
    }

    /// The conversation as text, with [`END_OF_TEXT`](crate::template::END_OF_TEXT) for the token
    /// that ends one.
    ///
    /// # Errors
    ///
    /// When the template fails.
    pub fn text(&mut self) -> Result<String, TalkError> {
        self.settle()?;
        Ok(self.template.render(self.past(self.turns.len()))?)
    }

    /// Reads a question; [`next_piece`](Self::next_piece) then answers it.
    ///
    /// # Errors
    ///
    /// When the template, the vocabulary or the engine fails, or there is no text. The session is
    /// then as before.
    pub fn ask(&mut self, user: &str) -> Result<(), TalkError> {
        self.ask_with(user, &mut uncancelled)
    }

    /// [`ask`](Self::ask) that tells how far a long text is read, and may be cancelled.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask), and [`TalkError::Cancelled`]; the session is then as before.
    pub fn ask_with(&mut self, user: &str, progress: Progress<'_>) -> Result<(), TalkError> {
        self.settle()?;
        let turn = self.turns.len();
        self.keep((turn, Point::Before))?;
        let thinking = self.options.thinking;
        self.turns.push(Turn { user: user.to_owned(), thinking, ..Turn::default() });
        let read = self.read_question(turn, progress);
        if read.is_err() {
            self.turns.truncate(turn);
            self.standing = Standing::Lost;
            self.settle()?;
        }
        read
    }

    fn read_question(&mut self, turn: usize, progress: Progress<'_>) -> Result<(), TalkError> {
        let (question, opening) = self.question_tokens(turn)?;
        if opening.is_empty() {
            return Err(TalkError::Empty);
        }
        self.feed(&question, false, progress)?;
        self.keep((turn, Point::Asked))?;
        self.begin_answer()
    }

    /// Answers the last question again. The generator goes on, so that the answer may be another.
    ///
    /// # Errors
    ///
    /// [`TalkError::NoTurn`] before the first question, and when the engine fails.
    pub fn retry(&mut self) -> Result<(), TalkError> {
        let last = self.last_turn()?;
        self.check_grammar()?;
        self.go_to((last, Point::Asked))?;
        self.begin_answer()
    }

    /// Lets the last answer go on from where it stands, with the tokens that it would have had if
    /// it had not paused.
    ///
    /// # Errors
    ///
    /// As [`retry`](Self::retry), and [`TalkError::OffGrammar`] where the grammar was not in force
    /// when the answer began.
    pub fn go_on(&mut self) -> Result<(), TalkError> {
        let last = self.last_turn()?;
        let held = self.held_after(last)?;
        self.turns[last].ended = false;
        if let Standing::Answering(answer) = &mut self.standing
            && answer.resume()
        {
            answer.held = held;
            return Ok(());
        }
        self.rebuild_answer(last)
    }

    /// Takes back the last turns.
    ///
    /// # Errors
    ///
    /// [`TalkError::NoTurn`] when there are fewer, and when the engine fails.
    pub fn undo(&mut self, turns: usize) -> Result<(), TalkError> {
        let found = self.turns.len();
        let left = found.checked_sub(turns);
        let left = left.ok_or(TalkError::NoTurn { found, needed: turns })?;
        if turns == 0 {
            return Ok(());
        }
        self.turns.truncate(left);
        self.go_to((left, Point::Before))?;
        self.standing = Standing::Settled;
        Ok(())
    }

    /// Asks another question in the place of the last one.
    ///
    /// # Errors
    ///
    /// As [`retry`](Self::retry) and [`ask`](Self::ask); the last turn is then as before.
    pub fn edit(&mut self, user: &str) -> Result<(), TalkError> {
        self.edit_with(user, &mut uncancelled)
    }

    /// [`edit`](Self::edit) that tells how far a long text is read, and may be cancelled.
    ///
    /// # Errors
    ///
    /// As [`edit`](Self::edit), and [`TalkError::Cancelled`]; the last turn is then as before.
    pub fn edit_with(&mut self, user: &str, progress: Progress<'_>) -> Result<(), TalkError> {
        self.last_turn()?;
        self.settle()?;
        let Some(old) = self.turns.last().cloned() else { return Ok(()) };
        self.undo(1)?;
        let asked = self.ask_with(user, progress);
        if asked.is_err() {
            self.turns.push(old);
            self.standing = Standing::Lost;
            self.settle()?;
        }
        asked
    }

    /// Changes the system text, and reads the conversation again.
    ///
    /// # Errors
    ///
    /// When the template, the vocabulary or the engine fails. The session is then as before.
    pub fn set_system(&mut self, system: Option<String>) -> Result<(), TalkError> {
        self.set_system_with(system, &mut uncancelled)
    }

    /// [`set_system`](Self::set_system) that tells how far the conversation is read, and may be
    /// cancelled.
    ///
    /// # Errors
    ///
    /// As [`set_system`](Self::set_system), and [`TalkError::Cancelled`]; the session is then as
    /// before.
    pub fn set_system_with(
        &mut self,
        system: Option<String>,
        progress: Progress<'_>,
    ) -> Result<(), TalkError> {
        self.settle()?;
        let mut state = vec![0.0; self.engine.shape().state_len()];
        self.engine.store_state(self.options.sequence, &mut state)?;
        let before = std::mem::replace(&mut self.options.system, system);
        let read = self.rebuild(progress);
        if read.is_err() {
            self.options.system = before;
            self.engine.load_state(self.options.sequence, &state)?;
            self.stand_settled()?;
        }
        read
    }

    /// Uses another template, and reads the conversation again in its words.
    ///
    /// # Errors
    ///
    /// When the template, the vocabulary or the engine fails.
    pub fn set_template(&mut self, template: Template) -> Result<(), TalkError> {
        self.settle()?;
        self.template = template;
        self.rebuild(&mut uncancelled)
    }

    /// How the model is to think about the next questions, and the tokens of a thought after
    /// which it is ended.
    pub fn set_thinking(&mut self, thinking: Thinking, tokens: Option<usize>) {
        (self.options.thinking, self.options.thought_tokens) = (thinking, tokens);
    }

    /// Tokens of an answer after which it pauses.
    pub fn set_answer_tokens(&mut self, tokens: usize) {
        self.options.answer_tokens = tokens;
    }

    /// Changes what the sampler does.
    ///
    /// # Errors
    ///
    /// When an option is out of range; the options in force stay.
    pub fn set_sampling(&mut self, sampling: SamplerOptions) -> Result<(), TalkError> {
        self.sampler.set_options(sampling)?;
        self.options.sampling = sampling;
        Ok(())
    }

    /// Seeds the generator anew.
    ///
    /// # Errors
    ///
    /// None that a sampler's own snapshot can bring about.
    pub fn reseed(&mut self, seed: u64) -> Result<(), TalkError> {
        let mut snapshot = self.sampler_snapshot()?;
        let state = Pcg32::new(seed).state().to_le_bytes();
        snapshot[..GENERATOR_LEN].copy_from_slice(&state);
        self.sampler.restore(&snapshot)?;
        self.options.seed = seed;
        Ok(())
    }

    /// Ends the last answer where it stands: the state becomes that of the conversation's history.
    /// Whatever follows an answer does this by itself; a program does it while the user reads.
    ///
    /// # Errors
    ///
    /// When the template, the vocabulary or the engine fails.
    pub fn settle(&mut self) -> Result<(), TalkError> {
        if matches!(self.standing, Standing::Settled) {
            return Ok(());
        }
        let answering = matches!(self.standing, Standing::Answering(_));
        let after = self.turns.len();
        if !answering {
            self.go_to((after, Point::Before))?;
            self.standing = Standing::Settled;
            return Ok(());
        }
        let last = self.last_turn()?;
        self.note_text(last)?;
        // Wherever an error leaves the state, it is computed again.
        self.standing = Standing::Lost;
        let (tokens, goes_on) = self.closing(last)?;
        if !goes_on {
            self.go_to((last, Point::Asked))?;
        }
        self.feed(&tokens, false, &mut uncancelled)?;
        self.standing = Standing::Settled;
        Ok(())
    }

    /// The conversation as it stands, to go on from elsewhere or later.
    ///
    /// # Errors
    ///
    /// As [`settle`](Self::settle).
    pub fn fork(&mut self) -> Result<Branch, TalkError> {
        self.settle()?;
        let mut state = vec![0.0; self.engine.shape().state_len()];
        self.engine.store_state(self.options.sequence, &mut state)?;
        Ok(Branch {
            template: self.template.clone(),
            system: self.options.system.clone(),
            turns: self.turns.clone(),
            state,
            sampler: self.sampler_snapshot()?,
            unfinished: self.unfinished(),
            settings: Some(self.settings()),
        })
    }

    /// Goes on with another conversation, of a session with the same model and vocabulary.
    ///
    /// # Errors
    ///
    /// When its state is not one of the model, or the sampler's place is none; the session is then
    /// as before.
    pub fn switch(&mut self, branch: &Branch) -> Result<(), TalkError> {
        self.settle()?;
        let generator = self.sampler_snapshot()?;
        self.sampler.restore(&branch.sampler)?;
        if let Err(error) = self.engine.load_state(self.options.sequence, &branch.state) {
            self.sampler.restore(&generator)?;
            return Err(error.into());
        }
        self.template = branch.template.clone();
        self.options.system.clone_from(&branch.system);
        self.turns.clone_from(&branch.turns);
        self.take_stops();
        self.stand_settled()
    }

    /// Takes the state as that after the last turn, and forgets all others.
    fn stand_settled(&mut self) -> Result<(), TalkError> {
        self.snapshots.forget_from((0, Point::Before));
        self.standing = Standing::Settled;
        self.keep((self.turns.len(), Point::Before))
    }

    /// The index of the last turn.
    fn last_turn(&self) -> Result<usize, TalkError> {
        self.turns.len().checked_sub(1).ok_or(TalkError::NoTurn { found: 0, needed: 1 })
    }

    fn take_stops(&mut self) {
        self.stops = self.template.stops();
        self.stops.extend(self.options.stops.iter().map(|stop| stop.clone().into_bytes()));
        self.stops.retain(|stop| !stop.is_empty());
    }

    /// Forgets every state and reads the conversation from its start.
    fn rebuild(&mut self, progress: Progress<'_>) -> Result<(), TalkError> {
        self.take_stops();
        self.snapshots.forget_from((0, Point::Before));
        self.go_to_with((self.turns.len(), Point::Before), progress)?;
        self.standing = Standing::Settled;
        Ok(())
    }

    /// The conversation before a turn.
    fn past(&self, turn: usize) -> Past<'_> {
        Past { system: self.options.system.as_deref(), turns: &self.turns[..turn] }
    }

    fn encoded(&self, text: &str) -> Result<Vec<u32>, TalkError> {
        Ok(encode(&self.tokenizer, text)?)
    }

    /// The tokens of a turn's question and of what its answer goes on from, which has at least the
    /// last token of the question, because logits are those of a token that is read.
    fn question_tokens(&self, turn: usize) -> Result<(Vec<u32>, Vec<u32>), TalkError> {
        let (past, question) = (self.past(turn), self.turns[turn].question());
        let mut user = self.encoded(&self.template.user(past, question)?)?;
        let mut opening = self.encoded(&self.template.opening(past, question)?)?;
        if opening.is_empty() {
            opening.extend(user.pop());
        }
        Ok((user, opening))
    }

    /// The bytes that the model wrote in a turn.
    fn written(&self, turn: usize) -> Vec<u8> {
        let tokens = self.turns[turn].tokens.iter();
        tokens.flat_map(|&token| self.tokenizer.token(token).unwrap_or_default()).copied().collect()
    }

    /// The end of a plain text that is no whole character. Other texts end with a line.
    fn unfinished(&self) -> Vec<u8> {
        let Some(turn) = self.turns.len().checked_sub(1).filter(|_| self.template.is_plain())
        else {
            return Vec::new();
        };
        let written = self.written(turn);
        let end = written.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
        let incomplete = str::from_utf8(end).is_err_and(|error| error.error_len().is_none());
        if incomplete { end.to_vec() } else { Vec::new() }
    }

    fn opening(&self, turn: usize) -> Result<String, TalkError> {
        Ok(self.template.opening(self.past(turn), self.turns[turn].question())?)
    }

    /// Puts thought and answer of a turn into it.
    fn note_text(&mut self, turn: usize) -> Result<(), TalkError> {
        let (opening, written) = (self.opening(turn)?, self.written(turn));
        let shown = Reading::whole(&opening, self.template.is_plain(), &written);
        let turn = &mut self.turns[turn];
        (turn.thought, turn.answer) = (shown.thought, shown.answer);
        Ok(())
    }

    /// The tokens that follow an answer, and true where they go on from the text that the model
    /// wrote. They go on from the question where history has another text.
    fn closing(&self, turn: usize) -> Result<(Vec<u32>, bool), TalkError> {
        if self.template.is_plain() {
            return Ok((Vec::new(), true));
        }
        let Turn { answer, .. } = &self.turns[turn];
        let question = self.turns[turn].question();
        let history = self.template.answered(self.past(turn), question, answer)?;
        let read = [self.opening(turn)?.as_bytes(), &self.written(turn)].concat();
        let rest = history.as_bytes().strip_prefix(&*read).map(str::from_utf8);
        Ok(match rest {
            Some(Ok(rest)) => (self.encoded(rest)?, true),
            _ => (self.encoded(&history)?, false),
        })
    }

    /// The tokens from a place to the next one.
    fn tokens_from(&self, (turn, point): Place) -> Result<(Vec<u32>, Place), TalkError> {
        match point {
            Point::Before => Ok((self.question_tokens(turn)?.0, (turn, Point::Asked))),
            Point::Asked => {
                let (closing, goes_on) = self.closing(turn)?;
                let mut tokens = Vec::new();
                if goes_on {
                    tokens = self.question_tokens(turn)?.1;
                    tokens.extend(&self.turns[turn].tokens);
                }
                tokens.extend(closing);
                Ok((tokens, (turn + 1, Point::Before)))
            }
        }
    }

    /// Brings the state to a place, from the nearest one whose state is kept.
    fn go_to(&mut self, place: Place) -> Result<(), TalkError> {
        self.go_to_with(place, &mut uncancelled)
    }

    /// [`go_to`](Self::go_to) that tells how far the texts in between are read.
    fn go_to_with(&mut self, place: Place, progress: Progress<'_>) -> Result<(), TalkError> {
        self.standing = Standing::Lost;
        let kept = self
            .snapshots
            .last(place)
            .map(|(at, state)| self.engine.load_state(self.options.sequence, state).map(|()| at));
        let from = kept.transpose()?;
        let start = match from {
            Some(_) => Vec::new(),
            None => self.encoded(&self.template.start(self.options.system.as_deref()))?,
        };
        let mut at = from.unwrap_or((0, Point::Before));
        let mut tokens = Vec::new();
        while at < place {
            let (piece, next) = self.tokens_from(at)?;
            tokens.extend(piece);
            at = next;
        }
        let all = start.len() + tokens.len();
        if from.is_none() {
            self.engine.reset(self.options.sequence)?;
            self.feed(&start, false, &mut |done, _| progress(done, all))?;
            self.keep((0, Point::Before))?;
        }
        if from.unwrap_or((0, Point::Before)) == place {
            self.snapshots.forget_after(place);
            return Ok(());
        }
        self.feed(&tokens, false, &mut |done, _| progress(start.len() + done, all))?;
        self.keep(place)
    }

    /// Keeps the state as that of a place.
    fn keep(&mut self, place: Place) -> Result<(), TalkError> {
        let (engine, sequence) = (&*self.engine, self.options.sequence);
        Ok(self.snapshots.keep(place, |state| engine.store_state(sequence, state))?)
    }

    /// Advances the state by tokens, and leaves the logits after the last one if they are wanted.
    fn feed(
        &mut self,
        tokens: &[u32],
        wanted: bool,
        progress: Progress<'_>,
    ) -> Result<(), TalkError> {
        let sequence = self.options.sequence;
        let most = self.engine.max_batch().min(LARGEST_BATCH);
        let last = tokens.len().wrapping_sub(1);
        let mut batch = Vec::with_capacity(most);
        for (index, chunk) in tokens.chunks(most).enumerate() {
            let start = index * most;
            let tokens = chunk.iter().zip(start..);
            batch.clear();
            batch.extend(tokens.map(|(&token, at)| BatchToken {
                token,
                sequence,
                logits: wanted && at == last,
            }));
            let ends = wanted && start + chunk.len() == last + 1;
            self.engine.forward(&batch, if ends { &mut self.logits } else { &mut [] })?;
            self.stats.read += chunk.len();
            if progress(start + chunk.len(), last + 1).is_break() {
                return Err(TalkError::Cancelled);
            }
        }
        Ok(())
    }

    /// Generator and counts of the sampler.
    fn sampler_snapshot(&self) -> Result<Vec<u8>, TalkError> {
        let mut bytes = vec![0; self.sampler.snapshot_len()];
        self.sampler.snapshot(&mut bytes)?;
        Ok(bytes)
    }
}

/// The progress of a text whose reading nobody cancels.
fn uncancelled(_: usize, _: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}
