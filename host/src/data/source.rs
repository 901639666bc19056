//! Images as training and evaluation take them: in batches, on whatever device.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Device, DeviceLocation, Result, Tensor};

use super::resident::Resident;
use super::{Batch, Images, PixelGrid};
use crate::compute;

/// Images, how their pixels become numbers, and their copies on devices.
#[derive(Clone, Debug)]
pub struct ImageSource {
    /// The images.
    pub images: Arc<Images>,
    /// How pixels become numbers.
    pub grid: PixelGrid,
    copies: Arc<Mutex<Vec<Copied>>>,
}

#[derive(Debug)]
struct Copied {
    location: DeviceLocation,
    reach: usize,
    resident: Arc<Resident>,
}

impl ImageSource {
    /// Images on no device yet.
    #[must_use]
    pub fn new(images: Images, grid: PixelGrid) -> Self {
        Self { images: Arc::new(images), grid, copies: Arc::default() }
    }

    /// The images on a device that keeps them, ready for shifts of up to `reach` pixels: copied once, shared by all that
    /// train there. None on the CPU, where batches are assembled from the bytes.
    ///
    /// # Errors
    /// If the device has no room for them.
    pub(super) fn resident(&self, device: &Device, reach: usize) -> Result<Option<Arc<Resident>>> {
        if compute::is_own(device) {
            return Ok(None);
        }
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let location = device.location();
        if let Some(copy) = copies.iter().find(|copy| copy.location == location && copy.reach >= reach) {
            return Ok(Some(copy.resident.clone()));
        }
        let resident = Arc::new(Resident::new(&self.images, self.grid, reach, device)?);
        copies.retain(|copy| copy.location != location);
        copies.push(Copied { location, reach, resident: resident.clone() });
        Ok(Some(resident))
    }

    /// Images `first..first + count`, or as many as there are, as one batch.
    ///
    /// # Errors
    /// If the device refuses it.
    pub fn batch(&self, first: usize, count: usize, device: &Device) -> Result<Batch> {
        if let Some(resident) = self.resident(device, 0)? {
            return resident.range(first, count);
        }
        let Images { shape, pixels, labels } = &*self.images;
        let range = first..labels.len().min(first + count);
        let values: [f32; 256] = std::array::from_fn(|pixel| self.grid.value(pixel as u8));
        let pixels = &pixels[range.start * shape.elements()..range.end * shape.elements()];
        let pixels: Vec<f32> = pixels.iter().map(|&pixel| values[usize::from(pixel)]).collect();
        let labels: Vec<u32> = labels[range.clone()].iter().map(|&label| u32::from(label)).collect();
        let shape = (range.len(), shape.channels, shape.height, shape.width);
        let labels = Tensor::from_vec(labels, range.len(), device)?;
        Ok(Batch { images: Tensor::from_vec(pixels, shape, device)?, labels })
    }
}
