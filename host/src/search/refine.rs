//! Which assignments deserve a short fine-tune when long ones have shown how much may be lost in a short one.
//!
//! A search looks closely at what its own bound allows. What a long fine-tune can win back differs from network to network, so
//! that its choice may lie among assignments that the search passed in large steps. From there exchanges between layers are
//! tried, as the polish does, with the frontier in place of the reward.

use std::collections::BTreeSet;

use super::judge::Judge;
use super::pareto::{by_cost, frontier};
use super::polish::exchanges;
use super::sensitivity::{Sensitivity, smoothed};
use super::{Assignment, Evaluated, LayerFacts, SearchConfig, SearchError};

/// Assignments one exchange away from `around` that cost less and that nobody has evaluated, where the fitted sum of the layers'
/// terms expects them above the frontier of `evaluated` (or no further below it than it may err); those that would lift the
/// frontier most come first, and at most so many.
///
/// # Errors
/// [`SearchError::Config`] for settings without sense.
pub fn refinements(
    config: &SearchConfig,
    layers: &[LayerFacts],
    float_accuracy: f64,
    evaluated: &[Evaluated],
    around: &Assignment,
    most: usize,
) -> Result<Vec<Assignment>, SearchError> {
    let judge = Judge::new(config, layers, float_accuracy)?;
    let model = Sensitivity::of(evaluated, config.reward.floor(float_accuracy));
    let rungs = frontier(&smoothed(evaluated, float_accuracy, config.reward));
    let known: BTreeSet<&Assignment> = evaluated.iter().map(|found| &found.bits).collect();
    let dearest = judge.expect(around, 0.0);
    let mut found: Vec<(f64, Assignment)> = BTreeSet::from_iter(exchanges(&judge, around))
        .into_iter()
        .filter(|bits| !known.contains(bits))
        .filter_map(|bits| {
            let expected = judge.expect(&bits, model.predict(&bits));
            let reached = rungs.iter().take_while(|rung| by_cost(rung, &expected).is_le()).last();
            let lift = expected.accuracy - reached.map_or(0.0, |rung| rung.accuracy);
            (by_cost(&expected, &dearest).is_lt() && lift + model.error > 0.0).then_some((lift, bits))
        })
        .collect();
    found.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    Ok(found.into_iter().take(most).map(|(_, bits)| bits).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::costs::LayerKind;

    /// Three layers, of which the first loses most by each bit that it lacks.
    fn accuracy(bits: &Assignment) -> f64 {
        let lost = |layer: usize, points: f64| points / 100.0 * (5.0 - f64::from(bits.0[layer].get()));
        0.9 - lost(0, 1.0) - lost(1, 0.1) - lost(2, 0.3)
    }

    fn evaluated(all: &[&str]) -> Vec<Evaluated> {
        let each = all.iter().map(|bits| {
            let bits: Assignment = bits.parse().unwrap();
            let (accuracy, cost) = (accuracy(&bits), bits.mean_bits() / 8.0);
            Evaluated { bits, accuracy, cost, reward: 0.0, accepted: true }
        });
        each.collect()
    }

    #[test]
    fn cheaper_neighbours_that_would_lift_the_frontier_are_proposed() {
        let layers = ["a", "b", "c"].map(|name| LayerFacts {
            name: name.to_owned(),
            out_channels: 10,
            in_channels: 10,
            kernel: 1,
            kind: LayerKind::Dense,
            weights: 100,
            macs: 100,
            weight_std: 1.0,
        });
        let known =
            evaluated(&["5,5,5", "5,4,5", "5,5,4", "4,5,5", "4,4,4", "5,3,3", "3,5,4", "5,2,4", "4,3,5", "1,5,5"]);
        let config = SearchConfig::default();
        let around: Assignment = "5,3,5".parse().unwrap();
        let found = refinements(&config, &layers, 0.9, &known, &around, 4).unwrap();
        assert!((1..=4).contains(&found.len()), "{found:?}");
        let cost = around.mean_bits();
        for bits in &found {
            assert!(bits.mean_bits() < cost && !known.iter().any(|known| known.bits == *bits), "{bits}");
        }
        // The cheap layers give bits up, not the dear one.
        assert_eq!(found[0].0[0].get(), 5, "{found:?}");
        assert!(refinements(&config, &layers, 0.9, &known, &around, 0).unwrap().is_empty());
        let floor: Assignment = "1,1,1".parse().unwrap();
        assert!(refinements(&config, &layers, 0.9, &known, &floor, 4).unwrap().is_empty());
    }
}
