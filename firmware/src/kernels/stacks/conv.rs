//! Convolutions: a row of outputs at a time, or a block of one, two output channels at a time.

use releq_shared::blob::{Conv2d, Op};
use releq_shared::layout::{Plane, Stacks};

use super::plan::{self, Plan};
use super::{
    Codes, Field, Line, Lines, Outputs, PAIR, Products, add, copy_patches, expand, expand_apart, expand_together,
    finish, sum_totals,
};
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
        let step = usize::from(op.stride[1]) * usize::from(op.input.channels);
        let mut lines = Lines {
            first: Line {
                activations: &rows[x * usize::from(plan.pool.stride[1]) * step..],
                pixels,
                step,
                runs: plan.kernel_rows,
                run_len: plan.run_len,
                run_step: plan.row_len,
            },
            count: plan.pool.size[0].into(),
            step: usize::from(op.stride[0]) * plan.row_len,
        };
        if plan.patches {
            for (line, patches) in self.patches.chunks_exact_mut(pixels * columns).take(lines.count).enumerate() {
                copy_patches(&lines.line(line), patches);
            }
            let activations = &*self.patches;
            let first = Line { activations, pixels, step: columns, runs: 1, run_len: columns, run_step: 0 };
            lines = Lines { first, step: pixels * columns, ..lines };
        }
        let used = lines.count * pixels;
        for (line, totals) in self.totals[..used].chunks_exact_mut(pixels).enumerate() {
            sum_totals(&lines.line(line), matrix.z.wrapping_neg(), totals);
        }
        let channels = usize::from(op.output.channels);
        let (sums, found) = self.sums.split_at_mut(PAIR * used);
        let products = Products::new(&lines);
        for channel in (0..channels).step_by(PAIR) {
            let rows = Rows { matrix, stacks, pair: [channel, (channel + 1).min(channels - 1)] };
            let scaled = if plan.runs >= lines.first.runs {
                let codes = rows.codes([0, columns], self.codes);
                products.sum(codes, sums);
                codes.scaled()
            } else {
                rows.sum_in_passes(&plan, &lines, self.codes, sums, &mut found[..PAIR * used])
            };
            let at = (y * usize::from(op.output.width) + x) * channels;
            for ((channel, sums), scaled) in (channel..channels).zip(sums.chunks_exact(used)).zip(scaled) {
                finish(Outputs {
                    sums,
                    scaled,
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

/// Two rows that are computed together, the first of which is an even one; or the last one twice.
#[derive(Clone, Copy)]
struct Rows<'a> {
    matrix: &'a Matrix<'a>,
    stacks: Stacks,
    pair: [usize; PAIR],
}

impl<'a> Rows<'a> {
    /// Their codes over so many columns from a first on: as they are if they are bytes or fill them, or else taken to `bytes`.
    #[inline(always)]
    fn codes<'b>(&self, columns: [usize; 2], bytes: &'b mut [u8]) -> Codes<'b>
    where
        'a: 'b,
    {
        if self.stacks.lower_bits() == 8 {
            let [first, columns] = columns;
            return Codes::Apart(
                self.pair.map(|row| &self.matrix.codes[row * self.matrix.columns + first..][..columns]),
            );
        }
        self.narrow_codes(columns, bytes)
    }

    /// Codes that are no bytes.
    #[inline(never)]
    fn narrow_codes<'b>(&self, [first, columns]: [usize; 2], bytes: &'b mut [u8]) -> Codes<'b>
    where
        'a: 'b,
    {
        let Self { matrix, stacks, pair: [row, _] } = *self;
        let plane = stacks.lower(matrix.columns, row);
        let of_plane = |plane: Plane| &matrix.codes[plane.start + first..][..columns];
        let bits = plane.bits;
        // So many adjacent bits of a plane, to bit `weight` and on.
        let field = |plane: Plane, bits: usize, weight: usize| Field {
            bytes: of_plane(plane),
            mask: (((1 << bits) - 1) << weight) as u8,
            shift: plane.shift,
            weight,
        };
        // The second row's bits follow in the same bytes of each plane.
        let next = |plane: Plane| Plane { shift: plane.shift + plane.bits, ..plane };
        match (bits, stacks.upper(matrix.columns, row)) {
            (4, None) => Codes::Together { bytes: of_plane(plane), split: bits },
            (_, None) => {
                let bytes = &mut bytes[..columns];
                expand(&field(plane, PAIR * bits, 0), bytes);
                Codes::Together { bytes, split: bits }
            }
            (4, Some(upper)) => {
                let (own, others) = bytes[..PAIR * columns].split_at_mut(columns);
                let row = |plane, upper| [field(plane, bits, 0), field(upper, 1, bits)];
                expand_apart(&[row(plane, upper), row(next(plane), next(upper))], [own, others]);
                Codes::Apart([own, others])
            }
            (_, Some(upper)) => {
                let (bytes, split) = (&mut bytes[..columns], bits + 1);
                let row = |plane, upper, weight| [field(plane, bits, weight), field(upper, 1, weight + bits)];
                expand_together(&[row(plane, upper, 0), row(next(plane), next(upper), split)], bytes);
                Codes::Together { bytes, split }
            }
        }
    }

    /// The sums of all pixels, by the codes of some of their runs at a time, and how they are scaled; `found` has as many places as
    /// `sums`.
    #[inline(never)]
    fn sum_in_passes(
        &self,
        plan: &Plan,
        lines: &Lines<'_>,
        bytes: &mut [u8],
        sums: &mut [i32],
        found: &mut [i32],
    ) -> [usize; PAIR] {
        let mut scaled = [0; PAIR];
        for run in (0..lines.first.runs).step_by(plan.runs) {
            let part = lines.part(run, plan.runs);
            let codes = self.codes([run * plan.run_len, part.first.columns()], bytes);
            scaled = codes.scaled();
            let products = Products::new(&part);
            if run == 0 {
                products.sum(codes, sums);
                continue;
            }
            products.sum(codes, found);
            add(sums, found);
        }
        scaled
    }
}
