//! Measurement on a board.

use std::time::Instant;

use releq_shared::blob::{AlignedCopy, Blob};

use super::{StageError, percent};
use crate::data::Images;
use crate::device::firmware::LogLevel;
use crate::device::measure::MeasureProgress;
use crate::device::placement::laid_out_for_others;
use crate::device::start::{self, Started};
use crate::device::{Board, DeviceError, DeviceMeasurement, Placement};
use crate::interrupt;
use crate::progress::{Progress, Task};
use crate::run::{Energy, RunFolder};

/// How to measure.
#[derive(Clone, Copy, Debug)]
pub struct MeasureOptions {
    /// The most test images to run.
    pub samples: usize,
    /// Whether to show the board's log.
    pub verbose: bool,
    /// How much the board's log has to say.
    pub log: LogLevel,
    /// What the board draws while it runs, if the user knows.
    pub supply: Option<Supply>,
}

/// What a board draws while it runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Supply {
    /// Its current.
    pub milliamps: f64,
    /// Its voltage.
    pub volts: f64,
}

impl Supply {
    /// What an inference of so many milliseconds takes out of it; milliamps, volts and milliseconds make microjoules.
    #[must_use]
    pub fn energy(self, ms: Option<f64>, estimated_ms: Option<f64>) -> Energy {
        let Self { milliamps, volts } = self;
        let microjoules = |ms: f64| ms * milliamps * volts;
        Energy {
            milliamps,
            volts,
            microjoules_per_inference: ms.map(microjoules),
            estimated_microjoules_per_inference: estimated_ms.map(microjoules),
        }
    }
}

/// Runs a model over the first test images on a board that is booted for it, with the model in its flash if RAM has no room.
/// Also gives the seconds that loading and running took.
///
/// # Errors
/// [`StageError`].
pub fn measure_on(
    board: &Board,
    model: &[u8],
    test: &Images,
    options: MeasureOptions,
    progress: Progress,
) -> Result<(DeviceMeasurement, f64), StageError> {
    let aligned = AlignedCopy::new(model);
    let blob = Blob::new_checked(&aligned).map_err(DeviceError::Blob)?;
    let placement = Placement::choose(board, &blob)?;
    let slow = laid_out_for_others(board, &blob);
    if !slow.is_empty() {
        progress.say(format_args!(
            "{:>12} {} of this model {} laid out for another core and will be slow on {}; `releq pack --board {}` lays it out anew",
            "note",
            slow.join(", "),
            if slow.len() == 1 { "is" } else { "are" },
            board.name,
            board.name
        ));
    }
    let stored = (placement == Placement::Flash).then_some(model);
    let firmware = start::image(board, options.log, progress)?;
    let Started { mut link, runs_image } =
        start::start(board, &firmware, stored, progress, start::show_log(options.verbose))?;
    let images = test.first(options.samples);
    let started = Instant::now();
    let (mut loading, mut running) = (None::<Task>, None::<Task>);
    let mut measured = crate::device::measure(&mut link, model, placement, &images, &mut |at| {
        match at {
            MeasureProgress::Loaded(bytes) => loading
                .get_or_insert_with(|| progress.task("load", model.len() as u64))
                .set(bytes as u64, || "bytes of the model".to_owned()),
            MeasureProgress::Ran(done) => {
                if let Some(loaded) = loading.take() {
                    loaded.clear();
                }
                running
                    .get_or_insert_with(|| progress.task("measure", images.len() as u64))
                    .set(done as u64, String::new);
            }
        }
        interrupt::check()
    })?;
    let seconds = started.elapsed().as_secs_f64();
    running.unwrap_or_else(|| progress.task("measure", 0)).finish(format_args!(
        "{} on {} images on {}, {} of them bit for bit as on the host; {:.0} images a second",
        percent(measured.accuracy),
        images.len(),
        board.name,
        images.len() - measured.differing.len(),
        measured.result.images_per_second
    ));
    let result = &mut measured.result;
    if runs_image {
        result.firmware_sections = firmware.flash.sections;
    }
    result.energy =
        options.supply.map(|supply| supply.energy(result.ms_per_inference, result.estimated_ms_per_inference));
    Ok((measured, seconds))
}

/// Measures a run's model and adds that to its results.
///
/// # Errors
/// [`StageError`].
pub fn measure(
    run: &mut RunFolder,
    board: &Board,
    model: &[u8],
    test: &Images,
    options: MeasureOptions,
    progress: Progress,
) -> Result<DeviceMeasurement, StageError> {
    let (measured, seconds) = measure_on(board, model, test, options, progress)?;
    run.log.write("measure", &measured.result);
    run.result.accuracy.device = Some(measured.accuracy);
    run.result.device = Some(measured.result.clone());
    run.result.seconds.measure = Some(seconds);
    run.save_result()?;
    Ok(measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_energy_of_an_estimated_time_is_an_estimate() {
        let supply = Supply { milliamps: 10.0, volts: 3.0 };
        let energy = supply.energy(None, Some(2.0));
        assert_eq!(energy.estimated_microjoules_per_inference, Some(60.0));
        assert_eq!(energy.microjoules_per_inference, None);
        assert_eq!(supply.energy(Some(2.0), None).microjoules_per_inference, Some(60.0));
    }
}
