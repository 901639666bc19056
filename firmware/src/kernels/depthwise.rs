//! Depthwise convolutions, for every core: two rows of a channel at a time, both in one word.
//!
//! A channel's activations are packed for two rows of its output: the word of a column has the upper output row's activation in
//! its lower half and the lower output row's in its upper half. One multiplication by a signed weight `w = 2u - z` then
//! makes two products, and a sum of such products holds both rows' sums. As all of it is arithmetic modulo `2^32`, only the last
//! sums must fit 16 bits each; taken of `q - 128`, they do wherever the magnitudes of a channel's weights add up to 255 at
//! most, as those of 3 x 3 weights of up to 4 bits and of most of 5 bits do. Other channels go row by row, with 32 bits a sum.
//!
//! The words under some rows of the output lie in scratch (a *band*): column by column, as many words a column as the kernel has rows,
//! padding included. So what a weight meets is one run of words at each place of the kernel, and a sum is one dot product.
#![allow(unsafe_code)]

use releq_shared::blob::{Conv2d, Op, TensorKind};
use releq_shared::codes::codes_from;
use releq_shared::layout::Layout;

use super::{Matrix, scaled};
use crate::arena::Places;

#[cfg(any(core_class = "armv7m", core_class = "armv7em", core_class = "armv81m-mve"))]
mod thumb2;

/// Weights of a channel at most.
const AREA_AT_MOST: usize = 25;
/// Scratch that a convolution may always ask for.
const SCRATCH_AT_LEAST: usize = 1024;
/// What the magnitudes of a channel's weights may add up to for two rows a word.
const MAGNITUDE_AT_MOST: u32 = 255;
/// Half the range of an activation, by which sums are moved to fit 16 bits.
const MIDDLE: i32 = 128;
/// [`MIDDLE`] in both halves of a word.
const MIDDLES: i32 = MIDDLE << 16 | MIDDLE;

/// Bytes of scratch of a depthwise convolution that is run here.
#[must_use]
pub(super) fn scratch_bytes(op: &Op<'_>) -> Option<usize> {
    match op {
        Op::Conv2d(op) if covers(op) => Some(scratch_of(op)),
        _ => None,
    }
}

/// Whether a convolution is depthwise, without a pooling, and small enough.
fn covers(op: &Conv2d<'_>) -> bool {
    let tensors = op.input.bytes().saturating_add(op.output.bytes());
    let budget = usize::try_from(tensors / 4).map_or(usize::MAX, |quarter| quarter.max(SCRATCH_AT_LEAST));
    let kernel = op.kernel.map(usize::from);
    op.groups > 1
        && op.pool.is_none()
        && op.output.kind == TensorKind::U8
        && kernel[0] * kernel[1] <= AREA_AT_MOST
        && scratch_of(op) <= budget
}

fn scratch_of(op: &Conv2d<'_>) -> usize {
    words(op).into_iter().sum::<usize>() * size_of::<i32>()
}

/// Words of a band, and of the sums that are made of it: an even number of sums, and a band for as many.
fn words(op: &Conv2d<'_>) -> [usize; 2] {
    let width = usize::from(op.output.width);
    let columns = usize::from(op.input.width) + usize::from(op.padding[1]) + usize::from(op.padding[3]);
    let more = width % 2 * usize::from(op.stride[1]);
    [(columns + more) * usize::from(op.kernel[0]), width.next_multiple_of(2)]
}

/// Runs a convolution if it is one for this kernel; returns whether it was.
#[inline(never)]
pub(super) fn conv2d(op: &Conv2d<'_>, matrix: &Matrix<'_>, places: &mut Places<'_>) -> bool {
    if !covers(op) {
        return false;
    }
    let [band, sums] = words(op);
    let scratch: &mut [i32] = bytemuck::cast_slice_mut(&mut places.scratch[..(band + sums) * size_of::<i32>()]);
    let (band, sums) = scratch.split_at_mut(band);
    let [height, width, channels] = [op.output.height, op.output.width, op.output.channels].map(usize::from);
    let fan_out = channels / usize::from(op.groups);
    let across = usize::from(op.stride[1]) * usize::from(op.kernel[0]);
    let mut kernel = Kernel::default();
    for channel in 0..channels {
        kernel.load(op, matrix, channel);
        let rows = if kernel.paired { 2 } else { 1 };
        for y in (0..height).step_by(rows) {
            fill(op, places.input, [y, channel / fan_out], kernel.paired, band);
            kernel.dots(band, across, sums);
            let row = &mut places.output[y * width * channels + channel..];
            // The second row of a last one alone goes to the first's place, before the first.
            let second = if y + 1 < height { width * channels } else { 0 };
            kernel.finish.rows(&sums[..width], kernel.paired.then_some(second), channels, row);
        }
    }
    true
}

