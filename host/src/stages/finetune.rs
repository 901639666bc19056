//! The long fine-tune: of bits that were given, or of the search's choice and its neighbours on the frontier.

use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;

use super::finetune_plan::Plan;
use super::{StageError, Workshop, files, percent};
use crate::interrupt;
use crate::network::Graph;
use crate::quantize::Quantizer;
use crate::run::{RunError, RunFolder, Tried};
use crate::search::{Assignment, LayerFacts};
use crate::train::{Fit, Model, Quantization, TrainError, checkpoint, evaluate, layer_facts};

#[derive(Serialize)]
struct FineTuned<'a> {
    bits: &'a Assignment,
    validation_accuracy: f64,
    loss_points: f64,
    expected_loss_points: Option<f64>,
}

#[derive(Serialize)]
struct Diverged<'a> {
    bits: &'a Assignment,
    diverged_at: usize,
}

/// What a long fine-tune starts its randomness from, besides the run's seed.
pub(super) const SEED: u64 = 0xF17E;

/// Fine-tunes `bits`, or else assignments from the search's frontier of cost and accuracy, as many as the settings allow, until the
/// cheapest is known that can be expected to keep the allowed loss (see [`Trials`](crate::search::Trials)); unless the run has a
/// fine-tuned network. If it distils, its teacher is the float reference, which is trained first where it is missing; the loss
/// counts against the better of the two float networks, or the one it starts from if there is no reference of the run's settings.
///
/// The test images are used here for the first time, for the final figures.
///
/// # Errors
/// [`StageError`].
pub fn finetune(run: &mut RunFolder, workshop: &Workshop, bits: Option<&Assignment>) -> Result<(), StageError> {
    let path = run.file(files::FINETUNED);
    let Workshop { graph, devices, progress, .. } = workshop;
    if path.exists() && bits.is_none() {
        progress.say(format_args!("{:>12} done before", "finetune"));
        return Ok(());
    }
    let (float, _) = checkpoint::load(&run.require(files::FLOAT, "train")?, graph, devices.first())?;
    let config = run.config().clone();
    let layers = layer_facts(&float)?;
    if let Some(bits) = bits {
        check(bits, graph, &layers, config.quantizer.kind)?;
    }
    let mut plan = Plan::of(run, workshop, bits)?;
    let started = Instant::now();
    let float_accuracy = evaluate(&float, None, &workshop.validation)?.share();
    let teacher = match config.finetune.distillation.weight > 0.0 {
        true => Some(super::reference::load(run, workshop)?),
        false => {
            super::reference::forget_stale(run, progress)?;
            None
        }
    };
    let to_keep = run.result.validation.float_reference.map_or(float_accuracy, |trained| trained.max(float_accuracy));
    let mut tried = Vec::new();
    while let Some(bits) = plan.next(run, workshop)? {
        let accuracy = match long(run, workshop, &float, teacher.as_ref(), &bits) {
            Err(StageError::Train(TrainError::Diverged { step })) => {
                run.log.write("finetune", &Diverged { bits: &bits, diverged_at: step });
                progress.say(format_args!(
                    "{:>12} {bits}: diverged at step {step}, the loss is no number; counted as a failure",
                    "finetune"
                ));
                None
            }
            tuned => {
                let (model, quantization) = tuned?;
                Some(evaluate(&model, Some(&quantization), &workshop.validation)?.share())
            }
        };
        let loss_points = accuracy.map(|accuracy| (to_keep - accuracy) * 100.0);
        plan.note(&bits, loss_points);
        let expected_loss_points = plan.belief(&bits).map(|belief| belief.mean);
        if let (Some(validation_accuracy), Some(loss_points)) = (accuracy, loss_points) {
            let entry = FineTuned { bits: &bits, validation_accuracy, loss_points, expected_loss_points };
            run.log.write("finetune", &entry);
            say_tried(run, workshop, float_accuracy, &entry);
        }
        tried.push(Tried { bits, validation_accuracy: accuracy, loss_points, expected_loss_points: None, kept: false });
    }
    let Some((bits, kept)) = plan.chosen(&tried, config.max_loss_points) else {
        let tried = tried.iter().map(|tried| tried.bits.to_string()).collect();
        return Err(StageError::AllDiverged { tried, lr: config.finetune.lr });
    };
    for tried in &mut tried {
        // With all that is known now.
        tried.expected_loss_points = plan.belief(&tried.bits).map(|belief| belief.mean);
        tried.kept = kept && tried.bits == bits;
    }
    if !kept && tried.len() > 1 {
        progress.say(format_args!(
            "{:>12} none of {} assignments can be expected to keep {} points; took the most accurate, {bits}. \
             A search with a smaller bound (releq search --fresh --max-loss POINTS) may find one",
            "finetune",
            tried.len(),
            config.max_loss_points
        ));
    } else if tried.len() > 1 {
        progress.say(format_args!("{:>12} {bits} is the cheapest that can be expected to keep the loss", "finetune"));
    }
    let (model, quantization) = match tuned_before(run, workshop, &bits)? {
        Some(tuned) => tuned,
        None => long(run, workshop, &float, teacher.as_ref(), &bits)?,
    };
    checkpoint::save(&path, &model, Some(&quantization))?;
    let test = |model: &Model, quantization: Option<&Quantization>| {
        evaluate(model, quantization, &workshop.test).map(|accuracy| accuracy.share())
    };
    run.result.accuracy.float = Some(test(&float, None)?);
    run.result.accuracy.fake_quantized = Some(test(&model, Some(&quantization))?);
    run.result.validation.float = Some(float_accuracy);
    run.result.validation.fake_quantized =
        tried.iter().find(|tried| tried.bits == bits).and_then(|tried| tried.validation_accuracy);
    run.result.tried = tried;
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
    // The other networks that were tried are of no more use.
    match std::fs::remove_dir_all(run.file(files::TRIED)) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(RunError::Io { action: "delete", path: run.file(files::TRIED), source }.into())
        }
        _ => Ok(()),
    }
}

