//! How a convolution is cut to fit its scratch.
//!
//! Scratch holds the activations of four pixels, spread to 16 bits, for some groups of columns (a *chunk*), and the
//! sums of some rows (a *block*). Where the whole patch fits it is spread once and the rows are taken block by block;
//! where it does not, every block goes through all chunks. Under a pooling, sums of rows in single lanes are not kept at all if
//! the whole patch fits.

use releq_shared::blob::{Conv2d, Op, TensorKind};
use releq_shared::layout::Lanes;

use super::PIXELS;
use super::conv::{rows_at_once, unpacked_bytes};
use super::expand::pairs_to_look_up;
use super::wide::{COLUMNS_A_TABLE_SET, WORDS_A_TABLE_SET, by_tables, sets_at_once};
use crate::kernels::CoreClass;
use crate::needs::conv2d_of;

/// Columns after which the lower fields of one-bit twins could overflow, in groups.
const GROUPS_BETWEEN_FLUSHES: usize = 8;
/// Scratch that a convolution may always ask for.
const SCRATCH_AT_LEAST: usize = 544;

/// Whether this build may finish each row before the next: in single lanes only.
const FINISHES_ROWS_HERE: bool = match CoreClass::HERE {
    CoreClass::ArmV7em => conv2d_of(3) || conv2d_of(4) || conv2d_of(5) || conv2d_of(8),
    class => matches!(class, CoreClass::Portable),
};

/// The cut of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Pairs in a chunk: whole groups, or the whole row.
    pub(super) pairs: usize,
    /// Rows, or twins, in a block; none if each row is finished before the next.
    pub(super) lines: usize,
    /// Pairs in a strip: a chunk, or a part of the whole row.
    pub(super) strip: usize,
}

impl Plan {
    /// The cheapest cut of `lines` rows (or twins) of `columns` that fits the scratch that the layer's own tensors
    /// justify: a quarter of them, up to the next multiple of 32.
    pub(super) fn new(op: &Conv2d<'_>, lanes: Lanes) -> Self {
        let lines = rows_at_once(op).div_ceil(lanes.rows_per_word());
        let (budget, pairs) = (scratch_budget(op), pairs_of(op, lanes));
        let pools_bytes = op.pool.is_some() && op.output.kind == TensorKind::U8;
        let finishes_rows = FINISHES_ROWS_HERE && pools_bytes && !lanes.is_wide() && lanes.rows_per_word() == 1;
        if finishes_rows && pairs * words_a_pair(lanes) * 4 <= budget {
            return Self { pairs, lines: 0, strip: pairs };
        }
        Self::within(budget, pairs, lines, lanes)
    }

    /// Whether each row is finished before the next.
    pub(super) const fn finishes_rows(&self) -> bool {
        FINISHES_ROWS_HERE && self.lines == 0
    }

    fn within(budget: usize, pairs: usize, lines: usize, lanes: Lanes) -> Self {
        let group = lanes.pairs_per_group();
        let longest = match lanes.rows_per_word() {
            2 => GROUPS_BETWEEN_FLUSHES * group,
            _ if by_tables(lanes) => sets_at_once(lanes) * group,
            _ => pairs,
        };
        let (pair_len, line_len) = (words_a_pair(lanes) * 4, lanes.rows_per_word() * PIXELS * 4);
        if pairs * pair_len + line_len <= budget {
            return Self { pairs, lines: lines.min((budget - pairs * pair_len) / line_len), strip: longest.min(pairs) };
        }
        // Instructions, roughly: spreading a pair of four pixels, and starting a strip.
        const SPREAD: usize = 12;
        const START: usize = 16;
        let mut best = Self { pairs: group, lines: 1, strip: group };
        let mut least = usize::MAX;
        // With fewer blocks than these not even one group has room beside the sums; where they are many, more would be too slow.
        let most_lines = (budget.saturating_sub(group * pair_len) / line_len).max(1);
        let fewest = lines.div_ceil(most_lines);
        for blocks in fewest..=lines.min(fewest.max(8)) {
            let lines_a_block = lines.div_ceil(blocks);
            let left = budget.saturating_sub(lines_a_block * line_len);
            let chunk = (left / (group * pair_len) * group).min(longest);
            if chunk > 0 {
                let cost = blocks * pairs * SPREAD + pairs.div_ceil(chunk) * lines * START;
                if cost < least {
                    least = cost;
                    best = Self { pairs: chunk, lines: lines_a_block, strip: chunk };
                }
            }
        }
        best
    }

