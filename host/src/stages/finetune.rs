//! The long fine-tune of the search's choice.

use std::time::Instant;

use serde::Serialize;

use super::{StageError, Workshop, files, percent};
use crate::interrupt;
use crate::run::RunFolder;
use crate::search::Assignment;
use crate::train::{Model, Quantization, TrainError, checkpoint, evaluate, fit, layer_facts};

#[derive(Serialize)]
struct FineTuned<'a> {
    bits: &'a Assignment,
    validation_accuracy: f64,
    loss_points: f64,
}

#[derive(Serialize)]
struct Diverged<'a> {
    bits: &'a Assignment,
    diverged_at: usize,
}

/// What a long fine-tune starts its randomness from, besides the run's seed.
pub(super) const SEED: u64 = 0xF17E;

/// Fine-tunes `bits`, or else the search's best assignments in turn, until one keeps the allowed loss; unless the run
/// has a fine-tuned network. If it distils, its teacher is the float reference, which is trained first where it is missing.
/// The test images are used here for the first time, for the final figures.
///
/// # Errors
/// [`StageError`].
pub fn finetune(run: &mut RunFolder, workshop: &Workshop, bits: Option<&Assignment>) -> Result<(), StageError> {
    let path = run.file(files::FINETUNED);
    let Workshop { graph, devices, progress, .. } = workshop;
    let device = devices.first();
    if path.exists() && bits.is_none() {
        progress.say(format_args!("{:>12} done before", "finetune"));
        return Ok(());
    }
    let (float, _) = checkpoint::load(&run.require(files::FLOAT, "train")?, graph, device)?;
    let config = run.config().clone();
    let layers = layer_facts(&float)?;
    let candidates: Vec<Assignment> = match bits {
        Some(bits) if bits.0.len() != layers.len() => {
            let names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
            return Err(StageError::BitsCount {
                network: graph.name.clone(),
                wanted: layers.len(),
                layers: names.join(", "),
                given: bits.0.len(),
            });
        }
        Some(bits) => vec![bits.clone()],
        None => {
            let found = super::search::load(run)?;
            found.evaluated.into_iter().map(|e| e.bits).take(config.candidates.max(1)).collect()
        }
    };
    let started = Instant::now();
    config.quantizer.kind.check(candidates.iter().flat_map(|candidate| candidate.0.iter().copied()))?;
    let float_accuracy = evaluate(&float, None, &workshop.validation)?.share();
    let teacher = match config.finetune.distillation.weight > 0.0 {
        true => Some(super::reference::load(run, workshop)?),
        false => None,
    };
    let tried = candidates.iter().map(ToString::to_string).collect();
    let mut best: Option<(f64, Assignment, Model, Quantization)> = None;
    for candidate in candidates {
        let (model, quantization) = match long(run, workshop, &float, teacher.as_ref(), &candidate) {
            Err(StageError::Train(TrainError::Diverged { step })) => {
                run.log.write("finetune", &Diverged { bits: &candidate, diverged_at: step });
                progress.say(format_args!(
                    "{:>12} {candidate}: diverged at step {step}, the loss is no number; counted as a failure",
                    "finetune"
                ));
                continue;
            }
            tuned => tuned?,
        };
        let accuracy = evaluate(&model, Some(&quantization), &workshop.validation)?.share();
        let loss_points = (float_accuracy - accuracy) * 100.0;
        run.log.write("finetune", &FineTuned { bits: &candidate, validation_accuracy: accuracy, loss_points });
        let kept = loss_points <= config.max_loss_points;
        progress.say(format_args!(
            "{:>12} {candidate}: {} on the validation images, float {}{}{}",
            "finetune",
            percent(accuracy),
            percent(float_accuracy),
            run.result.validation.float_reference.map_or_else(String::new, |reference| {
                format!(", float of the same training {}", percent(reference))
            }),
            if kept { String::new() } else { format!("; more than {} points lost", config.max_loss_points) }
        ));
        if best.as_ref().is_none_or(|(held, ..)| kept || accuracy > *held) {
            best = Some((accuracy, candidate, model, quantization));
        }
        if kept {
            break;
        }
    }
    let Some((accuracy, bits, model, quantization)) = best else {
        return Err(StageError::AllDiverged { tried, lr: config.finetune.lr });
    };
    checkpoint::save(&path, &model, Some(&quantization))?;
    let test = |model: &Model, quantization: Option<&Quantization>| {
        evaluate(model, quantization, &workshop.test).map(|accuracy| accuracy.share())
    };
    run.result.accuracy.float = Some(test(&float, None)?);
    run.result.accuracy.fake_quantized = Some(test(&model, Some(&quantization))?);
    run.result.validation.float = Some(float_accuracy);
    run.result.validation.fake_quantized = Some(accuracy);
    run.result.mean_bits = Some(bits.mean_bits());
    run.result.weighted_bits = Some(bits.weighted_bits(&layers));
    run.result.bits = bits.0.iter().map(|bits| bits.get()).collect();
    run.result.seconds.finetune = Some(started.elapsed().as_secs_f64());
    // What later stages showed was of another network.
    run.result.blob_bytes = None;
    run.result.accuracy.integer_host = None;
    run.result.accuracy.device = None;
    run.result.device = None;
    run.save_result()?;
    super::reference::tell(&run.result, progress);
    Ok(())
}

