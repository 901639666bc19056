//! The activation quantiser: unsigned 8 bits, one grid a tensor.

use serde::{Deserialize, Serialize};

/// The grid `scale * (q - zero_point)`, `q` in 0..=255.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActivationGrid {
    /// Step.
    pub scale: f32,
    /// The `q` of zero; 0 behind a ReLU.
    pub zero_point: u8,
}

/// The smallest and largest value that a tensor has taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Smallest.
    pub min: f32,
    /// Largest.
    pub max: f32,
}

impl Range {
    /// Of nothing yet.
    pub const EMPTY: Self = Self { min: f32::INFINITY, max: f32::NEG_INFINITY };

    /// The range that covers both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

impl ActivationGrid {
    /// The finest grid that covers a range and has zero on it. A range without negative values, as behind a ReLU, gets
    /// zero point 0.
    #[must_use]
    pub fn covering(range: Range) -> Self {
        let (min, max) = (range.min.min(0.0), range.max.max(0.0));
        let scale = (max - min) / 255.0;
        if !scale.is_finite() || scale < f32::MIN_POSITIVE {
            return Self { scale: 1.0 / 255.0, zero_point: 0 };
        }
        Self { scale, zero_point: (-min / scale).round_ties_even() as u8 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_grid_covers_its_range_to_half_a_step(min in -10.0f32..10.0, len in 0.01f32..20.0) {
            let grid = ActivationGrid::covering(Range { min, max: min + len });
            let zero = f32::from(grid.zero_point);
            let slack = grid.scale * 0.51;
            prop_assert!(-zero * grid.scale <= min.min(0.0) + slack && (255.0 - zero) * grid.scale >= (min + len) - slack);
            prop_assert!(min < 0.0 || grid.zero_point == 0);
        }
    }

    #[test]
    fn an_empty_range_still_has_a_grid() {
        assert!(ActivationGrid::covering(Range::EMPTY).scale > 0.0);
        assert!(ActivationGrid::covering(Range { min: 0.0, max: 0.0 }).scale > 0.0);
    }
}
