//! Convolutions: a row of outputs at a time, or a block of one, two output channels at a time.

use releq_shared::blob::{Conv2d, Op};
use releq_shared::layout::Stacks;

use super::plan::{self, Plan};
use super::{Field, Line, Outputs, PAIR, copy_patches, expand, finish, sum_products, sum_totals};
use crate::arena::Places;
use crate::kernels::{CoreClass, Matrix};

/// Runs a convolution if it is one for these kernels; returns whether it was.
pub fn conv2d(class: CoreClass, op: &Conv2d<'_>, matrix: &Matrix<'_>, places: &mut Places<'_>) -> bool {
    let Some(stacks) = Stacks::new(matrix.bits) else { return false };
    if plan::scratch_bytes(&Op::Conv2d(*op), class).is_none() {
        return false;
    }
    let plan = Plan::new(op);
    let mut scratch = &mut *places.scratch;
    let [sums, totals, codes, padded, patches] = plan.parts().map(|len| {
        let (part, rest) = core::mem::take(&mut scratch).split_at_mut(len);
        scratch = rest;
        part
    });
    let (sums, totals) = (bytemuck::cast_slice_mut(sums), bytemuck::cast_slice_mut(totals));
    let mut layer = Layer { op, matrix, stacks, plan, sums, totals, codes, patches, output: places.output };
    padded.fill(op.input.zero_point);
    let down = usize::from(plan.pool.stride[0]) * usize::from(op.stride[0]);
    for y in 0..usize::from(op.output.height) {
        let rows = if plan.padded_rows > 0 {
            pad(op, &plan, places.input, y * down, padded);
            &*padded
        } else {
            &places.input[y * down * plan.row_len..]
        };
        let width = usize::from(op.output.width);
        for x in (0..width).step_by(plan.block) {
            layer.run(rows, [y, x], plan.block.min(width - x));
        }
    }
    true
}

/// Copies the rows from row `top` of the padded input on, as many as are wanted at once, between their padding.
fn pad(op: &Conv2d<'_>, plan: &Plan, input: &[u8], top: usize, padded: &mut [u8]) {
    let channels = usize::from(op.input.channels);
    let (left, len) = (usize::from(op.padding[1]) * channels, usize::from(op.input.width) * channels);
    for (row, padded) in padded.chunks_exact_mut(plan.row_len).enumerate() {
        let inner = &mut padded[left..left + len];
        match (top + row).checked_sub(usize::from(op.padding[0])) {
            Some(row) if row < usize::from(op.input.height) => inner.copy_from_slice(&input[row * len..][..len]),
            _ => inner.fill(op.input.zero_point),
        }
    }
}

struct Layer<'a> {
    op: &'a Conv2d<'a>,
    matrix: &'a Matrix<'a>,
    stacks: Stacks,
    plan: Plan,
    sums: &'a mut [i32],
    totals: &'a mut [i32],
    codes: &'a mut [u8],
    patches: &'a mut [u8],
    output: &'a mut [u8],
}

impl Layer<'_> {
    /// Computes `count` outputs from (`y`, `x`) on, of all channels. `rows` are the input from the first row that they
    /// need on, padding included.
    fn run(&mut self, rows: &[u8], [y, x]: [usize; 2], count: usize) {
        let Self { op, matrix, stacks, plan, .. } = *self;
        let columns = plan.columns;
        let pixels = plan.line_len(count);
        let lines = usize::from(plan.pool.size[0]);
        let step = usize::from(op.stride[1]) * usize::from(op.input.channels);
        let first = x * usize::from(plan.pool.stride[1]) * step;
        let of_rows = |line: usize| Line {
            activations: &rows[first + line * usize::from(op.stride[0]) * plan.row_len..],
            pixels,
            step,
            runs: op.kernel[0].into(),
            run_len: usize::from(op.kernel[1]) * usize::from(op.input.channels),
            run_step: plan.row_len,
        };
        if plan.patches {
            for (line, patches) in self.patches.chunks_exact_mut(pixels * columns).take(lines).enumerate() {
                copy_patches(&of_rows(line), patches);
            }
        }
        let patches = &*self.patches;
        let line_at = |line: usize| {
            if !plan.patches {
                return of_rows(line);
            }
            let activations = &patches[line * pixels * columns..];
            Line { activations, pixels, step: columns, runs: 1, run_len: columns, run_step: 0 }
        };
        let used = lines * pixels;
        for (line, totals) in self.totals[..used].chunks_exact_mut(pixels).enumerate() {
            sum_totals(&line_at(line), matrix.z.wrapping_neg(), totals);
        }
        let channels = usize::from(op.output.channels);
        for channel in (0..channels).step_by(PAIR) {
            let pair = [channel, (channel + 1).min(channels - 1)];
            let weights = codes_of(matrix, stacks, columns, pair, self.codes);
            let (sums, others) = self.sums.split_at_mut(used);
            let each_line = sums.chunks_exact_mut(pixels).zip(others[..used].chunks_exact_mut(pixels));
            for (line, (sums, others)) in each_line.enumerate() {
                sum_products(&line_at(line), weights, [sums, others]);
            }
            let at = (y * usize::from(op.output.width) + x) * channels;
            for (&channel, sums) in pair.iter().zip([&*sums, &others[..used]]) {
                finish(Outputs {
                    sums,
                    totals: &self.totals[..used],
                    line_len: pixels,
                    window: plan.pool.size.map(usize::from),
                    window_step: plan.pool.stride[1].into(),
                    bias: matrix.bias[channel],
                    multiplier: matrix.multiplier[channel],
                    shift: matrix.shift[channel],
                    zero_point: op.output.zero_point,
                    clamp: op.activation,
                    bytes: &mut self.output[at + channel..],
                    step: channels,
                    count,
                });
            }
        }
    }
}

/// The codes of two rows, a byte each: as they are if they are bytes, or else taken apart to `bytes`.
fn codes_of<'a>(
    matrix: &Matrix<'a>,
    stacks: Stacks,
    columns: usize,
    rows: [usize; PAIR],
    bytes: &'a mut [u8],
) -> [&'a [u8]; PAIR] {
    if stacks.lower_bits() == 8 {
        return rows.map(|row| &matrix.codes[stacks.lower(columns, row).start..][..columns]);
    }
    let (first, second) = bytes.split_at_mut(columns);
    for (row, bytes) in rows.into_iter().zip([&mut *first, &mut *second]) {
        let lower = stacks.lower(columns, row);
        let field = |plane: releq_shared::layout::Plane, weight| Field {
            bytes: &matrix.codes[plane.start..][..columns],
            mask: plane.mask() >> plane.shift << weight,
            shift: plane.shift,
            weight,
        };
        expand(field(lower, 0), stacks.upper(columns, row).map(|plane| field(plane, lower.bits)), bytes);
    }
    [first, second]
}
