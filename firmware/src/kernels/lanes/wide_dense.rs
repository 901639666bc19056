//! Dense layers in wide lanes, for Cortex-M3: two rows at a time, a multiplication a weight.
//!
//! Of up to 5 bits the duo layout is faster ([`crate::kernels`]), but takes more bytes where rows do not come in fours.

use releq_shared::blob::Dense;
use releq_shared::layout::{Lanes, Layout};

use crate::arena::Places;
use crate::kernels::{CoreClass, Matrix, Sink, portable};
use crate::needs::{self, dense_of};

/// Rows that are computed together.
const PAIR: usize = 2;

/// The geometry of a dense layer that this module runs on a core of some class.
pub(super) fn geometry(op: &Dense<'_>, class: CoreClass) -> Option<Lanes> {
    match (op.weights.layout, class) {
        // Not on Cortex-M0, whose smallest flashes have no room for it.
        (Layout::WideRows, CoreClass::ArmV7m) if op.weights.bits.get() > 2 => Lanes::wide(op.weights.bits),
        _ => None,
    }
}

/// Runs a dense layer if it is one for these kernels; returns whether it was.
#[inline(never)]
pub(super) fn dense(class: CoreClass, op: &Dense<'_>, matrix: &Matrix<'_>, places: &mut Places<'_>) -> bool {
    let Some(lanes) = geometry(op, class) else { return false };
    let input = places.input;
    let mut sink = Sink::new(places.output, &op.output, op.activation);
    let offset = portable::sum_of_activations(input).wrapping_mul(matrix.z);
    let row_len = lanes.row_len(matrix.columns);
    let rows = usize::from(op.output.channels);
    for first in (0..rows).step_by(PAIR) {
        let words =
            [first, (first + 1).min(rows - 1)].map(|row| matrix.codes[row * row_len..][..row_len].as_chunks().0);
        let sums = match lanes.bits() {
            3 if dense_of(3) => sum_rows::<3, 10>(input, words),
            4 if dense_of(4) => sum_rows::<4, 8>(input, words),
            5 if dense_of(5) => sum_rows::<5, 6>(input, words),
            8 if dense_of(8) => sum_rows::<8, 4>(input, words),
            _ => needs::lacking(),
        };
        let accumulators = sums.map(|sum| (sum as i32).wrapping_mul(2).wrapping_sub(offset));
        sink.put_rows(0, first, matrix, &accumulators, 1);
    }
    true
}

/// `sum(u * q)` of two rows of words of `COLUMNS` codes.
fn sum_rows<const BITS: usize, const COLUMNS: usize>(activations: &[u8], words: [&[[u8; 4]]; PAIR]) -> [u32; PAIR] {
    let mask = (1 << BITS) - 1;
    let mut sums = [0u32; PAIR];
    let mut add = |q: u8, codes: &mut [u32; PAIR]| {
        for (sum, codes) in sums.iter_mut().zip(codes) {
            *sum = sum.wrapping_add((*codes & mask) * u32::from(q));
            *codes >>= BITS;
        }
    };
    let [first, second] = words;
    let mut words = first.iter().zip(second).map(|(a, b)| [a, b].map(|word| u32::from_le_bytes(*word)));
    let (whole, rest) = activations.as_chunks::<COLUMNS>();
    for (activations, mut codes) in whole.iter().zip(&mut words) {
        for &q in activations {
            add(q, &mut codes);
        }
    }
    if let Some(mut codes) = words.next() {
        for &q in rest {
            add(q, &mut codes);
        }
    }
    sums
}
