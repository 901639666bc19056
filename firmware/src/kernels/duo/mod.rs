//! Dense layers in the duo layout, for cores without dual multiplications: an activation times a word with a code of
//! each of two rows, 16 bits apart, is two products. Sums are taken out of their 16 bits before they can overflow.

#[cfg(any(core_class = "armv6m", core_class = "armv7m"))]
mod loops;
#[cfg(not(any(core_class = "armv6m", core_class = "armv7m")))]
mod model;

#[cfg(any(core_class = "armv6m", core_class = "armv7m"))]
use loops::run_set;
#[cfg(not(any(core_class = "armv6m", core_class = "armv7m")))]
use model::run_set;

use releq_shared::blob::{Dense, Op};
use releq_shared::layout::{Duo, Layout};

use super::{CoreClass, Matrix, Sink, portable};
use crate::arena::Places;

/// Rows that are computed together: two duos.
const ROWS: usize = 4;
/// Columns of a word of one-bit codes.
const MOST_SLOTS: usize = 16;

/// Four rows over columns of whole words.
struct Set<'a> {
    duo: Duo,
    activations: &'a [u8],
    /// From the rows' first word on.
    weights: &'a [u8],
    /// The sums to add to.
    sums: &'a mut [i32; ROWS],
}

/// Whole words after which sums must be taken out of 16 bits.
const fn words_between_flushes(duo: Duo) -> usize {
    0xFFFF / (255 * ((1 << duo.bits()) - 1)) / duo.slots()
}

fn geometry(op: &Dense<'_>, class: CoreClass) -> Option<Duo> {
    match (op.weights.layout, class) {
        (Layout::Duos, CoreClass::ArmV6m | CoreClass::ArmV7m) => Duo::new(op.weights.bits),
        _ => None,
    }
}

/// Bytes of scratch that these kernels ask for `op` on a core of some class, `None` if they do not run it there.
#[must_use]
pub(super) fn scratch_bytes(op: &Op<'_>, class: CoreClass) -> Option<usize> {
    match op {
        Op::Dense(op) => geometry(op, class).map(|_| 0),
        Op::Conv2d(_) | Op::Pool(_) | Op::Add(_) => None,
    }
}

/// Runs a dense layer if it is one for these kernels; returns whether it was.
pub(super) fn dense(class: CoreClass, op: &Dense<'_>, matrix: &Matrix<'_>, places: &mut Places<'_>) -> bool {
    let Some(duo) = geometry(op, class) else { return false };
    let input = places.input;
    let mut sink = Sink::new(places.output, &op.output, op.activation);
    let offset = portable::sum_of_activations(input).wrapping_mul(matrix.z);
    let set_len = duo.set_len(matrix.columns);
    // The columns of the last, partial word, filled up by zeros.
    let (whole, rest) = input.split_at(input.len() / duo.slots() * duo.slots());
    let mut last = [0; MOST_SLOTS];
    last[..rest.len()].copy_from_slice(rest);
    for (set, weights) in matrix.codes.chunks_exact(set_len).enumerate() {
        let mut sums = [0; ROWS];
        let (words, last_word) = weights.split_at(whole.len() / duo.slots() * 8);
        run_set(Set { duo, activations: whole, weights: words, sums: &mut sums });
        if !rest.is_empty() {
            run_set(Set { duo, activations: &last[..duo.slots()], weights: last_word, sums: &mut sums });
        }
        let accumulators = sums.map(|sum| sum.wrapping_mul(2).wrapping_sub(offset));
        sink.put_rows(0, set * ROWS, matrix, &accumulators, 1);
    }
    true
}
