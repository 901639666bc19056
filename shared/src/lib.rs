//! What releq's host and its devices must agree on, to the bit.
//!
//! - [`bitwidth`], [`codes`], [`layout`]: how weights of 1 to 8 bits are numbered and packed;
//! - [`requantize`]: the fixed-point arithmetic that takes an accumulator to the next layer's activations;
//! - [`blob`]: the model file, read in place from flash and never trusted;
//! - [`wire`]: the frames and messages that travel between host and device.
//!
//! The crate is `no_std` and allocates nothing, save under the feature `alloc`, which adds the blob writer. It knows
//! nothing of training, boards or files.
#![no_std]

#[cfg(feature = "alloc")]
extern crate alloc;

pub mod bitwidth;
pub mod blob;
pub mod codes;
pub mod layout;
pub mod requantize;
pub mod wire;

pub use bitwidth::Bitwidth;
