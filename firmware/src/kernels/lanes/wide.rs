//! Activations for wide lanes, where one plain multiplication makes two products.
//!
//! A word holds the activations `a` of two pixels, 16 bits apart, so that a code times the word is two products, whose
//! sums may grow to 16 bits. A column has two words, of pixels 0 and 1 and of pixels 2 and 3.
//!
//! On Cortex-M0 codes of 3 to 5 bits need not even be taken out of their word `w`: with `b_0 = a_0` and
//! `b_j = a_j - 2^k a_(j-1)`, modulo 2^32,
//!
//! ```text
//! sum_j (w >> k j) b_j = sum_j sum_(i >= j) u_i 2^(k (i - j)) b_j = sum_i u_i sum_(j <= i) 2^(k (i - j)) b_j = sum_i u_i a_i
//! ```
//!
//! so that a running shift of the word does, if the bits behind the last code are cleared. There the columns of each word
//! of codes are given as the `b`.
//!
//! Codes of 1 and 2 bits need no multiplication: for each four columns a table has the two words of every sum of some of
//! their `a`, to be looked up by four codes of one bit at once, or by the lower and by the upper bits of four codes of two.
//! Four tables, of sixteen columns, are a set. Their sums stay in the two words, in which they are added, and are relieved
//! of their upper bits (`relieve`) before they can grow out of 16.

use releq_shared::layout::Lanes;

use super::PIXELS;
#[cfg(core_class = "armv6m")]
use super::mul_fields::relieve;
use crate::needs::conv2d_of;

/// Columns of a table.
#[cfg(not(core_class = "armv7em"))]
pub(super) const COLUMNS_A_TABLE: usize = 4;
/// Words of a table.
pub(super) const WORDS_A_TABLE: usize = 16 * 2;
/// Columns of a set of tables.
pub(super) const COLUMNS_A_TABLE_SET: usize = 16;
/// Words of a set of tables.
pub(super) const WORDS_A_TABLE_SET: usize = 4 * WORDS_A_TABLE;

/// Whether convolutions in these lanes go by tables.
pub(super) const fn by_tables(lanes: Lanes) -> bool {
    lanes.is_wide() && lanes.bits() <= 2
}

/// The same, where this build has such convolutions.
pub(super) const fn runs_by_tables(lanes: Lanes) -> bool {
    (conv2d_of(1) || conv2d_of(2)) && by_tables(lanes)
}

/// By how many bits the activations of columns depend on one another, 0 if they stand for themselves.
#[cfg(not(core_class = "armv7em"))]
pub(super) const fn running_bits(lanes: Lanes) -> usize {
    match lanes.bits() {
        bits @ 3..=5 if !cfg!(core_class = "armv7m") => bits,
        _ => 0,
    }
}

/// The largest sum that so many columns can make.
const fn most(lanes: Lanes, columns: usize) -> usize {
    columns * 255 * ((1 << lanes.bits()) - 1)
}

/// What fields of 16 bits hold, and what is left in them at most when they have been relieved.
const FULL: usize = 0xFFFF;
const RELIEVED: usize = 0x3FFF;

/// Sets of tables that may be looked up in one go: relieved fields have room for them.
pub(super) const fn sets_at_once(lanes: Lanes) -> usize {
    (FULL - RELIEVED) / most(lanes, COLUMNS_A_TABLE_SET)
}

/// Keeps account of how large sums in fields may be.
#[derive(Clone, Copy, Default)]
pub(super) struct Fields {
    most: usize,
}

impl Fields {
    /// Sees to it that the sums have room for so many columns more.
    pub(super) fn make_room(&mut self, lanes: Lanes, columns: usize, sums: &mut [i32]) {
        let more = most(lanes, columns);
        if self.most + more > FULL {
            relieve(sums);
            self.most = RELIEVED;
        }
        self.most += more;
    }
}

/// Of each row's four words the first two are four sums of 16 bits. Moves the two uppermost bits of each to a count of such
/// bits in the same place of the other two words; with it a sum has 30 bits, as many as any layer's has.
#[cfg(not(core_class = "armv6m"))]
fn relieve(sums: &mut [i32]) {
    for row in bytemuck::cast_slice_mut::<i32, [u32; PIXELS]>(sums) {
        for pair in 0..2 {
            let upper = row[pair] & 0xC000_C000;
            row[pair] ^= upper;
            row[pair + 2] += upper >> 14;
        }
    }
}

/// Turns the two words of sums and the two of counts into a row's four sums.
#[cfg(not(core_class = "armv7em"))]
pub(super) fn settle(sums: &mut [i32]) {
    for row in bytemuck::cast_slice_mut::<i32, [u32; PIXELS]>(sums) {
        let [low, high, low_count, high_count] = *row;
        let lower = |sums: u32, counts: u32| (sums & 0xFFFF) + ((counts & 0xFFFF) << 14);
        let upper = |sums: u32, counts: u32| (sums >> 16) + (counts >> 16 << 14);
        *row = [lower(low, low_count), upper(low, low_count), lower(high, high_count), upper(high, high_count)];
    }
}
