//! How the codes of one layer are laid out in its weight section.
//!
//! The host chooses a layout for each layer when it packs, and names it in the blob. Whatever the layout, the codes of
//! a layer form a matrix of `rows` output channels by `columns` weights a channel; a convolution's columns run over
//! (kernel row, kernel column, input channel), a dense layer's over its input in (row, column, channel) order.

mod duo;
mod lanes;
mod stacks;

use serde::{Deserialize, Serialize};

pub use duo::Duo;
pub use lanes::Lanes;
use lanes::Place;

pub use stacks::{Plane, Stacks};

use crate::{Bitwidth, codes};

/// A packing of a layer's codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Layout {
    /// The dense bitstream of [`crate::codes`], row after row without gaps: the portable reference.
    Bitstream,
    /// [`Lanes::single`], row after row: convolutions on cores with dual multiplications.
    LaneRows,
    /// [`Lanes::single`], four rows abreast: dense layers on cores with dual multiplications.
    LaneQuads,
    /// [`Lanes::twin`], row after row: convolutions of 1 and 2 bits on cores with dual multiplications.
    TwinRows,
    /// [`Lanes::twin`], four twins abreast: dense layers of 1 and 2 bits on cores with dual multiplications.
    TwinQuads,
    /// [`Lanes::wide`], row after row: convolutions on cores without dual multiplications, and dense layers of 3 bits and more that
    /// [`Layout::Duos`] would make too large.
    WideRows,
    /// [`Duo`]: dense layers on cores without dual multiplications.
    Duos,
    /// [`Stacks`]: convolutions and dense layers on cores with Helium.
    Stacks,
}

impl Layout {
    /// Every layout.
    pub const ALL: [Self; 8] = [
        Self::Bitstream,
        Self::LaneRows,
        Self::LaneQuads,
        Self::TwinRows,
        Self::TwinQuads,
        Self::WideRows,
        Self::Duos,
        Self::Stacks,
    ];

    /// The geometry of a lane layout, `None` for the others and for widths that it does not hold.
    #[must_use]
    pub const fn lanes(self, bits: Bitwidth) -> Option<Lanes> {
        match self {
            Self::Bitstream | Self::Duos | Self::Stacks => None,
            Self::LaneRows => Lanes::single(bits, 1),
            Self::LaneQuads => Lanes::single(bits, 4),
            Self::TwinRows => Lanes::twin(bits, 1),
            Self::TwinQuads => Lanes::twin(bits, 4),
            Self::WideRows => Lanes::wide(bits),
        }
    }

    /// Whether the layout holds codes of that width.
    #[must_use]
    pub const fn holds(self, bits: Bitwidth) -> bool {
        match self {
            Self::Bitstream => true,
            Self::Duos => Duo::new(bits).is_some(),
            Self::Stacks => Stacks::new(bits).is_some(),
            _ => self.lanes(bits).is_some(),
        }
    }

    /// Bytes of a weight section of `rows * columns` codes, `None` if that does not fit a `usize` or the layout does
    /// not hold codes of that width.
    #[must_use]
    pub fn section_len(self, rows: usize, columns: usize, bits: Bitwidth) -> Option<usize> {
        match self {
            Self::Bitstream => codes::packed_len(rows.checked_mul(columns)?, bits),
            Self::Duos => Duo::new(bits)?.section_len(rows, columns),
            Self::Stacks => Stacks::new(bits)?.section_len(rows, columns),
            _ => self.lanes(bits)?.section_len(rows, columns),
        }
    }

    /// Where the code at (`row`, `column`) lies.
    fn place(self, section_len: usize, bits: Bitwidth, columns: usize, row: usize, column: usize) -> Place {
        match (self.lanes(bits), Duo::new(bits)) {
            (Some(lanes), _) => lanes.place(section_len, columns, row, column),
            (None, Some(duo)) if self == Self::Duos => duo.place(columns, row, column),
            _ => Place { bit: (row * columns + column) * usize::from(bits.get()), step: 1, signed: false },
        }
    }

