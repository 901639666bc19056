//! From sums of stored codes to accumulators.

use releq_shared::layout::Lanes;

use super::{PIXELS, largest_of_singles, largest_of_twins};
#[cfg(not(core_class = "armv7em"))]
use super::{
    largest_of_fields,
    wide::{runs_by_tables, settle},
};

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

    /// Parts the sums of twins, as strips make them: those of the first row to the first four, as stored, as those of the second are.
    /// Returns what is taken off twice the sums of even and odd rows.
    #[cfg(core_class = "armv7em")]
    pub(super) fn part(&self, lanes: Lanes, sums: &mut [i32]) -> [[i32; PIXELS]; 2] {
        if lanes.rows_per_word() == 1 {
            return [self.first; 2];
        }
        let lower_field = 16 - lanes.bits() as u32;
        for sums in sums.as_chunks_mut::<{ 2 * PIXELS }>().0 {
            let [r0, r1, r2, r3, u0, u1, u2, u3] = *sums;
            let lower = |raw: i32, upper: i32| raw.wrapping_sub(upper << lower_field);
            *sums = [lower(r0, u0), lower(r1, u1), lower(r2, u2), lower(r3, u3), u0, u1, u2, u3];
        }
        [self.first, self.second]
    }

    /// Takes the sums of some rows, as strips make them, to the accumulators (less the bias) of their four pixels, in
    /// place: four a row.
    pub(super) fn of_each(&self, lanes: Lanes, sums: &mut [i32]) {
        #[cfg(not(core_class = "armv7em"))]
        if runs_by_tables(lanes) {
            settle(sums);
        }
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
        #[cfg(not(core_class = "armv7em"))]
        if runs_by_tables(lanes) {
            return largest_of_fields(&self.first, sums);
        }
        if lanes.rows_per_word() == 1 {
            largest_of_singles(&self.first, sums);
        } else {
            let [a, b, c, d] = self.first;
            let [e, f, g, h] = self.second;
            largest_of_twins(lanes.bits(), &[a, b, c, d, e, f, g, h], sums);
        }
    }
}
