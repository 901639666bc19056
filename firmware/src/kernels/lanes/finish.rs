//! From sums of stored codes to accumulators.

use releq_shared::layout::Lanes;

use super::PIXELS;

/// What is left to do with the sums of four pixels, beyond doubling them: `z * sum(q)` is taken off, and the second row
/// of a twin, whose codes are stored as signed, gets back what that took.
#[derive(Clone, Copy)]
pub(super) struct Correction {
    first: [i32; PIXELS],
    second: [i32; PIXELS],
}

impl Correction {
    /// `totals` are the sums of the activations.
    pub(super) fn new(lanes: Lanes, z: i32, totals: [i32; PIXELS]) -> Self {
        Self {
            first: totals.map(|total| total.wrapping_mul(z)),
            second: totals.map(|total| total.wrapping_mul(z - (1 << lanes.bits()))),
        }
    }

    /// `sum((2u - z) q)` of a row from `sum(u q)`.
    #[inline(always)]
    pub(super) fn lower(&self, n: usize, sum: i32) -> i32 {
        sum.wrapping_mul(2).wrapping_sub(self.first[n])
    }

    /// The same of a twin's second row, from its sum as stored.
    #[inline(always)]
    pub(super) fn upper(&self, n: usize, sum: i32) -> i32 {
        sum.wrapping_mul(2).wrapping_sub(self.second[n])
    }

    /// Takes the sums of some rows, as strips make them, to the accumulators (less the bias) of their four pixels, in
    /// place: four a row.
    pub(super) fn of_each(&self, lanes: Lanes, sums: &mut [i32]) {
        let lower_field = 16 - lanes.bits() as u32;
        if lanes.rows_per_word() == 1 {
            for sums in sums.as_chunks_mut::<PIXELS>().0 {
                *sums = [0, 1, 2, 3].map(|n| self.lower(n, sums[n]));
            }
        } else {
            for sums in sums.as_chunks_mut::<{ 2 * PIXELS }>().0 {
                let [r0, r1, r2, r3, u0, u1, u2, u3] = *sums;
                let lower = |n, raw: i32, upper: i32| self.lower(n, raw.wrapping_sub(upper << lower_field));
                *sums = [
                    lower(0, r0, u0),
                    lower(1, r1, u1),
                    lower(2, r2, u2),
                    lower(3, r3, u3),
                    self.upper(0, u0),
                    self.upper(1, u1),
                    self.upper(2, u2),
                    self.upper(3, u3),
                ];
            }
        }
    }

    /// As [`Self::of_each`], but keeps the largest of each row's four only, at the front: one a row. Requantisation is
    /// monotonic, so the largest output is that of the largest accumulator.
    pub(super) fn of_largest(&self, lanes: Lanes, sums: &mut [i32]) {
        match (lanes.rows_per_word(), lanes.bits()) {
            (1, _) => self.of_largest_single(sums),
            (_, 1) => self.of_largest_twin::<15>(sums),
            _ => self.of_largest_twin::<14>(sums),
        }
    }

    #[inline(never)]
    fn of_largest_single(&self, sums: &mut [i32]) {
        for row in 0..sums.len() / PIXELS {
            let Some(&[a, b, c, d]) = sums[row * PIXELS..].first_chunk() else { return };
            let accumulators = [self.lower(0, a), self.lower(1, b), self.lower(2, c), self.lower(3, d)];
            sums[row] = largest(accumulators);
        }
    }

    #[inline(never)]
    fn of_largest_twin<const FIELD: u32>(&self, sums: &mut [i32]) {
        for twin in 0..sums.len() / (2 * PIXELS) {
            let Some(&[r0, r1, r2, r3, u0, u1, u2, u3]) = sums[twin * 2 * PIXELS..].first_chunk() else { return };
            let lower = |n, raw: i32, upper: i32| self.lower(n, raw.wrapping_sub(upper << FIELD));
            sums[2 * twin] = largest([lower(0, r0, u0), lower(1, r1, u1), lower(2, r2, u2), lower(3, r3, u3)]);
            sums[2 * twin + 1] = largest([self.upper(0, u0), self.upper(1, u1), self.upper(2, u2), self.upper(3, u3)]);
        }
    }
}

#[inline(always)]
fn largest([a, b, c, d]: [i32; PIXELS]) -> i32 {
    a.max(b).max(c).max(d)
}
