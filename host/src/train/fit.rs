//! The training loop: float training, short and long fine-tunes, and evaluation.

use candle_core::{Device, Tensor, Var};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

use super::TrainError;
use super::model::{Model, Pass, Quantization};
use super::ops::{self, Adam, AdamConfig, ParamGroup};
use crate::compute;
use crate::data::{Augmentation, Batches, ImageSource};

/// Images of one evaluation batch.
const EVALUATION_BATCH: usize = 500;
/// Images that the activation ranges are taken from.
const CALIBRATION_IMAGES: usize = 512;
/// The learning rate of steps, relative to that of weights: steps are few and each moves a whole channel.
const STEP_LR_SCALE: f64 = 0.1;

/// How long and how fast to train.
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
    /// Share of the steps over which the learning rate rises.
    pub warmup: f64,
    /// Decoupled weight decay of weights; biases, norms and steps have none.
    pub weight_decay: f64,
    /// Random changes to the training images.
    pub augmentation: Augmentation,
}

impl Default for FitConfig {
    fn default() -> Self {
        Self {
            epochs: 8.0,
            steps: None,
            batch: 128,
            lr: 2e-3,
            warmup: 0.05,
            weight_decay: 1e-3,
            augmentation: Augmentation::default(),
        }
    }
}

impl FitConfig {
    /// The number of optimiser steps on so many images.
    #[must_use]
    pub fn steps_on(&self, images: usize) -> usize {
        self.steps.unwrap_or_else(|| (self.epochs * images as f64 / self.batch as f64).round().max(1.0) as usize)
    }

    /// The learning rate of a step.
    fn lr_at(&self, step: usize, steps: usize) -> f64 {
        let warmup = (self.warmup * steps as f64).max(1.0);
        let place = step as f64 + 0.5;
        if place < warmup {
            return self.lr * place / warmup;
        }
        let done = (place - warmup) / (steps as f64 - warmup).max(1.0);
        self.lr * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
    }
}

/// One step of a fit.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct FitProgress {
    /// Steps done.
    pub step: usize,
    /// Steps to do.
    pub steps: usize,
    /// Smoothed training loss.
    pub loss: f64,
}

/// Correct answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accuracy {
    /// Images answered correctly.
    pub correct: usize,
    /// Images asked.
    pub total: usize,
}

impl Accuracy {
    /// Share of correct answers, 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.correct as f64 / self.total.max(1) as f64
    }
}

/// Trains `model`, quantised if `quantization` is given, in which case the steps are learned too and the activation grids
/// are calibrated first if `activations` is set. Everything random follows from `seed`. `progress` may stop it.
///
/// # Errors
/// [`TrainError::Diverged`] if the loss is no number, [`TrainError::Stopped`] if `progress` says so.
pub fn fit(
    model: &Model,
    mut quantization: Option<&mut Quantization>,
    data: &ImageSource,
    config: &FitConfig,
    seed: u64,
    progress: &mut dyn FnMut(FitProgress) -> ControlFlow<()>,
) -> Result<(), TrainError> {
    let device = device_of(model);
    if let Some(quantization) = quantization.as_deref_mut() {
        let batch = data.batch(0, CALIBRATION_IMAGES, &device)?;
        quantization.calibrate(model, &batch.images)?;
    }
    let quantization = quantization.as_deref();
    let steps = config.steps_on(data.images.len());
    let mut stepper = Stepper::new(model, quantization, config)?;
    let mut batches = Batches::new(data, config.batch, config.augmentation, seed, &device)?;
    let mut smoothed: Option<f64> = None;
    for step in 0..steps {
        let batch = batches.take()?;
        stepper.set_lr(config.lr_at(step, steps));
        let value = stepper.step(model, quantization, &batch.images, &batch.labels)?;
        if !value.is_finite() {
            return Err(TrainError::Diverged { step });
        }
        let mean = smoothed.map_or(value, |mean| 0.95 * mean + 0.05 * value);
        smoothed = Some(mean);
        if progress(FitProgress { step: step + 1, steps, loss: mean }).is_break() {
            return Err(TrainError::Stopped);
        }
    }
    Ok(())
}

fn device_of(model: &Model) -> Device {
    model.parameters().values().next().map_or(Device::Cpu, |var| var.device().clone())
}

/// Every parameter with its share of learning rate and weight decay, the quantiser's steps last.
fn parameter_groups(model: &Model, quantization: Option<&Quantization>, config: &FitConfig) -> Vec<(Var, ParamGroup)> {
    let of_model = model.parameters().iter().map(|(name, var)| {
        let weight_decay = if name.ends_with(".weight") { config.weight_decay } else { 0.0 };
        (var.clone(), ParamGroup { lr_scale: 1.0, weight_decay })
    });
    let steps = quantization.into_iter().flat_map(|quantization| quantization.steps.values());
    let of_steps = steps.map(|var| (var.clone(), ParamGroup { lr_scale: STEP_LR_SCALE, weight_decay: 0.0 }));
    of_model.chain(of_steps).collect()
}

/// One optimiser step after the other: forward, loss, backward, update.
#[derive(Debug)]
pub struct Stepper {
    adam: Adam,
}

