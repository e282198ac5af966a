//! A draw that can be left and gone on with.
//!
//! It is one pass over the logits after another, and there is one path: [`Sampler::sample`] polls
//! without a limit. So nothing depends on where a draw was left. The generator moves with the last
//! poll, and no other changes the sampler.

use core::task::Poll;

use super::budget::Budget;
use super::candidates::Candidates;
use super::{MAX_VOCABULARY, SampleError, Sampler, largest_of, penalties};

/// A draw under way, from [`Sampler::begin`].
///
/// # Examples
///
/// ```
/// use core::task::Poll;
/// use kinglet::sampler::{Sampler, SamplerOptions};
///
/// let mut sampler = Sampler::new(SamplerOptions::default(), 42)?;
/// let mut logits = [1.0; 2048];
/// let mut sampling = sampler.begin(&mut logits)?;
/// let token = loop {
///     match sampling.poll(10_000)? {
///         Poll::Ready(token) => break token,
///         Poll::Pending => { /* whatever else is due */ }
///     }
/// };
/// assert!(token < 2048);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Sampling<'a, C> {
    sampler: &'a mut Sampler<C>,
    /// `[vocabulary]`
    logits: &'a mut [f32],
    place: SamplingPlace,
}

/// How far a [`Sampling`] has come: what is left of it without sampler and logits, for a program
/// that cannot keep the borrows. [`Sampler::resume`] goes on from it.
#[derive(Clone, Debug)]
pub struct SamplingPlace {
    stage: Stage,
    /// The slots before this one are done.
    at: usize,
    /// The largest logit so far.
    largest: f32,
    candidates: Candidates,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Penalties,
    Bans,
    Largest,
    Greedy,
    Draw,
    Ended(Result<u32, SampleError>),
}

impl<C: AsRef<[f32]> + AsMut<[f32]>> Sampler<C> {
    /// Begins what [`sample`](Self::sample) does in one go, to be done a piece at a time: the token
    /// is the same, and so are the errors. The time of a piece is bounded; that of this call does
    /// not depend on the vocabulary.
    ///
    /// Until the token is drawn the generator and the counts stay as they are, also when the
    /// `Sampling` is dropped before; the logits are unspecified from then on.
    ///
    /// # Errors
    ///
    /// [`SampleError::CountsTooShort`] and [`SampleError::TooManyLogits`], as `sample`.
    pub fn begin<'a>(&'a mut self, logits: &'a mut [f32]) -> Result<Sampling<'a, C>, SampleError> {
        let place = SamplingPlace::new(self, logits.len())?;
        Ok(self.resume(logits, place))
    }

    /// Goes on with a draw that was [left](Sampling::leave). If this sampler's options, bans or
    /// counts, or the logits, are not those that it was left with, any token may be drawn, or none.
    pub fn resume<'a>(
        &'a mut self,
        logits: &'a mut [f32],
        place: SamplingPlace,
    ) -> Sampling<'a, C> {
        Sampling { sampler: self, logits, place }
    }
}

impl<C: AsRef<[f32]> + AsMut<[f32]>> Sampling<'_, C> {
    /// Does a piece of the work: the token, or `Pending` when the budget was spent before it was
    /// drawn. Then poll again; after the token every poll gives the same one.
    ///
    /// A unit of the budget is about a visit to a logit, an addition and a comparison of floats; an
    /// exponential takes 16, a power 32. The poll may exceed the budget by 512 units. With 10,000 it
    /// takes some 130,000 instructions of a Cortex-M4, 1,500,000 where floats are emulated. A draw
    /// takes some 30 to 80 units a logit.
    ///
    /// # Errors
    ///
    /// As [`sample`](Sampler::sample), and again with every poll from then on.
    pub fn poll(&mut self, budget: usize) -> Result<Poll<u32>, SampleError> {
        let Self { sampler, logits, place } = self;
        let Some(result) = place.advance(sampler, logits, &mut Budget::new(budget)) else {
            return Ok(Poll::Pending);
        };
        place.stage = Stage::Ended(result);
        result.map(Poll::Ready)
    }

    /// Ends the borrows of sampler and logits, to go on [later](Sampler::resume).
    pub fn leave(self) -> SamplingPlace {
        self.place
    }
}

