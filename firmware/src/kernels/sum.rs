//! Sums of two tensors in 32-bit arithmetic, for every core.
//!
//! `(a - za) ma + (b - zb) mb`, rounded, shifted and moved to the output's zero point, is
//! `floor((a ma + b mb + c) / 2^s)` with a constant `c`. Each multiplier and `c` are cut at bit 16, so that
//! neither half of the sum leaves 32 bits: `floor((high 2^16 + low) / 2^s)` is `(high + low / 2^16) / 2^(s - 16)`, each quotient
//! rounded down. That holds for the shifts that a sum of 8-bit tensors has; [`super::portable`] takes the rest.

use core::cell::Cell;

use releq_shared::blob::Add;

use super::portable;

/// Shifts with which both halves of the sum fit 32 bits, the output's zero point included.
const SHIFTS: core::ops::RangeInclusive<u8> = 16..=38;

/// Elements computed together.
const ABREAST: usize = 4;

/// An element-wise sum, over the whole arena since the sum may take the place of a summand.
#[inline(never)]
pub fn add(op: &Add<'_>, arena: &mut [u8]) {
    let Some(factors) = Factors::new(op) else { return portable::add(op, arena) };
    let arena = Cell::from_mut(arena).as_slice_of_cells();
    let [a, b] = op.inputs.map(|tensor| &arena[tensor.range()]);
    let to = &arena[op.output.range()];
    let clamp = op.activation;
    if (clamp.min, clamp.max) == (0, u8::MAX) {
        factors.run(a, b, to, |value| value.clamp(0, 255) as u8);
    } else {
        let (min, max) = (i32::from(clamp.min), i32::from(clamp.max));
        factors.run(a, b, to, |value| value.max(min).min(max) as u8);
    }
}

/// The halves of what is multiplied and added.
#[derive(Clone, Copy)]
struct Factors {
    low: [u32; 2],
    high: [i32; 2],
    constant_low: u32,
    constant_high: i32,
    /// What is left to shift by behind the lower halves.
    shift: u32,
}

impl Factors {
    /// `None` if the shift is none of [`SHIFTS`].
    fn new(op: &Add<'_>) -> Option<Self> {
        if !SHIFTS.contains(&op.shift) {
            return None;
        }
        let share = |n: usize| i64::from(op.inputs[n].zero_point) * i64::from(op.multipliers[n]);
        let rounding = 1i64 << (op.shift - 1);
        let constant = (i64::from(op.output.zero_point) << op.shift) + rounding - share(0) - share(1);
        Some(Self {
            low: op.multipliers.map(|multiplier| multiplier as u32 & 0xFFFF),
            high: op.multipliers.map(|multiplier| multiplier >> 16),
            constant_low: constant as u32 & 0xFFFF,
            constant_high: (constant >> 16) as i32,
            shift: u32::from(op.shift) - 16,
        })
    }

    #[inline(always)]
    fn run(self, a: &[Cell<u8>], b: &[Cell<u8>], to: &[Cell<u8>], clamp: impl Fn(i32) -> u8) {
        let put = |a: &Cell<u8>, b: &Cell<u8>, to: &Cell<u8>| to.set(clamp(self.of(a.get(), b.get())));
        let (fours_of_a, rest_of_a) = a.as_chunks::<ABREAST>();
        let (fours_of_b, rest_of_b) = b.as_chunks::<ABREAST>();
        let (fours, rest) = to.as_chunks::<ABREAST>();
        for ((a, b), to) in fours_of_a.iter().zip(fours_of_b).zip(fours) {
            for n in 0..ABREAST {
                put(&a[n], &b[n], &to[n]);
            }
        }
        for ((a, b), to) in rest_of_a.iter().zip(rest_of_b).zip(rest) {
            put(a, b, to);
        }
    }

    /// The output before its clamp.
    #[inline(always)]
    fn of(self, a: u8, b: u8) -> i32 {
        let low = self.constant_low + u32::from(a) * self.low[0] + u32::from(b) * self.low[1];
        let high = self.constant_high + i32::from(a) * self.high[0] + i32::from(b) * self.high[1];
        (high + (low >> 16) as i32) >> self.shift
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use proptest::prelude::*;
    use releq_shared::blob::{Activation, Tensor, TensorKind};
    use releq_shared::requantize::MAX_SHIFT;

    use super::*;

    /// Tensors of 23 elements at odd places; the sum lies in a place of its own, or in that of a summand.
    fn sum(zero_points: [u8; 3], multipliers: [i32; 2], shift: u8, place: u32, clamp: [u8; 2]) -> Add<'static> {
        let tensor =
            |offset, zero_point| Tensor { offset, height: 1, width: 1, channels: 23, kind: TensorKind::U8, zero_point };
        Add {
            name: "",
            inputs: [tensor(1, zero_points[0]), tensor(26, zero_points[1])],
            output: tensor([1, 26, 50][place as usize], zero_points[2]),
            multipliers,
            shift,
            activation: Activation { min: clamp[0].min(clamp[1]), max: clamp[0].max(clamp[1]) },
        }
    }

    proptest! {
        #[test]
        fn a_sum_is_that_of_the_portable_kernel(
            mut arena in proptest::collection::vec(any::<u8>(), 80),
            zero_points in any::<[u8; 3]>(),
            multipliers in [prop_oneof![0..=i32::MAX, Just(i32::MAX)], prop_oneof![0..=i32::MAX, Just(i32::MAX)]],
            shift in 1..=MAX_SHIFT,
            place in 0u32..3,
            clamp in prop_oneof![any::<[u8; 2]>(), Just([0, 255])],
        ) {
            let op = sum(zero_points, multipliers, shift, place, clamp);
            let mut expected: Vec<u8> = arena.clone();
            portable::add(&op, &mut expected);
            add(&op, &mut arena);
            prop_assert_eq!(arena, expected);
        }
    }
}
