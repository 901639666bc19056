//! Random networks and the slow oracle that every engine must match.
//!
//! [`network`] builds valid blobs of every operation, bitwidth and odd shape from a seed; [`oracle`] computes what a blob
//! means straight from the format's formulas, in 64 bits, one weight at a time. [`hostile`] makes blobs that are not sound.

pub mod hostile;
pub mod lenet;
pub mod network;
pub mod oracle;

use alloc::vec;
use alloc::vec::Vec;

use releq_shared::blob::Blob;

pub use crate::random::Random;
pub use lenet::lenet;
pub use network::{Limits, random_network};

use crate::engine::{Engine, required_arena};

/// Runs `blob` on `input` in an arena of exactly the size that it asks for, full of rubbish before, and returns the
/// logits.
///
/// # Panics
/// If the engine does, or refuses the arena.
#[must_use]
pub fn run(blob: &Blob<'_>, input: &[u8]) -> Vec<i32> {
    let needed = required_arena(blob);
    let mut words = vec![0xA5A5_A5A5_A5A5_A5A5_A5A5_A5A5_A5A5_A5A5u128; needed.div_ceil(16)];
    let arena = &mut bytemuck::cast_slice_mut(&mut words)[..needed];
    let mut engine = Engine::new(*blob, arena).expect("the arena is as large as asked for, and aligned");
    engine.input_mut().copy_from_slice(input);
    engine.run(&mut ());
    engine.output().to_vec()
}