impl SamplingPlace {
    /// Before the first piece.
    pub(super) fn new<C: AsRef<[f32]>>(
        sampler: &Sampler<C>,
        vocabulary: usize,
    ) -> Result<Self, SampleError> {
        if vocabulary > MAX_VOCABULARY {
            return Err(SampleError::TooManyLogits);
        }
        let counts = sampler.counts.as_ref().len();
        if sampler.options.has_penalties() && counts < vocabulary {
            return Err(SampleError::CountsTooShort { counts, logits: vocabulary });
        }
        Ok(Self {
            stage: Stage::Penalties,
            at: 0,
            largest: f32::NEG_INFINITY,
            candidates: Candidates::new(vocabulary),
        })
    }

    /// Does what is left of the work.
    pub(super) fn finish<C: AsRef<[f32]> + AsMut<[f32]>>(
        &mut self,
        sampler: &mut Sampler<C>,
        logits: &mut [f32],
    ) -> Result<u32, SampleError> {
        loop {
            if let Some(result) = self.advance(sampler, logits, &mut Budget::new(usize::MAX)) {
                return result;
            }
        }
    }

    /// Lets a greedy choice be made again, after logits became -inf.
    pub(super) fn look_again(&mut self) {
        self.stage = Stage::Largest;
        self.at = 0;
        self.largest = f32::NEG_INFINITY;
    }

    /// Does a piece of the work; `None` when the budget is spent before the end. A copy in flash for
    /// whole draws and pieces.
    #[inline(never)]
    pub(super) fn advance<C: AsRef<[f32]> + AsMut<[f32]>>(
        &mut self,
        sampler: &mut Sampler<C>,
        logits: &mut [f32],
        budget: &mut Budget,
    ) -> Option<Result<u32, SampleError>> {
        let Self { stage, at, largest, candidates } = self;
        let options = sampler.options;
        loop {
            *stage = match *stage {
                Stage::Penalties => {
                    if options.has_penalties() {
                        let counts = sampler.counts.as_ref();
                        budget.pass(at, logits, Budget::PENALTY, |at, logits| {
                            let counts = counts.get(at..).unwrap_or_default();
                            penalties::apply(logits, counts, options.presence, options.frequency);
                        })?;
                        *at = 0;
                    }
                    Stage::Bans
                }
                Stage::Bans => {
                    if let Err(error) = sampler.mask_banned(logits) {
                        return Some(Err(error));
                    }
                    Stage::Largest
                }
                Stage::Largest => {
                    let mut bad = None;
                    let passed = budget.pass(at, logits, Budget::VISIT, |at, logits| {
                        match largest_of(logits) {
                            Ok(found) if found > *largest => *largest = found,
                            Ok(_) => {}
                            Err(index) => bad = bad.or(Some(at + index)),
                        }
                    });
                    if let Some(id) = bad {
                        return Some(Err(SampleError::NonFinite { token: id as u32 }));
                    }
                    passed?;
                    *at = 0;
                    if *largest == f32::NEG_INFINITY {
                        return Some(Err(SampleError::NoCandidate));
                    }
                    if options.is_greedy() { Stage::Greedy } else { Stage::Draw }
                }
                Stage::Greedy => {
                    let (mut token, largest) = (None, *largest);
                    let passed = budget.pass(at, logits, Budget::VISIT, |at, logits| {
                        if token.is_none() {
                            token = find(logits, largest).map(|index| at + index);
                        }
                    });
                    if token.is_none() {
                        passed?;
                    }
                    return Some(drawn(token));
                }
                Stage::Draw => {
                    candidates.select(logits, *largest, &options, budget)?;
                    let mut rng = sampler.rng.clone();
                    let token = candidates.draw(logits, rng.next_f32(), budget)?;
                    sampler.rng = rng;
                    return Some(drawn(token));
                }
                Stage::Ended(result) => return Some(result),
            }
        }
    }
}

/// The index of the first logit that equals `wanted`.
#[inline(never)]
fn find(logits: &[f32], wanted: f32) -> Option<usize> {
    logits.iter().position(|&logit| logit == wanted)
}

fn drawn(token: Option<usize>) -> Result<u32, SampleError> {
    token.map(|token| token as u32).ok_or(SampleError::NoCandidate)
}
