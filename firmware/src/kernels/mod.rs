//! The kernels: one contract, chosen here for the core that this is built for.
//!
//! Each function computes one operation of [`releq_shared::blob`] to the bit. Whatever a fast kernel does not cover
//! falls to [`portable`], which takes every operation and every layout and is the oracle of the fast ones' tests.

use releq_shared::Bitwidth;
use releq_shared::blob::{Activation, Blob, Conv2d, Dense, Op, Tensor, TensorKind, Weights};
use releq_shared::layout::Layout;
use releq_shared::requantize::{MIN_CHANNEL_SHIFT, Requantize, to_activation};

use crate::arena::Places;
use crate::needs::{self, Need, needed};
#[cfg(core_class = "armv7em")]
use dsp_outputs::{outputs, outputs_of_quads};

/// The body of a naked function. Link-time optimisation hands it to an assembler that knows the target but not the core, so it names
/// the core itself where the target does not imply the instructions that kernels use.
#[cfg(any(core_class = "armv7m", core_class = "armv7em", core_class = "armv81m-mve"))]
macro_rules! kernel_asm {
    ($($lines:tt)*) => {
        core::arch::naked_asm!(core_directive!(), $($lines)*)
    };
}

#[cfg(core_class = "armv81m-mve")]
macro_rules! core_directive {
    () => {
        ".cpu cortex-m55"
    };
}

#[cfg(all(core_class = "armv7em", armv8m))]
macro_rules! core_directive {
    () => {
        ".cpu cortex-m33"
    };
}

#[cfg(any(core_class = "armv7m", all(core_class = "armv7em", not(armv8m))))]
macro_rules! core_directive {
    () => {
        ""
    };
}

/// The first lines of a naked function in instructions that the smallest cores have: keeps the registers that belong to its caller, the upper ones
/// by way of the lower.
#[cfg(any(core_class = "armv6m", core_class = "armv7m"))]
macro_rules! enter {
    () => {
        "push {{r4-r7, lr}}\nmov r4, r8\nmov r5, r9\nmov r6, r10\nmov r7, r11\npush {{r4-r7}}"
    };
}

/// The last lines of a function that began with `enter!`.
#[cfg(any(core_class = "armv6m", core_class = "armv7m"))]
macro_rules! leave {
    () => {
        "pop {{r4-r7}}\nmov r8, r4\nmov r9, r5\nmov r10, r6\nmov r11, r7\npop {{r4-r7, pc}}"
    };
}

pub(crate) mod class_name;
mod core_class;
mod depthwise;
#[cfg(core_class = "armv7em")]
mod dsp_outputs;
mod duo;
pub mod lanes;
pub mod portable;
pub mod stacks;
mod sum;

pub use core_class::CoreClass;
pub use portable::pool;
pub use sum::add;

/// Whether a core of that class has kernels of its own for `op`, rather than portable ones.
#[must_use]
pub fn is_fast(op: &Op<'_>, class: CoreClass) -> bool {
    fast_scratch_bytes(op, class).is_some()
}

/// Bytes of scratch of the fast kernel of `op`, if there is one.
fn fast_scratch_bytes(op: &Op<'_>, class: CoreClass) -> Option<usize> {
    lanes::scratch_bytes(op, class)
        .or_else(|| duo::scratch_bytes(op, class))
        .or_else(|| stacks::scratch_bytes(op, class))
        .or_else(|| depthwise::scratch_bytes(op).filter(|_| class != CoreClass::Portable))
}

/// Bytes of scratch that the kernel of `op` asks for on a core of that class.
#[must_use]
pub fn scratch_bytes(op: &Op<'_>, class: CoreClass) -> usize {
    fast_scratch_bytes(op, class).unwrap_or_else(|| portable::scratch_bytes(op))
}

/// Whether this build has the kernels of cores without Helium, and those of cores with it: a board has its own, the host
/// all.
const LANES_HERE: bool = !matches!(CoreClass::HERE, CoreClass::ArmV81mMve);
const STACKS_HERE: bool = matches!(CoreClass::HERE, CoreClass::ArmV81mMve | CoreClass::Portable);

/// A convolution, with its pooling if it has one.
#[inline(never)]
pub fn conv2d(op: &Conv2d<'_>, matrix: &Matrix<'_>, places: Places<'_>) {
    conv2d_on(CoreClass::HERE, op, matrix, places);
}

/// A dense layer.
#[inline(never)]
pub fn dense(op: &Dense<'_>, matrix: &Matrix<'_>, places: Places<'_>) {
    dense_on(CoreClass::HERE, op, matrix, places);
}

/// A convolution by the kernels of some class of core, whose assembly is plain Rust on other cores.
#[inline]
pub fn conv2d_on(class: CoreClass, op: &Conv2d<'_>, matrix: &Matrix<'_>, mut places: Places<'_>) {
    let depthwise = needed(Need::Depthwise) && class != CoreClass::Portable;
    if depthwise && depthwise::conv2d(op, matrix, &mut places) {
        return;
    }
    let mut fast = || {
        (LANES_HERE && lanes::conv2d(class, op, matrix, &mut places))
            || (STACKS_HERE && stacks::conv2d(class, op, matrix, &mut places))
    };
    if (needed(Need::PooledConv2d) || needed(Need::PlainConv2d)) && fast() {
        return;
    }
    if !needed(Need::PortableConv2d) {
        needs::lacking();
    }
    portable::conv2d(op, matrix, places);
}

