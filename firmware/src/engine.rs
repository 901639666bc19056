//! The engine: runs the operations of a checked blob one behind the other.
//!
//! In: a [`Blob`], an arena, an input written to [`Engine::input_mut`]. Out: the logits in [`Engine::output`], and calls
//! of an [`Observer`] around each operation, where a meter counts. The arithmetic is that of
//! [`releq_shared::blob`]'s operations, to the bit, whichever kernel runs: a device's logits equal the host's.
//!
//! An engine is two references and a note of where scratch may lie, and costs little to make: whoever owns the model's slot and the arena lends both
//! (`Engine::new(blob, &mut *arena)`) for as long as the model stays, and has them back when the engine is dropped. The
//! arena's contents stay as they are, so an engine may even be made anew for each step of an exchange.

use releq_shared::blob::{Blob, BlobError, Op};

use crate::arena::{self, ALIGNMENT, Passing};
use crate::kernels::{self, CoreClass};
use crate::needs::{self, Need, needed};

/// A network ready to run.
#[derive(Debug)]
pub struct Engine<'a> {
    blob: Blob<'a>,
    arena: &'a mut [u8],
    passing: Passing,
}

/// Is told when each operation of a run starts and ends; `()` listens to none.
pub trait Observer {
    /// Operation `index` is about to run.
    fn before_op(&mut self, index: usize) {
        let _ = index;
    }

    /// Operation `index` has run.
    fn after_op(&mut self, index: usize) {
        let _ = index;
    }
}

impl Observer for () {}

/// Bytes of arena that a blob needs on this core: [`required_arena_on`] [`CoreClass::HERE`].
#[must_use]
pub fn required_arena(blob: &Blob<'_>) -> usize {
    required_arena_on(blob, CoreClass::HERE)
}

/// Bytes of arena that a blob needs on a core of some class: its tensors, and the scratch that the kernels ask for each of its
/// operations behind those that are alive then. Saturates.
#[must_use]
pub fn required_arena_on(blob: &Blob<'_>, class: CoreClass) -> usize {
    let passing = Passing::of(blob.ops());
    blob.ops().enumerate().fold(blob.header().arena_bytes as usize, |needed, (index, op)| {
        needed.max(passing.scratch_start(index, &op).saturating_add(kernels::scratch_bytes(&op, class)))
    })
}

impl<'a> Engine<'a> {
    /// Binds a checked blob to an arena of at least [`required_arena`] bytes, which must start at a multiple of
    /// [`ALIGNMENT`]. The arena's contents are kept.
    ///
    /// # Errors
    /// [`BlobError::ArenaTooSmall`] or [`BlobError::ArenaMisaligned`].
    pub fn new(blob: Blob<'a>, arena: &'a mut [u8]) -> Result<Self, BlobError> {
        let needed = required_arena(&blob);
        if arena.len() < needed {
            return Err(BlobError::ArenaTooSmall {
                needed: u32::try_from(needed).unwrap_or(u32::MAX),
                available: u32::try_from(arena.len()).unwrap_or(u32::MAX),
            });
        }
        let remainder = (arena.as_ptr().addr() % ALIGNMENT) as u8;
        if remainder != 0 {
            return Err(BlobError::ArenaMisaligned { remainder });
        }
        Ok(Self { blob, arena, passing: Passing::of(blob.ops()) })
    }

    /// The network that runs here.
    #[must_use]
    pub const fn blob(&self) -> &Blob<'a> {
        &self.blob
    }

    /// The place of the input: rows, then columns, then channels. To be filled before each run, which may overwrite it.
    #[must_use]
    pub fn input_mut(&mut self) -> &mut [u8] {
        &mut self.arena[self.blob.header().input.range()]
    }

    /// Runs the network on the input and tells `observer` of each operation.
    #[inline(never)]
    pub fn run(&mut self, observer: &mut impl Observer) {
        for (index, op) in self.blob.ops().enumerate() {
            observer.before_op(index);
            let scratch_start = self.passing.scratch_start(index, &op);
            match &op {
                Op::Conv2d(op) => {
                    let places = arena::places(self.arena, &op.input, &op.output, scratch_start);
                    kernels::conv2d(op, &kernels::Matrix::new(&self.blob, &op.weights, op.columns() as usize), places);
                }
                Op::Dense(op) => {
                    let places = arena::places(self.arena, &op.input, &op.output, scratch_start);
                    let columns = op.input.elements() as usize;
                    kernels::dense(op, &kernels::Matrix::new(&self.blob, &op.weights, columns), places);
                }
                Op::Pool(op) if needed(Need::Pool) => {
                    kernels::pool(op, arena::places(self.arena, &op.input, &op.output, scratch_start));
                }
                Op::Add(op) if needed(Need::Add) => kernels::add(op, self.arena),
                Op::Pool(_) | Op::Add(_) => needs::lacking(),
            }
            observer.after_op(index);
        }
    }

    /// The logits of the last run.
    #[must_use]
    pub fn output(&self) -> &[i32] {
        arena::logits(self.arena, &self.blob.header().output)
    }
}

#[cfg(test)]
mod tests;
