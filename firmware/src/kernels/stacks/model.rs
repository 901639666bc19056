//! The inner loops in plain Rust: what the assembly computes, for the host's tests of everything around it.

use releq_shared::requantize::{Requantize, to_activation};

use super::{Codes, Field, Line, Lines, Outputs, PAIR, QUAD, Quad};

/// Takes codes of one plane to bytes.
pub(super) fn expand(field: &Field<'_>, bytes: &mut [u8]) {
    for (column, byte) in bytes.iter_mut().enumerate() {
        *byte = field.code(column);
    }
}

/// Takes the codes of two rows, of two planes each, to the same bytes.
pub(super) fn expand_together(rows: &[[Field<'_>; 2]; PAIR], bytes: &mut [u8]) {
    for (column, byte) in bytes.iter_mut().enumerate() {
        *byte = rows.as_flattened().iter().fold(0, |codes, field| codes | field.code(column));
    }
}

/// Takes them to bytes of their own.
pub(super) fn expand_apart(rows: &[[Field<'_>; 2]; PAIR], bytes: [&mut [u8]; PAIR]) {
    for ([lower, upper], bytes) in rows.iter().zip(bytes) {
        for (column, byte) in bytes.iter_mut().enumerate() {
            *byte = lower.code(column) | upper.code(column);
        }
    }
}

impl Field<'_> {
    fn code(&self, column: usize) -> u8 {
        self.bytes[column] >> self.shift << self.weight & self.mask
    }
}

/// Copies the pixels' patches, one behind the other.
pub(super) fn copy_patches(line: &Line<'_>, patches: &mut [u8]) {
    for (pixel, patch) in patches.chunks_exact_mut(line.columns()).take(line.pixels).enumerate() {
        for (run, to) in patch.chunks_exact_mut(line.run_len).enumerate() {
            to.copy_from_slice(&line.activations[pixel * line.step + run * line.run_step..][..line.run_len]);
        }
    }
}

/// `factor * sum(q)` of each pixel.
pub(super) fn sum_totals(line: &Line<'_>, factor: i32, totals: &mut [i32]) {
    for (pixel, total) in totals.iter_mut().enumerate() {
        *total = activations(line, pixel).map(i32::from).sum::<i32>().wrapping_mul(factor);
    }
}

/// The pixels of some lines whose sums are wanted.
pub(super) struct Products<'a>(Lines<'a>);

impl<'a> Products<'a> {
    pub(super) fn new(lines: &Lines<'a>) -> Self {
        Self(*lines)
    }

    /// `sum(u * q)` of each pixel by the codes of two rows, as [`Codes::scaled`]: all of the first row, then all of the second.
    pub(super) fn sum(&self, codes: Codes<'_>, sums: &mut [i32]) {
        let Self(lines) = self;
        let pixels = lines.first.pixels;
        assert!(codes.columns() >= lines.first.columns() && sums.len() == PAIR * lines.count * pixels);
        let code = |row: usize, column: usize| match codes {
            Codes::Apart(rows) => rows[row][column],
            Codes::Together { bytes, split } if row == 0 => bytes[column] & ((1 << split) - 1),
            Codes::Together { bytes, split } => bytes[column] >> split << split,
        };
        for (n, sums) in sums.chunks_exact_mut(pixels).enumerate() {
            let (row, line) = (n / lines.count, lines.line(n % lines.count));
            for (pixel, sum) in sums.iter_mut().enumerate() {
                let products = activations(&line, pixel).zip(0..).map(|(q, n)| i32::from(q) * i32::from(code(row, n)));
                *sum = products.sum();
            }
        }
    }
}

/// Adds sums to as many others.
pub(super) fn add(sums: &mut [i32], more: &[i32]) {
    assert_eq!(sums.len(), more.len());
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum += more;
    }
}

fn activations<'a>(line: &Line<'a>, pixel: usize) -> impl Iterator<Item = u8> + use<'a> {
    assert!(line.activations.len() >= line.reach());
    let Line { activations, step, runs, run_len, run_step, .. } = *line;
    (0..runs).flat_map(move |run| activations[pixel * step + run * run_step..][..run_len].iter().copied())
}

/// Makes outputs of sums.
pub(super) fn finish(outputs: Outputs<'_>) {
    assert!(outputs.fit());
    let Outputs { sums, scaled, totals, line_len, window, window_step, multiplier, shift, zero_point, clamp, .. } =
        outputs;
    for output in 0..outputs.count {
        let places = (0..window[0]).flat_map(|line| (0..window[1]).map(move |column| line * line_len + column));
        let accumulators = places.map(|place| {
            let pixel = output * window_step + place;
            (sums[pixel] as u32 >> scaled << 1).wrapping_add_signed(totals[pixel]) as i32
        });
        let largest = accumulators.max().unwrap_or(0).wrapping_add(outputs.bias);
        let value = Requantize { multiplier, shift }.apply_to_channel(largest);
        outputs.bytes[output * outputs.step] = to_activation(value, zero_point, clamp.min, clamp.max);
    }
}

/// `sum((byte & mask) * q)` of four fields.
pub(super) fn sum_quad(quad: &Quad<'_>) -> [u32; QUAD] {
    core::array::from_fn(|row| {
        let products = quad.stacks[row].iter().zip(quad.activations);
        products.map(|(&byte, &q)| u32::from(byte & quad.masks[row]) * u32::from(q)).sum()
    })
}
