//! DoReFa's weights (arXiv 1606.06160): `2 * round((2^k - 1) * u) / (2^k - 1) - 1` with `u = tanh(w) / (2 max|tanh w|) + 1/2`,
//! the maximum over the layer: `2^k` levels between -1 and 1, none of them zero, without a scale. The paper quantises one bit
//! as BWN does; here the formula holds for it too, which gives -1 and 1.
//!
//! The gradient goes straight through the rounding, then through `tanh(w) / max|tanh w|` with the maximum as a constant.

use releq_shared::Bitwidth;

use crate::train::ops::WeightGrid;

/// The grid on `tanh(w) / max|tanh w|`.
pub(super) fn grid(bits: Bitwidth) -> WeightGrid {
    let levels = bits.levels();
    // Nothing is cut off: the largest weight lies on the outermost level, but for rounding.
    WeightGrid { levels, zero: levels - 1, reach: 0.5, step_gradient_scale: 0.0 }
}

/// The constant step.
pub(super) fn step(bits: Bitwidth) -> f32 {
    2.0 / (bits.levels() - 1) as f32
}
