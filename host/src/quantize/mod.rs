//! Weight quantisers and the activation quantiser, as arithmetic on slices: the one definition that training and packing
//! share.

mod activation;
mod dorefa;
mod scaled;
mod wrpn;

use candle_core::{Result, Tensor, bail};
use releq_shared::Bitwidth;
use serde::{Deserialize, Serialize};

pub use activation::{ActivationGrid, Range};
pub use scaled::{fitted_steps, weight_grid};

use crate::train::ops::{WeightGrid, fake_quantize_weights, squash, squashed, weight_codes};

/// How weights are rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Quantizer {
    /// `2^k` levels with a learned step for each output channel (LSQ); BWN at one bit.
    #[default]
    Scaled,
    /// DoReFa: `2^k` levels between -1 and 1 on `tanh(w) / max|tanh w|`, without a scale.
    Dorefa,
    /// WRPN: `2^k - 1` levels between -1 and 1, without a scale; not defined at one bit.
    Wrpn,
}

/// A quantiser that has no grid of so many bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the quantiser wrpn has no levels at 1 bit: give every layer 2 bits or more (search.actions without 1, --bits), or set \
     quantizer.kind to \"scaled\" or \"dorefa\" in config.toml"
)]
pub struct UndefinedAtOneBit;

impl Quantizer {
    /// Refuses bits that the quantiser is not defined for.
    ///
    /// # Errors
    /// [`UndefinedAtOneBit`].
    pub fn check(self, mut bits: impl Iterator<Item = Bitwidth>) -> std::result::Result<(), UndefinedAtOneBit> {
        let undefined = self == Self::Wrpn && bits.any(|bits| bits == Bitwidth::MIN);
        if undefined { Err(UndefinedAtOneBit) } else { Ok(()) }
    }

    /// Whether steps are trained with the weights.
    #[must_use]
    pub const fn learns_steps(self) -> bool {
        matches!(self, Self::Scaled)
    }

    /// The grid of `bits` bits for channels of `columns` weights.
    #[must_use]
    pub fn grid(self, bits: Bitwidth, columns: usize) -> WeightGrid {
        match self {
            Self::Scaled => weight_grid(bits, columns),
            Self::Dorefa => dorefa::grid(bits),
            Self::Wrpn => wrpn::grid(bits),
        }
    }

    /// One step a channel: fitted to the weights, or the quantiser's constant.
    ///
    /// # Panics
    /// If `weights` is no whole number of channels.
    #[must_use]
    pub fn steps(self, weights: &[f32], channels: usize, bits: Bitwidth) -> Vec<f32> {
        match self {
            Self::Scaled => fitted_steps(weights, channels, bits),
            Self::Dorefa => vec![dorefa::step(bits); channels],
            Self::Wrpn => vec![wrpn::step(bits); channels],
        }
    }

    /// Rounds a layer's `weight` `[O, …]` to its grid, with this quantiser's gradients.
    ///
    /// # Errors
    /// If there is not one step a channel.
    pub fn fake_quantize(self, weight: &Tensor, step: &Tensor, bits: Bitwidth) -> Result<Tensor> {
        let grid = self.grid(bits, weight.elem_count() / step.elem_count().max(1));
        match self {
            Self::Scaled => fake_quantize_weights(weight, step, grid),
            Self::Wrpn => fake_quantize_weights(weight, &step.detach(), grid),
            Self::Dorefa => fake_quantize_weights(&squash(weight)?, &step.detach(), grid),
        }
    }

    /// Where weights lie on the line whose points the grid rounds, and the slope of that place, if it is not 1.
    ///
    /// # Errors
    /// What candle reports.
    pub fn to_grid(self, weight: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        if self != Self::Dorefa {
            return Ok((weight.clone(), None));
        }
        let place = squash(weight)?;
        let largest = weight.abs()?.max_all()?.to_scalar::<f32>()?.tanh();
        let factor = if largest > 0.0 { 1.0 / f64::from(largest) } else { 1.0 };
        let slope = ((weight.tanh()?.sqr()? * -factor)? + factor)?;
        Ok((place, Some(slope)))
    }

    /// The codes of a layer's weights, those that training rounded to.
    ///
    /// # Panics
    /// If `weights` is no whole number of channels.
    #[must_use]
    pub fn quantize(self, weights: &[f32], steps: &[f32], bits: Bitwidth) -> QuantizedWeights {
        let grid = self.grid(bits, weights.len() / steps.len().max(1));
        let codes = match self {
            Self::Scaled | Self::Wrpn => weight_codes(weights, steps, grid),
            Self::Dorefa => weight_codes(&squashed(weights), steps, grid),
        };
        QuantizedWeights { bits, z: grid.zero as u16, codes, scales: steps.to_vec() }
    }

    /// The name in config.toml.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scaled => "scaled",
            Self::Dorefa => "dorefa",
            Self::Wrpn => "wrpn",
        }
    }

    /// The quantiser of a name.
    ///
    /// # Errors
    /// If there is none.
    pub fn of_name(name: &str) -> Result<Self> {
        let known = [Self::Scaled, Self::Dorefa, Self::Wrpn].into_iter().find(|quantizer| quantizer.name() == name);
        match known {
            Some(quantizer) => Ok(quantizer),
            None => bail!("there is no quantiser {name:?}; choose scaled, dorefa or wrpn"),
        }
    }
}

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
    /// The real weights that the codes stand for.
    #[must_use]
    pub fn dequantized(&self) -> Vec<f32> {
        let columns = self.codes.len() / self.scales.len().max(1);
        let half_zero = f32::from(self.z) / 2.0;
        let rows = self.codes.chunks_exact(columns).zip(&self.scales);
        rows.flat_map(|(row, &scale)| row.iter().map(move |&code| scale * (f32::from(code) - half_zero))).collect()
    }
}

#[cfg(test)]
mod tests;
