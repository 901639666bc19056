//! Packing, and the integer reference on the host.

use std::sync::Mutex;
use std::time::Instant;

use super::{StageError, Workshop, files, percent};
use crate::pack::integer::run_blob;
use crate::pack::{self, BlobFacts, Target};
use crate::run::{RunFolder, write_atomically};
use crate::train::checkpoint;

/// Packs the fine-tuned network and runs it over all test images on the host's integer engine.
///
/// # Errors
/// [`StageError`].
pub fn pack(run: &mut RunFolder, workshop: &Workshop, target: impl Into<Target>) -> Result<Vec<u8>, StageError> {
    let started = Instant::now();
    let Workshop { data, graph, devices, progress, .. } = workshop;
    let device = devices.first();
    let path = run.require(files::FINETUNED, "finetune")?;
    let (model, quantization) = checkpoint::load(&path, graph, device)?;
    let Some(quantization) = quantization else {
        return Err(crate::run::RunError::Damaged { path, reason: "it holds a float network".to_owned() }.into());
    };
    let config = run.config();
    let facts = BlobFacts {
        dataset: &config.dataset,
        classes: &data.classes,
        grid: data.grid,
        seed: config.seed,
        config_hash: config.hash(),
    };
    let blob = pack::pack(&model, &quantization, &facts, target)?;
    write_atomically(&run.file(files::MODEL), &blob)?;
    let task = Mutex::new((progress.task("pack", data.test.len() as u64), 0u64));
    let answers = run_blob(&blob, &data.test, &|| {
        if let Ok(mut guard) = task.lock() {
            let (task, done) = &mut *guard;
            *done += 1;
            task.set(*done, || "integer engine, test images".to_owned());
        }
    })?;
    let accuracy = answers.accuracy.share();
    run.result.blob_bytes = Some(blob.len() as u64);
    run.result.accuracy.integer_host = Some(accuracy);
    run.result.seconds.pack = Some(started.elapsed().as_secs_f64());
    run.save_result()?;
    if let Ok((task, _)) = task.into_inner() {
        let (bytes, images) = (blob.len(), data.test.len());
        task.finish(format_args!("{bytes} bytes; integer engine: {} on {images} test images", percent(accuracy)));
    }
    Ok(blob)
}
