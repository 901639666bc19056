//! A bitwidth for each layer, and what the search knows of a layer.

use std::fmt;
use std::str::FromStr;

use releq_shared::Bitwidth;
use serde::{Deserialize, Serialize};

use crate::pack::costs::LayerKind;

/// Bits of each weight layer, in execution order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Assignment(pub Vec<Bitwidth>);

/// What the search knows of a layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerFacts {
    /// Its name.
    pub name: String,
    /// Output channels, `n` in the paper.
    pub out_channels: usize,
    /// Input channels, `c` in the paper.
    pub in_channels: usize,
    /// Rows of the kernel, `k` in the paper; 1 for dense layers.
    pub kernel: usize,
    /// What kind of kernel executes it.
    pub kind: LayerKind,
    /// Weights.
    pub weights: u64,
    /// Multiply-accumulates of one image.
    pub macs: u64,
    /// Standard deviation of the pretrained weights.
    pub weight_std: f64,
}

/// A list of bitwidths that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no list of bitwidths; write one number from 1 to 8 a layer, separated by commas, as in 2,1,1,3")]
pub struct ParseAssignmentError {
    text: String,
}

impl Assignment {
    /// The same bits everywhere.
    #[must_use]
    pub fn uniform(bits: Bitwidth, layers: usize) -> Self {
        Self(vec![bits; layers])
    }

    /// Plain mean over the layers, as in the paper.
    #[must_use]
    pub fn mean_bits(&self) -> f64 {
        self.0.iter().map(|bits| f64::from(bits.get())).sum::<f64>() / self.0.len().max(1) as f64
    }

    /// Mean bits of a weight.
    #[must_use]
    pub fn weighted_bits(&self, layers: &[LayerFacts]) -> f64 {
        let total: u64 = layers.iter().map(|layer| layer.weights).sum();
        let bits: u64 = self.0.iter().zip(layers).map(|(bits, layer)| u64::from(bits.get()) * layer.weights).sum();
        bits as f64 / total.max(1) as f64
    }
}

impl fmt::Display for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.pad(&numbers.join(","))
    }
}

impl FromStr for Assignment {
    type Err = ParseAssignmentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |part: &str| part.trim().parse::<u8>().ok().and_then(|bits| Bitwidth::new(bits).ok());
        let bits: Option<Vec<Bitwidth>> = text.split(',').map(number).collect();
        bits.map(Self).ok_or_else(|| ParseAssignmentError { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_written_as_they_are_read() {
        let assignment: Assignment = "2, 2,3,2".parse().unwrap();
        assert_eq!(assignment.to_string(), "2,2,3,2");
        assert_eq!(assignment.mean_bits(), 2.25);
        for wrong in ["", "0,1", "9", "1;2", "1,,2"] {
            assert!(wrong.parse::<Assignment>().is_err(), "{wrong:?}");
        }
    }
}
