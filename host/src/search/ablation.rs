//! Searches that differ from a run's in one respect, to see what that respect is worth.

use serde::{Deserialize, Serialize};

use super::{FEATURES, Reward, SearchConfig};

/// A respect in which searches are varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Respect {
    /// With the LSTM, and with a dense layer of its width in its place. The paper: 1.33 times faster with it.
    Lstm,
    /// Each number of the state removed in turn. The paper: one layer of one network.
    Features,
    /// How far PPO's ratio may move: 0.1, 0.2 and 0.3, as in the paper.
    Clip,
    /// The shaped, ratio and difference rewards of the paper beside the run's.
    Reward,
}

/// A search with a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// What is different.
    pub name: String,
    /// Its settings.
    pub config: SearchConfig,
}

impl Respect {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Lstm, Self::Features, Self::Clip, Self::Reward];

    /// The searches that show what this respect is worth, without the one they are compared with.
    #[must_use]
    pub fn variants(self, base: &SearchConfig) -> Vec<Variant> {
        let vary = |name: String, change: &dyn Fn(&mut SearchConfig)| {
            let mut config = base.clone();
            change(&mut config);
            Variant { name, config }
        };
        let all = match self {
            Self::Lstm => vec![
                vary("with an LSTM".to_owned(), &|config| config.lstm = true),
                vary("without an LSTM".to_owned(), &|config| config.lstm = false),
            ],
            Self::Features => FEATURES
                .into_iter()
                .filter(|feature| base.features.contains(feature))
                .map(|left_out| {
                    vary(format!("without {}", left_out.name()), &|config| {
                        config.features.retain(|&feature| feature != left_out);
                    })
                })
                .collect(),
            Self::Clip => [0.1, 0.2, 0.3]
                .into_iter()
                .map(|clip| vary(format!("clip {clip}"), &|config| config.ppo.clip = clip))
                .collect(),
            Self::Reward => [("shaped", Reward::PAPER), ("ratio", Reward::Ratio), ("difference", Reward::Difference)]
                .into_iter()
                .map(|(name, reward)| vary(format!("{name} reward"), &|config| config.reward = reward))
                .collect(),
        };
        all.into_iter().filter(|variant| variant.config != *base && !variant.config.features.is_empty()).collect()
    }
}

/// The update after which a search had converged: from where on the mean reward of the last `window` updates keeps at least
/// 95% of what it has risen by in the end. `rewards` are the mean rewards of the updates. `None` for fewer updates than
/// the window has.
#[must_use]
pub fn converged(rewards: &[f64], window: usize) -> Option<usize> {
    let means: Vec<f64> = rewards.windows(window.max(1)).map(|of| of.iter().sum::<f64>() / of.len() as f64).collect();
    let (first, last) = (*means.first()?, *means.last()?);
    let enough = first + 0.95 * (last - first);
    let below = means.iter().rposition(|&mean| if last >= first { mean < enough } else { mean > enough });
    // The first window that counts, told by the update it ends with.
    Some(below.map_or(0, |below| below + 1) + window.max(1) - 1)
}

/// Spearman's rank correlation of two series of one length, equal values sharing their ranks; `None` if one is constant.
#[must_use]
pub fn rank_correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    let ranks = |values: &[f64]| -> Vec<f64> {
        let below = |value: f64| values.iter().filter(|&&other| other < value).count() as f64;
        let equal = |value: f64| values.iter().filter(|&&other| other.total_cmp(&value).is_eq()).count() as f64;
        values.iter().map(|&value| below(value) + (equal(value) - 1.0) / 2.0).collect()
    };
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>();
    let spread = (product(&a, &a) * product(&b, &b)).sqrt();
    (spread > 0.0).then(|| product(&a, &b) / spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_differs_in_its_respect_alone() {
        let base = SearchConfig::default();
        let names: Vec<String> =
            Respect::ALL.iter().flat_map(|respect| respect.variants(&base)).map(|variant| variant.name).collect();
        // The LSTM and a clip of 0.2 are what the base has.
        assert_eq!(names.len(), 1 + 9 + 2 + 3, "{names:?}");
        let without = &Respect::Features.variants(&base)[0].config;
        assert_eq!(without.features.len(), 8);
        assert_eq!(SearchConfig { features: base.features.clone(), ..without.clone() }, base);
    }

    #[test]
    fn convergence_is_where_the_reward_stays() {
        assert_eq!(converged(&[0.0, 0.0, 1.0, 1.0, 1.0], 1), Some(2));
        assert_eq!(converged(&[0.0, 1.0, 0.0, 1.0, 1.0], 1), Some(3), "a fall back begins it anew");
        assert_eq!(converged(&[0.0, 0.0, 0.0, 1.0, 1.0, 1.0], 2), Some(4));
        assert_eq!(converged(&[1.0], 2), None);
        assert_eq!(converged(&[1.0, 1.0], 1), Some(0), "it never moved");
    }

    #[test]
    fn rank_correlation_is_that_of_the_ranks() {
        assert_eq!(rank_correlation(&[1.0, 2.0, 3.0], &[10.0, 20.0, 1000.0]), Some(1.0));
        assert_eq!(rank_correlation(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), Some(-1.0));
        // Ranks 0, 1.5, 1.5, 3 and 0, 1, 2, 3.
        let tied = rank_correlation(&[1.0, 2.0, 2.0, 4.0], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert!((tied - 0.948_683).abs() < 1e-6, "{tied}");
        assert_eq!(rank_correlation(&[1.0, 1.0], &[1.0, 2.0]), None);
    }
}
