//! Writes activations for wide lanes column by column: see [`super::wide`].

use super::{PIXELS, pack};

/// Columns whose activations a sum of 16 bits holds.
const COLUMNS_A_SUM: usize = 257;

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

    /// Columns that there is still room for.
    pub(super) fn left(&self) -> usize {
        self.columns.len()
    }

    /// Writes as many columns as the sources have activations.
    pub(super) fn push(&mut self, mut sources: [&[u8]; PIXELS]) {
        while sources[0].len() > COLUMNS_A_SUM {
            self.push_some(sources.map(|source| &source[..COLUMNS_A_SUM]));
            sources = sources.map(|source| &source[COLUMNS_A_SUM..]);
        }
        self.push_some(sources);
    }

    fn push_some(&mut self, sources: [&[u8]; PIXELS]) {
        let (now, later) = core::mem::take(&mut self.columns).split_at_mut(sources[0].len());
        self.columns = later;
        let [ab, cd] = pack(sources, now, self.bits, self.slots, &mut self.word);
        let found = [ab & 0xFFFF, ab >> 16, cd & 0xFFFF, cd >> 16];
        for (total, found) in self.totals.iter_mut().zip(found) {
            *total += found as i32;
        }
    }

    /// Writes nothing to the columns that are left, those behind the last one of a row, and returns the sums of each
    /// pixel's activations.
    pub(super) fn finish(self) -> [i32; PIXELS] {
        let mut before = self.word.before;
        for column in self.columns {
            *column = before.map(|word| 0u32.wrapping_sub(word));
            before = [0; 2];
        }
        self.totals
    }
}
