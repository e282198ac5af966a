//! Which tensors take four bits: what is saved and what it costs, as numbers alone.
//!
//! Costs are taken to add up, which they nearly do: whoever chooses by them measures the whole.

/// What int4 saves and costs of one tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    /// Directory entry.
    pub(super) index: usize,
    /// Bytes less than int8.
    pub(super) saved: u64,
    /// What is lost; none of it is negative.
    pub(super) cost: f64,
}

/// The least cost per byte first; of equals the one that comes first in the file's directory.
pub(super) fn rank(candidates: &mut [Candidate]) {
    // Without a quotient: of none saved there is none.
    let product = |a: &Candidate, b: &Candidate| a.cost * b.saved as f64;
    candidates.sort_by(|a, b| product(a, b).total_cmp(&product(b, a)).then(a.index.cmp(&b.index)));
}

/// Some of `ranked` that save at least `needed` bytes, at nearly the least cost; `None` where all
/// do not.
///
/// Each beginning of the ranking is filled up by one more, and what is not needed then is taken out
/// again.
pub(super) fn saving(ranked: &[Candidate], needed: u64) -> Option<Vec<Candidate>> {
    let mut best: Option<(f64, Vec<Candidate>)> = None;
    let mut before = 0;
    for at in 0..=ranked.len() {
        let enough = |candidate: &&Candidate| before + candidate.saved >= needed;
        let last = match before >= needed {
            true => None,
            false => ranked[at..].iter().filter(enough).min_by(|a, b| a.cost.total_cmp(&b.cost)),
        };
        if before >= needed || last.is_some() {
            let mut chosen = ranked[..at].to_vec();
            chosen.extend(last);
            take_out(&mut chosen, needed);
            let cost = chosen.iter().map(|candidate| candidate.cost).sum();
            if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                best = Some((cost, chosen));
            }
        }
        if before >= needed {
            break;
        }
        before += ranked.get(at).map_or(0, |candidate| candidate.saved);
    }
    best.map(|(_, chosen)| chosen)
}

/// Takes out what is not needed, the dearest first.
fn take_out(chosen: &mut Vec<Candidate>, needed: u64) {
    let mut saved: u64 = chosen.iter().map(|candidate| candidate.saved).sum();
    let mut dearest = chosen.clone();
    dearest.sort_by(|a, b| b.cost.total_cmp(&a.cost).then(b.index.cmp(&a.index)));
    for candidate in dearest {
        if saved - candidate.saved >= needed {
            saved -= candidate.saved;
            chosen.retain(|kept| kept.index != candidate.index);
        }
    }
}

/// The largest of `0..=most` that `keeps` says yes to, as far as asking halfway each time tells;
/// 0 is taken to be one.
pub(super) fn largest<E>(
    most: usize,
    mut keeps: impl FnMut(usize) -> Result<bool, E>,
) -> Result<usize, E> {
    let (mut low, mut high) = (0, most + 1);
    while high - low > 1 {
        let middle = low.midpoint(high);
        match keeps(middle)? {
            true => low = middle,
            false => high = middle,
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        let one = (1u64..5000, 0.0f64..1.0).prop_map(|(saved, cost)| (saved * 64, cost));
        prop::collection::vec(one, 1..40).prop_map(|all| {
            let candidate = |(index, (saved, cost))| Candidate { index, saved, cost };
            all.into_iter().enumerate().map(candidate).collect()
        })
    }

    fn ranked(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
        rank(&mut candidates);
        candidates
    }

    fn saved(chosen: &[Candidate]) -> u64 {
        chosen.iter().map(|candidate| candidate.saved).sum()
    }

    fn cost(chosen: &[Candidate]) -> f64 {
        chosen.iter().map(|candidate| candidate.cost).sum()
    }

    proptest! {
        /// Never above the size, and with nothing that could be left out.
        #[test]
        fn enough_is_saved_and_nothing_beyond(all in candidates(), share in 0.0f64..=1.0) {
            let ranked = ranked(all);
            let needed = (share * saved(&ranked) as f64) as u64;
            let chosen = saving(&ranked, needed).expect("all of them are enough");
            prop_assert!(saved(&chosen) >= needed);
            for candidate in &chosen {
                prop_assert!(saved(&chosen) - candidate.saved < needed);
            }
            prop_assert_eq!(saving(&ranked, saved(&ranked) + 1), None);
        }

        /// No more is lost than by the beginning of the ranking that is long enough.
        #[test]
        fn no_more_is_lost_than_by_the_ranking_alone(all in candidates(), share in 0.0f64..=1.0) {
            let ranked = ranked(all);
            let needed = (share * saved(&ranked) as f64) as u64;
            let enough = (0..=ranked.len()).find(|&n| saved(&ranked[..n]) >= needed).unwrap();
            let chosen = saving(&ranked, needed).unwrap();
            prop_assert!(cost(&chosen) <= cost(&ranked[..enough]) + 1e-12);
        }

        /// A choice does not depend on the order in which candidates were measured.
        #[test]
        fn the_order_does_not_matter(all in candidates(), share in 0.0f64..=1.0) {
            let mut reversed = all.clone();
            reversed.reverse();
            let (ranked, reversed) = (ranked(all), ranked(reversed));
            prop_assert_eq!(&ranked, &reversed);
            let needed = (share * saved(&ranked) as f64) as u64;
            prop_assert_eq!(saving(&ranked, needed), saving(&reversed, needed));
        }

        /// More may be lost, more is saved.
        #[test]
        fn a_larger_limit_saves_more(all in candidates(), limits in [0.0f64..20.0, 0.0f64..20.0]) {
            let ranked = ranked(all);
            let count = |limit: f64| {
                let keeps = |n: usize| Ok::<_, ()>(cost(&ranked[..n]) <= limit);
                largest(ranked.len(), keeps).unwrap()
            };
            let [low, high] = [limits[0].min(limits[1]), limits[0].max(limits[1])];
            prop_assert!(count(low) <= count(high));
            prop_assert!(cost(&ranked[..count(low)]) <= low);
        }
    }

    #[test]
    fn what_costs_no_number_comes_last() {
        let candidate = |index, cost| Candidate { index, saved: 64, cost };
        let all = [f64::NAN, f64::INFINITY, 0.5, 0.0, 0.0];
        let ranked = ranked(all.into_iter().enumerate().map(|(i, c)| candidate(i, c)).collect());
        let order: Vec<usize> = ranked.iter().map(|candidate| candidate.index).collect();
        assert_eq!(order, [3, 4, 2, 1, 0]);
        assert_eq!(saving(&ranked, 0), Some(Vec::new()));
    }

    #[test]
    fn a_failed_measurement_ends_the_search() {
        assert_eq!(largest(9, |_| Err::<bool, _>("no engine")), Err("no engine"));
        assert_eq!(largest(0, |_| Ok::<_, ()>(true)), Ok(0));
        assert_eq!(largest(9, |_| Ok::<_, ()>(true)), Ok(9));
    }
}