    /// Bytes of scratch.
    pub(super) const fn scratch(&self, lanes: Lanes) -> usize {
        (self.pairs * words_a_pair(lanes) + self.lines * lanes.rows_per_word() * PIXELS) * 4
    }
}

/// Scratch that the layer's own tensors justify.
pub(in crate::kernels) fn scratch_budget(op: &Conv2d<'_>) -> usize {
    let tensors = op.input.bytes().saturating_add(op.output.bytes());
    SCRATCH_AT_LEAST.max(usize::try_from(tensors / 4).map_or(usize::MAX, |len| len.next_multiple_of(32)))
}

/// Words of activations that a pair takes: those of four pixels, or its share of a set of tables.
pub(super) const fn words_a_pair(lanes: Lanes) -> usize {
    if by_tables(lanes) { WORDS_A_TABLE_SET * 2 / COLUMNS_A_TABLE_SET } else { PIXELS }
}

/// Pairs of a convolution's rows, filled up to whole sets of tables if it goes by tables.
pub(super) fn pairs_of(op: &Conv2d<'_>, lanes: Lanes) -> usize {
    let pairs = Lanes::pairs(op.columns() as usize);
    if by_tables(lanes) { pairs.next_multiple_of(COLUMNS_A_TABLE_SET / 2) } else { pairs }
}

/// Bytes of scratch that these kernels ask for `op` on a core of some class, `None` if they
/// do not run it there.
#[must_use]
pub fn scratch_bytes(op: &Op<'_>, class: CoreClass) -> Option<usize> {
    match op {
        Op::Conv2d(op) => {
            let lanes = super::conv::geometry(op, class)?;
            let unpacked = unpacked_bytes(op).next_multiple_of(4);
            let offsets = pairs_to_look_up(op, lanes) * size_of::<[u16; 2]>();
            Some(Plan::new(op, lanes).scratch(lanes) + offsets + unpacked)
        }
        Op::Dense(op) => {
            let wide = || super::wide_dense::geometry(op, class);
            super::dense::geometry(op, class).or_else(wide).map(|_| 0)
        }
        Op::Pool(_) | Op::Add(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use releq_shared::Bitwidth;

    use super::*;

    #[test]
    fn a_plan_keeps_to_its_budget_and_covers_the_layer() {
        for bits in Bitwidth::all() {
            for lanes in [Lanes::single(bits, 1), Lanes::twin(bits, 1), Lanes::wide(bits)].into_iter().flatten() {
                for pairs in [1, 3, 13, 40, 250, 800] {
                    for lines in [1, 7, 25, 50, 256] {
                        for budget in [544, 920, 4000, 20_000] {
                            let plan = Plan::within(budget, pairs, lines, lanes);
                            assert!(plan.scratch(lanes) <= budget, "{plan:?} {lanes:?} {pairs} {lines} {budget}");
                            assert!(plan.lines > 0 && plan.strip > 0);
                            // As few blocks as there can be, unless whole rows are at hand.
                            let (group, pair_len) = (lanes.pairs_per_group(), words_a_pair(lanes) * 4);
                            let most = (budget - group * pair_len) / (lanes.rows_per_word() * PIXELS * 4);
                            let fewest = lines.div_ceil(most);
                            assert!(plan.pairs == pairs || lines.div_ceil(plan.lines) <= fewest.max(8));
                            assert!(plan.pairs == pairs || plan.pairs.is_multiple_of(lanes.pairs_per_group()));
                        }
                    }
                }
            }
        }
    }
}
