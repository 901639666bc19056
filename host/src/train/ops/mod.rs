//! Differentiable operations of training, fast on the CPU.
//!
//! Each function takes and gives candle tensors. On the CPU it is an operation of this module with its own forward and
//! backward pass; on other devices it is made of the backend's operations (`stock`), which are also what tests compare
//! with, and what [`stock_only`] runs anywhere. Results do not depend on the number of threads, to the bit: a search that evaluates candidates side by side
//! equals one that does so in turn.

mod activation;
mod adam;
mod gemm;
mod linear;
mod loss;
mod norm;
mod pool;
pub mod profile;
mod slices;
mod squash;
pub mod stock;
mod tape;
mod unit;
mod weights;

#[cfg(test)]
mod tests;

pub use activation::{fake_quantize_activations, relu, sum_unit};
pub use adam::{Adam, AdamConfig, ParamGroup};
pub use gemm::multiply_square;
pub use linear::linear;
pub use loss::{cross_entropy, distillation};
pub use norm::{BatchStatistics, batch_norm_train};
pub use pool::{avg_pool2d, flatten, global_avg_pool, max_pool2d};
pub use squash::{squash, squashed};
pub use tape::{Gradients, differentiate};
pub use unit::{Channels, Conv2dConfig, Finish, Window, conv_unit, conv2d};
pub use weights::{WeightGrid, fake_quantize_weights, weight_codes};

pub use crate::compute::stock_only;
