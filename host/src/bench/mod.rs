//! Benches: what a model, or a kernel, costs on a board.
//!
//! QEMU's boards count instructions, exactly and repeatably; others count cycles. Every figure says which. Nothing here
//! needs a trained network: costs do not depend on the values of weights, so [`random_network`] makes some up and packs
//! them as a trained network's would be.

mod kernels;
mod model;
mod random_network;
mod session;

pub use kernels::{KernelCase, KernelCost, cost_table};
pub use model::{LayerCost, ModelCost};
pub use random_network::{random_images, random_network};
pub use session::Bench;
