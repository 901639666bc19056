//! WRPN (arXiv 1709.01134): weights cut off at -1 and 1 and rounded to `2^k - 1` levels, zero among them, `1 / (2^(k-1) - 1)`
//! apart: `round((2^(k-1) - 1) * clip(w, -1, 1)) / (2^(k-1) - 1)`. No scale, and nothing at one bit. The gradient goes
//! straight through within -1 to 1 and is zero beyond.

use releq_shared::Bitwidth;

use crate::train::ops::WeightGrid;

/// The grid: codes 0 … 2^k - 2, zero in the middle.
pub(super) fn grid(bits: Bitwidth) -> WeightGrid {
    let levels = bits.levels() - 1;
    WeightGrid { levels, zero: levels - 1, reach: 0.0, step_gradient_scale: 0.0 }
}

/// The constant step. Infinite at one bit, where the quantiser is not defined.
pub(super) fn step(bits: Bitwidth) -> f32 {
    1.0 / (bits.levels() / 2 - 1) as f32
}