/// A channel's weights, and what becomes of its sums.
#[derive(Default)]
struct Kernel {
    /// Column by column.
    weights: [i32; AREA_AT_MOST],
    area: usize,
    /// Whether two rows share a word.
    paired: bool,
    /// What a sum starts from.
    start: i32,
    finish: Finish,
}

impl Kernel {
    /// Takes the weights of a channel.
    fn load(&mut self, op: &Conv2d<'_>, matrix: &Matrix<'_>, channel: usize) {
        let [rows, columns] = op.kernel.map(usize::from);
        self.area = rows * columns;
        let mut codes = [0; AREA_AT_MOST];
        let codes = &mut codes[..self.area];
        if matrix.layout == Layout::Bitstream {
            // For so few codes, one behind the other is faster than what unpacks rows.
            let stream = codes_from(matrix.codes, matrix.bits, channel * self.area);
            codes.iter_mut().zip(stream).for_each(|(code, found)| *code = found);
        } else {
            matrix.layout.unpack_row(matrix.codes, matrix.bits, self.area, channel, 0, codes);
        }
        let (mut sum, mut magnitude) = (0, 0);
        let (mut row, mut column) = (0, 0);
        for &code in &*codes {
            let weight = 2 * i32::from(code) - matrix.z;
            self.weights[column * rows + row] = weight;
            sum += weight;
            magnitude += weight.unsigned_abs();
            column += 1;
            if column == columns {
                (row, column) = (row + 1, 0);
            }
        }
        self.paired = magnitude <= MAGNITUDE_AT_MOST;
        let moved = if self.paired { MIDDLE * sum } else { 0 };
        self.start = if self.paired { sum.wrapping_mul(-MIDDLES) } else { 0 };
        self.finish = Finish {
            bias: matrix.bias[channel].wrapping_add(moved),
            multiplier: matrix.multiplier[channel],
            shift: matrix.shift[channel],
            zero_point: op.output.zero_point.into(),
            min: op.activation.min.into(),
            max: op.activation.max.into(),
        };
    }

    /// The sums of products of the weights and the words at each place, `across` words from one to the next.
    fn dots(&self, band: &[i32], across: usize, sums: &mut [i32]) {
        match self.weights.first_chunk() {
            Some(weights) if self.area == 9 => dots_of_nine(band, across, weights, self.start, sums),
            _ => {
                for (words, sum) in band.windows(self.area).step_by(across).zip(sums) {
                    let products = words.iter().zip(&self.weights).map(|(word, &weight)| word.wrapping_mul(weight));
                    *sum = products.fold(self.start, i32::wrapping_add);
                }
            }
        }
    }
}

/// [`Kernel::dots`] of nine weights, an even number of sums.
fn dots_of_nine(band: &[i32], across: usize, weights: &[i32; 9], start: i32, sums: &mut [i32]) {
    let pairs = sums.as_chunks_mut::<2>().0;
    assert!(!pairs.is_empty() && (2 * pairs.len() - 1) * across + 9 <= band.len());
    #[cfg(any(core_class = "armv7m", core_class = "armv7em", core_class = "armv81m-mve"))]
    {
        let range = pairs.as_mut_ptr_range();
        let [sums, end] = [range.start, range.end].map(<*mut [i32; 2]>::cast);
        let run = if across == 3 { thumb2::dots_of_neighbours } else { thumb2::dots };
        run(&thumb2::Arguments { band: band.as_ptr(), sums, weights: *weights, start, end, across: across * 4 });
    }
    #[cfg(not(any(core_class = "armv7m", core_class = "armv7em", core_class = "armv81m-mve")))]
    {
        let mut at = band.as_ptr();
        for sum in pairs.as_flattened_mut() {
            // SAFETY: by the assertion the band has nine words from each multiple of `across` on, one for each sum.
            let words = unsafe { &*at.cast::<[i32; 9]>() };
            let products = words.iter().zip(weights).map(|(word, &weight)| word.wrapping_mul(weight));
            *sum = products.fold(start, i32::wrapping_add);
            at = at.wrapping_add(across);
        }
    }
}

/// From a channel's sums to its outputs.
#[derive(Clone, Copy, Default)]
struct Finish {
    bias: i32,
    multiplier: i32,
    shift: u8,
    zero_point: i32,
    min: i32,
    max: i32,
}

impl Finish {
    #[inline(always)]
    fn of(self, sum: i32) -> i32 {
        scaled(sum.wrapping_add(self.bias), self.multiplier, self.shift) + self.zero_point
    }

