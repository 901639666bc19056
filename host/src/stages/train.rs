//! Float training.

use serde::Serialize;

use super::{StageError, Workshop, files, percent};
use crate::interrupt;
use crate::run::RunFolder;
use crate::train::{Model, checkpoint, evaluate, fit};

#[derive(Serialize)]
struct Trained {
    validation_accuracy: f64,
    seconds: f64,
}

/// Trains the float network, unless the run has one.
///
/// # Errors
/// [`StageError`].
pub fn train(run: &mut RunFolder, workshop: &Workshop) -> Result<(), StageError> {
    let path = run.file(files::FLOAT);
    let Workshop { data, graph, devices, progress, .. } = workshop;
    let device = devices.first();
    if path.exists() {
        progress.say(format_args!("{:>12} done before", "train"));
        return Ok(());
    }
    let config = run.config().clone();
    let model = Model::new(graph.clone(), config.seed, device)?;
    let training = workshop.training.clone();
    let mut task = progress.task("train", config.train.steps_on(data.train.len()) as u64);
    fit(&model, None, None, &training, &config.train, config.seed, &mut |at| {
        task.set(at.step as u64, || format!("loss {:.4}", at.loss));
        if at.step % 100 == 0 {
            run.log.write("train", &at);
        }
        interrupt::check()
    })?;
    let accuracy = evaluate(&model, None, &workshop.validation)?.share();
    checkpoint::save(&path, &model, None)?;
    let seconds = task.seconds();
    run.log.write("train", &Trained { validation_accuracy: accuracy, seconds });
    run.result.data_source = Some(data.source.clone());
    run.result.images = Some([data.train.len(), data.validation.len(), data.test.len()]);
    run.result.seconds.train = Some(seconds);
    run.save_result()?;
    task.finish(format_args!("float network: {} on the validation images", percent(accuracy)));
    Ok(())
}
