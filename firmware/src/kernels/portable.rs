//! The portable kernels: plain loops that take any operation, any layout and any core.
//!
//! They are written for the reader first, and for the vectoriser of the host second: a channel's codes are unpacked once
//! an operation to the signed weights `w = 2u - z`, after which every output is one dot product
//! `acc = sum(w * q) + bias` over runs of adjacent activations.

use releq_shared::Bitwidth;
use releq_shared::blob::{Add, Conv2d, Dense, FusedPool, Op, Pool, PoolKind, Tensor};
use releq_shared::layout::Layout;
use releq_shared::requantize::{round_shift, to_activation};

use super::{Matrix, Sink};
use crate::arena::Places;

/// Codes unpacked at a time, on the stack.
const CHUNK: usize = 64;

/// Bytes of scratch that [`conv2d`] asks for: one channel's signed weights. The other operations need none.
#[must_use]
pub fn scratch_bytes(op: &Op<'_>) -> usize {
    match op {
        Op::Conv2d(op) => (op.columns() as usize).saturating_mul(size_of::<i16>()),
        Op::Dense(_) | Op::Pool(_) | Op::Add(_) => 0,
    }
}

/// A convolution, with its pooling if it has one. Requantisation is monotonic (multipliers are not negative), so the
/// pooling takes the largest accumulator and requantises once.
#[inline(never)]
pub fn conv2d(op: &Conv2d<'_>, matrix: &Matrix<'_>, places: Places<'_>) {
    let Places { input, output, scratch } = places;
    let weights: &mut [i16] = bytemuck::cast_slice_mut(&mut scratch[..matrix.columns * size_of::<i16>()]);
    let mut sink = Sink::new(output, &op.output, op.activation);
    let Tensor { height, width, channels, .. } = op.output;
    let pool = op.pool.unwrap_or(FusedPool { size: [1, 1], stride: [1, 1] });
    // Input channels that feed one output channel, and output channels that one input channel feeds.
    let depthwise = op.groups > 1;
    let fan_out = channels / op.groups;
    for channel in 0..usize::from(channels) {
        unpack_signed(matrix, channel, weights);
        let first_input = if depthwise { channel / usize::from(fan_out) } else { 0 };
        let (bias, scale) = (matrix.bias[channel], matrix.scale(channel));
        for y in 0..usize::from(height) {
            for x in 0..usize::from(width) {
                let mut largest = i32::MIN;
                for pool_y in 0..usize::from(pool.size[0]) {
                    for pool_x in 0..usize::from(pool.size[1]) {
                        let at_y = (y * usize::from(pool.stride[0]) + pool_y) * usize::from(op.stride[0]);
                        let at_x = (x * usize::from(pool.stride[1]) + pool_x) * usize::from(op.stride[1]);
                        let window = Window::at(op, at_y, at_x);
                        let sum = if depthwise {
                            window.sum_of_channel(op, input, weights, first_input)
                        } else {
                            window.sum_of_channels(op, input, weights)
                        };
                        largest = largest.max(sum.wrapping_add(bias));
                    }
                }
                sink.put((y * usize::from(width) + x) * usize::from(channels) + channel, largest, scale);
            }
        }
    }
}

/// One placement of the kernel: its corner in the input, and the range of its rows and columns that do not lie in the
/// padding.
struct Window {
    corner: [isize; 2],
    rows: core::ops::Range<usize>,
    columns: core::ops::Range<usize>,
}

impl Window {
    /// The window whose first row and column are `y` and `x` of the padded input.
    fn at(op: &Conv2d<'_>, y: usize, x: usize) -> Self {
        let along = |at: usize, padding: u8, kernel: u8, len: u16| {
            let first = at as isize - isize::from(padding);
            let end = (isize::try_from(len).unwrap_or(isize::MAX) - first).clamp(0, isize::from(kernel));
            (first, ((-first).max(0) as usize).min(end as usize)..end as usize)
        };
        let (top, rows) = along(y, op.padding[0], op.kernel[0], op.input.height);
        let (left, columns) = along(x, op.padding[1], op.kernel[1], op.input.width);
        Self { corner: [top, left], rows, columns }
    }

