//! The training loop: float training, short and long fine-tunes, and evaluation.

use candle_core::{Device, Tensor, Var};
use releq_shared::Bitwidth;
use serde::Serialize;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use super::config::{Distillation, FitConfig};
use super::model::{Model, Pass};
use super::ops::{self, Adam, AdamConfig, ParamGroup};
use super::quantization::Quantization;
use super::resume::Keeper;
use super::{TrainError, regulariser};
use crate::compute;
use crate::data::{Batches, ImageSource};

/// Images of one evaluation batch.
const EVALUATION_BATCH: usize = 500;
/// Images that the activation ranges are taken from.
const CALIBRATION_IMAGES: usize = 512;
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

/// A training: what of, on what, by which settings.
#[derive(Debug)]
pub struct Fit<'a> {
    /// The network.
    pub model: &'a Model,
    /// How it is quantised, if it is: steps are learned too, and activation grids calibrated first.
    pub quantization: Option<&'a mut Quantization>,
    /// A float network that takes the part in a quantised one's training that `config.distillation` gives it.
    pub teacher: Option<&'a Model>,
    /// The images.
    pub data: &'a ImageSource,
    /// The settings.
    pub config: &'a FitConfig,
    /// Everything random follows from it.
    pub seed: u64,
}

impl Fit<'_> {
    /// Trains. `progress` may stop it.
    ///
    /// With a file to keep its state in, at the end of an epoch and when it is stopped, it goes on from what the file has of
    /// this very fit, and ends with the same bits as one that was never stopped. The file stays for the caller to delete
    /// when the outcome is safe. Returns the time that the fit took before this process took it over.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] if the loss is no number, [`TrainError::Stopped`] if `progress` says so.
    pub fn run(
        mut self,
        keep: Option<&Path>,
        progress: &mut dyn FnMut(FitProgress) -> ControlFlow<()>,
    ) -> Result<Duration, TrainError> {
        let Fit { model, teacher, data, config, seed, .. } = self;
        let device = device_of(model);
        let calibration = data.batch(0, CALIBRATION_IMAGES, &device)?.images;
        let steps = config.steps_on(data.images.len());
        let epoch = data.images.len().div_ceil(config.batch.max(1)).max(1);
        let final_bits = self.quantization.as_deref().map_or_else(Vec::new, |quantization| quantization.bits.clone());
        let mut stepper = Stepper::new(model, self.quantization.as_deref(), config)?;
        if let (Some(_), Some(teacher)) = (&self.quantization, teacher) {
            stepper.set_teacher(teacher, config.distillation)?;
        }
        let (mut keeper, found) = match keep.map(|path| Keeper::open(path, &self)).transpose()? {
            Some((keeper, found)) => (Some(keeper), found),
            None => (None, None),
        };
        let (mut done, mut smoothed, mut extra_bits) = (0, None, None);
        if let Some(found) = &found {
            found.restore(&mut self, &mut stepper)?;
            (done, smoothed, extra_bits) = (found.steps, found.smoothed_loss, found.extra_bits);
        }
        let mut batches = Batches::after(done, data, config.batch, config.augmentation, seed, &device)?;
        for step in done..steps {
            let extra = config.extra_bits_at(step, steps);
            if let Some(quantization) = self.quantization.as_deref_mut()
                && extra_bits.replace(extra) != Some(extra)
            {
                let bits: Vec<_> = final_bits.iter().map(|bits| bits.map(|bits| more(bits, extra))).collect();
                if bits != quantization.bits {
                    quantization.set_bits(model, &bits)?;
                }
                quantization.calibrate(model, &calibration)?;
            }
            let batch = batches.take()?;
            stepper.set_lr(config.lr_at(step, steps));
            stepper.set_regulariser(config.sinusoidal.at(step, steps));
            let value = stepper.step(model, self.quantization.as_deref(), &batch.images, &batch.labels)?;
            if !value.is_finite() {
                return Err(TrainError::Diverged { step });
            }
            let mean = smoothed.map_or(value, |mean| 0.95 * mean + 0.05 * value);
            smoothed = Some(mean);
            let stopped = progress(FitProgress { step: step + 1, steps, loss: mean }).is_break();
            if let Some(keeper) = &mut keeper
                && step + 1 < steps
                && (stopped || (step + 1).is_multiple_of(epoch) && keeper.is_due())
            {
                keeper.write(&self, &stepper, (step + 1, smoothed, extra_bits))?;
            }
            if stopped {
                return Err(TrainError::Stopped);
            }
        }
        // The last step's loss is of before it.
        if !model.is_finite()? {
            return Err(TrainError::Diverged { step: steps });
        }
        for _ in 0..config.norm_batches {
            model.forward(&batches.take()?.images, Pass::Train(self.quantization.as_deref()))?;
        }
        Ok(keeper.map_or(Duration::ZERO, |keeper| keeper.before))
    }
}

