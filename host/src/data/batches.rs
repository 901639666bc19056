//! Batches for training: shuffled by a seed, converted to floats and augmented on a thread of their own, so that the
//! training step never waits.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use candle_core::{Device, Tensor};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{Images, PixelGrid};

/// Batches ready ahead of the step that takes them.
const AHEAD: usize = 4;

/// One batch.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[N, C, H, W]`, `f32`.
    pub images: Tensor,
    /// `[N]`, `u32`.
    pub labels: Tensor,
}

/// Random changes to training images. None by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Augmentation {
    /// Largest shift in pixels, both ways, padded with zeros.
    pub shift: usize,
    /// Whether half the images are mirrored.
    pub mirror: bool,
}

/// An endless stream of shuffled batches: each pass over the images is a new permutation, and the last batch of a pass
/// is filled from the next. Ends when dropped.
#[derive(Debug)]
pub struct Batches {
    receiver: Receiver<(Vec<f32>, Vec<u32>)>,
    shape: [usize; 4],
    device: Device,
}

impl Batches {
    /// Starts the stream. The order, and every augmentation, follow from `seed`.
    #[must_use]
    pub fn new(
        images: Arc<Images>,
        grid: PixelGrid,
        batch: usize,
        augmentation: Augmentation,
        seed: u64,
        device: &Device,
    ) -> Self {
        let shape = [batch, images.shape.channels, images.shape.height, images.shape.width];
        let (sender, receiver) = sync_channel(AHEAD);
        std::thread::spawn(move || {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let values: [f32; 256] = std::array::from_fn(|pixel| pixel_value(grid, pixel as u8));
            let mut order: Vec<usize> = Vec::new();
            loop {
                let mut pixels = Vec::with_capacity(batch * images.shape.elements());
                let mut labels = Vec::with_capacity(batch);
                for _ in 0..batch {
                    if order.is_empty() {
                        order.extend(0..images.len());
                        order.shuffle(&mut rng);
                    }
                    let Some(place) = order.pop() else { return };
                    append(&mut pixels, &images, place, &values, grid, augmentation, &mut rng);
                    labels.push(u32::from(images.labels[place]));
                }
                // The receiver is gone when training has ended.
                if sender.send((pixels, labels)).is_err() {
                    return;
                }
            }
        });
        Self { receiver, shape, device: device.clone() }
    }

    /// The next batch.
    ///
    /// # Errors
    /// If the device refuses it, or there are no images.
    pub fn take(&mut self) -> candle_core::Result<Batch> {
        let (pixels, labels) =
            self.receiver.recv().map_err(|_| candle_core::Error::Msg("there are no images to train on".to_owned()))?;
        let count = labels.len();
        Ok(Batch {
            images: Tensor::from_vec(pixels, &self.shape, &self.device)?,
            labels: Tensor::from_vec(labels, count, &self.device)?,
        })
    }
}

fn pixel_value(grid: PixelGrid, pixel: u8) -> f32 {
    grid.scale * (f32::from(pixel) - f32::from(grid.zero_point))
}

/// Appends one image, shifted and mirrored as the augmentation has it.
fn append(
    pixels: &mut Vec<f32>,
    images: &Images,
    place: usize,
    values: &[f32; 256],
    grid: PixelGrid,
    augmentation: Augmentation,
    rng: &mut ChaCha8Rng,
) {
    let image = images.image(place);
    if augmentation == Augmentation::default() {
        pixels.extend(image.iter().map(|&pixel| values[usize::from(pixel)]));
        return;
    }
    let (height, width) = (images.shape.height as i64, images.shape.width as i64);
    let reach = augmentation.shift as i64;
    let (down, right) = (rng.random_range(-reach..=reach), rng.random_range(-reach..=reach));
    let mirrored = augmentation.mirror && rng.random_bool(0.5);
    let outside = values[usize::from(grid.zero_point)];
    for plane in image.chunks_exact((height * width) as usize) {
        for row in 0..height {
            for column in 0..width {
                let column = if mirrored { width - 1 - column } else { column };
                let (from_row, from_column) = (row - down, column - right);
                let inside = (0..height).contains(&from_row) && (0..width).contains(&from_column);
                let place = from_row * width + from_column;
                pixels.push(if inside { values[usize::from(plane[place as usize])] } else { outside });
            }
        }
    }
}

impl Images {
    /// Images `first..first + count` as one batch, for evaluation.
    ///
    /// # Errors
    /// If the device refuses it.
    pub fn batch(&self, first: usize, count: usize, grid: PixelGrid, device: &Device) -> candle_core::Result<Batch> {
        let count = count.min(self.len() - first);
        let len = self.shape.elements();
        let values: [f32; 256] = std::array::from_fn(|pixel| pixel_value(grid, pixel as u8));
        let pixels = &self.pixels[first * len..(first + count) * len];
        let pixels: Vec<f32> = pixels.iter().map(|&pixel| values[usize::from(pixel)]).collect();
        let labels: Vec<u32> = self.labels[first..first + count].iter().map(|&label| u32::from(label)).collect();
        let shape = (count, self.shape.channels, self.shape.height, self.shape.width);
        Ok(Batch { images: Tensor::from_vec(pixels, shape, device)?, labels: Tensor::from_vec(labels, count, device)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Shape;

    fn images() -> Arc<Images> {
        let shape = Shape { channels: 1, height: 2, width: 2 };
        Arc::new(Images { shape, pixels: (0..40).collect(), labels: (0..10).collect() })
    }

    const GRID: PixelGrid = PixelGrid { scale: 0.5, zero_point: 2 };

    #[test]
    fn a_pass_visits_every_image_once_in_an_order_that_the_seed_decides() {
        let pass = |seed| {
            let mut batches = Batches::new(images(), GRID, 5, Augmentation::default(), seed, &Device::Cpu);
            let mut seen: Vec<u32> = Vec::new();
            for _ in 0..2 {
                let batch = batches.take().unwrap();
                seen.extend(batch.labels.to_vec1::<u32>().unwrap());
                let first = batch.images.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0];
                let label = seen[seen.len() - 5];
                assert_eq!(first, 0.5 * (label as f32 * 4.0 - 2.0), "pixels and labels belong together");
            }
            seen
        };
        let mut seen = pass(1);
        assert_eq!(seen, pass(1));
        assert_ne!(seen, pass(2));
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<u32>>());
    }

    #[test]
    fn shifted_images_are_padded_with_zero() {
        let augmentation = Augmentation { shift: 2, mirror: true };
        let mut batches = Batches::new(images(), GRID, 10, augmentation, 1, &Device::Cpu);
        let values = batches.take().unwrap().images.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(values.iter().filter(|&&value| value == 0.0).count() > 8, "{values:?}");
    }
}
