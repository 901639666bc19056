//! Labelled images in memory, and their split into parts that do not overlap.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::network::Shape;

/// How a pixel becomes a number: `scale * (pixel - zero_point)`. The very grid on which a device takes its input.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PixelGrid {
    /// Step.
    pub scale: f32,
    /// The pixel of value zero, with which convolutions pad.
    pub zero_point: u8,
}

impl PixelGrid {
    /// The number that a pixel stands for.
    #[must_use]
    pub fn value(self, pixel: u8) -> f32 {
        self.scale * (f32::from(pixel) - f32::from(self.zero_point))
    }
}

/// Labelled images: 8-bit pixels by image, channel, row and column.
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    /// Shape of one image.
    pub shape: Shape,
    /// All pixels.
    pub pixels: Vec<u8>,
    /// One class an image, below `classes.len()`.
    pub labels: Vec<u16>,
}

/// A data set: its training, validation and test parts.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Its name, as in [`super::NAMES`].
    pub name: String,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// How pixels become numbers.
    pub grid: PixelGrid,
    /// For training.
    pub train: Images,
    /// For choosing: the only part a search looks at.
    pub validation: Images,
    /// For the final figure, once.
    pub test: Images,
    /// Where it came from, for people.
    pub source: String,
}

impl Images {
    /// The number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The pixels of one image.
    #[must_use]
    pub fn image(&self, index: usize) -> &[u8] {
        let len = self.shape.elements();
        &self.pixels[index * len..][..len]
    }

    /// The images of these places, in this order.
    #[must_use]
    pub fn select(&self, places: &[usize]) -> Self {
        let pixels = places.iter().flat_map(|&place| self.image(place)).copied().collect();
        Self { shape: self.shape, pixels, labels: places.iter().map(|&place| self.labels[place]).collect() }
    }

    /// The first `count` images, or all if there are fewer.
    #[must_use]
    pub fn first(&self, count: usize) -> Self {
        let count = count.min(self.len());
        Self {
            shape: self.shape,
            pixels: self.pixels[..count * self.shape.elements()].to_vec(),
            labels: self.labels[..count].to_vec(),
        }
    }

    /// One image by row, column, channel: as a device takes it.
    #[must_use]
    pub fn channels_last(&self, index: usize) -> Vec<u8> {
        let image = self.image(index);
        let area = self.shape.height * self.shape.width;
        (0..area).flat_map(|place| (0..self.shape.channels).map(move |channel| image[channel * area + place])).collect()
    }

    /// Splits off one part for each of `sizes`, each with the same share of every class as far as rounding allows, and
    /// returns them with the rest, which comes last. The same seed gives the same parts.
    #[must_use]
    pub fn split(&self, sizes: &[usize], seed: u64) -> Vec<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.shuffle(&mut rng);
        // Spread each class evenly over the order: image i of n of its class goes to place (i + 1/2) / n.
        let classes = self.labels.iter().max().map_or(0, |&label| usize::from(label) + 1);
        let mut totals = vec![0usize; classes];
        for &label in &self.labels {
            totals[usize::from(label)] += 1;
        }
        let mut seen = vec![0usize; classes];
        let mut places: Vec<(f64, usize)> = Vec::with_capacity(order.len());
        for place in order {
            let label = usize::from(self.labels[place]);
            places.push(((seen[label] as f64 + 0.5) / totals[label] as f64, place));
            seen[label] += 1;
        }
        // Ties among classes keep the shuffled order.
        places.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut places: Vec<usize> = places.into_iter().map(|(_, place)| place).collect();
        let mut parts = Vec::with_capacity(sizes.len() + 1);
        for &size in sizes {
            let rest = places.split_off(size.min(places.len()));
            places.shuffle(&mut rng);
            parts.push(self.select(&places));
            places = rest;
        }
        places.shuffle(&mut rng);
        parts.push(self.select(&places));
        parts
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn numbered(count: usize) -> Images {
        Images {
            shape: Shape { channels: 2, height: 1, width: 2 },
            pixels: (0..count).flat_map(|i| [(i % 256) as u8, (i / 256) as u8, 7, 9]).collect(),
            labels: (0..count).map(|i| (i % 5) as u16).collect(),
        }
    }

    #[test]
    fn parts_are_disjoint_complete_and_balanced() {
        let all = numbered(1000);
        let parts = all.split(&[100, 300], 7);
        assert_eq!(parts.iter().map(Images::len).collect::<Vec<_>>(), [100, 300, 600]);
        let images: HashSet<&[u8]> = parts.iter().flat_map(|part| (0..part.len()).map(|i| part.image(i))).collect();
        assert_eq!(images.len(), 1000, "an image stands in two parts");
        for part in &parts {
            let of_class = |class| part.labels.iter().filter(|&&label| label == class).count();
            assert!((0..5).all(|class| of_class(class).abs_diff(part.len() / 5) <= 1), "{:?}", part.labels);
        }
    }

    #[test]
    fn a_seed_decides_the_split() {
        let all = numbered(200);
        assert_eq!(all.split(&[50], 1), all.split(&[50], 1));
        assert_ne!(all.split(&[50], 1)[0], all.split(&[50], 2)[0]);
    }

    #[test]
    fn images_turn_to_channels_last() {
        assert_eq!(numbered(300).channels_last(258), [2, 7, 1, 9]);
    }
}
