//! Measurement on a board.

use std::time::Instant;

use super::{StageError, percent};
use crate::data::Images;
use crate::device::link::{Link, Patience};
use crate::device::qemu::Qemu;
use crate::device::{Board, DeviceMeasurement, firmware, toolchain};
use crate::interrupt;
use crate::progress::Progress;
use crate::run::RunFolder;

/// How to measure.
#[derive(Clone, Copy, Debug)]
pub struct MeasureOptions {
    /// The most test images to run.
    pub samples: usize,
    /// Whether to show the board's log.
    pub verbose: bool,
}

/// Builds a board's firmware and boots it.
///
/// # Errors
/// [`StageError`].
pub fn boot(board: &Board, verbose: bool, progress: Progress) -> Result<Link<Qemu>, StageError> {
    let qemu = toolchain::ensure_qemu(progress)?;
    let started = Instant::now();
    let firmware = firmware::build(board, progress)?;
    progress.say(format_args!(
        "{:>12} for {}: {} bytes of flash ({:.1} s)",
        "firmware",
        board.name,
        firmware.flash_bytes(),
        started.elapsed().as_secs_f64()
    ));
    let emulator = Qemu::start(&qemu, board, &firmware.elf)?;
    Ok(Link::new(emulator, Patience::default()).with_logs(&firmware.bytes, move |line| {
        if verbose {
            eprintln!("{:>12} {line}", "board");
        }
    }))
}

/// Runs a model over the first test images on a board that is booted for it.
///
/// # Errors
/// [`StageError`].
pub fn measure_on(
    board: &Board,
    model: &[u8],
    test: &Images,
    options: MeasureOptions,
    progress: Progress,
) -> Result<DeviceMeasurement, StageError> {
    let mut link = boot(board, options.verbose, progress)?;
    let images = test.first(options.samples);
    let mut task = progress.task("measure", images.len() as u64);
    let measured = crate::device::measure(&mut link, model, &images, &mut |done| {
        task.set(done as u64, String::new);
        interrupt::check()
    })?;
    task.finish(format_args!(
        "{} on {} images on {}, {} of them bit for bit as on the host",
        percent(measured.accuracy),
        images.len(),
        board.name,
        images.len() - measured.differing.len()
    ));
    Ok(measured)
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
    let started = Instant::now();
    let measured = measure_on(board, model, test, options, progress)?;
    run.log.write("measure", &measured.result);
    run.result.accuracy.device = Some(measured.accuracy);
    run.result.device = Some(measured.result.clone());
    run.result.seconds.measure = Some(started.elapsed().as_secs_f64());
    run.save_result()?;
    Ok(measured)
}
