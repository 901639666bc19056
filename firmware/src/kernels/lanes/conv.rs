//! Convolutions: four pixels at a time, all output channels.
//!
//! With a fused pooling of up to four places the four pixels are the window of one output, whose largest accumulator is
//! requantised; without, they are four outputs.

use releq_shared::Bitwidth;
use releq_shared::blob::{Conv2d, FusedPool};
use releq_shared::layout::{Lanes, Layout};

use super::expand::{Spread, Window, pairs_to_look_up};
use super::finish::Correction;
use super::plan::{Plan, pairs_of, scratch_budget, words_a_pair};
use super::wide::{Fields, runs_by_tables};
use super::{PIXELS, Pooled, PooledRows, Shape, Strip, clear, run_strip};
use crate::arena::Places;
use crate::kernels::{CoreClass, Matrix, Sink};
use crate::needs::{self, Need, needed};

/// Whether a pooling fits the four pixels that are computed together.
#[must_use]
pub fn pools(pool: Option<FusedPool>) -> bool {
    pool.is_none_or(|pool| usize::from(pool.size[0]) * usize::from(pool.size[1]) <= PIXELS)
}

/// The geometry of a convolution that this module runs on a core of some class.
pub(super) fn geometry(op: &Conv2d<'_>, class: CoreClass) -> Option<Lanes> {
    let covered = op.groups == 1 && pools(op.pool);
    match (op.weights.layout, class) {
        (Layout::LaneRows | Layout::TwinRows, CoreClass::ArmV7em)
        | (Layout::WideRows, CoreClass::ArmV6m | CoreClass::ArmV7m)
            if covered =>
        {
            op.weights.layout.lanes(op.weights.bits)
        }
        (Layout::Bitstream, CoreClass::ArmV7em) if covered && op.columns().is_multiple_of(UNPACKED_COLUMNS) => {
            Lanes::single(Bitwidth::MAX, 1)
        }
        // Not on Cortex-M0: the smallest boards have no room for unpacked rows.
        (Layout::Bitstream, CoreClass::ArmV7m) if covered && op.columns().is_multiple_of(UNPACKED_WIDE_COLUMNS) => {
            Lanes::wide(Bitwidth::MAX)
        }
        _ => None,
    }
}

/// Columns of rows that are unpacked before they are used come in whole groups of lanes of 8 bits: these are the codes, byte by
/// byte.
const UNPACKED_COLUMNS: u32 = 8;
/// In wide lanes, in whole words.
const UNPACKED_WIDE_COLUMNS: u32 = 4;

/// Whether this build runs layers that are unpacked first.
const UNPACKS_HERE: bool = matches!(CoreClass::HERE, CoreClass::ArmV7em | CoreClass::ArmV7m | CoreClass::Portable);

/// Whether a convolution that this module runs has its codes unpacked first, some rows at a time.
pub(crate) fn is_unpacked(op: &Conv2d<'_>) -> bool {
    op.weights.layout == Layout::Bitstream
}

/// Rows of such a convolution whose codes are unpacked together: as many as take twice what scratch the rest
/// may take.
fn rows_unpacked(op: &Conv2d<'_>) -> usize {
    let (rows, columns) = (usize::from(op.output.channels), op.columns() as usize);
    let blocks = (rows * columns).div_ceil(scratch_budget(op) * 2).clamp(1, rows);
    rows.div_ceil(blocks)
}

/// Rows that are computed in one go.
pub(super) fn rows_at_once(op: &Conv2d<'_>) -> usize {
    if is_unpacked(op) { rows_unpacked(op) } else { op.output.channels.into() }
}

/// Bytes of scratch for unpacked codes.
pub(super) fn unpacked_bytes(op: &Conv2d<'_>) -> usize {
    if is_unpacked(op) { rows_unpacked(op) * op.columns() as usize } else { 0 }
}

