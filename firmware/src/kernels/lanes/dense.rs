//! Dense layers: four rows, or four twins, at a time.
//!
//! The inner loop takes whole groups of columns and whole sets of four; what is left over of either is taken here.

use releq_shared::blob::Dense;
use releq_shared::layout::{Lanes, Layout};

use super::finish::Correction;
use super::walk::{Line, pair_of};
use super::{ABREAST, Band, run_band};
use crate::arena::Places;
use crate::kernels::{Matrix, Sink, portable};

/// The geometry of a dense layer that this module runs.
pub(super) fn geometry(op: &Dense<'_>) -> Option<Lanes> {
    match op.weights.layout {
        Layout::LaneQuads | Layout::TwinQuads => op.weights.layout.lanes(op.weights.bits),
        _ => None,
    }
}

/// Runs a dense layer if it is one for these kernels; returns whether it was.
pub fn dense(op: &Dense<'_>, matrix: &Matrix<'_>, places: &mut Places<'_>) -> bool {
    let Some(lanes) = geometry(op) else { return false };
    let input = places.input;
    let mut sink = Sink::new(places.output, &op.output, op.activation);
    let total = portable::sum_of_activations(input);
    let correction = Correction::new(lanes, matrix.z, [total; 4]);
    let per_word = lanes.rows_per_word();
    let row_len = lanes.row_len(matrix.columns);
    let pairs = Lanes::pairs(matrix.columns);
    // A last group that holds fewer columns than it could is not wholly in quads.
    let groups = input.len() / 2 / lanes.pairs_per_group();
    let in_groups = &input[..groups * 2 * lanes.pairs_per_group()];
    let field = 16 - lanes.bits() as u32;
    let lines = usize::from(op.output.channels).div_ceil(per_word);
    for first in (0..lines).step_by(ABREAST) {
        let abreast = ABREAST.min(lines - first);
        let weights = &matrix.codes[first * row_len..][..row_len * abreast];
        let mut sums = [0; 2 * ABREAST];
        let mut done = 0;
        if abreast == ABREAST {
            run_band(Band { lanes, activations: in_groups, weights, sums: &mut sums[..ABREAST * per_word] });
            done = groups;
        }
        let mut accumulators = [0; 2 * ABREAST];
        for place in 0..abreast {
            let [mut lower, mut upper] = [sums[place], sums[place + ABREAST]];
            lower = lower.wrapping_sub(upper << field);
            if done * lanes.pairs_per_group() < pairs {
                let line = Line { weights, abreast, place };
                let [a, b] = line.sums(lanes, pairs, done, |pair| pair_of(input, pair));
                lower = lower.wrapping_add(a);
                upper = upper.wrapping_add(b);
            }
            let rows = [correction.lower(0, lower), correction.upper(0, upper)];
            accumulators[place * per_word..][..per_word].copy_from_slice(&rows[..per_word]);
        }
        sink.put_rows(0, first * per_word, matrix, accumulators[..abreast * per_word].iter());
    }
    true
}
