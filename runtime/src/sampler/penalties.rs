//! Counts of the generated tokens, one f32 per token of the vocabulary.
//!
//! A token never generated holds +0.0. One that was holds its count negated, so that the sign bit
//! says "generated" even when nothing is left of the count: a token that counts nothing, or whose
//! count has faded, still pays the presence penalty. Multiplication by the decay keeps the sign.

const SIGN: u32 = 1 << 31;

/// `logit -= presence + count * frequency` for every token generated before; both arguments are
/// `[vocabulary]`.
pub(super) fn apply(logits: &mut [f32], counts: &[f32], presence: f32, frequency: f32) {
    for (logit, &count) in logits.iter_mut().zip(counts) {
        let penalty = presence + count.abs() * frequency;
        *logit -= if count.is_sign_negative() { penalty } else { 0.0 };
    }
}

/// Multiplies all counts by `decay`, then adds `amount` (0 or more) to that of `token`. A token
/// outside `counts` is not counted.
pub(super) fn count(counts: &mut [f32], token: u32, amount: f32, decay: f32) {
    for count in counts.iter_mut() {
        *count = fade(*count, decay);
    }
    if let Some(count) = usize::try_from(token).ok().and_then(|token| counts.get_mut(token)) {
        *count = -(count.abs() + amount);
    }
}

/// A product below the smallest normal number becomes a zero of the same sign: it is far below
/// what can move a logit, and stale counts would otherwise stay subnormal, where arithmetic is slow.
fn fade(count: f32, decay: f32) -> f32 {
    let faded = count * decay;
    if faded.abs() < f32::MIN_POSITIVE { f32::from_bits(count.to_bits() & SIGN) } else { faded }
}

/// Whether a token with this text counts nothing when it is accepted (the rule of the `rwkv` Python
/// package): its text is a part of `" \t0123456789"`, so single digits, a space, a tab, and the few
/// runs found in that string. Numbers and indentation repeat for good reasons.
///
/// # Examples
///
/// ```
/// use kinglet::sampler::is_uncounted;
///
/// assert!(is_uncounted(b"7") && is_uncounted(b" ") && is_uncounted(b"12"));
/// assert!(!is_uncounted(b"21") && !is_uncounted(b"\n") && !is_uncounted(b"a"));
/// ```
#[must_use]
pub fn is_uncounted(text: &[u8]) -> bool {
    text.is_empty() || b" \t0123456789".windows(text.len()).any(|part| part == text)
}
