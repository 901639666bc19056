//! Buffers that a thread keeps from block to block and from step to step.

use std::cell::RefCell;

/// One thread's buffers. What they hold between uses has no meaning.
#[derive(Default)]
pub(super) struct Scratch {
    /// A padded group of an image.
    pub(super) padded: Vec<f32>,
    /// The gradient of a padded group of an image.
    pub(super) grad_padded: Vec<f32>,
    /// Patches as columns.
    pub(super) columns: Vec<f32>,
    /// The sums of a chunk, or their gradients.
    pub(super) sums: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
}

impl Scratch {
    /// Calls `work` with this thread's buffers.
    pub(super) fn with<T>(work: impl FnOnce(&mut Self) -> T) -> T {
        SCRATCH.with_borrow_mut(work)
    }
}

/// The first `len` elements of a buffer, which grows if it must.
pub(super) fn sized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}
