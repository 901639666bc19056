//! A small generator of test values: the same on the host and on a board.

use core::ops::RangeInclusive;

/// SplitMix64 (Steele, Lea, Flood 2014): a counter through a mixing function.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// A number in `range`, which must not be empty.
    pub fn within(&mut self, range: RangeInclusive<u32>) -> u32 {
        let span = u64::from(range.end() - range.start()) + 1;
        range.start() + (((self.bits() >> 32) * span) >> 32) as u32
    }

    /// Any byte.
    pub fn byte(&mut self) -> u8 {
        self.bits() as u8
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u32) -> bool {
        self.within(1..=n) == 1
    }

    /// Fills `bytes` with values of 0..=`max`: usually evenly, now and then all at one end, to reach the extremes.
    pub fn fill(&mut self, bytes: &mut [u8], max: u8) {
        let extreme = self.within(0..=7);
        for byte in bytes {
            *byte = match extreme {
                0 => max,
                1 => 0,
                2 if self.one_in(2) => max,
                2 => 0,
                _ => self.within(0..=u32::from(max)) as u8,
            };
        }
    }
}
