//! What an assignment costs: the State of Quantization, in the forms of the paper and in those of a deployment.

use serde::{Deserialize, Serialize};

use super::{Assignment, LayerFacts};

/// Energy of a memory access over that of a multiply-accumulate, as the paper has it.
const MEMORY_OVER_MAC: f64 = 120.0;
/// The bits against which costs are stated, `b_max` in the paper.
const WIDEST: f64 = 8.0;
/// Bytes of bias, multiplier and shift that a blob holds for each output channel, whatever the bits.
const CHANNEL_BYTES: f64 = 9.0;

/// The cost of an assignment, 1 at 8 bits everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cost {
    /// `sum b_i / (L b_max)`: the plain mean of the bits, which is what the literature reports.
    #[default]
    MeanBits,
    /// `sum (n_i^w E_mem/E_mac + n_i^mac) b_i`, relative to `b_max` everywhere: memory and compute energy.
    Energy,
    /// Bytes of the blob's weights and channel tables.
    BlobBytes,
}

impl Cost {
    /// The cost of `bits`, in (0, 1].
    #[must_use]
    pub fn of(self, bits: &Assignment, layers: &[LayerFacts]) -> f64 {
        let mut cost = 0.0;
        let mut widest = 0.0;
        for (bits, layer) in bits.0.iter().zip(layers) {
            let (share, fixed) = match self {
                Self::MeanBits => (1.0, 0.0),
                Self::Energy => (layer.weights as f64 * MEMORY_OVER_MAC + layer.macs as f64, 0.0),
                Self::BlobBytes => (layer.weights as f64 / 8.0, layer.out_channels as f64 * CHANNEL_BYTES),
            };
            cost += share * f64::from(bits.get()) + fixed;
            widest += share * WIDEST + fixed;
        }
        cost / f64::max(widest, f64::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(weights: u64, macs: u64) -> LayerFacts {
        let name = String::new();
        LayerFacts { name, out_channels: 10, in_channels: 1, kernel: 1, weights, macs, weight_std: 1.0 }
    }

    #[test]
    fn costs_are_those_of_hand() {
        let layers = [layer(100, 1000), layer(10, 10)];
        let bits: Assignment = "4,8".parse().unwrap();
        assert_eq!(Cost::MeanBits.of(&bits, &layers), 0.75);
        let energy = (13_000.0 * 4.0 + 1_210.0 * 8.0) / (14_210.0 * 8.0);
        assert!((Cost::Energy.of(&bits, &layers) - energy).abs() < 1e-12);
        assert!((Cost::BlobBytes.of(&bits, &layers) - (50.0 + 10.0 + 180.0) / (100.0 + 10.0 + 180.0)).abs() < 1e-12);
        assert_eq!(Cost::Energy.of(&"8,8".parse().unwrap(), &layers), 1.0);
    }
}
