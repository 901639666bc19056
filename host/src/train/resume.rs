//! An unfinished fit on disk, so that one that was killed goes on as if nothing had happened: weights, statistics, the
//! quantiser's steps, the optimiser's moments, and how many batches were drawn, from which the random numbers follow.
//!
//! The file is of one fit only: its fingerprint is made of the settings, the seed, the data set's labels and everything that
//! the fit starts from. Another's is passed over.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor, Var};
use releq_shared::Bitwidth;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::fit::Fit;
use super::{Stepper, TrainError};
use crate::quantize::ActivationGrid;
use crate::run::write_atomically;

/// At most this share of the time goes into writing.
const WRITING_SHARE: f64 = 0.05;

/// A fit after a whole number of steps.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Unfinished {
    fingerprint: [u8; 32],
    /// Steps done, which is also the number of batches drawn.
    pub(super) steps: usize,
    pub(super) smoothed_loss: Option<f64>,
    pub(super) extra_bits: Option<u8>,
    bits: Vec<Option<Bitwidth>>,
    activations: BTreeMap<String, ActivationGrid>,
    /// In the order of [`vars`].
    values: Vec<Vec<f32>>,
    adam_steps: i32,
    moments: Vec<(Vec<f32>, Vec<f32>)>,
    /// Time spent on it.
    seconds: f64,
}

/// Writes a fit to its file now and then, and knows what was there before.
#[derive(Debug)]
pub(super) struct Keeper {
    path: PathBuf,
    fingerprint: [u8; 32],
    /// Time spent before this process took over.
    pub(super) before: Duration,
    started: Instant,
    written: Instant,
    writing: Duration,
}

impl Keeper {
    /// A keeper of a fit that has not begun, and the file's state if there is one of that very fit.
    pub(super) fn open(path: &Path, fit: &Fit<'_>) -> Result<(Self, Option<Unfinished>), TrainError> {
        let fingerprint = fingerprint(fit)?;
        let found = std::fs::read(path).ok().and_then(|bytes| postcard::from_bytes::<Unfinished>(&bytes).ok());
        let found = found.filter(|unfinished| unfinished.fingerprint == fingerprint);
        let before = found.as_ref().map_or(0.0, |unfinished| unfinished.seconds);
        let now = Instant::now();
        let keeper = Self {
            path: path.to_owned(),
            fingerprint,
            before: Duration::try_from_secs_f64(before).unwrap_or_default(),
            started: now,
            written: now,
            writing: Duration::ZERO,
        };
        Ok((keeper, found))
    }

    /// Whether enough time has passed since the last writing for another one.
    pub(super) fn is_due(&self) -> bool {
        self.written.elapsed().mul_f64(WRITING_SHARE) >= self.writing
    }

    /// Writes the fit's present state.
    pub(super) fn write(
        &mut self,
        fit: &Fit<'_>,
        stepper: &Stepper,
        (steps, smoothed_loss, extra_bits): (usize, Option<f64>, Option<u8>),
    ) -> Result<(), TrainError> {
        let begun = Instant::now();
        let flat = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
        let (adam_steps, moments) = stepper.optimiser().state();
        let unfinished = Unfinished {
            fingerprint: self.fingerprint,
            steps,
            smoothed_loss,
            extra_bits,
            bits: fit.quantization.as_deref().map_or_else(Vec::new, |quantization| quantization.bits.clone()),
            activations: fit.quantization.as_deref().map_or_else(BTreeMap::new, |q| q.activations.clone()),
            values: vars(fit).into_iter().map(|var| flat(var)).collect::<Result<_, _>>()?,
            adam_steps,
            moments: moments.iter().map(|(m, v)| Ok((flat(m)?, flat(v)?))).collect::<candle_core::Result<_>>()?,
            seconds: (self.before + self.started.elapsed()).as_secs_f64(),
        };
        let kept = |reason: String| TrainError::Kept { path: self.path.clone(), reason };
        let bytes = postcard::to_stdvec(&unfinished).map_err(|error| kept(error.to_string()))?;
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| kept(error.to_string()))?;
        }
        write_atomically(&self.path, &bytes).map_err(|error| kept(error.to_string()))?;
        self.written = Instant::now();
        self.writing = begun.elapsed();
        Ok(())
    }
}

impl Unfinished {
    /// Puts a fit that has not begun, and its optimiser, into this state.
    pub(super) fn restore(&self, fit: &mut Fit<'_>, stepper: &mut Stepper) -> Result<(), TrainError> {
        let vars: Vec<Var> = vars(fit).into_iter().cloned().collect();
        let sizes = vars.iter().zip(&self.values).all(|(var, values)| var.elem_count() == values.len());
        if !sizes || vars.len() != self.values.len() {
            return Err(candle_core::Error::Msg("an unfinished fit of other parameters".to_owned()).into());
        }
        let tensor = |values: &[f32], like: &Tensor, device: &Device| Tensor::from_slice(values, like.shape(), device);
        for (var, values) in vars.iter().zip(&self.values) {
            var.set(&tensor(values, var, var.device())?)?;
        }
        let (_, like) = stepper.optimiser().state();
        let moments = like.iter().zip(&self.moments).map(|((like, _), (first, second))| {
            Ok((tensor(first, like, like.device())?, tensor(second, like, like.device())?))
        });
        let moments: Vec<_> = moments.collect::<candle_core::Result<_>>()?;
        stepper.optimiser_mut().restore(self.adam_steps, &moments)?;
        if let Some(quantization) = fit.quantization.as_deref_mut() {
            quantization.bits.clone_from(&self.bits);
            quantization.activations.clone_from(&self.activations);
        }
        Ok(())
    }
}

/// Everything that a fit changes, in one order.
fn vars<'a>(fit: &'a Fit<'_>) -> Vec<&'a Var> {
    let steps = fit.quantization.as_deref().into_iter().flat_map(|quantization| quantization.steps.values());
    fit.model.parameters().values().chain(fit.model.statistics().values()).chain(steps).collect()
}

/// Of everything that a fit's end follows from, save the pixels, which stay as they are in a run.
fn fingerprint(fit: &Fit<'_>) -> Result<[u8; 32], TrainError> {
    let mut hasher = Sha256::new();
    let images = &fit.data.images;
    let quantization = fit.quantization.as_deref().map(|quantization| (quantization.quantizer, &quantization.bits));
    let shape = [images.shape.channels, images.shape.height, images.shape.width];
    let facts = (fit.config, fit.seed, &fit.model.graph().name, quantization, fit.data.grid, shape);
    hasher.update(serde_json::to_vec(&facts).map_err(|error| candle_core::Error::Msg(error.to_string()))?);
    images.labels.iter().for_each(|label| hasher.update(label.to_le_bytes()));
    let teacher = fit.teacher.into_iter().flat_map(|teacher| teacher.parameters().values());
    for var in vars(fit).into_iter().chain(teacher) {
        for value in var.flatten_all()?.to_vec1::<f32>()? {
            hasher.update(value.to_le_bytes());
        }
    }
    Ok(hasher.finalize().into())
}
