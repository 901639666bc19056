//! How the codes of one layer are laid out in its weight section.
//!
//! The host chooses a layout for each layer when it packs, and names it in the blob. Whatever the layout, the codes of
//! a layer form a matrix of `rows` output channels by `columns` weights a channel; a convolution's columns run over
//! (kernel row, kernel column, input channel), a dense layer's over its input in (row, column, channel) order.

use serde::{Deserialize, Serialize};

use crate::{Bitwidth, codes};

/// A packing of a layer's codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Layout {
    /// The dense bitstream of [`crate::codes`], row after row without gaps: the portable reference.
    Bitstream,
}

impl Layout {
    /// Bytes of a weight section of `rows * columns` codes, `None` if that does not fit a `usize`.
    #[must_use]
    pub fn section_len(self, rows: usize, columns: usize, bits: Bitwidth) -> Option<usize> {
        match self {
            Self::Bitstream => codes::packed_len(rows.checked_mul(columns)?, bits),
        }
    }

    /// Reads the code at (`row`, `column`) of a section of `columns` weights a row: slow, for inspection and tests.
    ///
    /// # Panics
    /// If the section does not hold that code.
    #[must_use]
    pub fn code_at(self, section: &[u8], bits: Bitwidth, columns: usize, row: usize, column: usize) -> u8 {
        match self {
            Self::Bitstream => codes::code_at(section, bits, row * columns + column),
        }
    }

    /// Packs `codes` (`rows * columns` of them, row by row) into a new section.
    ///
    /// # Panics
    /// If the number of codes is not `rows * columns`.
    #[cfg(feature = "alloc")]
    #[must_use]
    pub fn pack(self, codes: &[u8], rows: usize, columns: usize, bits: Bitwidth) -> alloc::vec::Vec<u8> {
        assert_eq!(codes.len(), rows * columns, "the number of codes is not rows * columns");
        match self {
            Self::Bitstream => {
                let mut section = alloc::vec![0; (codes.len() * usize::from(bits.get())).div_ceil(8)];
                codes::pack(codes, bits, &mut section);
                section
            }
        }
    }
}
