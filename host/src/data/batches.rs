//! Batches for training: shuffled by a seed, converted to floats and augmented on a thread of their own, so that the
//! training step never waits.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use candle_core::{Device, Tensor};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::resident::Resident;
use super::{ImageSource, Images, PixelGrid};

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

/// An image to train on, and what is done to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Draw {
    /// Its place in the data set.
    pub(super) place: usize,
    /// Shifts in pixels.
    pub(super) down: i64,
    pub(super) right: i64,
    pub(super) mirrored: bool,
}

/// An endless stream of shuffled batches: each pass over the images is a new permutation, and the last batch of a pass
/// is filled from the next. Ends when dropped.
///
/// On the CPU whole batches are assembled ahead; on other devices, where the images lie already, only what to draw is.
#[derive(Debug)]
pub struct Batches {
    receiver: Receiver<Drawn>,
    shape: [usize; 4],
    device: Device,
    resident: Option<Arc<Resident>>,
}

#[derive(Debug)]
enum Drawn {
    /// Pixels as numbers, and labels.
    Whole(Vec<f32>, Vec<u32>),
    /// What to draw from the device's images.
    Draws(Vec<Draw>),
}

impl Batches {
    /// Starts the stream. The order, and every augmentation, follow from `seed`; they are the same on every device.
    ///
    /// # Errors
    /// If the device has no room for the images.
    pub fn new(
        source: &ImageSource,
        batch: usize,
        augmentation: Augmentation,
        seed: u64,
        device: &Device,
    ) -> candle_core::Result<Self> {
        Self::after(0, source, batch, augmentation, seed, device)
    }

    /// The stream of [`Batches::new`] without its first `passed` batches.
    ///
    /// # Errors
    /// As [`Batches::new`].
    pub fn after(
        passed: usize,
        source: &ImageSource,
        batch: usize,
        augmentation: Augmentation,
        seed: u64,
        device: &Device,
    ) -> candle_core::Result<Self> {
        let (images, grid) = (source.images.clone(), source.grid);
        let shape = [batch, images.shape.channels, images.shape.height, images.shape.width];
        let resident = source.resident(device, augmentation.shift)?;
        let assemble = resident.is_none();
        let (sender, receiver) = sync_channel(AHEAD);
        std::thread::spawn(move || {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let values: [f32; 256] = std::array::from_fn(|pixel| grid.value(pixel as u8));
            let mut order: Vec<usize> = Vec::new();
            for number in 0usize.. {
                let mut draws = Vec::with_capacity(batch);
                for _ in 0..batch {
                    if order.is_empty() {
                        order.extend(0..images.len());
                        order.shuffle(&mut rng);
                    }
                    let Some(place) = order.pop() else { return };
                    draws.push(draw(place, augmentation, &mut rng));
                }
                if number < passed {
                    continue;
                }
                let drawn = if assemble {
                    let mut pixels = Vec::with_capacity(batch * images.shape.elements());
                    draws.iter().for_each(|draw| append(&mut pixels, &images, *draw, &values, grid));
                    let labels = draws.iter().map(|draw| u32::from(images.labels[draw.place])).collect();
                    Drawn::Whole(pixels, labels)
                } else {
                    Drawn::Draws(draws)
                };
                // The receiver is gone when training has ended.
                if sender.send(drawn).is_err() {
                    return;
                }
            }
        });
        Ok(Self { receiver, shape, device: device.clone(), resident })
    }

    /// The next batch.
    ///
    /// # Errors
    /// If the device refuses it, or there are no images.
    pub fn take(&mut self) -> candle_core::Result<Batch> {
        let drawn =
            self.receiver.recv().map_err(|_| candle_core::Error::Msg("there are no images to train on".to_owned()))?;
        match (drawn, &self.resident) {
            (Drawn::Draws(draws), Some(resident)) => resident.batch(&draws),
            (Drawn::Whole(pixels, labels), _) => {
                let count = labels.len();
                Ok(Batch {
                    images: Tensor::from_vec(pixels, &self.shape, &self.device)?,
                    labels: Tensor::from_vec(labels, count, &self.device)?,
                })
            }
            (Drawn::Draws(_), None) => candle_core::bail!("the images are not on the device"),
        }
    }
}