impl Stepper {
    /// An optimiser of a model's parameters, and of the quantiser's steps if there is one.
    ///
    /// # Errors
    /// What candle reports.
    pub fn new(model: &Model, quantization: Option<&Quantization>, config: &FitConfig) -> Result<Self, TrainError> {
        let adam_config = AdamConfig { lr: config.lr, ..AdamConfig::default() };
        Ok(Self { adam: Adam::new(parameter_groups(model, quantization, config), adam_config)? })
    }

    /// Sets the learning rate of the next steps.
    pub fn set_lr(&mut self, lr: f64) {
        self.adam.set_lr(lr);
    }

    /// One step on a batch of images `[N, C, H, W]` and labels `[N]`. Returns the loss before the step; if that is no
    /// finite number, nothing has changed.
    ///
    /// # Errors
    /// What candle reports.
    pub fn step(
        &mut self,
        model: &Model,
        quantization: Option<&Quantization>,
        images: &Tensor,
        labels: &Tensor,
    ) -> Result<f64, TrainError> {
        let mut value = f64::NAN;
        let compute = || ops::cross_entropy(&model.forward(images, Pass::Train(quantization))?, labels);
        let (_, gradients) = ops::differentiate(compute::is_own(images.device()), compute, |loss| {
            value = f64::from(loss.to_scalar::<f32>()?);
            Ok(value.is_finite())
        })?;
        if let Some(gradients) = gradients {
            self.adam.step(&gradients)?;
        }
        Ok(value)
    }
}

/// Counts the images that the model answers correctly.
///
/// # Errors
/// What candle reports.
pub fn evaluate(
    model: &Model,
    quantization: Option<&Quantization>,
    data: &ImageSource,
) -> Result<Accuracy, TrainError> {
    let device = device_of(model);
    let mut correct = 0;
    let total = data.images.len();
    for first in (0..total).step_by(EVALUATION_BATCH) {
        let batch = data.batch(first, EVALUATION_BATCH, &device)?;
        let logits = model.forward(&batch.images, Pass::Infer(quantization))?;
        let answers: Vec<u32> = logits.argmax(1)?.to_vec1()?;
        let labels = &data.images.labels[first..first + answers.len()];
        correct += answers.iter().zip(labels).filter(|&(&answer, &label)| answer == u32::from(label)).count();
    }
    Ok(Accuracy { correct, total })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use releq_shared::Bitwidth;

    use super::*;
    use crate::data::{Location, load_from};
    use crate::network::zoo;

    fn digits() -> (ImageSource, ImageSource) {
        let data = load_from("mnist", &Location::Embedded, 1).unwrap();
        (ImageSource::new(data.train, data.grid), ImageSource::new(data.validation, data.grid))
    }

    fn lenet() -> Model {
        Model::new(Arc::new(zoo::by_name("lenet").unwrap()), 1, &Device::Cpu).unwrap()
    }

    #[test]
    fn the_learning_rate_rises_then_falls_to_nothing() {
        let config = FitConfig::default();
        let rates: Vec<f64> = (0..100).map(|step| config.lr_at(step, 100)).collect();
        assert!(rates[0] < rates[4] && rates[5] > rates[50] && rates[99] < 1e-3 * config.lr);
        assert!(rates.iter().all(|&rate| rate > 0.0 && rate <= config.lr));
    }

    #[test]
    fn lenet_learns_digits_float_and_at_one_bit() {
        let (training, validation) = digits();
        let model = lenet();
        let config = FitConfig { steps: Some(60), ..FitConfig::default() };
        let mut go_on = |_: FitProgress| ControlFlow::Continue(());
        fit(&model, None, &training, &config, 1, &mut go_on).unwrap();
        let float = evaluate(&model, None, &validation).unwrap().share();
        assert!(float > 0.85, "{float}");
        let mut quantization = Quantization::of_weights(&model, &[Some(Bitwidth::MIN); 4]).unwrap();
        let config = FitConfig { steps: Some(40), lr: 1e-3, ..FitConfig::default() };
        fit(&model, Some(&mut quantization), &training, &config, 2, &mut go_on).unwrap();
        let one_bit = evaluate(&model, Some(&quantization), &validation).unwrap().share();
        assert!(one_bit > 0.8, "{one_bit} at one bit, {float} float");
    }

    #[test]
    fn the_same_seed_gives_the_same_network() {
        let (training, _) = digits();
        let run = |seed| {
            let model = lenet();
            let config = FitConfig { steps: Some(3), ..FitConfig::default() };
            fit(&model, None, &training, &config, seed, &mut |_| ControlFlow::Continue(())).unwrap();
            model.values("fc2.weight").unwrap()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn a_diverging_fit_is_an_error_not_a_crash() {
        let (training, _) = digits();
        let model = lenet();
        let config = FitConfig { steps: Some(30), lr: 1e30, ..FitConfig::default() };
        let result = fit(&model, None, &training, &config, 1, &mut |_| ControlFlow::Continue(()));
        assert!(matches!(result, Err(TrainError::Diverged { .. })), "{result:?}");
    }

    #[test]
    fn a_fit_can_be_stopped() {
        let (training, _) = digits();
        let result = fit(&lenet(), None, &training, &FitConfig::default(), 1, &mut |_| ControlFlow::Break(()));
        assert!(matches!(result, Err(TrainError::Stopped)));
    }
}
