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

    /// Writes the codes of `row` from `first` on to `codes`, as many as it holds. Columns of a row must not run out.
    ///
    /// # Panics
    /// If the section does not hold those codes.
    pub fn unpack_row(
        self,
        section: &[u8],
        bits: Bitwidth,
        columns: usize,
        row: usize,
        first: usize,
        codes: &mut [u8],
    ) {
        debug_assert!(first + codes.len() <= columns, "the row has no such columns");
        match self {
            Self::Bitstream => codes::unpack(section, bits, row * columns + first, codes),
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

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reading_is_the_inverse_of_packing(
            bits in 1u8..=8,
            rows in 1usize..20,
            columns in 1usize..70,
            seed in any::<u64>(),
        ) {
            let bits = Bitwidth::new(bits).unwrap();
            let codes: Vec<u8> =
                (0..rows * columns).map(|i| (seed.wrapping_mul(2 * i as u64 + 1) >> 40) as u8 & bits.max_code()).collect();
            for layout in [Layout::Bitstream] {
                let section = layout.pack(&codes, rows, columns, bits);
                prop_assert_eq!(Some(section.len()), layout.section_len(rows, columns, bits));
                for (row, expected) in codes.chunks(columns).enumerate() {
                    let first = seed as usize % columns;
                    let mut unpacked = vec![0; columns - first];
                    layout.unpack_row(&section, bits, columns, row, first, &mut unpacked);
                    prop_assert_eq!(&unpacked[..], &expected[first..]);
                    for (column, &code) in expected.iter().enumerate() {
                        prop_assert_eq!(layout.code_at(&section, bits, columns, row, column), code);
                    }
                }
            }
        }
    }
}
