//! The number of bits of one weight.

use core::fmt;

use serde::{Deserialize, Serialize};

/// Bits of one weight: 1 to 8. The only way to make one is through the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Bitwidth(u8);

/// A number that is no bitwidth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct InvalidBitwidth(pub u8);

impl Bitwidth {
    /// The narrowest weights: two levels.
    pub const MIN: Self = Self(1);
    /// The widest weights that a blob holds.
    pub const MAX: Self = Self(8);

    /// Checks that `bits` lies in 1..=8.
    ///
    /// # Errors
    /// [`InvalidBitwidth`] with the offending number.
    pub const fn new(bits: u8) -> Result<Self, InvalidBitwidth> {
        if bits >= Self::MIN.0 && bits <= Self::MAX.0 { Ok(Self(bits)) } else { Err(InvalidBitwidth(bits)) }
    }

    /// The number of bits, 1..=8.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The number of distinct codes, `2^bits`.
    #[must_use]
    pub const fn levels(self) -> u32 {
        1 << self.0
    }

    /// The largest code, `2^bits - 1`.
    #[must_use]
    pub const fn max_code(self) -> u8 {
        (self.levels() - 1) as u8
    }

    /// Every bitwidth from 1 to 8, ascending.
    pub fn all() -> impl Iterator<Item = Self> {
        (Self::MIN.0..=Self::MAX.0).map(Self)
    }
}

impl TryFrom<u8> for Bitwidth {
    type Error = InvalidBitwidth;

    fn try_from(bits: u8) -> Result<Self, Self::Error> {
        Self::new(bits)
    }
}

impl From<Bitwidth> for u8 {
    fn from(bits: Bitwidth) -> Self {
        bits.0
    }
}

impl fmt::Display for Bitwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for InvalidBitwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is no bitwidth: a weight has 1 to 8 bits", self.0)
    }
}

impl core::error::Error for InvalidBitwidth {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_to_eight_bits_are_bitwidths() {
        for bits in 0..=u8::MAX {
            assert_eq!(Bitwidth::new(bits).is_ok(), (1..=8).contains(&bits), "{bits}");
        }
        assert_eq!(Bitwidth::all().count(), 8);
    }

    #[test]
    fn levels_and_codes_follow_from_the_bits() {
        assert_eq!((Bitwidth::MIN.levels(), Bitwidth::MIN.max_code()), (2, 1));
        assert_eq!((Bitwidth::MAX.levels(), Bitwidth::MAX.max_code()), (256, 255));
    }
}