/// [`Fit::run`] that keeps nothing.
///
/// # Errors
/// As [`Fit::run`].
pub fn fit(
    model: &Model,
    quantization: Option<&mut Quantization>,
    teacher: Option<&Model>,
    data: &ImageSource,
    config: &FitConfig,
    seed: u64,
    progress: &mut dyn FnMut(FitProgress) -> ControlFlow<()>,
) -> Result<(), TrainError> {
    Fit { model, quantization, teacher, data, config, seed }.run(None, progress).map(|_| ())
}

/// So many bits more, as far as there are.
fn more(bits: Bitwidth, extra: u8) -> Bitwidth {
    Bitwidth::new(bits.get().saturating_add(extra)).unwrap_or(Bitwidth::MAX)
}

fn device_of(model: &Model) -> Device {
    model.parameters().values().next().map_or(Device::Cpu, |var| var.device().clone())
}

/// Every parameter with its share of learning rate and weight decay, the quantiser's steps last.
fn parameter_groups(
    model: &Model,
    quantization: Option<&Quantization>,
    config: &FitConfig,
) -> Result<Vec<(Var, ParamGroup)>, TrainError> {
    let of_model = model.parameters().iter().map(|(name, var)| {
        let weight_decay = if name.ends_with(".weight") { config.weight_decay } else { 0.0 };
        (var.clone(), ParamGroup { lr_scale: 1.0, weight_decay })
    });
    let learned = quantization.filter(|quantization| quantization.quantizer.learns_steps());
    let steps = learned.into_iter().flat_map(|quantization| quantization.steps.values());
    let of_steps = steps.map(|var| {
        // Adam moves by its learning rate whatever a parameter's size, and steps differ tenfold between layers.
        let mean = f64::from(var.as_tensor().mean_all()?.to_scalar::<f32>()?);
        Ok((var.clone(), ParamGroup { lr_scale: config.step_lr * mean, weight_decay: 0.0 }))
    });
    of_model.map(Ok).chain(of_steps).collect()
}

/// One optimiser step after the other: forward, loss, backward, update.
#[derive(Debug)]
pub struct Stepper {
    adam: Adam,
    teacher: Option<(Model, Distillation)>,
    regulariser: f64,
}

impl Stepper {
    /// An optimiser of a model's parameters, and of the quantiser's steps if there is one.
    ///
    /// # Errors
    /// What candle reports.
    pub fn new(model: &Model, quantization: Option<&Quantization>, config: &FitConfig) -> Result<Self, TrainError> {
        let adam_config = AdamConfig { lr: config.lr, ..AdamConfig::default() };
        let adam = Adam::new(parameter_groups(model, quantization, config)?, adam_config)?;
        Ok(Self { adam, teacher: None, regulariser: 0.0 })
    }

    /// Lets a float network teach in the next steps, if the settings give it a share in the loss.
    ///
    /// # Errors
    /// What candle reports.
    pub fn set_teacher(&mut self, teacher: &Model, config: Distillation) -> Result<(), TrainError> {
        self.teacher = if config.weight > 0.0 { Some((teacher.duplicate()?, config)) } else { None };
        Ok(())
    }

    pub(super) const fn optimiser(&self) -> &Adam {
        &self.adam
    }

    pub(super) const fn optimiser_mut(&mut self) -> &mut Adam {
        &mut self.adam
    }

    /// Sets the learning rate of the next steps.
    pub fn set_lr(&mut self, lr: f64) {
        self.adam.set_lr(lr);
    }

