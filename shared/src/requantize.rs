//! The fixed-point arithmetic that takes 32-bit accumulators to 8-bit activations, defined once for host and device.
//!
//! `requantize(acc) = floor((acc * multiplier + 2^(shift-1)) / 2^shift)`: a multiplication into 64 bits, a single
//! rounding (half towards positive infinity) and an arithmetic shift. With `shift >= 33` only the upper word of the
//! product matters, so a core with SMMUL or SMULL spends three instructions on it.

use serde::{Deserialize, Serialize};

/// A positive real scale below 2^29 as `multiplier / 2^shift`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Requantize {
    /// Non-negative; normalised to 2^30..2^31 by [`Requantize::from_scale`] unless the scale is zero or tiny.
    pub multiplier: i32,
    /// Right shift, 1..=62.
    pub shift: u8,
}

/// The largest shift that a blob may hold.
pub const MAX_SHIFT: u8 = 62;
/// The smallest shift of a convolution's or dense layer's channel, so that the upper word of the product is enough.
pub const MIN_CHANNEL_SHIFT: u8 = 33;
/// Scales of a convolution's or dense layer's channel lie below this (`2^31 / 2^MIN_CHANNEL_SHIFT`).
pub const MAX_CHANNEL_SCALE: f64 = 0.25;

impl Requantize {
    /// The closest fixed-point form of `scale`, `None` if it is negative, not finite or at least 2^29.
    ///
    /// Relative error at most 2^-31 for scales of 2^-31 and above.
    #[must_use]
    pub fn from_scale(scale: f64) -> Option<Self> {
        if !scale.is_finite() || scale < 0.0 {
            return None;
        }
        if scale == 0.0 {
            return Some(Self { multiplier: 0, shift: MIN_CHANNEL_SHIFT });
        }
        // scale = mantissa * 2^exponent with the mantissa in [0.5, 1)
        let raw_exponent = ((scale.to_bits() >> 52) & 0x7FF) as i32;
        let exponent = raw_exponent - 1022;
        let shift = (31 - exponent).min(i32::from(MAX_SHIFT));
        if shift < 2 {
            return None;
        }
        let scaled = scale * (1u64 << shift) as f64;
        // Rounded by hand: `f64::round` is not in `core`.
        let rounded = (scaled + 0.5) as u64;
        if rounded > i32::MAX as u64 {
            return Some(Self { multiplier: 1 << 30, shift: (shift - 1) as u8 });
        }
        Some(Self { multiplier: rounded as i32, shift: shift as u8 })
    }

    /// The scale that this stands for.
    #[must_use]
    pub fn scale(self) -> f64 {
        f64::from(self.multiplier) / (1u64 << self.shift) as f64
    }

    /// Scales `acc`, rounding half towards positive infinity. The shift must be in 1..=62, which the blob reader checks.
    #[inline]
    #[must_use]
    pub const fn apply(self, acc: i32) -> i32 {
        round_shift(acc as i64 * self.multiplier as i64, self.shift)
    }
}

impl Requantize {
    /// What [`Requantize::apply`] gives, for shifts of [`MIN_CHANNEL_SHIFT`] and above, as a channel's are: by the upper
    /// word of the product alone.
    #[inline]
    #[must_use]
    pub const fn apply_to_channel(self, acc: i32) -> i32 {
        let high = ((acc as i64 * self.multiplier as i64) >> 32) as i32;
        ((high >> (self.shift - MIN_CHANNEL_SHIFT)) + 1) >> 1
    }
}

/// `floor((value + 2^(shift-1)) / 2^shift)`, cut to 32 bits. `shift` is in 1..=62.
#[inline]
#[must_use]
pub const fn round_shift(value: i64, shift: u8) -> i32 {
    ((value + (1 << (shift - 1))) >> shift) as i32
}

/// Adds a zero point and clamps to the activation range: what every layer with 8-bit outputs does last.
#[inline]
#[must_use]
pub const fn to_activation(scaled: i32, zero_point: u8, min: u8, max: u8) -> u8 {
    let value = scaled.saturating_add(zero_point as i32);
    if value < min as i32 {
        min
    } else if value > max as i32 {
        max
    } else {
        value as u8
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_scale_survives_to_31_bits(scale in 1e-9f64..0.25) {
            let fixed = Requantize::from_scale(scale).unwrap();
            prop_assert!((fixed.scale() / scale - 1.0).abs() <= 2f64.powi(-30), "{scale} became {}", fixed.scale());
            prop_assert!((MIN_CHANNEL_SHIFT..=MAX_SHIFT).contains(&fixed.shift), "{fixed:?}");
        }

        #[test]
        fn applying_rounds_to_the_nearest(acc in any::<i32>(), scale in 1e-9f64..0.25) {
            let fixed = Requantize::from_scale(scale).unwrap();
            let exact = f64::from(acc) * fixed.scale();
            let got = f64::from(fixed.apply(acc));
            prop_assert!((got - exact).abs() <= 0.5 + 1e-6, "{acc} * {scale} gave {got}, not {exact}");
        }

        #[test]
        fn the_upper_word_is_enough_for_a_channel(acc in any::<i32>(), multiplier in 0..=i32::MAX, shift in MIN_CHANNEL_SHIFT..=MAX_SHIFT) {
            let short = Requantize { multiplier, shift }.apply_to_channel(acc);
            prop_assert_eq!(short, Requantize { multiplier, shift }.apply(acc));
        }

        #[test]
        fn greater_accumulators_never_give_smaller_activations(a in any::<i32>(), b in any::<i32>(), scale in 0f64..0.25) {
            let fixed = Requantize::from_scale(scale).unwrap();
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(fixed.apply(low) <= fixed.apply(high));
        }
    }

    #[test]
    fn halves_round_up_on_both_sides_of_zero() {
        let half = Requantize { multiplier: 1 << 30, shift: 31 };
        assert_eq!([-3, -2, -1, 0, 1, 2, 3].map(|acc| half.apply(acc)), [-1, -1, 0, 0, 1, 1, 2]);
    }

    #[test]
    fn scales_that_have_no_fixed_point_are_refused() {
        for bad in [-0.1, f64::NAN, f64::INFINITY, 2f64.powi(29)] {
            assert_eq!(Requantize::from_scale(bad), None, "{bad}");
        }
        assert_eq!(Requantize::from_scale(0.0).unwrap().apply(i32::MAX), 0);
        assert_eq!(Requantize::from_scale(1e-300).unwrap().apply(i32::MAX), 0);
    }

    #[test]
    fn activations_are_clamped() {
        assert_eq!(to_activation(-5, 3, 0, 255), 0);
        assert_eq!(to_activation(i32::MAX, 3, 0, 255), 255);
        assert_eq!(to_activation(7, 3, 0, 255), 10);
        assert_eq!(to_activation(-7, 128, 128, 255), 128);
    }
}