    /// The first input element of kernel position (`row`, `column`), which must not lie in the padding.
    fn element(&self, op: &Conv2d<'_>, row: usize, column: usize) -> usize {
        let y = self.corner[0].wrapping_add_unsigned(row) as usize;
        let x = self.corner[1].wrapping_add_unsigned(column) as usize;
        (y * usize::from(op.input.width) + x) * usize::from(op.input.channels)
    }

    /// `sum(w * q)` over all input channels; `weights` are (kernel row, kernel column, channel).
    fn sum_of_channels(&self, op: &Conv2d<'_>, input: &[u8], weights: &[i16]) -> i32 {
        let channels = usize::from(op.input.channels);
        let row_len = usize::from(op.kernel[1]) * channels;
        let mut sum = 0i32;
        for row in self.rows.clone() {
            let weights = &weights[row * row_len..][..row_len];
            let weights = &weights[self.columns.start * channels..self.columns.end * channels];
            let first = self.element(op, row, self.columns.start);
            sum = sum.wrapping_add(dot(weights, &input[first..][..weights.len()]));
        }
        sum.wrapping_add(self.sum_of_padding(op, weights, channels))
    }

    /// `sum(w * q)` over one input channel; `weights` are (kernel row, kernel column).
    fn sum_of_channel(&self, op: &Conv2d<'_>, input: &[u8], weights: &[i16], channel: usize) -> i32 {
        let mut sum = 0i32;
        for row in self.rows.clone() {
            for column in self.columns.clone() {
                let q = i32::from(input[self.element(op, row, column) + channel]);
                sum = sum.wrapping_add(i32::from(weights[row * usize::from(op.kernel[1]) + column]) * q);
            }
        }
        sum.wrapping_add(self.sum_of_padding(op, weights, 1))
    }

    /// `sum(w * zero point)` over the kernel positions in the padding, of `channels` weights each.
    fn sum_of_padding(&self, op: &Conv2d<'_>, weights: &[i16], channels: usize) -> i32 {
        let [rows, columns] = op.kernel.map(usize::from);
        if self.rows.len() == rows && self.columns.len() == columns {
            return 0;
        }
        let mut sum = 0i32;
        for (position, weights) in weights.chunks(channels).enumerate() {
            if !self.rows.contains(&(position / columns)) || !self.columns.contains(&(position % columns)) {
                sum += weights.iter().map(|&w| i32::from(w)).sum::<i32>();
            }
        }
        sum.wrapping_mul(i32::from(op.input.zero_point))
    }
}

/// Products that a board's loop makes in one go.
const UNROLLED: usize = 8;

/// `sum(w * q)`, which a checked blob keeps within 32 bits.
fn dot<W: Copy + Into<i32>>(weights: &[W], activations: &[u8]) -> i32 {
    let add = |sum: i32, (&w, &q): (&W, &u8)| sum.wrapping_add(w.into() * i32::from(q));
    if cfg!(not(target_os = "none")) || weights.len() < UNROLLED {
        // The compiler makes vectors of this, but on boards a loop of one product.
        return weights.iter().zip(activations).fold(0, add);
    }
    let (weights, last_weights) = weights.as_chunks::<UNROLLED>();
    let (activations, last_activations) = activations.as_chunks::<UNROLLED>();
    let sum = weights.iter().zip(activations).fold(0, |sum, (weights, activations)| {
        let mut sum = sum;
        for at in 0..UNROLLED {
            sum = add(sum, (&weights[at], &activations[at]));
        }
        sum
    });
    last_weights.iter().zip(last_activations).fold(sum, add)
}

/// Writes `w = 2u - z` of one channel to `weights`.
fn unpack_signed(matrix: &Matrix<'_>, channel: usize, weights: &mut [i16]) {
    let mut codes = [0; CHUNK];
    for (chunk, weights) in weights.chunks_mut(CHUNK).enumerate() {
        let codes = &mut codes[..weights.len()];
        matrix.layout.unpack_row(matrix.codes, matrix.bits, matrix.columns, channel, chunk * CHUNK, codes);
        for (weight, &code) in weights.iter_mut().zip(&*codes) {
            *weight = 2 * i16::from(code) - matrix.z as i16;
        }
    }
}

