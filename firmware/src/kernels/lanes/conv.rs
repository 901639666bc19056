//! Convolutions: four pixels at a time, all output channels.
//!
//! With a fused pooling of up to four places the four pixels are the window of one output, whose largest accumulator is
//! requantised; without, they are four outputs.

use releq_shared::blob::{Conv2d, FusedPool};
use releq_shared::layout::{Lanes, Layout};

use super::expand::{Spread, pairs_to_look_up};
use super::finish::Correction;
use super::plan::Plan;
use super::{PIXELS, Shape, Strip, clear, run_strip};
use crate::arena::Places;
use crate::kernels::{Matrix, Sink};

/// Whether a pooling fits the four pixels that are computed together.
#[must_use]
pub fn pools(pool: Option<FusedPool>) -> bool {
    pool.is_none_or(|pool| usize::from(pool.size[0]) * usize::from(pool.size[1]) <= PIXELS)
}

/// The geometry of a convolution that this module runs.
pub(super) fn geometry(op: &Conv2d<'_>) -> Option<Lanes> {
    let covered = op.groups == 1 && pools(op.pool);
    match op.weights.layout {
        Layout::LaneRows | Layout::TwinRows if covered => op.weights.layout.lanes(op.weights.bits),
        _ => None,
    }
}

/// Runs a convolution if it is one for these kernels; returns whether it was.
pub fn conv2d(op: &Conv2d<'_>, matrix: &Matrix<'_>, places: &mut Places<'_>) -> bool {
    let Some(lanes) = geometry(op) else { return false };
    let plan = Plan::new(op, lanes);
    let (scratch, offsets) = places.scratch.split_at_mut(plan.scratch(lanes));
    let offsets = &mut offsets[..pairs_to_look_up(op) * size_of::<[u16; 2]>()];
    let (activations, sums) = bytemuck::cast_slice_mut::<u8, u32>(scratch).split_at_mut(plan.pairs * PIXELS);
    let mut layer = Layer {
        lanes,
        matrix,
        plan,
        shapes: [Shape::new(lanes, plan.strip), Shape::new(lanes, Lanes::pairs(matrix.columns) % plan.strip)],
        row_len: lanes.row_len(matrix.columns),
        spread: Spread::new(op, places.input, bytemuck::cast_slice_mut(offsets)),
        activations,
        sums: bytemuck::cast_slice_mut(sums),
    };
    let mut sink = Sink::new(places.output, &op.output, op.activation);
    let (height, width) = (usize::from(op.output.height), usize::from(op.output.width));
    let rows = usize::from(op.output.channels);
    match op.pool {
        Some(pool) => {
            let [down, right] = pool.stride.map(usize::from);
            let columns = usize::from(pool.size[1]);
            // A window of fewer than four places has its last one more than once.
            let last = usize::from(pool.size[0]) * columns - 1;
            let window = [0, 1, 2, 3].map(|n: usize| [n.min(last) / columns, n.min(last) % columns]);
            for index in 0..height * width {
                let (y, x) = (index / width * down, index % width * right);
                layer.run(window.map(|[row, column]| [y + row, x + column]), |first, sums, correction| {
                    correction.of_largest(lanes, sums);
                    sink.put_rows(index * rows, first, matrix, sums[..sums.len() / PIXELS].iter());
                });
            }
        }
        None => {
            let count = height * width;
            for start in (0..count).step_by(PIXELS) {
                let indices = [0, 1, 2, 3].map(|n| (start + n).min(count - 1));
                layer.run(indices.map(|index| [index / width, index % width]), |first, sums, correction| {
                    correction.of_each(lanes, sums);
                    for (pixel, index) in (start..count.min(start + PIXELS)).enumerate() {
                        sink.put_rows(index * rows, first, matrix, sums[pixel..].iter().step_by(PIXELS));
                    }
                });
            }
        }
    }
    true
}

struct Layer<'a> {
    lanes: Lanes,
    matrix: &'a Matrix<'a>,
    plan: Plan,
    /// Of every strip of a row but the last, and of that one if it is shorter.
    shapes: [Shape; 2],
    row_len: usize,
    spread: Spread<'a>,
    activations: &'a mut [u32],
    sums: &'a mut [i32],
}

impl Layer<'_> {
    /// Computes all rows at four positions and hands their sums, block by block from some first row on, to `put`.
    #[inline(always)]
    fn run(&mut self, positions: [[usize; 2]; PIXELS], mut put: impl FnMut(usize, &mut [i32], &Correction)) {
        let Self { lanes, matrix, plan, row_len, .. } = *self;
        let rows = matrix.bias.len();
        let per_word = lanes.rows_per_word();
        let pairs = Lanes::pairs(matrix.columns);
        let patches = self.spread.patches(positions);
        let mut totals = [0; PIXELS];
        for first in (0..rows).step_by(plan.lines * per_word) {
            let lines = plan.lines.min((rows - first).div_ceil(per_word));
            let sums = &mut self.sums[..lines * per_word * PIXELS];
            clear(sums);
            let mut weights = &matrix.codes[first / per_word * row_len..];
            for start in (0..pairs).step_by(plan.strip) {
                // Where the whole row is at hand it is spread once, for the first block.
                let at = if plan.pairs < pairs { 0 } else { start };
                let len = plan.strip.min(pairs - start);
                let activations = &mut self.activations[at * PIXELS..][..len * PIXELS];
                if first == 0 || plan.pairs < pairs {
                    let found = self.spread.fill(&patches, start, activations);
                    if first == 0 {
                        totals = [0, 1, 2, 3].map(|pixel| totals[pixel] + found[pixel]);
                    }
                }
                let shape = &self.shapes[usize::from(len < plan.strip)];
                run_strip(shape, Strip { activations, weights, row_len, sums });
                weights = weights.get(plan.strip / lanes.slots() * 4..).unwrap_or_default();
            }
            put(first, sums, &Correction::new(lanes, matrix.z, totals));
        }
    }
}