    /// Sets the strength of the sinusoidal regulariser in the next steps.
    pub fn set_regulariser(&mut self, strength: f64) {
        self.regulariser = strength;
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
        let wanted = match &self.teacher {
            Some((teacher, config)) => Some((teacher.forward(images, Pass::Infer(None))?, config)),
            None => None,
        };
        let compute = || {
            let logits = model.forward(images, Pass::Train(quantization))?;
            match &wanted {
                Some((wanted, config)) => ops::distillation(&logits, labels, wanted, config.weight, config.temperature),
                None => ops::cross_entropy(&logits, labels),
            }
        };
        let (_, gradients) = ops::differentiate(compute::is_own(images.device()), compute, |loss| {
            value = f64::from(loss.to_scalar::<f32>()?);
            Ok(value.is_finite())
        })?;
        if let Some(mut gradients) = gradients {
            if let Some(quantization) = quantization
                && self.regulariser > 0.0
            {
                regulariser::add_gradient(&mut gradients, model, quantization, self.regulariser)?;
            }
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
    fn lenet_learns_digits_float_and_at_one_bit() {
        let (training, validation) = digits();
        let model = lenet();
        let config = FitConfig { steps: Some(60), ..FitConfig::default() };
        let mut go_on = |_: FitProgress| ControlFlow::Continue(());
        fit(&model, None, None, &training, &config, 1, &mut go_on).unwrap();
        let float = evaluate(&model, None, &validation).unwrap().share();
        assert!(float > 0.85, "{float}");
        let mut quantization = Quantization::of_weights(&model, &[Some(Bitwidth::MIN); 4]).unwrap();
        let config = FitConfig { steps: Some(40), lr: 1e-3, ..FitConfig::default() };
        fit(&model, Some(&mut quantization), None, &training, &config, 2, &mut go_on).unwrap();
        let one_bit = evaluate(&model, Some(&quantization), &validation).unwrap().share();
        assert!(one_bit > 0.8, "{one_bit} at one bit, {float} float");
    }

    #[test]
    fn the_same_seed_gives_the_same_network() {
        let (training, _) = digits();
        let run = |seed| {
            let model = lenet();
            let config = FitConfig { steps: Some(3), ..FitConfig::default() };
            fit(&model, None, None, &training, &config, seed, &mut |_| ControlFlow::Continue(())).unwrap();
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
        let result = fit(&model, None, None, &training, &config, 1, &mut |_| ControlFlow::Continue(()));
        assert!(matches!(result, Err(TrainError::Diverged { .. })), "{result:?}");
    }

    #[test]
    fn a_fit_can_be_stopped() {
        let (training, _) = digits();
        let result = fit(&lenet(), None, None, &training, &FitConfig::default(), 1, &mut |_| ControlFlow::Break(()));
        assert!(matches!(result, Err(TrainError::Stopped)));
    }

    #[test]
    fn a_teacher_changes_what_a_quantised_network_learns_and_nothing_in_a_float_one() {
        let (training, _) = digits();
        let run = |taught: bool, quantised: bool, share: f64| {
            let (model, teacher) = (lenet(), Model::new(lenet().graph().clone(), 9, &Device::Cpu).unwrap());
            let mut quantization = Quantization::of_weights(&model, &[Some(Bitwidth::MIN); 4]).unwrap();
            let distillation = Distillation { weight: share, temperature: 2.0 };
            let config = FitConfig { steps: Some(2), batch: 16, distillation, ..FitConfig::default() };
            let quantization = quantised.then_some(&mut quantization);
            let teacher = taught.then_some(&teacher);
            fit(&model, quantization, teacher, &training, &config, 1, &mut |_| ControlFlow::Continue(())).unwrap();
            model.values("fc2.weight").unwrap()
        };
        assert_eq!(run(true, false, 0.5), run(false, false, 0.5));
        assert_eq!(run(true, true, 0.0), run(false, true, 0.0));
        assert_ne!(run(true, true, 0.5), run(false, true, 0.5));
    }

    #[test]
    fn bits_that_fall_gradually_end_at_those_asked_for() {
        let (training, _) = digits();
        let model = lenet();
        let asked = [1, 2, 3, 8].map(|bits| Some(Bitwidth::new(bits).unwrap()));
        let mut quantization = Quantization::of_weights(&model, &asked).unwrap();
        let config = FitConfig { steps: Some(4), batch: 16, gradual: 0.5, lr: 1e-9, ..FitConfig::default() };
        fit(&model, Some(&mut quantization), None, &training, &config, 1, &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(quantization.bits, asked);
        let fitted = Quantization::of_weights(&model, &asked).unwrap();
        for (layer, step) in &quantization.steps {
            let (found, fitted) = (step.to_vec1::<f32>().unwrap(), fitted.steps[layer].to_vec1::<f32>().unwrap());
            assert!(found.iter().zip(fitted).all(|(a, b)| (a - b).abs() < 1e-3 * b), "{layer}");
        }
    }
}