/// A dense layer: the codes of each output are unpacked a chunk at a time, since each is used once.
#[inline(never)]
pub fn dense(op: &Dense<'_>, matrix: &Matrix<'_>, places: Places<'_>) {
    let Places { input, output, .. } = places;
    let mut sink = Sink::new(output, &op.output, op.activation);
    let total = sum_of_activations(input);
    for row in 0..usize::from(op.output.channels) {
        dense_row(matrix, row, input, total, &mut sink);
    }
}

/// One output of a dense layer; `total` is [`sum_of_activations`] of the whole input.
pub(super) fn dense_row(matrix: &Matrix<'_>, row: usize, input: &[u8], total: i32, sink: &mut Sink<'_>) {
    let sum = sum_of_codes(matrix, row, 0, input).wrapping_mul(2).wrapping_sub(matrix.z.wrapping_mul(total));
    sink.put(row, sum.wrapping_add(matrix.bias[row]), matrix.scale(row));
}

/// `sum(q)`.
pub(super) fn sum_of_activations(activations: &[u8]) -> i32 {
    activations.iter().fold(0, |sum: i32, &q| sum.wrapping_add(i32::from(q)))
}

/// `sum(u * q)` over the columns of a row from `first` on, as many as there are activations.
pub(super) fn sum_of_codes(matrix: &Matrix<'_>, row: usize, first: usize, activations: &[u8]) -> i32 {
    if let Some(codes) = bytes(matrix, row, first, activations.len()) {
        return dot(codes, activations);
    }
    let mut codes = [0; CHUNK];
    let mut sum = 0i32;
    for (chunk, activations) in activations.chunks(CHUNK).enumerate() {
        let codes = &mut codes[..activations.len()];
        matrix.layout.unpack_row(matrix.codes, matrix.bits, matrix.columns, row, first + chunk * CHUNK, codes);
        sum = sum.wrapping_add(dot(codes, activations));
    }
    sum
}

/// The codes of some columns of a row where they lie as bytes.
fn bytes<'a>(matrix: &Matrix<'a>, row: usize, first: usize, count: usize) -> Option<&'a [u8]> {
    (matrix.layout == Layout::Bitstream && matrix.bits == Bitwidth::MAX)
        .then(|| &matrix.codes[row * matrix.columns + first..][..count])
}

/// A pooling.
#[inline(never)]
pub fn pool(op: &Pool<'_>, places: Places<'_>) {
    let Places { input, output, .. } = places;
    let Tensor { width, channels, .. } = op.output;
    let (in_width, channels) = (usize::from(op.input.width), usize::from(channels));
    let [rows, columns] = op.size.map(usize::from);
    for (index, result) in output.iter_mut().enumerate() {
        let (position, channel) = (index / channels, index % channels);
        let y = position / usize::from(width) * usize::from(op.stride[0]);
        let x = position % usize::from(width) * usize::from(op.stride[1]);
        let window = (0..rows).flat_map(|row| {
            let first = ((y + row) * in_width + x) * channels + channel;
            input[first..].iter().step_by(channels).take(columns).copied()
        });
        *result = match op.kind {
            PoolKind::Max => window.max().unwrap_or(0),
            PoolKind::Average(scale) => {
                let zero = i32::from(op.input.zero_point);
                let sum = window.map(|q| i32::from(q) - zero).sum();
                to_activation(scale.apply(sum), op.output.zero_point, 0, u8::MAX)
            }
        };
    }
}

/// An element-wise sum, over the whole arena since the sum may take the place of a summand.
#[inline(never)]
pub fn add(op: &Add<'_>, arena: &mut [u8]) {
    let [a, b] = op.inputs.map(|tensor| tensor.offset as usize);
    let [zero_a, zero_b] = op.inputs.map(|tensor| i64::from(tensor.zero_point));
    let [multiplier_a, multiplier_b] = op.multipliers.map(i64::from);
    let to = op.output.offset as usize;
    for i in 0..op.output.elements() as usize {
        let share_a = (i64::from(arena[a + i]) - zero_a) * multiplier_a;
        let share_b = (i64::from(arena[b + i]) - zero_b) * multiplier_b;
        let sum = round_shift(share_a + share_b, op.shift);
        arena[to + i] = to_activation(sum, op.output.zero_point, op.activation.min, op.activation.max);
    }
}
