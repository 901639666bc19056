//! The kernels: one contract, chosen here for the core that this is built for.
//!
//! Each function computes one operation of [`releq_shared::blob`] to the bit. Whatever a fast kernel does not cover
//! falls to [`portable`], which takes every operation and every layout and is the oracle of the fast ones' tests.

use releq_shared::Bitwidth;
use releq_shared::blob::{Activation, Blob, Conv2d, Dense, Op, Tensor, TensorKind, Weights};
use releq_shared::layout::Layout;
use releq_shared::requantize::{Requantize, to_activation};

use crate::arena::Places;

pub mod portable;

pub use portable::{add, conv2d, dense, pool};

/// Bytes of scratch that the kernel of `op` asks for on this core.
#[must_use]
pub fn scratch_bytes(op: &Op<'_>) -> usize {
    portable::scratch_bytes(op)
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

    /// Requantises an accumulator and writes it as element `index`.
    #[inline]
    pub fn put(&mut self, index: usize, accumulator: i32, scale: Requantize) {
        let value = scale.apply(accumulator);
        match self.kind {
            TensorKind::U8 => {
                self.bytes[index] = to_activation(value, self.zero_point, self.activation.min, self.activation.max);
            }
            TensorKind::I32 => self.bytes[index * 4..][..4].copy_from_slice(&value.to_le_bytes()),
        }
    }
}

/// The contracts, so that every implementation is held to the same signature.
const _: fn(&Conv2d<'_>, &Matrix<'_>, Places<'_>) = conv2d;
const _: fn(&Dense<'_>, &Matrix<'_>, Places<'_>) = dense;
