//! Weight quantisers and the activation quantiser, as arithmetic on slices: the one definition that training and packing
//! share.

mod activation;
mod scaled;

pub use activation::{ActivationGrid, Range};
pub use scaled::{fitted_steps, weight_grid};

use releq_shared::Bitwidth;

use crate::train::ops::weight_codes;

/// A layer's quantised weights, in the order of the float ones.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedWeights {
    /// Bits of a code.
    pub bits: Bitwidth,
    /// Twice the code of zero: value = `scale * (code - z / 2)`.
    pub z: u16,
    /// One code a weight.
    pub codes: Vec<u8>,
    /// One scale an output channel.
    pub scales: Vec<f32>,
}

impl QuantizedWeights {
    /// Rounds `weights`, output channel by output channel, to the grid of `bits` with one step a channel.
    ///
    /// # Panics
    /// If `weights` is no whole number of channels.
    #[must_use]
    pub fn new(weights: &[f32], steps: &[f32], bits: Bitwidth) -> Self {
        let grid = weight_grid(bits, weights.len() / steps.len().max(1));
        Self { bits, z: grid.zero as u16, codes: weight_codes(weights, steps, grid), scales: steps.to_vec() }
    }

    /// The real weights that the codes stand for.
    #[must_use]
    pub fn dequantized(&self) -> Vec<f32> {
        let columns = self.codes.len() / self.scales.len().max(1);
        let half_zero = f32::from(self.z) / 2.0;
        let rows = self.codes.chunks_exact(columns).zip(&self.scales);
        rows.flat_map(|(row, &scale)| row.iter().map(move |&code| scale * (f32::from(code) - half_zero))).collect()
    }
}
