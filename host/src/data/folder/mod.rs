//! A folder of images for each class, in the layout of ImageNet and of PyTorch's `ImageFolder`: `train/CLASS/…/IMAGE.jpg`, and
//! beside `train`, if there are any, `val` and `test`. Classes are named by their folders, in the order of their names.
//!
//! Images are brought to the network's input: scaled until they cover it, then cut in the middle; grey or in colour as the
//! network's channels say. The decoded images stay in the user's cache, so that a folder is decoded once.

mod decode;
mod listing;

use std::path::{Path, PathBuf};

use listing::{Listing, Part};

use super::{DataError, Dataset, Images, PixelGrid, VALIDATION_IMAGES};
use crate::network::Shape;
use crate::progress::Progress;

/// What precedes the path in the data set's name.
pub(super) const PREFIX: &str = "folder:";
/// Of a folder without a part for tests, one image of so many is kept for them.
const TEST_SHARE: usize = 5;
/// The test part of such a folder is the same whatever the seed of a run.
const TEST_SEED: u64 = 0x7E57;

/// The path in a data set's name, if it names a folder.
pub(super) fn path_of(name: &str) -> Option<&Path> {
    name.strip_prefix(PREFIX).map(Path::new)
}

/// The name with an absolute path, so that a run can be gone on with from anywhere.
///
/// # Errors
/// [`DataError::Layout`] if there is no such folder.
pub(super) fn resolved(path: &Path) -> Result<String, DataError> {
    let path = existing(path)?;
    let absolute = path.canonicalize().map_err(|source| DataError::Io { path: path.clone(), source })?;
    match absolute.to_str() {
        Some(text) => Ok(format!("{PREFIX}{text}")),
        None => Err(DataError::Layout { path: absolute, reason: "its path is not in Unicode; move it".to_owned() }),
    }
}

/// The folder, if there is one.
pub(super) fn existing(path: &Path) -> Result<PathBuf, DataError> {
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    let reason = if path.exists() { "it is a file, not a folder of images" } else { "there is no such folder" };
    Err(DataError::Layout { path: path.to_owned(), reason: reason.to_owned() })
}

/// Loads a folder's images in the shape of a network's input.
///
/// Its `test` part is the test part, or else its `val`, as ImageNet's is used; a `val` beside a `test` is the validation part.
/// What is missing comes off the training part: of every class the same share, the validation part by `seed`.
///
/// # Errors
/// [`DataError`] names the folder or file, and what is wrong with it.
pub(super) fn load(
    path: &Path,
    input: Shape,
    seed: u64,
    cache: Option<&Path>,
    progress: Progress,
) -> Result<Dataset, DataError> {
    let listing = Listing::of(path)?;
    let mut pixels = decode::pixels(&listing, input, cache, progress)?;
    let grid = grid_of(&pixels[..listing.count(Part::Train) * input.elements()]);
    let mut take = |part: Part| {
        let rest = pixels.split_off(listing.count(part) * input.elements());
        let pixels = std::mem::replace(&mut pixels, rest);
        Images { shape: input, pixels, labels: listing.labels(part) }
    };
    let (all, val, test) = (take(Part::Train), take(Part::Val), take(Part::Test));
    let (validation, test) = match (val.is_empty(), test.is_empty()) {
        (true, true) => (None, None),
        (true, false) => (None, Some(test)),
        (false, true) => (None, Some(val)),
        (false, false) => (Some(val), Some(test)),
    };
    let (all, test) = match test {
        Some(test) => (all, test),
        None => apart(&all, all.len() / TEST_SHARE, TEST_SEED),
    };
    let (train, validation) = match validation {
        Some(validation) => (all, validation),
        None => apart(&all, VALIDATION_IMAGES.min(all.len() / 8), seed),
    };
    for (part, images) in [("training", &train), ("validation", &validation), ("testing", &test)] {
        if images.is_empty() {
            let reason = format!("it has too few images to set some aside: none is left for {part}");
            return Err(DataError::Layout { path: path.to_owned(), reason });
        }
    }
    Ok(Dataset {
        name: format!("{PREFIX}{}", path.display()),
        classes: listing.classes,
        grid,
        train,
        validation,
        test,
        source: path.display().to_string(),
    })
}

/// The rest, and so many images.
fn apart(images: &Images, count: usize, seed: u64) -> (Images, Images) {
    let mut parts = images.split(&[count], seed);
    let rest = parts.pop().unwrap_or_else(|| images.first(0));
    (rest, parts.pop().unwrap_or_else(|| images.first(0)))
}

/// The mean pixel is zero, and their deviation one.
fn grid_of(pixels: &[u8]) -> PixelGrid {
    let mut counts = [0u64; 256];
    pixels.iter().for_each(|&pixel| counts[usize::from(pixel)] += 1);
    let of = |value: &dyn Fn(f64) -> f64| {
        let sum: f64 = counts.iter().enumerate().map(|(pixel, &count)| value(pixel as f64) * count as f64).sum();
        sum / pixels.len().max(1) as f64
    };
    let mean = of(&|pixel| pixel);
    let deviation = of(&|pixel| (pixel - mean).powi(2)).sqrt();
    PixelGrid { scale: (1.0 / deviation.max(1.0)) as f32, zero_point: mean.round() as u8 }
}

#[cfg(test)]
mod tests;
