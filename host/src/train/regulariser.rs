//! The sinusoidal regulariser, which pulls weights towards the levels that they will be rounded to (SinReQ, arXiv
//! 1905.01416; WaveQ, arXiv 2003.00146).
//!
//! For each quantised layer `R = strength * mean_j sin^2(pi * (w_j + shift) / step)`, summed over the layers, where `step` is
//! that of the weight's channel and `shift` puts the minima on the levels: half a step where levels lie between whole
//! numbers of steps, none where zero is a level. Weights alone get a gradient: steps follow the task's loss.

use candle_core::{Result, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

use super::model::Model;
use super::ops::Gradients;
use super::quantization::Quantization;

/// The strength of the regulariser, and when it acts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sinusoidal {
    /// Strength once it has risen; 0 is no regulariser.
    pub strength: f64,
    /// Share of the fit's steps at which half the strength is reached. Before it weights explore, after it they settle.
    pub rise: f64,
    /// How long the rise takes: the strength at a share `e` is `strength * (1 + tanh((e - rise) / width)) / 2`.
    pub width: f64,
}

impl Default for Sinusoidal {
    fn default() -> Self {
        Self { strength: 0.0, rise: 0.5, width: 0.1 }
    }
}

impl Sinusoidal {
    /// The strength at a step.
    #[must_use]
    pub fn at(&self, step: usize, steps: usize) -> f64 {
        let done = step as f64 / steps as f64;
        self.strength * 0.5 * (1.0 + ((done - self.rise) / self.width).tanh())
    }
}

