//! A model within somebody's own firmware: bytes in flash, an arena in RAM, and one call an inference.
//!
//! The firmware's build script names the model's file (`build::model`, feature `build`); it is checked there,
//! and what it needs becomes constants. The program takes them with [`model!`](crate::model!):
//!
//! ```ignore
//! releq_firmware::model!(lenet); // lenet::BYTES, lenet::ARENA_BYTES, lenet::INPUT_BYTES, lenet::LOGITS
//!
//! static mut ARENA: Arena<{ lenet::ARENA_BYTES }> = Arena::new(); // inside #[entry]: an exclusive reference
//! let mut model = Model::new(lenet::BYTES, ARENA)?;
//! let digit = model.classify(&image)?;
//! ```
//!
//! The logits are, to the bit, those that the host computes for the same input.

use core::fmt;

use releq_shared::blob::{Blob, BlobError, Header};

use crate::engine::Engine;

/// Working memory of `BYTES` bytes that starts where an engine wants it ([`arena::ALIGNMENT`](crate::arena::ALIGNMENT)).
#[derive(Debug)]
#[repr(C, align(16))]
pub struct Arena<const BYTES: usize>([u8; BYTES]);

impl<const BYTES: usize> Arena<BYTES> {
    /// An arena full of zeros; as a `static` it takes no flash.
    #[must_use]
    pub const fn new() -> Self {
        Self([0; BYTES])
    }
}

impl<const BYTES: usize> Default for Arena<BYTES> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const BYTES: usize> core::ops::Deref for Arena<BYTES> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const BYTES: usize> core::ops::DerefMut for Arena<BYTES> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// Bytes that start at a multiple of 16, as a blob must: [`model!`](crate::model!) keeps a model's file in one.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct Aligned<const BYTES: usize>(
    /// The bytes.
    pub [u8; BYTES],
);

/// An input of the wrong length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputLength {
    /// Bytes that the model takes: height by width by channels.
    pub expected: usize,
    /// Bytes given.
    pub found: usize,
}

impl fmt::Display for InputLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the model takes {} bytes, the input has {}", self.expected, self.found)
    }
}

impl core::error::Error for InputLength {}

/// A model ready to run.
#[derive(Debug)]
pub struct Model<'a> {
    engine: Engine<'a>,
}

impl<'a> Model<'a> {
    /// Checks the blob `bytes` and binds it to `arena`. Both must start at a multiple of 16 ([`Aligned`], [`Arena`]).
    ///
    /// # Errors
    /// [`BlobError`]: the blob is damaged or unsound, or the arena is too small for it on this core, with both numbers.
    pub fn new(bytes: &'a [u8], arena: &'a mut [u8]) -> Result<Self, BlobError> {
        Ok(Self { engine: Engine::new(Blob::new_checked(bytes)?, arena)? })
    }

    /// What the blob says of the network: shapes, scale and zero point of the input, the names of the classes.
    #[must_use]
    pub const fn header(&self) -> &Header<'a> {
        self.engine.blob().header()
    }

    /// Runs the network on `input` (rows, then columns, then channels, on the grid that [`Model::header`] names) and
    /// returns its logits.
    ///
    /// # Errors
    /// [`InputLength`].
    pub fn infer(&mut self, input: &[u8]) -> Result<&[i32], InputLength> {
        let place = self.engine.input_mut();
        if place.len() != input.len() {
            return Err(InputLength { expected: place.len(), found: input.len() });
        }
        place.copy_from_slice(input);
        self.engine.run(&mut ());
        Ok(self.engine.output())
    }

    /// Runs the network on `input` and returns the index of its largest logit, the first of equal ones.
    ///
    /// # Errors
    /// [`InputLength`].
    pub fn classify(&mut self, input: &[u8]) -> Result<usize, InputLength> {
        let logits = self.infer(input)?;
        let best = logits.iter().enumerate().max_by_key(|&(index, logit)| (logit, core::cmp::Reverse(index)));
        Ok(best.map_or(0, |(index, _)| index))
    }
}

/// Takes a model into the program that its build script has given to `releq_firmware::build::model`.
///
/// `model!(lenet)` makes a module `lenet` with `BYTES` (the blob, aligned, in flash), `ARENA_BYTES` (working memory on
/// this core, kernels' scratch included), `INPUT_BYTES` and `LOGITS`.
#[macro_export]
macro_rules! model {
    ($name:ident) => {
        include!(concat!(env!("OUT_DIR"), "/", stringify!($name), ".rs"));
    };
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use releq_shared::Bitwidth;
    use releq_shared::blob::AlignedCopy;

    use super::*;
    use crate::{CoreClass, testing};

    #[test]
    fn a_model_answers_as_the_engine_does_and_names_what_is_wrong() {
        let copy = AlignedCopy::new(&testing::lenet([Bitwidth::new(1).unwrap(); 4], CoreClass::Portable, 1));
        let blob = Blob::new_checked(&copy).unwrap();
        let mut arena = Arena::<65_536>::new();
        let input = vec![7; blob.header().input.elements() as usize];
        let expected = testing::run(&blob, &input);
        let mut model = Model::new(&copy, &mut arena).unwrap();
        assert_eq!(model.infer(&input).unwrap(), expected);
        let largest = *expected.iter().max().unwrap();
        let first = expected.iter().position(|&logit| logit == largest).unwrap();
        assert_eq!(model.classify(&input).unwrap(), first);
        let short = model.infer(&input[1..]).unwrap_err();
        assert_eq!(short, InputLength { expected: input.len(), found: input.len() - 1 });
        let refused = Model::new(&copy, &mut Arena::<16>::new()).map(|_| ()).unwrap_err();
        assert!(matches!(refused, BlobError::ArenaTooSmall { available: 16, .. }), "{refused}");
    }
}