/// One line on a long fine-tune.
fn say_tried(run: &RunFolder, workshop: &Workshop, float_accuracy: f64, found: &FineTuned<'_>) {
    let reference = run.result.validation.float_reference;
    workshop.progress.say(format_args!(
        "{:>12} {} ({:.2} bits): {} on the validation images, float {}{}{}",
        "finetune",
        found.bits,
        found.bits.mean_bits(),
        percent(found.validation_accuracy),
        percent(float_accuracy),
        reference
            .map_or_else(String::new, |reference| { format!(", float of the same training {}", percent(reference)) }),
        found.expected_loss_points.map_or_else(String::new, |expected| {
            format!("; {:.2} points lost, {expected:.2} to be expected by all trials", found.loss_points)
        }),
    ));
}

/// Whether an assignment by hand fits the network and the quantiser.
fn check(bits: &Assignment, graph: &Graph, layers: &[LayerFacts], quantizer: Quantizer) -> Result<(), StageError> {
    if bits.0.len() != layers.len() {
        let names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
        return Err(StageError::BitsCount {
            network: graph.name.clone(),
            wanted: layers.len(),
            layers: names.join(", "),
            given: bits.0.len(),
        });
    }
    Ok(quantizer.check(bits.0.iter().copied())?)
}

/// Where the network of an assignment that was tried is kept until the stage ends, so that one that is stopped goes on with the
/// next.
fn tried_path(run: &RunFolder, bits: &Assignment) -> PathBuf {
    run.file(files::TRIED).join(format!("{bits}-{:016x}.safetensors", run.config().hash()))
}