/// A dense layer by the kernels of some class of core, whose assembly is plain Rust on other cores.
#[inline]
pub fn dense_on(class: CoreClass, op: &Dense<'_>, matrix: &Matrix<'_>, mut places: Places<'_>) {
    let mut fast = || {
        (LANES_HERE && (lanes::dense(class, op, matrix, &mut places) || duo::dense(class, op, matrix, &mut places)))
            || (STACKS_HERE && stacks::dense(class, op, matrix, &mut places))
    };
    if needed(Need::Dense) && fast() {
        return;
    }
    if !needed(Need::PortableDense) {
        needs::lacking();
    }
    portable::dense(op, matrix, places);
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

    /// Adds the biases of rows `first` and on to their accumulators, every `stride`th of those given, requantises them,
    /// and writes them as elements `at + first` and on; accumulators past the last row are left out.
    pub fn put_rows(&mut self, at: usize, first: usize, matrix: &Matrix<'_>, accumulators: &[i32], stride: usize) {
        // Strides are 1 and 4.
        let given = if stride == 1 { accumulators.len() } else { accumulators.len().div_ceil(stride) };
        let rows = given.min(matrix.bias.len() - first);
        let scales = Scales {
            bias: &matrix.bias[first..][..rows],
            multiplier: &matrix.multiplier[first..][..rows],
            shift: &matrix.shift[first..][..rows],
        };
        let at = at + first;
        match self.kind {
            TensorKind::U8 => {
                let bytes = &mut self.bytes[at..at + rows];
                outputs(accumulators, stride, &scales, self.zero_point, self.activation, bytes);
            }
            TensorKind::I32 => {
                let words = self.bytes[at * 4..].as_chunks_mut::<4>().0;
                for ((row, &sum), word) in accumulators.iter().step_by(stride).take(rows).enumerate().zip(words) {
                    *word = scales.apply(row, sum).to_le_bytes();
                }
            }
        }
    }
}

#[cfg(core_class = "armv7em")]
impl Sink<'_> {
    /// Whether [`Self::put_quads`] writes here: to tensors of 8 bits.
    fn takes_quads(&self) -> bool {
        self.kind == TensorKind::U8
    }

    /// Writes the outputs of four pixels, from element `at + first` on and `pixel` elements apart, of rows `first` and on: from the
    /// sums of their stored codes, less corrections of the even and the odd rows, as `2 sum - correction`.
    fn put_quads(
        &mut self,
        [at, pixel]: [usize; 2],
        first: usize,
        matrix: &Matrix<'_>,
        sums: &[[i32; 4]],
        corrections: [[i32; 4]; 2],
    ) {
        let rows = sums.len().min(matrix.bias.len() - first);
        let scales = Scales {
            bias: &matrix.bias[first..][..rows],
            multiplier: &matrix.multiplier[first..][..rows],
            shift: &matrix.shift[first..][..rows],
        };
        let bytes = &mut self.bytes[at + first..];
        outputs_of_quads(&sums[..rows], corrections, &scales, self.zero_point, self.activation, bytes, pixel);
    }
}

/// Biases and scales of some rows, equally many of each.
struct Scales<'a> {
    bias: &'a [i32],
    multiplier: &'a [i32],
    shift: &'a [u8],
}

impl Scales<'_> {
    #[inline]
    fn apply(&self, row: usize, sum: i32) -> i32 {
        scaled(sum.wrapping_add(self.bias[row]), self.multiplier[row], self.shift[row])
    }
}

/// [`Requantize::apply_to_channel`], the way that suits the core.
#[inline]
fn scaled(accumulator: i32, multiplier: i32, shift: u8) -> i32 {
    if cfg!(core_class = "armv6m") {
        return ((high_word(accumulator, multiplier) >> (shift - MIN_CHANNEL_SHIFT)) + 1) >> 1;
    }
    Requantize { multiplier, shift }.apply_to_channel(accumulator)
}

/// The upper word of a product of which `b` is not negative, for cores that have the lower word only.
#[inline]
fn high_word(a: i32, b: i32) -> i32 {
    let (a_high, a_low, b_high, b_low) = (a >> 16, a & 0xFFFF, b >> 16, b & 0xFFFF);
    let low = a_low as u32 * b_low as u32;
    let middle = a_high * b_low + (low >> 16) as i32;
    let other = a_low as u32 * b_high as u32 + (middle & 0xFFFF) as u32;
    a_high * b_high + (middle >> 16) + (other >> 16) as i32
}

/// Requantises every `stride`th accumulator to bytes, as many as there are.
#[cfg(not(core_class = "armv7em"))]
fn outputs(sums: &[i32], stride: usize, scales: &Scales<'_>, zero_point: u8, clamp: Activation, bytes: &mut [u8]) {
    let rows = scales.bias.iter().zip(scales.multiplier).zip(scales.shift);
    let mut at = 0;
    for (((&bias, &multiplier), &shift), byte) in rows.zip(bytes) {
        let value = scaled(sums[at].wrapping_add(bias), multiplier, shift) + i32::from(zero_point);
        *byte = value.max(clamp.min.into()).min(clamp.max.into()) as u8;
        at += stride;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_upper_word_of_a_product_needs_no_long_multiplication(a in any::<i32>(), b in 0..=i32::MAX) {
            prop_assert_eq!(high_word(a, b), ((i64::from(a) * i64::from(b)) >> 32) as i32);
        }
    }

    #[test]
    fn so_does_that_of_the_extremes() {
        for a in [i32::MIN, i32::MIN + 1, -65_537, -65_536, -1, 0, 1, 65_535, 65_536, i32::MAX] {
            for b in [0, 1, 65_535, 65_536, i32::MAX - 1, i32::MAX] {
                assert_eq!(high_word(a, b), ((i64::from(a) * i64::from(b)) >> 32) as i32, "{a} {b}");
            }
        }
    }
}
