//! The float reference: the float network trained on as long as the quantised one was.
//!
//! A long fine-tune is further training, and part of what it shows against the float network that it started from is just
//! that. The fair measure of what quantisation costs is a float network of the same total training. That network is also the
//! teacher of long fine-tunes that distil: a quantised network learns more from it than from the one they both start from.

use std::time::Instant;

use serde::Serialize;

use super::{StageError, Workshop, files, finetune, percent};
use crate::interrupt;
use crate::progress::Progress;
use crate::run::{RunFolder, RunResult};
use crate::train::{Model, checkpoint, evaluate, fit};

#[derive(Serialize)]
struct Referred {
    validation_accuracy: f64,
    seconds: f64,
}

/// Trains the float network on by the long fine-tune's settings, without quantisation and what belongs to it, unless the
/// run has done so: as many steps, the same batches, learning rates and augmentation. Measures on the validation and the test
/// images.
///
/// # Errors
/// [`StageError`].
pub fn reference(run: &mut RunFolder, workshop: &Workshop) -> Result<(), StageError> {
    let path = run.file(files::REFERENCE);
    let Workshop { data, graph, devices, progress, .. } = workshop;
    if path.exists() {
        progress.say(format_args!("{:>12} done before", "reference"));
        tell(&run.result, progress);
        return Ok(());
    }
    let (model, _) = checkpoint::load(&run.require(files::FLOAT, "train")?, graph, devices.first())?;
    let config = run.config().clone();
    let started = Instant::now();
    let mut task = progress.task("reference", config.finetune.steps_on(data.train.len()) as u64);
    fit(&model, None, None, &workshop.training, &config.finetune, config.seed ^ finetune::SEED, &mut |at| {
        task.set(at.step as u64, || format!("loss {:.4}", at.loss));
        if at.step % 100 == 0 {
            run.log.write("reference", &at);
        }
        interrupt::check()
    })?;
    let accuracy = evaluate(&model, None, &workshop.validation)?.share();
    let seconds = started.elapsed().as_secs_f64();
    run.log.write("reference", &Referred { validation_accuracy: accuracy, seconds });
    checkpoint::save(&path, &model, None)?;
    run.result.validation.float_reference = Some(accuracy);
    run.result.accuracy.float_reference = Some(evaluate(&model, None, &workshop.test)?.share());
    run.result.seconds.reference = Some(seconds);
    run.save_result()?;
    task.finish(format_args!("float network of the same training: {} on the validation images", percent(accuracy)));
    tell(&run.result, progress);
    Ok(())
}

/// The float reference, trained first if the run has none.
pub(super) fn load(run: &mut RunFolder, workshop: &Workshop) -> Result<Model, StageError> {
    let path = run.file(files::REFERENCE);
    if !path.exists() {
        reference(run, workshop)?;
    }
    Ok(checkpoint::load(&path, &workshop.graph, workshop.devices.first())?.0)
}

/// Says what quantisation costs on the test images, against the reference if there is one.
pub(super) fn tell(result: &RunResult, progress: &Progress) {
    let accuracy = &result.accuracy;
    let Some(quantized) = accuracy.fake_quantized else { return };
    let lost = |float: f64| format!("{} ({:+.2} points)", percent(float), (quantized - float) * 100.0);
    let against = match (accuracy.float_reference, accuracy.float) {
        (Some(reference), _) => format!("float of the same training {}", lost(reference)),
        (None, Some(float)) => {
            format!("float {}, which was trained less; releq reference trains it on", lost(float))
        }
        (None, None) => return,
    };
    progress.say(format_args!("{:>12} {} on the test images, {against}", "quantised", percent(quantized)));
}
