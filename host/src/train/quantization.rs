//! How a network is quantised: bits and steps of its weights, grids of its activations.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, Var, bail};
use releq_shared::Bitwidth;

use super::model::{Model, Pass};
use crate::network::Graph;
use crate::quantize::{ActivationGrid, Quantizer};

/// How a model's weights and activations are quantised.
#[derive(Clone, Debug)]
pub struct Quantization {
    /// How weights are rounded.
    pub quantizer: Quantizer,
    /// Bits of each weight layer, in order; `None` stays float.
    pub bits: Vec<Option<Bitwidth>>,
    /// Steps of each quantised layer, one a channel, by layer name.
    pub steps: BTreeMap<String, Var>,
    /// Grid of each unit's output, by the name of its last node. Outputs without a grid stay float.
    pub activations: BTreeMap<String, ActivationGrid>,
}

impl Quantization {
    /// [`Quantization::by`] the scaled quantiser.
    ///
    /// # Errors
    /// If there is not one entry a weight layer.
    pub fn of_weights(model: &Model, bits: &[Option<Bitwidth>]) -> Result<Self> {
        Self::by(Quantizer::Scaled, model, bits)
    }

    /// Gives each layer its bits and its steps, fitted to the model's weights if the quantiser learns them. Activations
    /// stay float until they are calibrated.
    ///
    /// # Errors
    /// If there is not one entry a weight layer, or the quantiser is not defined for one.
    pub fn by(quantizer: Quantizer, model: &Model, bits: &[Option<Bitwidth>]) -> Result<Self> {
        quantizer.check(bits.iter().copied().flatten()).map_err(candle_core::Error::msg)?;
        let layers = model.graph().weight_layers();
        if layers.len() != bits.len() {
            bail!("{} bitwidths for the {} weight layers of {}", bits.len(), layers.len(), model.graph().name);
        }
        let mut steps = BTreeMap::new();
        for (layer, bits) in layers.iter().zip(bits) {
            if let Some(bits) = bits {
                let weights = model.values(&format!("{}.weight", layer.name))?;
                let fitted = quantizer.steps(&weights, layer.out_channels, *bits);
                let device = model.parameters()[&format!("{}.weight", layer.name)].device().clone();
                steps.insert(layer.name.clone(), Var::from_vec(fitted, layer.out_channels, &device)?);
            }
        }
        Ok(Self { quantizer, bits: bits.to_vec(), steps, activations: BTreeMap::new() })
    }

    /// Gives each layer other bits, and its steps the values that fit the model's weights as they are. The layers are the
    /// same as before.
    ///
    /// # Errors
    /// As [`Quantization::by`].
    pub fn set_bits(&mut self, model: &Model, bits: &[Option<Bitwidth>]) -> Result<()> {
        let fitted = Self::by(self.quantizer, model, bits)?;
        for (layer, step) in &self.steps {
            let Some(values) = fitted.steps.get(layer) else { bail!("layer {layer} has no bits any more") };
            step.set(&values.as_tensor().detach())?;
        }
        self.bits = fitted.bits;
        Ok(())
    }

    /// Sets the activation grids to cover what the model shows on a batch.
    ///
    /// # Errors
    /// What candle reports.
    pub fn calibrate(&mut self, model: &Model, images: &Tensor) -> Result<()> {
        let mut ranges = BTreeMap::new();
        model.forward(images, Pass::Observe(Some(self), &mut ranges))?;
        self.activations = ranges.into_iter().map(|(name, range)| (name, ActivationGrid::covering(range))).collect();
        Ok(())
    }

    /// A layer's bits and steps, if it is quantised.
    pub(super) fn of_layer(&self, graph: &Graph, layer: &str) -> Option<(Bitwidth, &Var)> {
        let place = graph.weight_layers().iter().position(|weights| weights.name == layer)?;
        Some(((*self.bits.get(place)?)?, self.steps.get(layer)?))
    }
}
