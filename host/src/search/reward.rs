//! What an assignment is worth: its accuracy against its cost.

use serde::{Deserialize, Serialize};

/// The reward of an episode.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reward {
    /// The lowest cost subject to an accuracy loss: what a deployment asks for, and the default.
    ///
    /// The reward is the saved share of the cost that can be saved, 0 to 1, whatever the accuracy: no accuracy within the
    /// bound is worth a bit. Beyond the bound a penalty is taken off, a step and a slope: enough that no bit saved there
    /// pays, and little enough that an agent dares to go near the bound, where the optimum is.
    Constraint {
        /// Allowed loss of validation accuracy against the float network after a short fine-tune, in points.
        max_loss_points: f64,
    },
    /// The paper's: `1 - SQ^a`, times `max(SA, th)^(b / max(SA, th))`, or -1 below the threshold.
    Shaped {
        /// Exponent of the cost. Paper (recalled): 0.2.
        a: f64,
        /// Exponent of the accuracy. Paper (recalled): 0.4.
        b: f64,
        /// Least relative accuracy. Paper (recalled): 0.4.
        threshold: f64,
    },
    /// `SA / SQ`, which the paper compares with.
    Ratio,
    /// `SA - SQ`, which the paper compares with.
    Difference,
}

/// What the least violation costs: about two bits of one of five layers.
const VIOLATION_STEP: f64 = 0.15;
/// What each point of violation costs on top.
const VIOLATION_SLOPE: f64 = 0.15;
/// Below so many times the allowed loss all accuracies count the same.
const FLOOR_LOSSES: f64 = 4.0;
/// The most that a violation costs: hopeless assignments are all equally bad.
const VIOLATION_LIMIT: f64 = 1.5;

impl Reward {
    /// The paper's shaped reward with its constants.
    pub const PAPER: Self = Self::Shaped { a: 0.2, b: 0.4, threshold: 0.4 };

    /// Accuracy below which an assignment is hopeless, and how far below does not matter; 0 without a bound.
    pub(super) fn floor(self, float_accuracy: f64) -> f64 {
        match self {
            Self::Constraint { max_loss_points } => float_accuracy - FLOOR_LOSSES * max_loss_points / 100.0,
            _ => 0.0,
        }
    }

    /// The reward of an evaluated assignment. `cost` and `cheapest` are in (0, 1], accuracies in 0..=1; `cheapest` is the
    /// lowest cost that the action set allows. A diverged fine-tune has accuracy 0.
    #[must_use]
    pub fn of(self, accuracy: f64, float_accuracy: f64, cost: f64, cheapest: f64) -> f64 {
        let relative = accuracy / float_accuracy.max(f64::MIN_POSITIVE);
        match self {
            Self::Constraint { max_loss_points } => {
                let violation = (float_accuracy - accuracy) * 100.0 - max_loss_points;
                let saved = (1.0 - cost) / (1.0 - cheapest).max(f64::MIN_POSITIVE);
                if violation <= 0.0 {
                    saved
                } else {
                    saved - (VIOLATION_STEP + VIOLATION_SLOPE * violation).min(VIOLATION_LIMIT)
                }
            }
            Self::Shaped { threshold, .. } if relative < threshold => -1.0,
            Self::Shaped { a, b, threshold } => {
                let held = relative.max(threshold);
                (1.0 - cost.powf(a)) * held.powf(b / held)
            }
            Self::Ratio => relative / cost,
            Self::Difference => relative - cost,
        }
    }

    /// Whether an accuracy is within the user's bound; rewards without a bound accept all.
    #[must_use]
    pub fn accepts(self, accuracy: f64, float_accuracy: f64) -> bool {
        match self {
            Self::Constraint { max_loss_points } => (float_accuracy - accuracy) * 100.0 <= max_loss_points,
            Self::Shaped { threshold, .. } => accuracy >= threshold * float_accuracy,
            Self::Ratio | Self::Difference => true,
        }
    }
}

impl Default for Reward {
    fn default() -> Self {
        Self::Constraint { max_loss_points: 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn cheaper_is_better_and_a_bit_saved_beyond_the_bound_does_not_pay(
            good in 0.97f64..1.0, bad in 0.0f64..0.969, cost in 0.2f64..1.0, saved in 0.01f64..0.1,
        ) {
            let reward = Reward::Constraint { max_loss_points: 3.0 };
            prop_assert!(reward.of(good, 1.0, cost - saved, 0.1) > reward.of(good, 1.0, cost, 0.1));
            prop_assert!(reward.of(good, 1.0, cost, 0.1) > reward.of(bad, 1.0, cost - saved, 0.1));
            prop_assert!(reward.of(bad + 0.001, 1.0, cost, 0.1) >= reward.of(bad, 1.0, cost, 0.1));
        }
    }

    #[test]
    fn the_published_forms_are_those_of_hand() {
        let cost = 2.25 / 8.0; // the paper's 2,2,3,2
        let shaped = Reward::PAPER.of(0.99, 1.0, cost, 0.125);
        assert!((shaped - (1.0 - 0.28125f64.powf(0.2)) * 0.99f64.powf(0.4 / 0.99)).abs() < 1e-12);
        assert_eq!(Reward::PAPER.of(0.39, 1.0, cost, 0.125), -1.0);
        assert_eq!(Reward::Ratio.of(0.9, 1.0, 0.5, 0.125), 1.8);
        assert_eq!(Reward::Difference.of(0.9, 1.0, 0.5, 0.125), 0.4);
    }

    #[test]
    fn the_cheapest_accurate_assignment_has_reward_one() {
        assert_eq!(Reward::default().of(0.995, 1.0, 0.125, 0.125), 1.0);
    }
}
