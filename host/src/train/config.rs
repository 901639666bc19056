//! The settings of a fit: its length and pace, and what a quantised fit adds to a float one.

use serde::{Deserialize, Serialize};

use super::regulariser::Sinusoidal;
use crate::data::Augmentation;

/// How long, how fast and by what recipe to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FitConfig {
    /// Passes over the training images; ignored if `steps` is given.
    pub epochs: f64,
    /// Optimiser steps.
    pub steps: Option<usize>,
    /// Images of one step.
    pub batch: usize,
    /// Largest learning rate of Adam; it rises over the first steps and falls to zero along a cosine.
    pub lr: f64,
    /// Learning rate of the quantiser's steps, as a factor on that of weights times the layer's mean step: at 1 and a
    /// learning rate of 0.001, Adam moves a step by about a thousandth of itself at a time.
    pub step_lr: f64,
    /// Share of the steps over which the learning rate rises.
    pub warmup: f64,
    /// Decoupled weight decay of weights; biases, norms and steps have none.
    pub weight_decay: f64,
    /// Share of the steps over which a quantised network's bits are lowered: half of it at two bits more than asked for,
    /// half at one more, the rest at those asked for. At each change the steps are fitted anew. 0 begins at the bits asked
    /// for.
    pub gradual: f64,
    /// Batches that go forward after the last step, to measure the running statistics of batch norms on weights that no
    /// longer move.
    pub norm_batches: usize,
    /// Random changes to the training images.
    pub augmentation: Augmentation,
    /// What a quantised network learns from the float one.
    pub distillation: Distillation,
    /// Pull of weights towards their levels.
    pub sinusoidal: Sinusoidal,
}

impl Default for FitConfig {
    /// A float fit's settings; what only quantised fits have is off.
    fn default() -> Self {
        Self {
            epochs: 8.0,
            steps: None,
            batch: 128,
            lr: 2e-3,
            step_lr: 1.0,
            warmup: 0.05,
            weight_decay: 1e-3,
            gradual: 0.0,
            norm_batches: 0,
            augmentation: Augmentation::default(),
            distillation: Distillation::default(),
            sinusoidal: Sinusoidal::default(),
        }
    }
}

/// Knowledge distillation (arXiv 1503.02531) from a float network: in the long fine-tune from the float reference, which is
/// trained first if the run has none, in the short one from the float network that it starts from. The loss is
/// `(1 - weight) * cross-entropy + weight * temperature^2 * KL(softmax(teacher / temperature) || softmax(logits /
/// temperature))`. Fits of float networks take no part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Distillation {
    /// Share of the teacher in the loss, 0 to 1; 0 is no teacher.
    pub weight: f64,
    /// Softens both distributions.
    pub temperature: f64,
}

impl Default for Distillation {
    fn default() -> Self {
        Self { weight: 0.0, temperature: 2.0 }
    }
}

impl FitConfig {
    /// The number of optimiser steps on so many images.
    #[must_use]
    pub fn steps_on(&self, images: usize) -> usize {
        self.steps.unwrap_or_else(|| (self.epochs * images as f64 / self.batch as f64).round().max(1.0) as usize)
    }

    /// The learning rate of a step.
    pub(super) fn lr_at(&self, step: usize, steps: usize) -> f64 {
        let warmup = (self.warmup * steps as f64).max(1.0);
        let place = step as f64 + 0.5;
        if place < warmup {
            return self.lr * place / warmup;
        }
        let done = (place - warmup) / (steps as f64 - warmup).max(1.0);
        self.lr * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
    }

    /// Bits above those asked for at a step.
    pub(super) fn extra_bits_at(&self, step: usize, steps: usize) -> u8 {
        let done = step as f64 / steps as f64;
        match () {
            () if done < self.gradual / 2.0 => 2,
            () if done < self.gradual => 1,
            () => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_rises_then_falls_to_nothing() {
        let config = FitConfig::default();
        let rates: Vec<f64> = (0..100).map(|step| config.lr_at(step, 100)).collect();
        assert!(rates[0] < rates[4] && rates[5] > rates[50] && rates[99] < 1e-3 * config.lr);
        assert!(rates.iter().all(|&rate| rate > 0.0 && rate <= config.lr));
    }

    #[test]
    fn bits_fall_one_by_one() {
        let config = FitConfig { gradual: 0.4, ..FitConfig::default() };
        let extra: Vec<u8> = (0..10).map(|step| config.extra_bits_at(step, 10)).collect();
        assert_eq!(extra, [2, 2, 1, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(FitConfig::default().extra_bits_at(0, 10), 0);
    }

    #[test]
    fn settings_written_before_an_option_existed_still_load() {
        let old =
            "epochs = 15.0\nbatch = 128\nlr = 0.001\nwarmup = 0.05\nweight_decay = 0.0\n[augmentation]\nshift = 4\n";
        let config: FitConfig = toml::from_str(old).unwrap();
        let (augmentation, plain) = (Augmentation { shift: 4, mirror: false }, FitConfig::default());
        assert_eq!(config, FitConfig { epochs: 15.0, lr: 1e-3, weight_decay: 0.0, augmentation, ..plain });
        assert!(toml::from_str::<FitConfig>("epochz = 1.0").is_err());
    }
}
