//! Float training.

use serde::Serialize;

use super::{StageError, Workshop, files, percent};
use crate::interrupt;
use crate::run::RunFolder;
use crate::train::{Fit, Model, checkpoint, evaluate};

#[derive(Serialize)]
struct Trained {
    validation_accuracy: f64,
    seconds: f64,
}

/// Trains the float network, unless the run has one; goes on with a training that was stopped or killed.
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
    let mut task = progress.task("train", config.train.steps_on(data.train.len()) as u64);
    let fit = Fit {
        model: &model,
        quantization: None,
        teacher: None,
        data: &workshop.training,
        config: &config.train,
        seed: config.seed,
    };
    let unfinished = run.file(files::TRAINING);
    let mut begun = false;
    let before = fit.run(Some(&unfinished), &mut |at| {
        super::tell_resumed(progress, "train", at.step, &mut begun);
        task.set(at.step as u64, || format!("loss {:.4}", at.loss));
        if at.step % 100 == 0 {
            run.log.write("train", &at);
        }
        interrupt::check()
    })?;
    let accuracy = evaluate(&model, None, &workshop.validation)?.share();
    let seconds = before.as_secs_f64() + task.seconds();
    run.log.write("train", &Trained { validation_accuracy: accuracy, seconds });
    run.result.data_source = Some(data.source.clone());
    run.result.images = Some([data.train.len(), data.validation.len(), data.test.len()]);
    run.result.seconds.train = Some(seconds);
    run.save_result()?;
    // Last, for its file says that the stage is done.
    checkpoint::save(&path, &model, None)?;
    run.forget(&[files::TRAINING])?;
    task.finish(format_args!("float network: {} on the validation images", percent(accuracy)));
    Ok(())
}