/// What an augmentation does to an image this time.
fn draw(place: usize, augmentation: Augmentation, rng: &mut ChaCha8Rng) -> Draw {
    if augmentation == Augmentation::default() {
        return Draw { place, ..Draw::default() };
    }
    let reach = augmentation.shift as i64;
    let (down, right) = (rng.random_range(-reach..=reach), rng.random_range(-reach..=reach));
    Draw { place, down, right, mirrored: augmentation.mirror && rng.random_bool(0.5) }
}

/// Appends one image, shifted and mirrored.
fn append(pixels: &mut Vec<f32>, images: &Images, draw: Draw, values: &[f32; 256], grid: PixelGrid) {
    let image = images.image(draw.place);
    if (Draw { place: 0, ..draw }) == Draw::default() {
        pixels.extend(image.iter().map(|&pixel| values[usize::from(pixel)]));
        return;
    }
    let (height, width) = (images.shape.height as i64, images.shape.width as i64);
    let outside = values[usize::from(grid.zero_point)];
    for plane in image.chunks_exact((height * width) as usize) {
        for row in 0..height {
            for column in 0..width {
                let column = if draw.mirrored { width - 1 - column } else { column };
                let (from_row, from_column) = (row - draw.down, column - draw.right);
                let inside = (0..height).contains(&from_row) && (0..width).contains(&from_column);
                let place = from_row * width + from_column;
                pixels.push(if inside { values[usize::from(plane[place as usize])] } else { outside });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Shape;

    fn source() -> ImageSource {
        let shape = Shape { channels: 1, height: 2, width: 2 };
        ImageSource::new(Images { shape, pixels: (0..40).collect(), labels: (0..10).collect() }, GRID)
    }

    const GRID: PixelGrid = PixelGrid { scale: 0.5, zero_point: 2 };

    #[test]
    fn a_pass_visits_every_image_once_in_an_order_that_the_seed_decides() {
        let pass = |seed| {
            let mut batches = Batches::new(&source(), 5, Augmentation::default(), seed, &Device::Cpu).unwrap();
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
    fn a_stream_goes_on_where_another_was_left() {
        let augmentation = Augmentation { shift: 1, mirror: true };
        let take = |passed: usize, count: usize| {
            let mut batches = Batches::after(passed, &source(), 3, augmentation, 4, &Device::Cpu).unwrap();
            let values = (0..count).map(|_| batches.take().unwrap().images.flatten_all().unwrap().to_vec1::<f32>());
            values.collect::<Result<Vec<_>, _>>().unwrap()
        };
        assert_eq!(take(0, 12)[7..], take(7, 5));
    }

    #[test]
    fn shifted_images_are_padded_with_zero() {
        let augmentation = Augmentation { shift: 2, mirror: true };
        let mut batches = Batches::new(&source(), 10, augmentation, 1, &Device::Cpu).unwrap();
        let values = batches.take().unwrap().images.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(values.iter().filter(|&&value| value == 0.0).count() > 8, "{values:?}");
    }

    #[test]
    fn batches_drawn_on_a_device_are_those_assembled_ahead() {
        let shape = Shape { channels: 3, height: 5, width: 4 };
        let pixels = (0..7 * 60u32).map(|i| (i * 37 % 251) as u8).collect();
        let images = Images { shape, pixels, labels: (0..7).collect() };
        for augmentation in
            [Augmentation::default(), Augmentation { shift: 2, mirror: false }, Augmentation { shift: 1, mirror: true }]
        {
            let grid = PixelGrid { scale: 0.037, zero_point: 131 };
            let take = || {
                let source = ImageSource::new(images.clone(), grid);
                let mut batches = Batches::new(&source, 6, augmentation, 3, &Device::Cpu).unwrap();
                let batches: Vec<Batch> = (0..3).map(|_| batches.take().unwrap()).collect();
                let values =
                    batches.iter().flat_map(|batch| batch.images.flatten_all().unwrap().to_vec1::<f32>().unwrap());
                let labels = batches.iter().flat_map(|batch| batch.labels.to_vec1::<u32>().unwrap());
                (values.collect::<Vec<f32>>(), labels.collect::<Vec<u32>>())
            };
            assert_eq!(take(), crate::compute::stock_only(take), "{augmentation:?}");
        }
        let source = ImageSource::new(images, GRID);
        let range =
            || source.batch(5, 4, &Device::Cpu).unwrap().images.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(range().len(), 2 * 60, "there are only two from the fifth on");
        assert_eq!(range(), crate::compute::stock_only(range));
    }
}
