//! What a model costs on a board: whole, by layer, and by multiply-accumulate.

use releq_shared::blob::{AlignedCopy, Blob};
use serde::Serialize;

use super::random_images;
use crate::device::link::Transport;
use crate::device::{Board, DeviceError, Link, Placement, measure};
use crate::interrupt;
use crate::network::Shape;
use crate::pack::describe::{WeightBytes, kind};

/// What a model costs on a board.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelCost {
    /// The network's name.
    pub network: String,
    /// Bits of each layer with weights.
    pub bits: Vec<u8>,
    /// The board.
    pub board: String,
    /// Its core.
    pub core: String,
    /// What is counted: `instructions` (QEMU, exact) or `cycles`.
    pub unit: String,
    /// Random inputs that were run.
    pub inputs: usize,
    /// Whether all logits of all inputs were the host's, bit for bit.
    pub agrees_with_host: bool,
    /// Instructions (or cycles) of one inference.
    pub instructions_per_inference: u64,
    /// Multiply-accumulates of one inference.
    pub macs: u64,
    /// Instructions (or cycles) a multiply-accumulate.
    pub per_mac: f64,
    /// The operations.
    pub layers: Vec<LayerCost>,
    /// Activations and kernel scratch.
    pub arena_bytes: u64,
    /// Deepest stack since the board was started.
    pub stack_bytes: u64,
    /// Bytes of the whole model.
    pub blob_bytes: u64,
    /// Bytes of its weight sections.
    pub weight_bytes: u64,
    /// How much more that is than `sum(weights * bits) / 8`, relative to it.
    pub weight_overhead: f64,
    /// Code and constants of the firmware, without the model.
    pub firmware_flash_bytes: u64,
}

/// What one operation costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerCost {
    /// Its name.
    pub name: String,
    /// `conv2d`, `depthwise`, `dense`, `pool` or `add`.
    pub kind: &'static str,
    /// Bits of its weights, if it has any.
    pub bits: Option<u8>,
    /// Their layout.
    pub layout: Option<String>,
    /// Instructions (or cycles) of one inference.
    pub instructions: u64,
    /// Multiply-accumulates of one inference.
    pub macs: u64,
    /// The quotient of both, for operations that have such.
    pub per_mac: Option<f64>,
}

/// Runs a model on the board behind `link` on some random inputs, which follow from `seed`.
///
/// # Errors
/// [`DeviceError`].
pub(super) fn measure_model<T: Transport>(
    link: &mut Link<T>,
    board: &Board,
    model: &[u8],
    placement: Placement,
    inputs: usize,
    seed: u64,
) -> Result<ModelCost, DeviceError> {
    let aligned = AlignedCopy::new(model);
    let blob = Blob::new_checked(&aligned)?;
    let input = blob.header().input;
    let [channels, height, width] = [input.channels, input.height, input.width].map(usize::from);
    let images = random_images(Shape { channels, height, width }, inputs, seed);
    let measured = measure(link, model, placement, &images, &mut |_| interrupt::check())?;
    let result = measured.result;
    let layers = blob.ops().zip(result.layers).map(|(op, layer)| LayerCost {
        kind: kind(&op),
        layout: op.weights().map(|weights| format!("{:?}", weights.layout)),
        per_mac: (layer.macs > 0).then(|| layer.instructions as f64 / layer.macs as f64),
        name: layer.name,
        bits: layer.bits,
        instructions: layer.instructions,
        macs: layer.macs,
    });
    let macs: u64 = blob.ops().map(|op| op.macs()).sum();
    let weights = WeightBytes::of_blob(&blob);
    Ok(ModelCost {
        network: blob.header().network.to_owned(),
        bits: blob.ops().filter_map(|op| Some(op.weights()?.bits.get())).collect(),
        board: result.board,
        core: board.core.clone(),
        unit: result.unit,
        inputs,
        agrees_with_host: measured.differing.is_empty(),
        instructions_per_inference: result.instructions_per_inference.round() as u64,
        macs,
        per_mac: result.instructions_per_inference / macs.max(1) as f64,
        layers: layers.collect(),
        arena_bytes: result.arena_bytes,
        stack_bytes: result.stack_bytes,
        blob_bytes: model.len() as u64,
        weight_bytes: weights.stored,
        weight_overhead: weights.overhead(),
        firmware_flash_bytes: result.firmware_flash_bytes,
    })
}
