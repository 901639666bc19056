//! The duo layout: two rows side by side in the 16-bit lanes of a word, for dense layers on cores without dual
//! multiplications, where one multiplication of an activation by a code of each row makes two products.
//!
//! Rows `2i` and `2i + 1` are a *duo*. A word of 32 bits, little endian, holds `n = floor(16 / k)` columns of a duo: column
//! `n j + s` of the first row at bits `s * k` of word `j`, of the second at `16 + s * k`. Two duos stand abreast: their
//! words alternate. The rows of a layer are filled up by zeros to a multiple of four.

use super::lanes::Place;
use crate::Bitwidth;

/// The duo layout for codes of one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duo {
    bits: usize,
}

/// Rows that stand together.
const ROWS: usize = 4;

impl Duo {
    /// Codes of `bits`, `None` for more than 5.
    #[must_use]
    #[inline]
    pub const fn new(bits: Bitwidth) -> Option<Self> {
        match bits.get() {
            1..=5 => Some(Self { bits: bits.get() as usize }),
            _ => None,
        }
    }

    /// Bits of a code.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> usize {
        self.bits
    }

    /// Columns in a word.
    #[must_use]
    #[inline]
    pub const fn slots(self) -> usize {
        16 / self.bits
    }

    /// Bytes of four rows of `columns`.
    #[must_use]
    #[inline]
    pub const fn set_len(self, columns: usize) -> usize {
        columns.div_ceil(self.slots()) * 8
    }

    /// Bytes of a section, `None` if that does not fit a `usize`.
    pub(super) fn section_len(self, rows: usize, columns: usize) -> Option<usize> {
        rows.div_ceil(ROWS).checked_mul(self.set_len(columns))
    }

    /// Where the code at (`row`, `column`) lies.
    pub(super) const fn place(self, columns: usize, row: usize, column: usize) -> Place {
        let (word, slot) = (column / self.slots(), column % self.slots());
        let byte = row / ROWS * self.set_len(columns) + word * 8 + row % ROWS / 2 * 4;
        Place { bit: byte * 8 + row % 2 * 16 + slot * self.bits, step: 1, signed: false }
    }

    /// Reads the codes of a row from column `first` on, as many as there are places for.
    pub(super) fn unpack_row(self, section: &[u8], columns: usize, row: usize, first: usize, codes: &mut [u8]) {
        let max = ((1u16 << self.bits) - 1) as u8;
        let mut column = first;
        let mut codes = codes.iter_mut().peekable();
        while codes.peek().is_some() {
            let place = self.place(columns, row, column / self.slots() * self.slots());
            let mut lane = u16::from_le_bytes([section[place.bit / 8], section[place.bit / 8 + 1]]);
            let slot = column % self.slots();
            lane >>= slot * self.bits;
            for code in codes.by_ref().take(self.slots() - slot) {
                *code = lane as u8 & max;
                lane >>= self.bits;
                column += 1;
            }
        }
    }
}