    /// Writes the outputs to every `step`th byte of `row`. Where sums are of two rows, the second row is
    /// `second` bytes further on.
    fn rows(&self, sums: &[i32], second: Option<usize>, step: usize, row: &mut [u8]) {
        if (self.min, self.max) == (0, 255) {
            self.rows_by(sums, second, step, row, |value| value.clamp(0, 255) as u8);
        } else {
            let (min, max) = (self.min, self.max);
            self.rows_by(sums, second, step, row, |value| value.max(min).min(max) as u8);
        }
    }

    #[inline(never)]
    fn rows_by(self, sums: &[i32], second: Option<usize>, step: usize, row: &mut [u8], clamp: impl Fn(i32) -> u8) {
        assert!(!sums.is_empty() && (sums.len() - 1) * step + second.unwrap_or(0) < row.len());
        let mut at = row.as_mut_ptr();
        if let Some(second) = second {
            for &sum in sums {
                let first = i32::from(sum as i16);
                let [first, other] = [self.of(first), self.of(sum.wrapping_sub(first) >> 16)];
                // SAFETY: by the assertion the row has a byte for every sum, and one `second` bytes behind each.
                unsafe {
                    *at.wrapping_add(second) = clamp(other);
                    *at = clamp(first);
                }
                at = at.wrapping_add(step);
            }
        } else {
            for &sum in sums {
                // SAFETY: as above.
                unsafe { *at = clamp(self.of(sum)) };
                at = at.wrapping_add(step);
            }
        }
    }
}

/// A row of a channel: where its activations start, and the way from one to the next.
#[derive(Clone, Copy)]
struct Row<'a> {
    bytes: &'a [u8],
    step: usize,
}

/// Fills the band under row `y` of the output, and under the next if two rows share a word, with an input channel.
#[inline(never)]
fn fill(op: &Conv2d<'_>, input: &[u8], [y, channel]: [usize; 2], paired: bool, band: &mut [i32]) {
    let [width, channels, left] = [op.input.width, op.input.channels, op.padding[1].into()].map(usize::from);
    let [rows, down] = [op.kernel[0], op.stride[0]].map(usize::from);
    let zero_point = [op.input.zero_point];
    let padding = Row { bytes: &zero_point, step: 0 };
    let top = (y * down) as isize - isize::from(op.padding[0]);
    // Of the input, or padding above and below it.
    let row = |row: usize| match usize::try_from(top.wrapping_add_unsigned(row)) {
        Ok(y) if y < usize::from(op.input.height) => {
            Row { bytes: &input[y * width * channels + channel..], step: channels }
        }
        _ => padding,
    };
    let pad = if paired { i32::from(zero_point[0]) * 0x1_0001 } else { i32::from(zero_point[0]) };
    let (before, band) = band.split_at_mut(left * rows);
    let (band, behind) = band.split_at_mut(width * rows);
    before.fill(pad);
    behind.fill(pad);
    match band.as_chunks_mut::<3>() {
        (band, []) if paired && (rows, down) == (3, 1) => fill_three([0, 1, 2, 3].map(row), band),
        _ => {
            for kernel_row in 0..rows {
                let second = if paired { row(kernel_row + down) } else { Row { bytes: &[0], step: 0 } };
                fill_one([row(kernel_row), second], rows, &mut band[kernel_row..]);
            }
        }
    }
}

/// Fills every `step`th word with the activations of two rows.
#[inline(never)]
fn fill_one(rows: [Row<'_>; 2], step: usize, band: &mut [i32]) {
    let words = band.iter_mut().step_by(step);
    assert!(rows.iter().all(|row| (words.len() - 1) * row.step < row.bytes.len()));
    let mut at = rows.map(|row| row.bytes.as_ptr());
    for word in words {
        // SAFETY: by the assertion each row has an activation for each word.
        let [first, second] = at.map(|at| i32::from(unsafe { *at }));
        *word = second << 16 | first;
        at = [0, 1].map(|n| at[n].wrapping_add(rows[n].step));
    }
}

/// Fills columns of three words with the activations of four rows, each two adjacent of which share a word.
#[inline(never)]
fn fill_three(rows: [Row<'_>; 4], band: &mut [[i32; 3]]) {
    assert!(!band.is_empty() && rows.iter().all(|row| (band.len() - 1) * row.step < row.bytes.len()));
    let mut at = rows.map(|row| row.bytes.as_ptr());
    for words in band {
        // SAFETY: by the assertion each row has an activation for each column.
        let [a, b, c, d] = at.map(|at| i32::from(unsafe { *at }));
        *words = [b << 16 | a, c << 16 | b, d << 16 | c];
        at = [0, 1, 2, 3].map(|n| at[n].wrapping_add(rows[n].step));
    }
}
