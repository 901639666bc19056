//! Differentiable operations of training, fast on the CPU.
//!
//! Each function takes and gives candle tensors. On the CPU it is an operation of this module with its own forward and
//! backward pass; on other devices it is made of the backend's operations (`stock`), which are also what tests compare
//! with. Results do not depend on the number of threads, to the bit: a search that evaluates candidates side by side
//! equals one that does so in turn.

mod activation;
mod adam;
mod conv;
mod gemm;
mod linear;
mod norm;
mod pool;
mod slices;
pub mod stock;
mod weights;

#[cfg(test)]
mod tests;

pub use activation::{fake_quantize_activations, relu};
pub use adam::{Adam, AdamConfig, ParamGroup};
pub use conv::{Conv2dConfig, conv2d};
pub use linear::linear;
pub use norm::{BatchStatistics, batch_norm_train};
pub use pool::{avg_pool2d, global_avg_pool, max_pool2d};
pub use weights::{WeightGrid, fake_quantize_weights, weight_codes};

use candle_core::{Result, Tensor};

/// Mean cross-entropy of `logits` `[N, classes]` and `labels` `[N]` (`u32`).
///
/// # Errors
/// What candle reports.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    candle_nn::loss::cross_entropy(logits, labels)
}
