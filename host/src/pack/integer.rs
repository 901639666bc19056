//! A blob on the host: the device's own engine, compiled for this machine, is the integer reference.

use std::ops::Range;

use rayon::prelude::*;
use releq_firmware::engine::{Engine, required_arena};
use releq_shared::blob::{AlignedCopy, Blob, BlobError};

use crate::data::Images;
use crate::train::Accuracy;

/// Images that one worker takes at a time.
const CHUNK: usize = 32;

/// What the engine answered to some images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntegerAnswers {
    /// Logits of each image.
    pub logits: Vec<Vec<i32>>,
    /// How many answers were right.
    pub accuracy: Accuracy,
}

/// The class of the largest logit, the first of equals.
#[must_use]
pub fn answer(logits: &[i32]) -> usize {
    let mut best = 0;
    for (class, &logit) in logits.iter().enumerate() {
        if logit > logits[best] {
            best = class;
        }
    }
    best
}

/// Runs all images through a blob, on all threads, and tells `progress` of each image that is done.
///
/// # Errors
/// If the blob is not sound, or takes images of another shape (as an unsound one would).
pub fn run_blob(model: &[u8], images: &Images, progress: &(dyn Fn() + Sync)) -> Result<IntegerAnswers, BlobError> {
    let model = AlignedCopy::new(model);
    let blob = Blob::new_checked(&model)?;
    let logits = logits_of(&blob, images, 0..images.len(), progress)?;
    let answers = logits.iter().zip(&images.labels);
    let correct = answers.filter(|(logits, label)| answer(logits) == usize::from(**label)).count();
    Ok(IntegerAnswers { accuracy: Accuracy { correct, total: images.len() }, logits })
}

/// The logits of some of the images, on all threads; tells `progress` of each image that is done.
///
/// # Errors
/// If the blob takes images of another shape.
pub fn logits_of(
    blob: &Blob<'_>,
    images: &Images,
    range: Range<usize>,
    progress: &(dyn Fn() + Sync),
) -> Result<Vec<Vec<i32>>, BlobError> {
    if blob.header().input.elements() != images.shape.elements() as u64 {
        return Err(BlobError::EndsMismatch);
    }
    let indices: Vec<usize> = range.collect();
    let chunks: Result<Vec<Vec<Vec<i32>>>, BlobError> = indices
        .par_chunks(CHUNK)
        .map(|chunk| {
            let mut arena = AlignedCopy::new(&vec![0; required_arena(blob)]);
            let mut engine = Engine::new(*blob, &mut arena)?;
            let mut logits = Vec::with_capacity(chunk.len());
            for &index in chunk {
                engine.input_mut().copy_from_slice(&images.channels_last(index));
                engine.run(&mut ());
                logits.push(engine.output().to_vec());
                progress();
            }
            Ok(logits)
        })
        .collect();
    Ok(chunks?.into_iter().flatten().collect())
}