    /// Reads the code at (`row`, `column`) of a section of `columns` weights a row: slow, for inspection and tests.
    ///
    /// # Panics
    /// If the section does not hold that code.
    #[must_use]
    pub fn code_at(self, section: &[u8], bits: Bitwidth, columns: usize, row: usize, column: usize) -> u8 {
        if let (Self::Stacks, Some(stacks)) = (self, Stacks::new(bits)) {
            return stacks.code_at(section, columns, row, column);
        }
        let place = self.place(section.len(), bits, columns, row, column);
        place.flip(bits) ^ place.read(section, bits)
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
            Self::Duos => {
                if let Some(duo) = Duo::new(bits) {
                    duo.unpack_row(section, columns, row, first, codes);
                }
            }
            Self::Stacks => {
                if let Some(stacks) = Stacks::new(bits) {
                    stacks.unpack_row(section, columns, row, first, codes);
                }
            }
            _ => {
                if let (Some(lanes), false) = (self.lanes(bits), codes.is_empty()) {
                    lanes.unpack_row(section, columns, row, first, codes);
                }
            }
        }
    }

    /// Packs `codes` (`rows * columns` of them, row by row) into a new section.
    ///
    /// # Panics
    /// If the number of codes is not `rows * columns`, or the layout does not hold codes of that width.
    #[cfg(feature = "alloc")]
    #[must_use]
    pub fn pack(self, codes: &[u8], rows: usize, columns: usize, bits: Bitwidth) -> alloc::vec::Vec<u8> {
        assert_eq!(codes.len(), rows * columns, "the number of codes is not rows * columns");
        assert!(self.holds(bits), "{self:?} does not hold codes of {bits} bits");
        let len = self.section_len(rows, columns, bits).expect("the section is smaller than the codes' own slice");
        let mut section = alloc::vec![0; len];
        for (index, &code) in codes.iter().enumerate() {
            if let (Self::Stacks, Some(stacks)) = (self, Stacks::new(bits)) {
                stacks.set_code(&mut section, columns, index / columns, index % columns, code);
                continue;
            }
            let place = self.place(len, bits, columns, index / columns, index % columns);
            place.write(&mut section, bits, code ^ place.flip(bits));
        }
        section
    }
}

impl Place {
    /// What turns a code into the bits that are stored for it, and back.
    const fn flip(self, bits: Bitwidth) -> u8 {
        if self.signed { 1 << (bits.get() - 1) } else { 0 }
    }

    fn read(self, section: &[u8], bits: Bitwidth) -> u8 {
        if self.step == 1 {
            return codes::bits_at(section, bits, self.bit);
        }
        let bit = |bit: usize| codes::bits_at(section, Bitwidth::MIN, self.bit + bit * self.step);
        (0..usize::from(bits.get())).fold(0, |code, at| code | bit(at) << at)
    }

    /// Writes a code where zeros have stood.
    #[cfg(feature = "alloc")]
    fn write(self, section: &mut [u8], bits: Bitwidth, code: u8) {
        if self.step == 1 {
            return codes::set_bits(section, bits, self.bit, code);
        }
        for at in 0..usize::from(bits.get()) {
            codes::set_bits(section, Bitwidth::MIN, self.bit + at * self.step, code >> at & 1);
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

    #[test]
    fn widths_that_a_layout_does_not_hold_have_no_section() {
        for bits in Bitwidth::all() {
            for layout in Layout::ALL {
                assert_eq!(layout.section_len(3, 5, bits).is_some(), layout.holds(bits), "{layout:?} {bits}");
            }
            assert_eq!(Layout::TwinRows.holds(bits), bits.get() <= 2);
        }
    }

    #[test]
    fn lanes_cost_at_most_seven_percent_on_large_layers() {
        for bits in Bitwidth::all() {
            for (rows, columns) in [(48, 500), (500, 800)] {
                let dense = Layout::Bitstream.section_len(rows, columns, bits).unwrap();
                for layout in Layout::ALL.into_iter().filter(|layout| layout.holds(bits)) {
                    let len = layout.section_len(rows, columns, bits).unwrap();
                    // Words of six codes of 5 bits, which no core with dual multiplications uses.
                    let most = if (layout, bits.get()) == (Layout::WideRows, 5) { 108 } else { 107 };
                    assert!(len * 100 <= dense * most, "{layout:?} of {bits} bits takes {len} bytes, not {dense}");
                }
            }
        }
    }

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
            for layout in Layout::ALL.into_iter().filter(|layout| layout.holds(bits)) {
                let section = layout.pack(&codes, rows, columns, bits);
                prop_assert_eq!(Some(section.len()), layout.section_len(rows, columns, bits));
                for (row, expected) in codes.chunks(columns).enumerate() {
                    let first = seed as usize % columns;
                    let len = seed as usize / columns % (columns - first + 1);
                    let mut unpacked = vec![0; len];
                    layout.unpack_row(&section, bits, columns, row, first, &mut unpacked);
                    prop_assert_eq!(&unpacked[..], &expected[first..first + len]);
                    for (column, &code) in expected.iter().enumerate() {
                        prop_assert_eq!(layout.code_at(&section, bits, columns, row, column), code);
                    }
                }
            }
        }
    }
}
