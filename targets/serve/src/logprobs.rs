//! How probable tokens were to the model, before any option of the sampler.
//!
//! In float64, summed in ascending order of ids, with `libm`'s functions: those of the system differ
//! from one to another, and with them what a request gets.

/// A token and its logprob, and the most probable tokens in its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TokenLogprob {
    pub(crate) token: u32,
    pub(crate) logprob: f32,
    pub(crate) top: Vec<(u32, f32)>,
}

/// Logits and the logarithm of the sum of their exponentials.
#[derive(Debug)]
pub(crate) struct Distribution<'a> {
    logits: &'a [f32],
    sum: f64,
}

impl<'a> Distribution<'a> {
    pub(crate) fn new(logits: &'a [f32]) -> Self {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let largest = f64::from(largest);
        let sum: f64 = logits.iter().map(|&logit| libm::exp(f64::from(logit) - largest)).sum();
        Self { logits, sum: largest + libm::log(sum) }
    }

    pub(crate) fn logprob(&self, token: u32) -> f32 {
        (f64::from(self.logits[token as usize]) - self.sum) as f32
    }

    /// The logprob of a token, and the `count` most probable ones; of equals the lower ids.
    pub(crate) fn token(&self, token: u32, count: usize) -> TokenLogprob {
        let mut best: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
        for (id, &logit) in (0..).zip(self.logits) {
            if best.len() == count && best.last().is_none_or(|&(_, last)| logit <= last) {
                continue;
            }
            let at = best.partition_point(|&(_, other)| other >= logit);
            best.insert(at, (id, logit));
            best.truncate(count);
        }
        let top = best.into_iter().map(|(id, _)| (id, self.logprob(id))).collect();
        TokenLogprob { token, logprob: self.logprob(token), top }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same number on every machine.
    #[test]
    fn a_logprob_is_these_bits() {
        let logits = [0.1, -2.75, 3.3, 7.0, -13.5, 6.999];
        let told = Distribution::new(&logits);
        assert_eq!(told.sum.to_bits(), 0x401e_d265_b335_0f79, "{:#x}", told.sum.to_bits());
    }

    #[test]
    fn the_most_probable_come_first_and_probabilities_sum_to_one() {
        let logits = [1.0, 3.0, 2.0, 3.0, -50.0];
        let told = Distribution::new(&logits).token(2, 3);
        let ids: Vec<u32> = told.top.iter().map(|&(id, _)| id).collect();
        assert_eq!(ids, [1, 3, 2]);
        assert_eq!(told.top[2].1, told.logprob);
        let all = Distribution::new(&logits).token(0, 9).top;
        let sum: f32 = all.iter().map(|(_, logprob)| logprob.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
        assert!(Distribution::new(&logits).token(0, 0).top.is_empty());
    }
}
