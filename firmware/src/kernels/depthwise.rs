//! Depthwise convolutions, for every core: two rows of a channel at a time, both in one word.
//!
//! A channel's activations are packed for two rows of its output: the word of a column has the upper output row's activation in
//! its lower half and the lower output row's in its upper half. One multiplication by a signed weight `w = 2u - z` then
//! makes two products, and a sum of such products holds both rows' sums. As all of it is arithmetic modulo `2^32`, only the last
//! sums must fit 16 bits each; taken of `q - 128`, they do wherever the magnitudes of a channel's weights add up to 255 at
//! most, as those of 3 x 3 weights of up to 4 bits and of most of 5 bits do. Other channels go row by row, with 32 bits a sum.
//!
//! Rows of packed words (*lines*) lie in scratch, padding included, as many as the kernel has rows; where the kernel moves down by
//! one row at a time, the next two rows of the output find all but two of them there.
#![allow(unsafe_code)]

use releq_shared::blob::{Conv2d, Op, TensorKind};

use super::{Matrix, scaled};
use crate::arena::Places;

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
pub fn scratch_bytes(op: &Op<'_>) -> Option<usize> {
    match op {
        Op::Conv2d(op) if covers(op) => Some(words(op) * size_of::<i32>()),
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
        && words(op) * size_of::<i32>() <= budget
}

/// Words of a line.
fn line_len(op: &Conv2d<'_>) -> usize {
    usize::from(op.input.width) + usize::from(op.padding[1]) + usize::from(op.padding[3])
}

/// Words of scratch: the lines.
fn words(op: &Conv2d<'_>) -> usize {
    line_len(op) * usize::from(op.kernel[0])
}

/// Runs a convolution if it is one for this kernel; returns whether it was.
#[inline(never)]
pub fn conv2d(op: &Conv2d<'_>, matrix: &Matrix<'_>, places: &mut Places<'_>) -> bool {
    if !covers(op) {
        return false;
    }
    let lines = bytemuck::cast_slice_mut(&mut places.scratch[..words(op) * size_of::<i32>()]);
    let channels = usize::from(op.output.channels);
    let fan_out = channels / usize::from(op.groups);
    let mut layer = Layer {
        op,
        input: places.input,
        lines: Lines { words: lines, len: line_len(op), count: usize::from(op.kernel[0]), first: 0 },
    };
    for channel in 0..channels {
        let kernel = Kernel::new(op, matrix, channel);
        layer.run(&kernel, channel / fan_out, &mut places.output[channel..]);
    }
    true
}

/// A channel's weights, and what becomes of its sums.
struct Kernel {
    weights: [i32; AREA_AT_MOST],
    /// Whether two rows fit a word.
    paired: bool,
    /// What a packed sum starts from.
    start: i32,
    finish: Finish,
}

/// From a channel's sum to its output.
#[derive(Clone, Copy)]
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
    fn of(self, sum: i32) -> u8 {
        let value = scaled(sum.wrapping_add(self.bias), self.multiplier, self.shift) + self.zero_point;
        value.max(self.min).min(self.max) as u8
    }
}

impl Kernel {
    fn new(op: &Conv2d<'_>, matrix: &Matrix<'_>, channel: usize) -> Self {
        let mut codes = [0; AREA_AT_MOST];
        let codes = &mut codes[..matrix.columns];
        matrix.layout.unpack_row(matrix.codes, matrix.bits, matrix.columns, channel, 0, codes);
        let mut weights = [0; AREA_AT_MOST];
        let (mut sum, mut magnitude) = (0, 0);
        for (weight, &code) in weights.iter_mut().zip(&*codes) {
            *weight = 2 * i32::from(code) - matrix.z;
            sum += *weight;
            magnitude += weight.unsigned_abs();
        }
        let paired = magnitude <= MAGNITUDE_AT_MOST;
        let moved = if paired { MIDDLE * sum } else { 0 };
        let finish = Finish {
            bias: matrix.bias[channel].wrapping_add(moved),
            multiplier: matrix.multiplier[channel],
            shift: matrix.shift[channel],
            zero_point: op.output.zero_point.into(),
            min: op.activation.min.into(),
            max: op.activation.max.into(),
        };
        Self { weights, paired, start: sum.wrapping_mul(-MIDDLES), finish }
    }
}

/// The lines, the first of which may be any of them.
struct Lines<'a> {
    words: &'a mut [i32],
    /// Words of a line.
    len: usize,
    count: usize,
    first: usize,
}

impl Lines<'_> {
    /// Where the line of a row of the kernel starts.
    fn start(&self, row: usize) -> usize {
        let line = self.first + row;
        (if line >= self.count { line - self.count } else { line }) * self.len
    }

    fn line(&self, row: usize) -> &[i32] {
        &self.words[self.start(row)..][..self.len]
    }

    /// Drops the lines of the first `rows` rows; returns how many stay, those of the rows behind.
    fn drop_first(&mut self, rows: usize) -> usize {
        let kept = self.count.saturating_sub(rows);
        if kept > 0 {
            self.first = self.start(rows) / self.len;
        }
        kept
    }
}

struct Layer<'a> {
    op: &'a Conv2d<'a>,
    input: &'a [u8],
    lines: Lines<'a>,
}

