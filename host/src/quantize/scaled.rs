//! The scaled quantiser: `2^k` levels symmetric about zero, with a step of its own for each output channel, fitted to the
//! weights and then learned (LSQ, arXiv 1902.08153). For one bit that is sign(w) * mean|w| (BWN, arXiv 1603.05279).

use rayon::prelude::*;
use releq_shared::Bitwidth;

use crate::train::ops::WeightGrid;

/// Candidate steps for the fit, as shares of the step at which the largest weight meets the outermost level.
const FIT_CANDIDATES: usize = 24;

/// A step is never smaller, so that a channel of zeros keeps a grid.
const SMALLEST_STEP: f32 = 1e-6;

/// The grid of `bits` bits for channels of `columns` weights: levels at -(2^k - 1)/2 … (2^k - 1)/2 steps.
#[must_use]
pub fn weight_grid(bits: Bitwidth, columns: usize) -> WeightGrid {
    let levels = bits.levels();
    let largest = f64::from(levels - 1) / 2.0;
    WeightGrid { levels, zero: levels - 1, reach: 0.5, step_gradient_scale: 1.0 / (columns as f64 * largest).sqrt() }
}

/// One step a channel that makes the squared error small: `2 mean|w|` for one bit, which is exact, otherwise the best of
/// some candidates.
///
/// # Panics
/// If `weights` is no whole number of channels.
#[must_use]
pub fn fitted_steps(weights: &[f32], channels: usize, bits: Bitwidth) -> Vec<f32> {
    let columns = weights.len() / channels;
    assert_eq!(columns * channels, weights.len(), "the weights are no whole number of channels");
    weights.par_chunks_exact(columns).map(|row| fitted_step(row, bits)).collect()
}

fn fitted_step(row: &[f32], bits: Bitwidth) -> f32 {
    if bits == Bitwidth::MIN {
        let mean = row.iter().map(|weight| weight.abs()).sum::<f32>() / row.len() as f32;
        return (2.0 * mean).max(SMALLEST_STEP);
    }
    let largest_level = (bits.levels() - 1) as f32 / 2.0;
    let widest = row.iter().fold(0.0f32, |widest, weight| widest.max(weight.abs())) / largest_level;
    let error = |step: f32| -> f32 {
        // Levels lie between whole numbers of steps.
        row.iter()
            .map(|&weight| {
                let level = ((weight / step - 0.5).round_ties_even() + 0.5).clamp(-largest_level, largest_level);
                (weight - step * level).powi(2)
            })
            .sum()
    };
    let candidates = (1..=FIT_CANDIDATES).map(|i| widest * i as f32 / FIT_CANDIDATES as f32);
    let best = candidates.map(|step| (error(step.max(SMALLEST_STEP)), step)).min_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or(SMALLEST_STEP, |(_, step)| step.max(SMALLEST_STEP))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::quantize::Quantizer;

    fn squared_error(row: &[f32], step: f32, bits: Bitwidth) -> f32 {
        let real = Quantizer::Scaled.quantize(row, &[step], bits).dequantized();
        row.iter().zip(real).map(|(a, b)| (a - b).powi(2)).sum()
    }

    proptest! {
        #[test]
        fn the_fitted_step_beats_the_naive_one(
            row in proptest::collection::vec(-1.0f32..1.0, 2..60), bits in 1u8..=8,
        ) {
            let bits = Bitwidth::new(bits).unwrap();
            let step = fitted_step(&row, bits);
            let widest = row.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            let naive = (2.0 * widest / (bits.levels() - 1) as f32).max(SMALLEST_STEP);
            prop_assert!(squared_error(&row, step, bits) <= squared_error(&row, naive, bits) * 1.0001 + 1e-9);
        }
    }

    #[test]
    fn one_bit_is_the_sign_times_the_mean() {
        let quantised = Quantizer::Scaled.quantize(
            &[0.5, -1.5, 0.1, -0.1],
            &fitted_steps(&[0.5, -1.5, 0.1, -0.1], 1, Bitwidth::MIN),
            Bitwidth::MIN,
        );
        assert_eq!(quantised.codes, [1, 0, 1, 0]);
        for (real, expected) in quantised.dequantized().into_iter().zip([0.55, -0.55, 0.55, -0.55f32]) {
            assert!((real - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn a_channel_of_zeros_keeps_a_grid() {
        for bits in Bitwidth::all() {
            assert!(fitted_steps(&[0.0; 6], 2, bits).iter().all(|&step| step >= SMALLEST_STEP));
        }
    }
}
