//! The kernels: one contract, chosen here for the core that this is built for.
//!
//! Each function computes one operation of [`releq_shared::blob`] to the bit. Whatever a fast kernel does not cover
//! falls to [`portable`], which takes every operation and every layout and is the oracle of the fast ones' tests.

use releq_shared::Bitwidth;
use releq_shared::blob::{Activation, Blob, Conv2d, Dense, Op, Tensor, TensorKind, Weights};
use releq_shared::layout::Layout;
use releq_shared::requantize::{Requantize, to_activation};

use crate::arena::Places;

mod core_class;
pub mod lanes;
pub mod portable;

pub use core_class::CoreClass;
pub use portable::{add, pool};

/// Bytes of scratch that the kernel of `op` asks for on a core of that class.
#[must_use]
pub fn scratch_bytes(op: &Op<'_>, class: CoreClass) -> usize {
    let fast = match class {
        CoreClass::ArmV7em => lanes::scratch_bytes(op),
        CoreClass::Portable | CoreClass::ArmV6m | CoreClass::ArmV7m => None,
    };
    fast.unwrap_or_else(|| portable::scratch_bytes(op))
}

/// A convolution, with its pooling if it has one.
pub fn conv2d(op: &Conv2d<'_>, matrix: &Matrix<'_>, places: Places<'_>) {
    conv2d_on(CoreClass::HERE, op, matrix, places);
}

/// A dense layer.
pub fn dense(op: &Dense<'_>, matrix: &Matrix<'_>, places: Places<'_>) {
    dense_on(CoreClass::HERE, op, matrix, places);
}

/// A convolution by the kernels of some class of core, whose assembly is plain Rust on other cores.
#[inline]
pub fn conv2d_on(class: CoreClass, op: &Conv2d<'_>, matrix: &Matrix<'_>, mut places: Places<'_>) {
    let done = match class {
        CoreClass::ArmV7em => lanes::conv2d(op, matrix, &mut places),
        CoreClass::Portable | CoreClass::ArmV6m | CoreClass::ArmV7m => false,
    };
    if !done {
        portable::conv2d(op, matrix, places);
    }
}

/// A dense layer by the kernels of some class of core, whose assembly is plain Rust on other cores.
#[inline]
pub fn dense_on(class: CoreClass, op: &Dense<'_>, matrix: &Matrix<'_>, mut places: Places<'_>) {
    let done = match class {
        CoreClass::ArmV7em => lanes::dense(op, matrix, &mut places),
        CoreClass::Portable | CoreClass::ArmV6m | CoreClass::ArmV7m => false,
    };
    if !done {
        portable::dense(op, matrix, places);
    }
}

/// A layer's weights, read in place: a matrix of output channels by weights a channel, and what each channel adds and
/// multiplies by.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// Bits of one code.
    pub bits: Bitwidth,
    /// Twice the code that stands for zero.
    pub z: i32,
    /// How the codes are packed.
    pub layout: Layout,
    /// Weights of one channel.
    pub columns: usize,
    /// The packed codes.
    pub codes: &'a [u8],
    /// One bias a channel.
    pub bias: &'a [i32],
    /// One multiplier a channel.
    pub multiplier: &'a [i32],
    /// One shift a channel.
    pub shift: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// The weights of an operation of `blob` with `columns` weights a channel.
    #[must_use]
    pub fn new(blob: &Blob<'a>, weights: &Weights, columns: usize) -> Self {
        let (bias, multiplier, shift) = blob.channels(&weights.channels);
        let codes = blob.section(weights.codes);
        let Weights { bits, z, layout, .. } = *weights;
        Self { bits, z: i32::from(z), layout, columns, codes, bias, multiplier, shift }
    }

    /// The factor that takes `channel`'s accumulator to its output.
    #[must_use]
    pub fn scale(&self, channel: usize) -> Requantize {
        Requantize { multiplier: self.multiplier[channel], shift: self.shift[channel] }
    }
}

/// Where accumulators go: requantised, to a tensor of 8 or 32 bits.
#[derive(Debug)]
pub struct Sink<'a> {
    bytes: &'a mut [u8],
    kind: TensorKind,
    zero_point: u8,
    activation: Activation,
}

impl<'a> Sink<'a> {
    /// The place `bytes` of the tensor `output`.
    #[must_use]
    pub fn new(bytes: &'a mut [u8], output: &Tensor, activation: Activation) -> Self {
        Self { bytes, kind: output.kind, zero_point: output.zero_point, activation }
    }

    /// Requantises an accumulator (bias included) and writes it as element `index`.
    #[inline]
    pub fn put(&mut self, index: usize, accumulator: i32, scale: Requantize) {
        let value = scale.apply_to_channel(accumulator);
        match self.kind {
            TensorKind::U8 => {
                self.bytes[index] = to_activation(value, self.zero_point, self.activation.min, self.activation.max);
            }
            TensorKind::I32 => self.bytes[index * 4..][..4].copy_from_slice(&value.to_le_bytes()),
        }
    }

    /// Adds the biases of rows `first` and on to their accumulators, requantises them, and writes them as elements
    /// `at + first` and on; accumulators past the last row are left out.
    #[inline]
    pub fn put_rows<'b>(
        &mut self,
        at: usize,
        first: usize,
        matrix: &Matrix<'_>,
        accumulators: impl ExactSizeIterator<Item = &'b i32>,
    ) {
        let (bias, multiplier, shift) = (&matrix.bias[first..], &matrix.multiplier[first..], &matrix.shift[first..]);
        let scales = multiplier.iter().zip(shift).map(|(&multiplier, &shift)| Requantize { multiplier, shift });
        let rows = accumulators.zip(bias).zip(scales);
        let at = at + first;
        match self.kind {
            TensorKind::U8 => {
                let zero_point = i32::from(self.zero_point);
                let Activation { min, max } = self.activation;
                // The bounds are a matter of one saturation on some cores.
                if self.activation == Activation::FULL {
                    for (((sum, bias), scale), byte) in rows.zip(&mut self.bytes[at..]) {
                        *byte = (scale.apply_to_channel(sum.wrapping_add(*bias)) + zero_point).clamp(0, 255) as u8;
                    }
                } else {
                    for (((sum, bias), scale), byte) in rows.zip(&mut self.bytes[at..]) {
                        let value = scale.apply_to_channel(sum.wrapping_add(*bias)) + zero_point;
                        *byte = value.max(min.into()).min(max.into()) as u8;
                    }
                }
            }
            TensorKind::I32 => {
                for (((sum, bias), scale), word) in rows.zip(self.bytes[at * 4..].as_chunks_mut::<4>().0) {
                    *word = scale.apply_to_channel(sum.wrapping_add(*bias)).to_le_bytes();
                }
            }
        }
    }
}