impl Layer<'_> {
    /// Computes one channel from an input channel, to every so many bytes of `output`.
    fn run(&mut self, kernel: &Kernel, channel: usize, output: &mut [u8]) {
        let [height, width, channels] =
            [self.op.output.height, self.op.output.width, self.op.output.channels].map(usize::from);
        let down = usize::from(self.op.stride[0]);
        let finish = kernel.finish;
        let rows = if kernel.paired { 2 } else { 1 };
        let mut kept = 0;
        for y in (0..height).step_by(rows) {
            let top = (y * down) as isize - isize::from(self.op.padding[0]);
            for row in kept..self.lines.count {
                self.fill(row, top.wrapping_add_unsigned(row), channel, kernel.paired);
            }
            let output = &mut output[y * width * channels..];
            if kernel.paired {
                // The second row of a last one alone goes to the first's place, before the first.
                let second = if y + 1 < height { width * channels } else { 0 };
                self.sums(kernel, |at, sum| {
                    let first = i32::from(sum as i16);
                    output[second + at] = finish.of(sum.wrapping_sub(first) >> 16);
                    output[at] = finish.of(first);
                });
            } else {
                self.sums(kernel, |at, sum| output[at] = finish.of(sum));
            }
            kept = self.lines.drop_first(rows * down);
        }
    }

    /// Writes the line of a row of the kernel, which lies over row `y` of the input and, if two rows share a word, over another
    /// one further down.
    fn fill(&mut self, row: usize, y: isize, channel: usize, paired: bool) {
        let op = self.op;
        let [width, channels, left] = [op.input.width, op.input.channels, op.padding[1].into()].map(usize::from);
        let padding = [op.input.zero_point];
        // Each row with the way from one of its activations to the next.
        let at = |y: isize| match usize::try_from(y) {
            Ok(y) if y < usize::from(op.input.height) => (&self.input[y * width * channels + channel..], channels),
            _ => (&padding[..], 0),
        };
        let upper = at(y);
        let (lower, pad) = if paired {
            (at(y + isize::from(op.stride[0])), i32::from(padding[0]) << 16 | i32::from(padding[0]))
        } else {
            ((&[0][..], 0), i32::from(padding[0]))
        };
        let start = self.lines.start(row);
        let line = &mut self.lines.words[start..][..self.lines.len];
        let (before, line) = line.split_at_mut(left);
        let (line, behind) = line.split_at_mut(width);
        before.fill(pad);
        behind.fill(pad);
        assert!((width - 1) * upper.1 < upper.0.len() && (width - 1) * lower.1 < lower.0.len());
        let (mut at_upper, mut at_lower) = (0, 0);
        for word in line {
            // SAFETY: by the assertion each row has an activation for each of the line's `width` words.
            let [high, low] = unsafe { [*lower.0.get_unchecked(at_lower), *upper.0.get_unchecked(at_upper)] };
            *word = i32::from(high) << 16 | i32::from(low);
            at_upper += upper.1;
            at_lower += lower.1;
        }
    }

    /// The sums of a row, or of two, which `put` is given with the place of each among the bytes of its output row.
    #[inline(always)]
    fn sums(&self, kernel: &Kernel, mut put: impl FnMut(usize, i32)) {
        let [rows, columns] = self.op.kernel.map(usize::from);
        let [width, channels] = [self.op.output.width, self.op.output.channels].map(usize::from);
        let right = usize::from(self.op.stride[1]);
        let start = if kernel.paired { kernel.start } else { 0 };
        if (rows, columns) == (3, 3) {
            let lines = [0, 1, 2].map(|row| self.lines.line(row));
            assert!(lines.iter().all(|line| (width - 1) * right + 3 <= line.len()));
            for x in 0..width {
                let mut sum = start;
                for (line, weights) in lines.iter().zip(kernel.weights.as_chunks::<3>().0) {
                    for (column, &weight) in weights.iter().enumerate() {
                        // SAFETY: by the assertion each line has three words for each of the `width` sums.
                        let word = unsafe { *line.get_unchecked(x * right + column) };
                        sum = sum.wrapping_add(word.wrapping_mul(weight));
                    }
                }
                put(x * channels, sum);
            }
            return;
        }
        for x in 0..width {
            let mut sum = start;
            for (row, weights) in kernel.weights.chunks_exact(columns).take(rows).enumerate() {
                let words = &self.lines.line(row)[x * right..][..columns];
                let products = words.iter().zip(weights).map(|(word, &weight)| word.wrapping_mul(weight));
                sum = products.fold(sum, i32::wrapping_add);
            }
            put(x * channels, sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_stay_are_those_of_the_rows_behind() {
        let mut words = [0; 15];
        let mut lines = Lines { words: &mut words, len: 3, count: 5, first: 0 };
        assert_eq!([lines.start(0), lines.start(4)], [0, 12]);
        assert_eq!(lines.drop_first(2), 3);
        assert_eq!([lines.start(0), lines.start(2), lines.start(3)], [6, 12, 0]);
        assert_eq!(lines.drop_first(4), 1);
        assert_eq!([lines.start(0), lines.start(4)], [3, 0]);
        assert_eq!(lines.drop_first(6), 0);
    }
}
