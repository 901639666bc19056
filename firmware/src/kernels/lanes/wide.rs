//! Activations for wide lanes, where one plain multiplication makes two products.
//!
//! A word holds the activations `a` of two pixels, 16 bits apart, so that a code times the word is two products, whose
//! sums may grow to 16 bits. The codes need not even be taken out of their word `w`: with `b_0 = a_0` and
//! `b_j = a_j - 2^k a_(j-1)`, modulo 2^32,
//!
//! ```text
//! sum_j (w >> k j) b_j = sum_j sum_(i >= j) u_i 2^(k (i - j)) b_j = sum_i u_i sum_(j <= i) 2^(k (i - j)) b_j = sum_i u_i a_i
//! ```
//!
//! so that a running shift of the word does, if the bits behind the last code are cleared. A column has two words, of pixels
//! 0 and 1 and of pixels 2 and 3; they hold the `b` of the columns of each word of codes.
//!
//! One-bit codes need no multiplication: for each four columns a table has the two words of every sum of some of their
//! `a`, to be looked up by four codes at once. Four tables, of sixteen columns, are a set.

use releq_shared::layout::Lanes;

/// Columns of a set of tables.
pub(super) const COLUMNS_A_TABLE_SET: usize = 16;
/// Words of a set of tables.
pub(super) const WORDS_A_TABLE_SET: usize = 4 * 16 * 2;

/// Whether convolutions in these lanes go by tables.
pub(super) const fn by_tables(lanes: Lanes) -> bool {
    lanes.is_wide() && lanes.bits() == 1
}

/// Whole words of codes after which sums of products must be taken out of 16 bits.
#[cfg(not(core_class = "armv7em"))]
pub(super) const fn words_between_flushes(bits: usize) -> usize {
    let products = 0xFFFF / (255 * ((1 << bits) - 1));
    products / (32 / bits)
}
