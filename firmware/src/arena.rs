//! The arena: one block of bytes that holds every activation of a network, each tensor at the place that the blob names,
//! and behind them the scratch memory of the kernel at work.
//!
//! A checked blob guarantees that its tensors lie within [`Header::arena_bytes`](releq_shared::blob::Header) and that
//! an operation's input and output do not overlap (save for sums in place), so the borrows taken here cannot fail.

use releq_shared::blob::{Tensor, TensorKind};

/// An arena starts at a multiple of this, and so does the scratch in it.
pub const ALIGNMENT: usize = 16;

/// What one operation with distinct input and output borrows of the arena.
#[derive(Debug)]
pub struct Places<'a> {
    /// The input's bytes.
    pub input: &'a [u8],
    /// The output's bytes.
    pub output: &'a mut [u8],
    /// Working memory behind the tensors.
    pub scratch: &'a mut [u8],
}

/// Where kernel scratch starts in an arena whose tensors take `arena_bytes`; saturates.
#[must_use]
pub const fn scratch_start(arena_bytes: u32) -> usize {
    (arena_bytes as usize).saturating_add(ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT
}

/// Borrows `input` and `output`, which must not overlap, and the scratch behind `scratch_start`.
///
/// # Panics
/// If a tensor leaves the arena or the two overlap: not for those of a checked blob.
#[must_use]
pub fn places<'a>(arena: &'a mut [u8], input: &Tensor, output: &Tensor, scratch_start: usize) -> Places<'a> {
    let (tensors, scratch) = arena.split_at_mut(scratch_start);
    let (from, to) = (input.range(), output.range());
    let (input, output) = if from.start < to.start {
        let (low, high) = tensors.split_at_mut(to.start);
        (&low[from], &mut high[..to.end - to.start])
    } else {
        let (low, high) = tensors.split_at_mut(from.start);
        (&high[..from.end - from.start], &mut low[to])
    };
    Places { input, output, scratch }
}

/// The 32-bit values of a tensor of a checked blob.
///
/// # Panics
/// If the tensor leaves the arena or is not aligned to 4 bytes.
#[must_use]
pub fn logits<'a>(arena: &'a [u8], tensor: &Tensor) -> &'a [i32] {
    debug_assert!(tensor.kind == TensorKind::I32);
    bytemuck::cast_slice(&arena[tensor.range()])
}