/// Runs a convolution if it is one for these kernels; returns whether it was.
pub fn conv2d(class: CoreClass, op: &Conv2d<'_>, matrix: &Matrix<'_>, places: &mut Places<'_>) -> bool {
    let Some(lanes) = geometry(op, class) else { return false };
    if !UNPACKS_HERE || !is_unpacked(op) {
        convolve(op, lanes, matrix, 0, places);
        return true;
    }
    if !needed(Need::Unpacked) {
        needs::lacking();
    }
    let (rows, columns) = (matrix.bias.len(), matrix.columns);
    let Places { input, output, scratch } = places;
    let (codes, scratch) = scratch.split_at_mut(unpacked_bytes(op).next_multiple_of(4));
    let mut places = Places { input, output, scratch };
    for first in (0..rows).step_by(rows_unpacked(op)) {
        let count = rows_unpacked(op).min(rows - first);
        let codes = &mut codes[..count * columns];
        for (row, codes) in codes.chunks_exact_mut(columns).enumerate() {
            matrix.layout.unpack_row(matrix.codes, matrix.bits, columns, first + row, 0, codes);
        }
        let matrix = Matrix {
            codes,
            bias: &matrix.bias[first..][..count],
            multiplier: &matrix.multiplier[first..][..count],
            shift: &matrix.shift[first..][..count],
            ..*matrix
        };
        convolve(op, lanes, &matrix, first, &mut places);
    }
    true
}

/// Computes the channels from `channel` on that `matrix` has the rows of.
fn convolve(op: &Conv2d<'_>, lanes: Lanes, matrix: &Matrix<'_>, channel: usize, places: &mut Places<'_>) {
    let plan = Plan::new(op, lanes);
    let (scratch, offsets) = places.scratch.split_at_mut(plan.scratch(lanes));
    let offsets = &mut offsets[..pairs_to_look_up(op, lanes) * size_of::<[u16; 2]>()];
    let (activations, sums) =
        bytemuck::cast_slice_mut::<u8, u32>(scratch).split_at_mut(plan.pairs * words_a_pair(lanes));
    let pairs = pairs_of(op, lanes);
    let pair_words = words_a_pair(lanes);
    let channels = usize::from(op.output.channels);
    let mut layer = Layer {
        lanes,
        matrix,
        plan,
        shapes: [Shape::new(lanes, plan.strip), Shape::new(lanes, pairs % plan.strip)],
        row_len: lanes.row_len(matrix.columns),
        strip_len: plan.strip / lanes.slots() * lanes.word_len(),
        lines: matrix.bias.len().div_ceil(lanes.rows_per_word()),
        pairs,
        pair_words,
        spread: Spread::new(op, lanes, places.input, bytemuck::cast_slice_mut(offsets)),
        activations,
        sums: bytemuck::cast_slice_mut(sums),
    };
    let output = &mut *places.output;
    let (height, width) = (usize::from(op.output.height), usize::from(op.output.width));
    if let (Some(pool), true) = (op.pool, needed(Need::PooledConv2d)) {
        let [down, right] = pool.stride.map(usize::from);
        let columns = usize::from(pool.size[1]);
        // A window of fewer than four places has its last one more than once.
        let last = usize::from(pool.size[0]) * columns - 1;
        let four = [0, 1, 2, 3].map(|n: usize| [n.min(last) / columns, n.min(last) % columns]);
        let window = layer.spread.window(four.map(|place| place.map(|at| at as isize)));
        let mut at = channel;
        if plan.finishes_rows() {
            let rows = PooledRows::new(op, lanes, pairs, matrix);
            for y in 0..height {
                for x in 0..width {
                    let bytes = &mut output[at..at + matrix.bias.len()];
                    layer.run_pooled(&rows, &window, [y * down, x * right], bytes);
                    at += channels;
                }
            }
            return;
        }
        let mut sink = Sink::new(output, &op.output, op.activation);
        for y in 0..height {
            for x in 0..width {
                layer.run(&window, [y * down, x * right], |first, sums, correction| {
                    correction.of_largest(lanes, sums);
                    sink.put_rows(at, first, matrix, &sums[..sums.len() / PIXELS], 1);
                });
                at += channels;
            }
        }
        return;
    }
    if !needed(Need::PlainConv2d) {
        needs::lacking();
    }
    let mut sink = Sink::new(output, &op.output, op.activation);
    let in_a_row = layer.spread.window([[0, 0], [0, 1], [0, 2], [0, 3]]);
    let mut position @ [mut y, mut x] = [0, 0];
    let mut left = height * width;
    let mut at = channel;
    while left > 0 {
        let count = left.min(PIXELS);
        let mut window = in_a_row;
        if x + PIXELS > width {
            // Some of the four are in the next row, or more, or beyond the last.
            window = layer.spread.window([0, 1, 2, 3].map(|n: usize| {
                let column = x + n.min(count - 1);
                [(column / width) as isize, (column % width) as isize - x as isize]
            }));
        }
        layer.run(&window, position, |first, sums, correction| {
            #[cfg(core_class = "armv7em")]
            if count == PIXELS && sink.takes_quads() {
                let corrections = correction.part(lanes, sums);
                return sink.put_quads([at, channels], first, matrix, sums.as_chunks().0, corrections);
            }
            correction.of_each(lanes, sums);
            for pixel in 0..count {
                sink.put_rows(at + pixel * channels, first, matrix, &sums[pixel..], PIXELS);
            }
        });
        at += count * channels;
        left -= count;
        x += count;
        while x >= width {
            (y, x) = (y + 1, x - width);
        }
        position = [y, x];
    }
}

