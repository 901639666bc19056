//! Benches: what a model, or a kernel, costs on a board, and what a training step costs on this machine.
//!
//! QEMU's boards count instructions, exactly and repeatably; others count cycles. Every figure says which. Nothing here
//! needs a trained network: costs do not depend on the values of weights, so [`random_network`] makes some up and packs
//! them as a trained network's would be.

mod kernels;
pub mod memory;
mod model;
pub mod peak;
mod random_network;
mod session;
pub mod train;

pub use kernels::{KernelCase, KernelCost, cost_table};
pub use model::{LayerCost, ModelCost};
pub use random_network::{random_images, random_network};
pub use session::Bench;
