//! Measures a model on a board: answers, instructions, memory.

use std::ops::ControlFlow;

use releq_shared::blob::{AlignedCopy, Blob};
use releq_shared::wire::Counter;

use super::link::{LinkStatistics, Transport};
use super::{DeviceError, Link, Placement};
use crate::data::Images;
use crate::pack::integer::{IntegerAnswers, answer, run_blob};
use crate::run::{DeviceResult, LayerResult};

/// What a board showed.
#[derive(Clone, Debug)]
pub struct DeviceMeasurement {
    /// For result.json.
    pub result: DeviceResult,
    /// Share of right answers on the board.
    pub accuracy: f64,
    /// Images of which the logits differ from the host's, at most some.
    pub differing: Vec<usize>,
    /// What the link had to put right.
    pub link: LinkStatistics,
}

/// Loads `model` onto the board behind `link`, or uses it where it lies in flash already, runs all `images` through it, and
/// compares every logit with the host's integer engine. `progress` hears of the images done and may stop it.
///
/// # Errors
/// [`DeviceError`].
pub fn measure<T: Transport>(
    link: &mut Link<T>,
    model: &[u8],
    placement: Placement,
    images: &Images,
    progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<DeviceMeasurement, DeviceError> {
    let aligned = AlignedCopy::new(model);
    let blob = Blob::new_checked(&aligned)?;
    let (wanted, found) = (blob.header().input.elements(), images.shape.elements() as u64);
    if wanted != found {
        return Err(DeviceError::OtherImages { wanted, found });
    }
    let host: IntegerAnswers = run_blob(model, images, &|| ())?;
    let hello = link.hello()?;
    let loaded = match placement {
        Placement::Ram => link.load(model, &mut |_| ())?,
        Placement::Flash => link.use_stored()?,
    };
    let (mut correct, mut ticks) = (0, 0u64);
    let mut differing = Vec::new();
    for (index, expected) in host.logits.iter().enumerate() {
        let (logits, took) = link.infer(&images.channels_last(index))?;
        ticks += took;
        correct += usize::from(answer(&logits) == usize::from(images.labels[index]));
        if logits != *expected {
            differing.push(index);
        }
        if progress(index + 1).is_break() {
            return Err(DeviceError::Stopped);
        }
    }
    let profile = link.profile()?;
    let memory = link.memory()?;
    let samples = images.len();
    let (unit, ratio) = match hello.counter {
        Counter::None => ("none", 0.0),
        Counter::Cycles => ("cycles", 1.0),
        Counter::Instructions { numerator, denominator } => {
            ("instructions", f64::from(numerator) / f64::from(denominator.max(1)))
        }
    };
    let layers = blob.ops().zip(&profile).map(|(op, &ticks)| LayerResult {
        name: op.name().to_owned(),
        bits: op.weights().map(|weights| weights.bits.get()),
        instructions: (ticks as f64 * ratio).round() as u64,
        macs: op.macs(),
    });
    let instructions = ticks as f64 * ratio / samples.max(1) as f64;
    let result = DeviceResult {
        board: hello.board,
        samples,
        agreement: 1.0 - differing.len() as f64 / samples.max(1) as f64,
        host_accuracy_same_samples: host.accuracy.share(),
        unit: unit.to_owned(),
        instructions_per_inference: instructions,
        estimated_ms_per_inference: instructions / f64::from(hello.clock_hz.max(1)) * 1e3,
        layers: layers.collect(),
        arena_bytes: u64::from(loaded.arena),
        stack_bytes: u64::from(memory.stack_used),
        firmware_flash_bytes: u64::from(memory.flash_used),
    };
    let accuracy = correct as f64 / samples.max(1) as f64;
    Ok(DeviceMeasurement { result, accuracy, differing, link: link.statistics })
}
