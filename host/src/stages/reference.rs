//! The float reference: the float network trained on as long as the quantised one was.
//!
//! A long fine-tune is further training, and part of what it shows against the float network that it started from is just
//! that. The fair measure of what quantisation costs is a float network of the same total training. That network is also the
//! teacher of long fine-tunes that distil: a quantised network learns more from it than from the one they both start from.

use std::time::Instant;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{StageError, Workshop, files, finetune, percent};
use crate::interrupt;
use crate::progress::Progress;
use crate::run::{RunError, RunFolder, RunResult};
use crate::train::{Fit, FitConfig, Model, checkpoint, evaluate};

#[derive(Serialize)]
struct Referred {
    validation_accuracy: f64,
    seconds: f64,
}

/// Trains the float network on by the long fine-tune's settings, without quantisation and what belongs to it, unless the
/// run has done so by these settings: as many steps, the same batches, learning rates and augmentation. Measures on the
/// validation and the test images.
///
/// # Errors
/// [`StageError`].
pub fn reference(run: &mut RunFolder, workshop: &Workshop) -> Result<(), StageError> {
    let path = run.file(files::REFERENCE);
    let Workshop { data, graph, devices, progress, .. } = workshop;
    let made_of = fingerprint(run)?;
    if path.exists() {
        if is_of(run, &made_of) {
            progress.say(format_args!("{:>12} done before", "reference"));
            tell(&run.result, progress);
            return Ok(());
        }
        progress.say(format_args!("{:>12} is of other settings than config.toml has now: made anew", "reference"));
    }
    let (model, _) = checkpoint::load(&run.require(files::FLOAT, "train")?, graph, devices.first())?;
    let config = run.config().clone();
    let started = Instant::now();
    let mut task = progress.task("reference", config.finetune.steps_on(data.train.len()) as u64);
    let fit = Fit {
        model: &model,
        quantization: None,
        teacher: None,
        data: &workshop.training,
        config: &config.finetune,
        seed: config.seed ^ finetune::SEED,
    };
    let unfinished = run.file(files::REFERENCE_TRAINING);
    let mut begun = false;
    let before = fit.run(Some(&unfinished), &mut |at| {
        super::tell_resumed(progress, "reference", at.step, &mut begun);
        task.set(at.step as u64, || format!("loss {:.4}", at.loss));
        if at.step % 100 == 0 {
            run.log.write("reference", &at);
        }
        interrupt::check()
    })?;
    let accuracy = evaluate(&model, None, &workshop.validation)?.share();
    let seconds = (before + started.elapsed()).as_secs_f64();
    run.log.write("reference", &Referred { validation_accuracy: accuracy, seconds });
    run.result.validation.float_reference = Some(accuracy);
    run.result.accuracy.float_reference = Some(evaluate(&model, None, &workshop.test)?.share());
    run.result.seconds.reference = Some(seconds);
    run.result.reference_of = Some(made_of);
    run.save_result()?;
    checkpoint::save(&path, &model, None)?;
    run.forget(&[files::REFERENCE_TRAINING])?;
    task.finish(format_args!("float network of the same training: {} on the validation images", percent(accuracy)));
    tell(&run.result, progress);
    Ok(())
}

/// The float reference, trained first if the run has none of its present settings.
pub(super) fn load(run: &mut RunFolder, workshop: &Workshop) -> Result<Model, StageError> {
    let path = run.file(files::REFERENCE);
    if !path.exists() || !is_of(run, &fingerprint(run)?) {
        reference(run, workshop)?;
    }
    Ok(checkpoint::load(&path, &workshop.graph, workshop.devices.first())?.0)
}

/// Forgets the figures of a reference that was trained by other settings than the run has now, so that nothing is compared with
/// them.
pub(super) fn forget_stale(run: &mut RunFolder, progress: &Progress) -> Result<(), StageError> {
    if run.file(files::REFERENCE).exists() && !is_of(run, &fingerprint(run)?) {
        progress.say(format_args!(
            "{:>12} the float network of the same training is of other settings than config.toml has now and is not compared \
             with; `releq reference` trains it anew",
            "note"
        ));
        run.result.validation.float_reference = None;
        run.result.accuracy.float_reference = None;
        run.result.seconds.reference = None;
    }
    Ok(())
}

/// Whether the run's reference was made of this. One from before there was a fingerprint is taken as it is.
fn is_of(run: &RunFolder, made_of: &str) -> bool {
    run.result.reference_of.as_deref().is_none_or(|of| of == made_of)
}

/// What the reference follows from: the float network, the seed, and of the long fine-tune what float networks know.
fn fingerprint(run: &RunFolder) -> Result<String, StageError> {
    let path = run.require(files::FLOAT, "train")?;
    let float = std::fs::read(&path).map_err(|source| RunError::Io { action: "read", path, source })?;
    let config = run.config();
    let FitConfig { gradual, distillation, sinusoidal, step_lr, .. } = FitConfig::default();
    let settings = FitConfig { gradual, distillation, sinusoidal, step_lr, ..config.finetune.clone() };
    let mut hasher = Sha256::new_with_prefix(float);
    hasher.update(serde_json::to_vec(&(settings, config.seed)).unwrap_or_default());
    Ok(hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
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