/// Adds the regulariser's gradient at some strength to those of the quantised layers' weights.
///
/// # Errors
/// What candle reports.
pub fn add_gradient(
    gradients: &mut Gradients,
    model: &Model,
    quantization: &Quantization,
    strength: f64,
) -> Result<()> {
    for (layer, step) in &quantization.steps {
        let Some((bits, _)) = quantization.of_layer(model.graph(), layer) else { continue };
        let Some(var) = model.parameters().get(&format!("{layer}.weight")) else { continue };
        let (place, slope) = quantization.quantizer.to_grid(&var.as_tensor().detach())?;
        let steps: Vec<f32> = step.as_tensor().to_vec1()?;
        let columns = var.elem_count() / steps.len().max(1);
        let half_zero = f64::from(quantization.quantizer.grid(bits, columns).zero) / 2.0;
        let weight = strength * PI / var.elem_count() as f64;
        let mut pull: Vec<f32> = place.flatten_all()?.to_vec1()?;
        // d/dw sin^2(x) = sin(2x) dx/dw; levels are whole numbers of `w / step + half_zero`.
        pull.par_chunks_mut(columns).zip(steps).for_each(|(row, step)| {
            let (step, weight) = (f64::from(step), weight / f64::from(step));
            for value in row {
                *value = (weight * (2.0 * PI * (f64::from(*value) / step + half_zero)).sin()) as f32;
            }
        });
        let mut pull = Tensor::from_vec(pull, var.shape(), var.device())?;
        if let Some(slope) = slope {
            pull = (pull * slope)?;
        }
        gradients.add(var, &pull)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use candle_core::{Device, Var};
    use releq_shared::Bitwidth;

    use super::*;
    use crate::network::zoo;
    use crate::quantize::Quantizer;

    /// lenet with random weights, its last layer alone quantised: 10 channels of 500 weights.
    fn last_layer(quantizer: Quantizer, bits: u8) -> (Model, Quantization, Var) {
        let model = Model::new(Arc::new(zoo::by_name("lenet").unwrap()), 3, &Device::Cpu).unwrap();
        let bits = [None, None, None, Some(Bitwidth::new(bits).unwrap())];
        let quantization = Quantization::by(quantizer, &model, &bits).unwrap();
        let weight = model.parameters()["fc2.weight"].clone();
        (model, quantization, weight)
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// The formula, on what the quantiser rounds.
    fn penalty(quantization: &Quantization, weights: &[f32], strength: f64) -> f64 {
        let largest = f64::from(weights.iter().fold(0.0f32, |a, w| a.max(w.abs()))).tanh();
        let steps = values(&quantization.steps["fc2"]);
        let columns = weights.len() / steps.len();
        let each = weights.iter().enumerate().map(|(i, &w)| {
            let (step, w) = (f64::from(steps[i / columns]), f64::from(w));
            let (place, shift) = match quantization.quantizer {
                Quantizer::Scaled => (w, step / 2.0),
                Quantizer::Wrpn => (w, 0.0),
                Quantizer::Dorefa => (w.tanh() / largest, step / 2.0),
            };
            (PI * (place + shift) / step).sin().powi(2)
        });
        strength * each.sum::<f64>() / weights.len() as f64
    }

    fn gradient(model: &Model, quantization: &Quantization, weight: &Var, strength: f64) -> Vec<f32> {
        let mut gradients = Gradients::Tape(HashMap::new());
        add_gradient(&mut gradients, model, quantization, strength).unwrap();
        assert!(quantization.steps.values().all(|step| gradients.get(step).is_none()), "steps have no part in it");
        assert!(gradients.get(&model.parameters()["fc1.weight"]).is_none(), "nor have float layers");
        values(gradients.get(weight).unwrap())
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_formula() {
        for quantizer in [Quantizer::Scaled, Quantizer::Dorefa, Quantizer::Wrpn] {
            for bits in [2, 3] {
                let (model, quantization, weight) = last_layer(quantizer, bits);
                let (before, strength) = (values(&weight), 700.0);
                let found = gradient(&model, &quantization, &weight, strength);
                for index in (0..before.len()).step_by(173) {
                    let at = |delta: f32| {
                        let mut moved = before.clone();
                        moved[index] += delta;
                        penalty(&quantization, &moved, strength)
                    };
                    let (slope, found) = ((at(1e-4) - at(-1e-4)) / 2e-4, f64::from(found[index]));
                    assert!(
                        (slope - found).abs() < 0.01 + 0.01 * slope.abs(),
                        "{quantizer:?} {bits}: {slope}, {found}"
                    );
                }
            }
        }
    }

    #[test]
    fn weights_settle_on_their_levels() {
        for quantizer in [Quantizer::Scaled, Quantizer::Wrpn] {
            let (model, quantization, weight) = last_layer(quantizer, 3);
            let start = penalty(&quantization, &values(&weight), 1.0);
            for _ in 0..300 {
                let pull = gradient(&model, &quantization, &weight, 1.0);
                let pull = Tensor::from_vec(pull, weight.shape(), &Device::Cpu).unwrap();
                // Descent by a fraction of the step's square undoes the formula's units.
                let rate = f64::from(values(&quantization.steps["fc2"])[0]).powi(2) * weight.elem_count() as f64 * 0.02;
                weight.set(&(weight.as_tensor().detach() - (pull * rate).unwrap()).unwrap()).unwrap();
            }
            let end = penalty(&quantization, &values(&weight), 1.0);
            assert!(start > 0.05 && end < start / 50.0, "{quantizer:?}: {start} to {end}");
            // On a level means that rounding changes nothing; weights beyond the outermost level settle where a level would be.
            let (bits, step) = quantization.of_layer(model.graph(), "fc2").unwrap();
            let rounded = values(&quantizer.fake_quantize(weight.as_tensor(), step.as_tensor(), bits).unwrap());
            let close =
                values(&weight).iter().zip(rounded).filter(|(a, b)| (*a - b).abs() < 0.1 * values(step)[0]).count();
            assert!(close * 10 > weight.elem_count() * 9, "{quantizer:?}: {close} of {}", weight.elem_count());
        }
    }

    #[test]
    fn the_strength_rises_and_is_held() {
        let config = Sinusoidal { strength: 4.0, ..Sinusoidal::default() };
        let at: Vec<f64> = (0..=100).map(|step| config.at(step, 100)).collect();
        assert!(at[0] < 0.001 && (at[50] - 2.0).abs() < 1e-9 && at[100] > 3.99);
        assert!(at.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(Sinusoidal::default().at(100, 100), 0.0);
    }
}