struct Layer<'a> {
    lanes: Lanes,
    matrix: &'a Matrix<'a>,
    plan: Plan,
    /// Of every strip of a row but the last, and of that one if it is shorter.
    shapes: [Shape; 2],
    row_len: usize,
    /// Bytes that a strip takes of a row.
    strip_len: usize,
    /// Rows, or twins, in all.
    lines: usize,
    /// Pairs of a row, and words of activations of a pair.
    pairs: usize,
    pair_words: usize,
    spread: Spread<'a>,
    activations: &'a mut [u32],
    sums: &'a mut [i32],
}

impl Layer<'_> {
    /// Computes all rows under the window of a pooling to `bytes`, one by one.
    #[inline(always)]
    fn run_pooled(&mut self, rows: &PooledRows<'_>, window: &Window, position: [usize; 2], bytes: &mut [u8]) {
        let mut totals = [0; PIXELS];
        let patches = self.spread.patches(window, position);
        self.spread.fill_all(&patches, self.activations, &mut totals);
        rows.run(Pooled { activations: self.activations, totals, bytes });
    }

    /// Computes all rows at four positions and hands their sums, block by block from some first row on, to `put`.
    #[inline(always)]
    fn run(&mut self, window: &Window, position: [usize; 2], mut put: impl FnMut(usize, &mut [i32], &Correction)) {
        let Self { lanes, matrix, plan, row_len, .. } = *self;
        let patches = self.spread.patches(window, position);
        let whole = plan.pairs == self.pairs;
        let by_tables = runs_by_tables(lanes);
        let mut totals = [0; PIXELS];
        let mut line = 0;
        while line < self.lines {
            let lines = plan.lines.min(self.lines - line);
            let sums = &mut self.sums[..lines * lanes.rows_per_word() * PIXELS];
            clear(sums);
            let mut weights = line * row_len;
            let mut feed = self.spread.feed(&patches);
            let mut fields = Fields::default();
            // Where the whole row is at hand it is spread once, for the first block.
            let (mut at, mut left) = (0, self.pairs);
            while left > 0 {
                let len = plan.strip.min(left);
                let activations = &mut self.activations[at * self.pair_words..(at + len) * self.pair_words];
                if line == 0 {
                    self.spread.fill(&patches, &mut feed, activations, Some(&mut totals));
                } else if !whole {
                    self.spread.fill(&patches, &mut feed, activations, None);
                }
                if by_tables {
                    fields.make_room(lanes, len * 2, sums);
                }
                let shape = &self.shapes[usize::from(len < plan.strip)];
                run_strip(shape, Strip { activations, weights: &matrix.codes[weights..], row_len, sums });
                weights += self.strip_len;
                left -= len;
                at += if whole { len } else { 0 };
            }
            put(line * lanes.rows_per_word(), sums, &Correction::new(lanes, matrix.z, totals));
            line += lines;
        }
    }
}