/// One long fine-tune from the float network, with the float reference as its teacher if it has one.
fn long(
    run: &mut RunFolder,
    workshop: &Workshop,
    float: &Model,
    teacher: Option<&Model>,
    bits: &Assignment,
) -> Result<(Model, Quantization), StageError> {
    let Workshop { data, progress, .. } = workshop;
    let config = run.config().clone();
    let model = float.duplicate()?;
    let each: Vec<_> = bits.0.iter().copied().map(Some).collect();
    let mut quantization = Quantization::by(config.quantizer.kind, &model, &each)?;
    let training = workshop.training.clone();
    let mut task = progress.task("finetune", config.finetune.steps_on(data.train.len()) as u64);
    fit(&model, Some(&mut quantization), teacher, &training, &config.finetune, config.seed ^ SEED, &mut |at| {
        task.set(at.step as u64, || format!("{bits}, loss {:.4}", at.loss));
        if at.step % 100 == 0 {
            run.log.write("finetune", &at);
        }
        interrupt::check()
    })?;
    task.finish(format_args!("{bits} trained"));
    Ok((model, quantization))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::Devices;
    use crate::progress::Progress;
    use crate::quantize::Quantizer;
    use crate::run::{QuantizerConfig, RunConfig};
    use crate::stages::reference;
    use crate::train::FitConfig;

    /// A run on the embedded digits with a float network nobody has trained.
    fn start(folder: &std::path::Path, config: RunConfig) -> (RunFolder, Workshop) {
        let run = RunFolder::create(&folder.join("run"), config).unwrap();
        let workshop = Workshop::open(&run, Devices::parse("cpu").unwrap(), Progress::silent()).unwrap();
        let model = Model::new(workshop.graph.clone(), 1, workshop.devices.first()).unwrap();
        checkpoint::save(&run.file(files::FLOAT), &model, None).unwrap();
        (run, workshop)
    }

    fn config(lr: f64) -> RunConfig {
        let finetune = FitConfig { steps: Some(8), batch: 32, lr, ..FitConfig::default() };
        RunConfig { finetune, ..RunConfig::quick() }
    }

    #[test]
    fn a_long_fine_tune_that_diverges_is_a_failure_that_says_what_to_change() {
        let folder = tempfile::tempdir().unwrap();
        let (mut run, workshop) = start(folder.path(), config(1e30));
        let bits: Assignment = "2,2,2,2".parse().unwrap();
        let error = finetune(&mut run, &workshop, Some(&bits)).unwrap_err().to_string();
        assert!(error.contains("2,2,2,2") && error.contains("lower lr"), "{error}");
        assert!(!run.file(files::FINETUNED).exists());
        let log = std::fs::read_to_string(run.file("log.jsonl")).unwrap();
        assert!(log.contains("diverged_at"), "{log}");
    }

    #[test]
    fn every_quantiser_fine_tunes_and_is_measured_against_the_reference() {
        for kind in [Quantizer::Scaled, Quantizer::Dorefa, Quantizer::Wrpn] {
            let folder = tempfile::tempdir().unwrap();
            let quantizer = QuantizerConfig { kind };
            let (mut run, workshop) = start(folder.path(), RunConfig { quantizer, ..config(1e-3) });
            reference(&mut run, &workshop).unwrap();
            let one_bit: Assignment = "2,1,2,2".parse().unwrap();
            let refused = finetune(&mut run, &workshop, Some(&one_bit));
            assert_eq!(refused.is_err(), kind == Quantizer::Wrpn, "{kind:?}: {refused:?}");
            finetune(&mut run, &workshop, Some(&"3,2,2,3".parse().unwrap())).unwrap();
            let result = RunFolder::open(run.path()).unwrap().result;
            let (test, validation) = (&result.accuracy, &result.validation);
            for share in
                [test.float_reference, test.fake_quantized, validation.float_reference, validation.fake_quantized]
            {
                assert!(share.is_some_and(|share| share > 0.0), "{kind:?}: {test:?} {validation:?}");
            }
            assert!(validation.float_reference > validation.float, "{kind:?}: the reference has learned");
            let (_, quantization) =
                checkpoint::load(&run.file(files::FINETUNED), &workshop.graph, workshop.devices.first()).unwrap();
            assert_eq!(quantization.unwrap().quantizer, kind);
        }
    }
}
