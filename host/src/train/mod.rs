//! Training: operations with gradients, the model built from a graph, the loop, checkpoints, and the oracle that answers a
//! search.

pub mod checkpoint;
mod config;
mod fit;
mod model;
pub mod ops;
mod oracle;
mod quantization;
pub mod regulariser;
mod resume;

pub use config::{Distillation, FitConfig};
pub use fit::{Accuracy, Fit, FitProgress, Stepper, evaluate, fit};
pub use model::{Model, Pass};
pub use oracle::{FineTuneOracle, layer_facts};
pub use quantization::Quantization;
pub use regulariser::Sinusoidal;

/// Why a training ended early.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The loss is not a number any more.
    #[error("the training diverged at step {step}: the loss is no number; lower the learning rate")]
    Diverged {
        /// The step.
        step: usize,
    },
    /// Somebody asked it to stop.
    #[error("stopped")]
    Stopped,
    /// The unfinished training cannot be kept.
    #[error("cannot keep the unfinished training in {}: {reason}", path.display())]
    Kept {
        /// The file.
        path: std::path::PathBuf,
        /// Why not.
        reason: String,
    },
    /// The device refuses.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
