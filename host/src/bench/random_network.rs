//! Networks of the zoo with random weights, packed by the real packer.

use std::sync::Arc;

use candle_core::Device;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use releq_shared::Bitwidth;

use crate::data::{ImageSource, Images, PixelGrid};
use crate::network::{Shape, zoo};
use crate::pack::{self, BlobFacts, Target};
use crate::search::Assignment;
use crate::stages::StageError;
use crate::train::{Model, Quantization};

/// The grid of random pixels: padding is then no black pixel, as in a colour data set.
const GRID: PixelGrid = PixelGrid { scale: 1.0 / 64.0, zero_point: 120 };
/// Images over which activations are calibrated.
const CALIBRATION_IMAGES: usize = 4;

/// Images of random pixels, which follow from `seed`; all of class 0.
#[must_use]
pub fn random_images(shape: Shape, count: usize, seed: u64) -> Images {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let pixels = (0..count * shape.elements()).map(|_| rng.random()).collect();
    Images { shape, pixels, labels: vec![0; count] }
}

/// The blob of a network of the zoo with random weights, laid out for `target`. A single bitwidth is every layer's.
///
/// # Errors
/// [`StageError`]: no such network, bitwidths that do not fit its layers, or what the packer refuses.
pub fn random_network(
    network: &str,
    bits: &Assignment,
    target: impl Into<Target>,
    seed: u64,
) -> Result<Vec<u8>, StageError> {
    let graph = Arc::new(zoo::by_name(network)?);
    let layers = graph.weight_layers();
    let bits: Vec<Option<Bitwidth>> = match bits.0.as_slice() {
        [all] => vec![Some(*all); layers.len()],
        each => each.iter().copied().map(Some).collect(),
    };
    if bits.len() != layers.len() {
        let names: Vec<String> = layers.into_iter().map(|layer| layer.name).collect();
        let (wanted, layers) = (names.len(), names.join(", "));
        return Err(StageError::BitsCount { network: network.to_owned(), wanted, layers, given: bits.len() });
    }
    let model = Model::new(graph.clone(), seed, &Device::Cpu)?;
    let mut quantization = Quantization::of_weights(&model, &bits)?;
    let images = random_images(graph.input(), CALIBRATION_IMAGES, seed);
    quantization
        .calibrate(&model, &ImageSource::new(images.clone(), GRID).batch(0, images.len(), &Device::Cpu)?.images)?;
    let classes: Vec<String> = (0..graph.classes()).map(|class| class.to_string()).collect();
    let facts = BlobFacts { dataset: zoo::usual_dataset(network), classes: &classes, grid: GRID, seed, config_hash: 0 };
    Ok(pack::pack(&model, &quantization, &facts, target)?)
}
