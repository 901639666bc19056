//! From a trained network to a blob: fold, calibrate, plan, lay out.

pub mod costs;
pub mod describe;
mod emit;
pub mod integer;
pub mod layer;
pub mod layouts;
mod lower;
mod placement;
pub mod plan;

pub use layouts::Target;
pub use lower::{BlobFacts, pack, pack_by};
pub use releq_firmware::kernels::CoreClass;

use releq_shared::blob::BlobError;

/// Why a network cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A mirrored code would be negative.
    #[error("layer {layer}: code {code} is above z = {z}, so a negative batch-norm gain cannot be folded")]
    CodeAboveZ {
        /// The layer.
        layer: String,
        /// The code.
        code: u8,
        /// Twice the code of zero.
        z: u16,
    },
    /// A channel's scale has no fixed-point form.
    #[error("layer {layer}, channel {channel}: the scale {scale:e} has no fixed-point form; did the training diverge?")]
    Scale {
        /// The layer.
        layer: String,
        /// The output channel.
        channel: usize,
        /// Accumulator step over output step.
        scale: f64,
    },
    /// The integer engine has no operation for this.
    #[error("layer {layer}: {reason}")]
    Unsupported {
        /// The layer.
        layer: String,
        /// What is missing.
        reason: String,
    },
    /// The blob that came out is not sound.
    #[error("the packed model is not sound: {0}")]
    Blob(#[from] BlobError),
    /// The network's tensors cannot be read.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