/// The network of an assignment that was tried already.
fn tuned_before(
    run: &RunFolder,
    workshop: &Workshop,
    bits: &Assignment,
) -> Result<Option<(Model, Quantization)>, StageError> {
    let path = tried_path(run, bits);
    if !path.exists() {
        return Ok(None);
    }
    let (model, quantization) = checkpoint::load(&path, &workshop.graph, workshop.devices.first())?;
    Ok(quantization.map(|quantization| (model, quantization)))
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
    if let Some(tuned) = tuned_before(run, workshop, bits)? {
        progress.say(format_args!("{:>12} {bits} trained before", "finetune"));
        return Ok(tuned);
    }
    let model = float.duplicate()?;
    let each: Vec<_> = bits.0.iter().copied().map(Some).collect();
    let mut quantization = Quantization::by(config.quantizer.kind, &model, &each)?;
    let fit = Fit {
        model: &model,
        quantization: Some(&mut quantization),
        teacher,
        data: &workshop.training,
        config: &config.finetune,
        seed: config.seed ^ SEED,
    };
    let path = tried_path(run, bits);
    let mut begun = false;
    let mut task = progress.task("finetune", config.finetune.steps_on(data.train.len()) as u64);
    fit.run(Some(&path.with_extension("unfinished")), &mut |at| {
        super::tell_resumed(progress, "finetune", at.step, &mut begun);
        task.set(at.step as u64, || format!("{bits}, loss {:.4}", at.loss));
        if at.step % 100 == 0 {
            run.log.write("finetune", &at);
        }
        interrupt::check()
    })?;
    task.finish(format_args!("{bits} trained"));
    let folder = run.file(files::TRIED);
    std::fs::create_dir_all(&folder).map_err(|source| RunError::Io { action: "create", path: folder, source })?;
    checkpoint::save(&path, &model, Some(&quantization))?;
    Ok((model, quantization))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::Devices;
    use crate::progress::Progress;
    use crate::quantize::Quantizer;
    use crate::run::{QuantizerConfig, RunConfig};
    use crate::search::{Evaluated, SearchOutcome};
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

    /// Writes what a search might have found, each with its accuracy.
    fn have_searched(run: &RunFolder, found: &[(&str, f64)]) {
        let evaluated: Vec<Evaluated> = found
            .iter()
            .map(|&(bits, accuracy)| {
                let bits: Assignment = bits.parse().unwrap();
                Evaluated { cost: bits.mean_bits() / 8.0, bits, accuracy, reward: 0.0, accepted: true }
            })
            .collect();
        let best = evaluated[0].clone();
        let (by_agent, greedy) = (best.clone(), best.clone());
        let outcome = SearchOutcome { best, by_agent, greedy, evaluated, float_accuracy: 0.9, episodes: 4 };
        std::fs::write(run.file(files::SEARCH), serde_json::to_vec(&outcome).unwrap()).unwrap();
    }

    #[test]
    fn cheaper_neighbours_of_what_keeps_the_loss_are_looked_for_unless_nothing_is_to_be_polished() {
        let first_tried = |polish: bool| {
            let folder = tempfile::tempdir().unwrap();
            let mut config = RunConfig { max_loss_points: 100.0, candidates: 1, ..config(1e-3) };
            config.search.polish = polish;
            config.search.episodes = 40;
            let (mut run, workshop) = start(folder.path(), config);
            have_searched(&run, &[("3,3,3,3", 0.85), ("4,4,4,4", 0.86), ("2,3,3,4", 0.84)]);
            finetune(&mut run, &workshop, None).unwrap();
            let log = std::fs::read_to_string(run.file("log.jsonl")).unwrap();
            assert_eq!(log.contains("\"refine\""), polish, "{log}");
            run.result.tried[0].bits.mean_bits()
        };
        assert_eq!(first_tried(false), 3.0);
        assert!(first_tried(true) < 3.0);
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
    fn the_cheapest_assignment_that_keeps_the_loss_is_the_result() {
        let tried = |max_loss_points: f64, candidates: usize| {
            let folder = tempfile::tempdir().unwrap();
            let (mut run, workshop) = start(folder.path(), RunConfig { max_loss_points, candidates, ..config(1e-3) });
            let rungs = [("1,1,1,1", 0.5), ("2,2,2,2", 0.6), ("3,3,3,3", 0.7), ("4,4,4,4", 0.8)];
            have_searched(&run, &rungs);
            finetune(&mut run, &workshop, None).unwrap();
            assert!(!run.file(files::TRIED).exists());
            let tried: Vec<String> = run.result.tried.iter().map(|tried| tried.bits.to_string()).collect();
            (tried, run.result.bits[0])
        };
        // All keep a loss of 100 points, none a gain of 100.
        assert_eq!(tried(100.0, 4), (vec!["1,1,1,1".to_owned()], 1));
        assert_eq!(tried(-100.0, 2).0.len(), 2);
        assert_eq!(tried(-100.0, 1), (vec!["4,4,4,4".to_owned()], 4));
    }

    #[test]
    fn a_reference_of_other_settings_is_not_compared_with() {
        let folder = tempfile::tempdir().unwrap();
        let (mut run, workshop) = start(folder.path(), config(1e-3));
        reference(&mut run, &workshop).unwrap();
        let bits: Assignment = "2,2,2,2".parse().unwrap();
        finetune(&mut run, &workshop, Some(&bits)).unwrap();
        assert!(run.result.accuracy.float_reference.is_some() && run.result.validation.float_reference.is_some());
        run.set_config(config(2e-3)).unwrap();
        finetune(&mut run, &workshop, Some(&bits)).unwrap();
        assert!(run.result.accuracy.float_reference.is_none() && run.result.validation.float_reference.is_none());
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
