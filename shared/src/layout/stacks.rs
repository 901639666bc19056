//! The stack layout: one column of several rows in a byte, for cores whose vectors have sixteen lanes of a byte
//! (Helium). A vector of bytes is then sixteen adjacent columns, and one AND takes those of a row out of it, wherever
//! they start.
//!
//! A code of 1, 2, 4 or 8 bits is one *plane* of that width; codes of 3 and 5 bits are a lower plane of 2 or 4 bits and an
//! upper one of 1 bit. Of a plane of `p` bits, `8 / p` adjacent rows are a *stack*: one byte a column, row `i` of the stack
//! at bits `i * p`. Eight rows are a set: the stack of the upper plane, if there is one, and then those of the lower
//! plane, each of as many bytes as there are columns. In the last set stacks without a row are left out.

use crate::Bitwidth;

/// The stack layout for codes of one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stacks {
    bits: usize,
    /// Of the lower plane, which has all of them if there is no upper one.
    lower_bits: usize,
}

/// Where the codes of a row are in one of its planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plane {
    /// The first byte of the row's stack; that of column `c` is `c` bytes further.
    pub start: usize,
    /// The first bit of the row in the bytes of its stack.
    pub shift: usize,
    /// Bits of the plane.
    pub bits: usize,
}

impl Plane {
    /// The bits of the row in a byte of its stack.
    #[must_use]
    pub const fn mask(self) -> u8 {
        (((1u16 << self.bits) - 1) << self.shift) as u8
    }

    fn code(self, section: &[u8], column: usize) -> u8 {
        (section[self.start + column] & self.mask()) >> self.shift
    }
}

/// Rows of a set.
const ROWS: usize = 8;

impl Stacks {
    /// Codes of 1 to 5 or 8 bits, `None` for 6 and 7.
    #[must_use]
    pub const fn new(bits: Bitwidth) -> Option<Self> {
        match bits.get() {
            bits @ (3 | 5) => Some(Self { bits: bits as usize, lower_bits: bits as usize - 1 }),
            bits @ (1..=4 | 8) => Some(Self { bits: bits as usize, lower_bits: bits as usize }),
            _ => None,
        }
    }

    /// Bits of the lower plane.
    #[must_use]
    pub const fn lower_bits(self) -> usize {
        self.lower_bits
    }

    /// Whether there is an upper plane, which has one bit.
    #[must_use]
    pub const fn has_upper(self) -> bool {
        self.bits != self.lower_bits
    }

    /// Where the codes of a row are in its lower plane.
    #[must_use]
    pub const fn lower(self, columns: usize, row: usize) -> Plane {
        let bits = self.lower_bits();
        let bit = row % ROWS * bits;
        let stack = self.has_upper() as usize + bit / 8;
        Plane { start: (row / ROWS * self.bits + stack) * columns, shift: bit % 8, bits }
    }

    /// Where those in its upper plane are.
    #[must_use]
    pub const fn upper(self, columns: usize, row: usize) -> Option<Plane> {
        if !self.has_upper() {
            return None;
        }
        Some(Plane { start: row / ROWS * self.bits * columns, shift: row % ROWS, bits: 1 })
    }

    /// Bytes of a section, `None` if that does not fit a `usize`.
    pub(super) fn section_len(self, rows: usize, columns: usize) -> Option<usize> {
        let rest = match rows % ROWS {
            0 => 0,
            rest => usize::from(self.has_upper()) + rest.div_ceil(ROWS / self.lower_bits()),
        };
        (rows / ROWS).checked_mul(self.bits)?.checked_add(rest)?.checked_mul(columns)
    }

    /// Reads one code.
    pub(super) fn code_at(self, section: &[u8], columns: usize, row: usize, column: usize) -> u8 {
        let lower = self.lower(columns, row).code(section, column);
        let upper = self.upper(columns, row).map_or(0, |plane| plane.code(section, column));
        lower | upper << self.lower_bits()
    }

    /// Writes one code where zeros have stood.
    #[cfg(feature = "alloc")]
    pub(super) fn set_code(self, section: &mut [u8], columns: usize, row: usize, column: usize, code: u8) {
        let lower = self.lower(columns, row);
        section[lower.start + column] |= code << lower.shift & lower.mask();
        if let Some(upper) = self.upper(columns, row) {
            section[upper.start + column] |= code >> lower.bits << upper.shift & upper.mask();
        }
    }

    /// Reads the codes of a row from column `first` on, as many as there are places for.
    // Out of line, for the sake of the readers of other layouts beside it on small cores.
    #[inline(never)]
    pub(super) fn unpack_row(self, section: &[u8], columns: usize, row: usize, first: usize, codes: &mut [u8]) {
        for (code, column) in codes.iter_mut().zip(first..) {
            *code = self.code_at(section, columns, row, column);
        }
    }
}
