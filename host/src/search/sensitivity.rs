//! How much accuracy each layer's bits cost, learned from what a search has evaluated: a sum of one term a layer and
//! bitwidth, fitted by ridge regression. Good enough to say which assignment is worth the next fine-tune.

use std::collections::BTreeMap;

use releq_shared::Bitwidth;

use super::{Assignment, Evaluated, Evaluation, Reward};

/// Passes of the fit; each takes one term after the other to its optimum.
const PASSES: usize = 60;
/// How strongly terms are held near zero, in evaluations.
const RIDGE: f64 = 0.5;

/// A fitted sum of terms.
#[derive(Clone, Debug)]
pub(super) struct Sensitivity {
    mean: f64,
    /// By layer, then by bits.
    terms: Vec<BTreeMap<Bitwidth, f64>>,
    /// Root of the mean squared error on what it was fitted to.
    pub(super) error: f64,
}

impl Sensitivity {
    /// Fits accuracies. Those below `floor` count as `floor`: how bad a hopeless assignment is teaches nothing about good
    /// ones.
    pub(super) fn fit(memo: &BTreeMap<Assignment, Evaluation>, layers: usize, floor: f64) -> Self {
        let known: Vec<(&Assignment, f64)> =
            memo.iter().map(|(bits, found)| (bits, found.accuracy.max(floor))).collect();
        let mean = known.iter().map(|(_, accuracy)| accuracy).sum::<f64>() / known.len().max(1) as f64;
        let mut terms = vec![BTreeMap::new(); layers];
        let mut residuals: Vec<f64> = known.iter().map(|(_, accuracy)| accuracy - mean).collect();
        for _ in 0..PASSES {
            for (layer, terms) in terms.iter_mut().enumerate() {
                let mut sums: BTreeMap<Bitwidth, (f64, f64)> = BTreeMap::new();
                for ((bits, _), residual) in known.iter().zip(&residuals) {
                    let (sum, count) = sums.entry(bits.0[layer]).or_default();
                    *sum += residual + terms.get(&bits.0[layer]).copied().unwrap_or(0.0);
                    *count += 1.0;
                }
                let fitted: BTreeMap<Bitwidth, f64> =
                    sums.into_iter().map(|(bits, (sum, count))| (bits, sum / (count + RIDGE))).collect();
                for ((bits, _), residual) in known.iter().zip(&mut residuals) {
                    let bits = bits.0[layer];
                    *residual += terms.get(&bits).copied().unwrap_or(0.0) - fitted[&bits];
                }
                *terms = fitted;
            }
        }
        let squares = residuals.iter().map(|residual| residual * residual).sum::<f64>();
        Self { mean, terms, error: (squares / known.len().max(1) as f64).sqrt() }
    }

    /// Fits evaluated assignments; see [`Self::fit`].
    pub(super) fn of(evaluated: &[Evaluated], floor: f64) -> Self {
        let answer = |found: &Evaluated| Evaluation { accuracy: found.accuracy, diverged: false, seconds: 0.0 };
        let memo = evaluated.iter().map(|found| (found.bits.clone(), answer(found))).collect();
        Self::fit(&memo, evaluated.first().map_or(0, |found| found.bits.0.len()), floor)
    }

    /// The accuracy to expect.
    pub(super) fn predict(&self, bits: &Assignment) -> f64 {
        let term = |(terms, bits): (&BTreeMap<Bitwidth, f64>, &Bitwidth)| terms.get(bits).copied().unwrap_or(0.0);
        self.mean + self.terms.iter().zip(&bits.0).map(term).sum::<f64>()
    }
}

/// Evaluations with less luck in them: each accuracy becomes the mean of what was measured and what the fitted sum expects.
///
/// A short fine-tune's accuracy varies by half a point from seed to seed on photographs, and whatever is picked as the best of
/// a hundred was lucky; the sum has each of its terms from dozens of evaluations.
#[must_use]
pub fn smoothed(evaluated: &[Evaluated], float_accuracy: f64, reward: Reward) -> Vec<Evaluated> {
    let model = Sensitivity::of(evaluated, reward.floor(float_accuracy));
    let smooth = |found: &Evaluated| {
        let accuracy = found.accuracy.midpoint(model.predict(&found.bits)).clamp(0.0, 1.0);
        Evaluated { accuracy, accepted: reward.accepts(accuracy, float_accuracy), ..found.clone() }
    };
    evaluated.iter().map(smooth).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_sum_is_predicted_where_it_was_never_seen() {
        let cost = |bits: &Assignment| 1.0 - 0.02 / f64::from(bits.0[0].get()) - 0.05 / f64::from(bits.0[1].get());
        let mut memo = BTreeMap::new();
        for a in 1..=4 {
            for b in 1..=4 {
                let bits: Assignment = format!("{a},{b}").parse().unwrap();
                // Only these are left out.
                if (a, b) != (4, 1) && (a, b) != (1, 4) {
                    let evaluation = Evaluation { accuracy: cost(&bits), diverged: false, seconds: 0.0 };
                    memo.insert(bits, evaluation);
                }
            }
        }
        let fitted = Sensitivity::fit(&memo, 2, 0.0);
        assert!(fitted.error < 0.003, "{fitted:?}");
        for unseen in ["4,1", "1,4"] {
            let unseen: Assignment = unseen.parse().unwrap();
            let (expected, got) = (cost(&unseen), fitted.predict(&unseen));
            assert!((expected - got).abs() < 0.01, "{unseen}: {got} for {expected}");
        }
    }

    #[test]
    fn a_lucky_assignment_falls_behind_its_equals() {
        let accuracy = |a: u8, b: u8| 0.9 - 0.04 / f64::from(a) - 0.04 / f64::from(b);
        let mut evaluated = Vec::new();
        for (a, b) in (1..=4).flat_map(|a| (1..=4).map(move |b| (a, b))) {
            let luck = if (a, b) == (2, 3) { 0.02 } else { 0.0 };
            let bits: Assignment = format!("{a},{b}").parse().unwrap();
            let (cost, accuracy) = (bits.mean_bits() / 8.0, accuracy(a, b) + luck);
            evaluated.push(Evaluated { bits, accuracy, cost, reward: 0.0, accepted: true });
        }
        let reward = Reward::Constraint { max_loss_points: 4.0 };
        let smoothed = smoothed(&evaluated, 0.9, reward);
        let of = |bits: &str| smoothed.iter().find(|found| found.bits.to_string() == bits).unwrap();
        assert!((of("2,3").accuracy - accuracy(2, 3)).abs() < 0.017);
        assert!((of("3,2").accuracy - accuracy(3, 2)).abs() < 0.007);
        assert!(of("4,4").accepted && !of("1,1").accepted);
        assert!(super::smoothed(&[], 0.9, reward).is_empty());
    }
}
