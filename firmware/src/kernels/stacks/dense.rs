//! Dense layers: four rows at a time.

use releq_shared::blob::{Dense, Op};
use releq_shared::layout::{Plane, Stacks};

use super::{QUAD, Quad, plan, sum_quad};
use crate::arena::Places;
use crate::kernels::{CoreClass, Matrix, Sink, portable};

/// Runs a dense layer if it is one for these kernels; returns whether it was.
pub fn dense(class: CoreClass, op: &Dense<'_>, matrix: &Matrix<'_>, places: &mut Places<'_>) -> bool {
    let Some(stacks) = Stacks::new(matrix.bits) else { return false };
    if plan::scratch_bytes(&Op::Dense(*op), class).is_none() {
        return false;
    }
    let input = places.input;
    let mut sink = Sink::new(places.output, &op.output, op.activation);
    let offset = portable::sum_of_activations(input).wrapping_mul(matrix.z);
    let last = usize::from(op.output.channels) - 1;
    for first in (0..=last).step_by(QUAD) {
        let rows = [0, 1, 2, 3].map(|n| (first + n).min(last));
        let mut sums = sums_of(matrix, input, rows.map(|row| stacks.lower(matrix.columns, row)));
        if stacks.has_upper() {
            let planes = rows.map(|row| stacks.upper(matrix.columns, row).unwrap_or(stacks.lower(matrix.columns, row)));
            for (sum, upper) in sums.iter_mut().zip(sums_of(matrix, input, planes)) {
                *sum = sum.wrapping_add(upper << stacks.lower_bits());
            }
        }
        let accumulators = sums.map(|sum| (sum as i32).wrapping_mul(2).wrapping_sub(offset));
        sink.put_rows(0, first, matrix, &accumulators, 1);
    }
    true
}

/// `sum(u * q)` of four rows by one plane of their codes.
fn sums_of(matrix: &Matrix<'_>, input: &[u8], planes: [Plane; QUAD]) -> [u32; QUAD] {
    let stacks = planes.map(|plane| &matrix.codes[plane.start..][..input.len()]);
    let sums = sum_quad(&Quad { activations: input, stacks, masks: planes.map(Plane::mask) });
    [0, 1, 2, 3].map(|n| sums[n] >> planes[n].shift)
}
