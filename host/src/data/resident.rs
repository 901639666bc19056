//! Images that stay on a device: batches are drawn there by index, so that a step transfers some hundred bytes and no
//! pixels. On a GPU this is where batches come from; the same code runs on the CPU, where tests compare it with the
//! batches of [`super::Batches`].

use candle_core::{D, DType, Device, Result, Tensor};

use super::batches::{Batch, Draw};
use super::{Images, PixelGrid};

/// A data set's images and labels on a device.
#[derive(Debug)]
pub(super) struct Resident {
    /// `[N, C, (H + 2 reach) * (W + 2 reach)]`, `u8`, padded with the grid's zero point.
    padded: Tensor,
    /// `[N]`, `u32`.
    labels: Tensor,
    /// Where the pixels of an image without a shift lie in a padded one, as they are and mirrored: `[2, H * W]`, `u32`.
    places: Tensor,
    grid: PixelGrid,
    shape: [usize; 3],
    /// Pixels of padding on every side: the largest shift.
    reach: usize,
}

impl Resident {
    /// Copies images to a device, ready for shifts of up to `reach` pixels.
    ///
    /// # Errors
    /// If the device has no room for them.
    pub(super) fn new(images: &Images, grid: PixelGrid, reach: usize, device: &Device) -> Result<Self> {
        let crate::network::Shape { channels, height, width } = images.shape;
        let (rows, columns) = (height + 2 * reach, width + 2 * reach);
        let mut padded = vec![grid.zero_point; images.len() * channels * rows * columns];
        for (from, to) in images.pixels.chunks_exact(height * width).zip(padded.chunks_exact_mut(rows * columns)) {
            for (y, from) in from.chunks_exact(width).enumerate() {
                to[(y + reach) * columns + reach..][..width].copy_from_slice(from);
            }
        }
        let place = |mirrored: bool| {
            let column = move |x: usize| if mirrored { width - 1 - x } else { x };
            (0..height).flat_map(move |y| (0..width).map(move |x| (y * columns + column(x)) as u32))
        };
        let places: Vec<u32> = place(false).chain(place(true)).collect();
        let labels: Vec<u32> = images.labels.iter().map(|&label| u32::from(label)).collect();
        Ok(Self {
            padded: Tensor::from_vec(padded, (images.len(), channels, rows * columns), device)?,
            labels: Tensor::from_vec(labels, images.len(), device)?,
            places: Tensor::from_vec(places, (2, height * width), device)?,
            grid,
            shape: [channels, height, width],
            reach,
        })
    }

    /// The images that `draws` name, shifted and mirrored as they say.
    ///
    /// # Errors
    /// What the device reports.
    pub(super) fn batch(&self, draws: &[Draw]) -> Result<Batch> {
        let device = self.padded.device();
        let [channels, height, width] = self.shape;
        let (count, columns) = (draws.len(), width + 2 * self.reach);
        let column = |value: fn(&Draw, &Self, usize) -> u32| {
            let values: Vec<u32> = draws.iter().map(|draw| value(draw, self, columns)).collect();
            Tensor::from_vec(values, count, device)
        };
        let chosen = column(|draw, _, _| draw.place as u32)?;
        let corner = column(|draw, this, columns| {
            let (y, x) = (this.reach as i64 - draw.down, this.reach as i64 - draw.right);
            (y * columns as i64 + x) as u32
        })?;
        let mirrored = column(|draw, _, _| u32::from(draw.mirrored))?;
        let pixels = self.padded.index_select(&chosen, 0)?.to_dtype(DType::F32)?;
        let places = self.places.index_select(&mirrored, 0)?.broadcast_add(&corner.reshape((count, 1))?)?;
        let places = places.reshape((count, 1, height * width))?.repeat((1, channels, 1))?;
        let images = self.numbers(&pixels.gather(&places, D::Minus1)?)?;
        Ok(Batch {
            images: images.reshape((count, channels, height, width))?,
            labels: self.labels.index_select(&chosen, 0)?,
        })
    }

    /// Images `first..first + count`, or as many as there are, for evaluation.
    ///
    /// # Errors
    /// What the device reports.
    pub(super) fn range(&self, first: usize, count: usize) -> Result<Batch> {
        let draws: Vec<Draw> = (first..self.labels.elem_count().min(first + count))
            .map(|place| Draw { place, ..Draw::default() })
            .collect();
        self.batch(&draws)
    }

    /// Pixels as numbers.
    fn numbers(&self, pixels: &Tensor) -> Result<Tensor> {
        pixels.affine(1.0, -f64::from(self.grid.zero_point))?.affine(f64::from(self.grid.scale), 0.0)
    }
}
