//! What the agent sees when it stands before a layer (the paper's state embedding), each number scaled to 0..1 over the
//! network's layers.

use serde::{Deserialize, Serialize};

use super::{Assignment, LayerFacts};

/// One entry of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    /// The layer's index.
    LayerIndex,
    /// Its output channels.
    OutChannels,
    /// Its input channels.
    InChannels,
    /// Its kernel.
    Kernel,
    /// Its weights, by their logarithm: layers differ by orders of magnitude.
    Weights,
    /// Standard deviation of its pretrained weights.
    WeightStd,
    /// Its bits before the choice.
    CurrentBits,
    /// State of Quantization: the cost with the choices made so far.
    QuantizationState,
    /// State of Relative Accuracy: of the last evaluation of this episode, 1 before the first. Where episodes are
    /// evaluated at their end only, it stays 1.
    AccuracyState,
}

impl Feature {
    /// Its name in settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LayerIndex => "layer-index",
            Self::OutChannels => "out-channels",
            Self::InChannels => "in-channels",
            Self::Kernel => "kernel",
            Self::Weights => "weights",
            Self::WeightStd => "weight-std",
            Self::CurrentBits => "current-bits",
            Self::QuantizationState => "quantization-state",
            Self::AccuracyState => "accuracy-state",
        }
    }
}

/// All features, in the order of the state.
pub const FEATURES: [Feature; 9] = [
    Feature::LayerIndex,
    Feature::OutChannels,
    Feature::InChannels,
    Feature::Kernel,
    Feature::Weights,
    Feature::WeightStd,
    Feature::CurrentBits,
    Feature::QuantizationState,
    Feature::AccuracyState,
];

/// The state before layer `layer`, for the wanted features; `cost` is that of `bits`.
pub(super) fn observe(
    features: &[Feature],
    layers: &[LayerFacts],
    layer: usize,
    bits: &Assignment,
    cost: f64,
    relative_accuracy: f64,
) -> Vec<f32> {
    let scaled = |of: &dyn Fn(&LayerFacts) -> f64| {
        let largest = layers.iter().map(of).fold(f64::MIN_POSITIVE, f64::max);
        of(&layers[layer]) / largest
    };
    let value = |feature: &Feature| match feature {
        Feature::LayerIndex => (layer + 1) as f64 / layers.len() as f64,
        Feature::OutChannels => scaled(&|facts| facts.out_channels as f64),
        Feature::InChannels => scaled(&|facts| facts.in_channels as f64),
        Feature::Kernel => scaled(&|facts| facts.kernel as f64),
        Feature::Weights => scaled(&|facts| (facts.weights as f64).ln_1p()),
        Feature::WeightStd => scaled(&|facts| facts.weight_std),
        Feature::CurrentBits => f64::from(bits.0[layer].get()) / 8.0,
        Feature::QuantizationState => cost,
        Feature::AccuracyState => relative_accuracy,
    };
    features.iter().map(|feature| value(feature) as f32).collect()
}
