//! Writes activations for wide lanes column by column: see [`super::wide`].

use super::{Columns, PIXELS, pack};

/// Columns whose activations a sum of 16 bits holds.
pub(super) const COLUMNS_A_SUM: usize = 256;

/// The word of codes whose columns are being packed.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Word {
    /// Activations of its last column times `2^k`, or 0 at its start.
    pub(super) before: [u32; 2],
    /// Columns that it still lacks: at least one.
    pub(super) missing: usize,
}

/// Writes columns one after the other.
pub(super) struct Writer<'a> {
    columns: &'a mut [[u32; 2]],
    bits: usize,
    /// Columns of a word of codes.
    slots: usize,
    word: Word,
    totals: [i32; PIXELS],
}

impl<'a> Writer<'a> {
    /// Writes to `columns`, the first being that of a word's first code. For 0 bits, writes the activations themselves.
    pub(super) fn new(columns: &'a mut [[u32; 2]], bits: usize) -> Self {
        // Without bits nothing is taken off the columns, so that words do not matter.
        let slots = 32usize.checked_div(bits).unwrap_or(COLUMNS_A_SUM);
        Self { columns, bits, slots, word: Word { missing: slots, before: [0; 2] }, totals: [0; PIXELS] }
    }

    /// Writes `count` columns, at most [`COLUMNS_A_SUM`].
    pub(super) fn push(&mut self, columns: &Columns<'_>, count: usize) {
        let (now, later) = core::mem::take(&mut self.columns).split_at_mut(count);
        self.columns = later;
        add_fields(&mut self.totals, pack(columns, now, self.bits, self.slots, &mut self.word));
    }

    /// Writes nothing to the columns that are left, those behind the last one of a row, and adds the sums of each pixel's
    /// activations to `totals`.
    pub(super) fn finish(self, totals: &mut [i32; PIXELS]) {
        let mut before = self.word.before;
        for column in self.columns {
            *column = before.map(|word| 0u32.wrapping_sub(word));
            before = [0; 2];
        }
        for (total, found) in totals.iter_mut().zip(self.totals) {
            *total += found;
        }
    }
}

/// Adds the four sums in the fields of two words.
pub(super) fn add_fields(totals: &mut [i32; PIXELS], [ab, cd]: [u32; 2]) {
    for (total, found) in totals.iter_mut().zip([ab & 0xFFFF, ab >> 16, cd & 0xFFFF, cd >> 16]) {
        *total += found as i32;
    }
}
