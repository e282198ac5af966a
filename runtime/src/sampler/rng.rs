/// Number of the PCG sequence that [`Pcg32::new`] selects.
const SEQUENCE: u64 = 54;
const MULTIPLIER: u64 = 6_364_136_223_846_793_005;

/// The generator behind the sampler: PCG-XSH-RR 64/32 (O'Neill, "PCG: A Family of Simple Fast
/// Space-Efficient Statistically Good Algorithms for Random Number Generation", 2014).
///
/// All arithmetic is modulo 2^64 or 2^32, so every target draws the same numbers:
///
/// * a step is `state = state * 6364136223846793005 + 109` (the increment is 2 * 54 + 1, sequence
///   54);
/// * seeding sets `state = 0`, steps, adds the seed, steps again;
/// * an output is computed from the state *before* its step: `x = ((state >> 18) ^ state) >> 27`
///   truncated to 32 bits, then rotated right by `state >> 59`.
///
/// The generator is for sampling and has no cryptographic strength.
///
/// # Examples
///
/// ```
/// use kinglet::sampler::Pcg32;
///
/// let mut rng = Pcg32::new(42);
/// assert_eq!(rng.next_u32(), 0xa15c_02b7);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Pcg32 {
    state: u64,
}

impl Pcg32 {
    /// The generator for `seed`; every seed is valid, and different seeds start at different
    /// points of one sequence of period 2^64.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        let state = step(step(0).wrapping_add(seed));
        Self { state }
    }

    /// The generator that goes on from a [`state`](Self::state); every number is a state.
    #[must_use]
    pub const fn from_state(state: u64) -> Self {
        Self { state }
    }

    /// Where the generator stands.
    #[must_use]
    pub const fn state(&self) -> u64 {
        self.state
    }

    /// The next 32 uniform bits.
    #[must_use]
    pub const fn next_u32(&mut self) -> u32 {
        let old = self.state;
        self.state = step(old);
        let mixed = (((old >> 18) ^ old) >> 27) as u32;
        mixed.rotate_right((old >> 59) as u32)
    }

    /// A uniform number in [0, 1): the upper 24 bits of [`next_u32`](Self::next_u32) times 2^-24,
    /// which is exact.
    #[must_use]
    pub const fn next_f32(&mut self) -> f32 {
        const ULP: f32 = 1.0 / (1u32 << 24) as f32;
        (self.next_u32() >> 8) as f32 * ULP
    }
}

const fn step(state: u64) -> u64 {
    state.wrapping_mul(MULTIPLIER).wrapping_add((SEQUENCE << 1) | 1)
}
