//! From one layer's real numbers to the integers of its blob entry: the order of its codes, its biases and its scales.

use releq_shared::requantize::{MAX_CHANNEL_SCALE, Requantize};

use super::PackError;

/// A per-output-channel affine map behind a layer, `y = gain * x + offset`: a folded batch norm, or just a bias.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelAffine {
    /// One gain a channel.
    pub gain: Vec<f64>,
    /// One offset a channel, in real units.
    pub offset: Vec<f64>,
}

/// Statistics and parameters of a batch norm, one value a channel each.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm<'a> {
    /// Scale.
    pub gamma: &'a [f32],
    /// Shift.
    pub beta: &'a [f32],
    /// Running mean.
    pub mean: &'a [f32],
    /// Running variance.
    pub variance: &'a [f32],
    /// Added to the variance.
    pub epsilon: f64,
}

impl ChannelAffine {
    /// A bias alone.
    #[must_use]
    pub fn bias(bias: &[f32]) -> Self {
        Self { gain: vec![1.0; bias.len()], offset: bias.iter().map(|&b| f64::from(b)).collect() }
    }

    /// This map followed by a batch norm.
    #[must_use]
    pub fn then_batch_norm(&self, norm: &BatchNorm<'_>) -> Self {
        let mut folded = self.clone();
        for channel in 0..folded.gain.len() {
            let deviation = (f64::from(norm.variance[channel]) + norm.epsilon).sqrt();
            let gain = f64::from(norm.gamma[channel]) / deviation;
            folded.gain[channel] *= gain;
            folded.offset[channel] =
                gain * (self.offset[channel] - f64::from(norm.mean[channel])) + f64::from(norm.beta[channel]);
        }
        folded
    }
}

/// The codes of a layer in the order of the blob, and their scales with the affine map folded in.
#[derive(Clone, Debug, PartialEq)]
pub struct FoldedWeights {
    /// Row by row, one row an output channel.
    pub codes: Vec<u8>,
    /// Weights a row.
    pub columns: usize,
    /// Twice the code of zero.
    pub z: u16,
    /// Scale of each row, not negative.
    pub scales: Vec<f64>,
    /// Real offset of each row.
    pub offsets: Vec<f64>,
}

impl FoldedWeights {
    /// Folds `affine` into codes that are already in the blob's order. A negative gain mirrors the row's codes
    /// (`u` becomes `z - u`), which all quantisers allow: none uses codes above `z`.
    ///
    /// # Errors
    /// [`PackError::CodeAboveZ`] if a mirrored row has a code above `z`.
    pub fn new(
        name: &str,
        mut codes: Vec<u8>,
        z: u16,
        scales: &[f32],
        affine: &ChannelAffine,
    ) -> Result<Self, PackError> {
        let columns = codes.len() / scales.len().max(1);
        for (row, &gain) in codes.chunks_exact_mut(columns).zip(&affine.gain) {
            if gain < 0.0 {
                for code in row {
                    let mirrored = z.checked_sub(u16::from(*code)).and_then(|mirrored| u8::try_from(mirrored).ok());
                    *code = mirrored.ok_or_else(|| PackError::CodeAboveZ { layer: name.to_owned(), code: *code, z })?;
                }
            }
        }
        let scales = scales.iter().zip(&affine.gain).map(|(&scale, gain)| f64::from(scale) * gain.abs()).collect();
        Ok(Self { codes, columns, z, scales, offsets: affine.offset.clone() })
    }

    /// Biases and output scales for an input grid of step `input_scale` and zero point `input_zero`, and an output grid
    /// of step `output_scale`.
    ///
    /// A channel whose accumulator is so fine that its bias would leave 32 bits (a dead channel, say) is made coarser:
    /// its weights then matter less than its rounding does.
    ///
    /// # Errors
    /// [`PackError::Scale`] if a scale is not finite or not below [`MAX_CHANNEL_SCALE`].
    pub fn channels(
        &self,
        name: &str,
        input_scale: f64,
        input_zero: u8,
        output_scale: f64,
    ) -> Result<(Vec<i32>, Vec<Requantize>), PackError> {
        const LARGEST_BIAS: f64 = (1u32 << 30) as f64;
        let mut biases = Vec::with_capacity(self.scales.len());
        let mut requantize = Vec::with_capacity(self.scales.len());
        for (channel, row) in self.codes.chunks_exact(self.columns).enumerate() {
            let offset = self.offsets[channel];
            let unit =
                (self.scales[channel] * input_scale / 2.0).max(offset.abs() / LARGEST_BIAS).max(f64::MIN_POSITIVE);
            let zero_share: i64 = row.iter().map(|&code| 2 * i64::from(code) - i64::from(self.z)).sum();
            let bias = (offset / unit).round() - (zero_share * i64::from(input_zero)) as f64;
            let scale = unit / output_scale;
            let fixed = (scale < MAX_CHANNEL_SCALE).then(|| Requantize::from_scale(scale)).flatten();
            biases.push(bias.clamp(f64::from(i32::MIN), f64::from(i32::MAX)) as i32);
            requantize.push(fixed.ok_or_else(|| PackError::Scale { layer: name.to_owned(), channel, scale })?);
        }
        Ok((biases, requantize))
    }

    /// The smallest output step for which [`FoldedWeights::channels`] finds a fixed-point scale in every channel.
    #[must_use]
    pub fn smallest_output_scale(&self, input_scale: f64) -> f64 {
        let coarsest = self.scales.iter().fold(0.0, |a: f64, &b| a.max(b));
        coarsest * input_scale / 2.0 / MAX_CHANNEL_SCALE * (1.0 + 1e-6)
    }
}

/// A convolution's codes from (output, input, row, column) order to the blob's (output, row, column, input).
///
/// # Panics
/// If `codes` is no whole number of kernels.
#[must_use]
pub fn channels_last(codes: &[u8], inputs: usize, rows: usize, columns: usize) -> Vec<u8> {
    let area = rows * columns;
    assert_eq!(codes.len() % (inputs * area), 0, "the codes are no whole number of kernels");
    let kernels = codes.chunks_exact(inputs * area);
    kernels
        .flat_map(|kernel| (0..area).flat_map(move |place| (0..inputs).map(move |input| kernel[input * area + place])))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The accumulator of the blob, scaled back, is the real layer.
        #[test]
        fn integers_stand_for_the_real_layer(
            codes in proptest::collection::vec(0u8..8, 12),
            activations in proptest::collection::vec(any::<u8>(), 6),
            scales in proptest::collection::vec(0.001f32..0.1, 2),
            gains in proptest::collection::vec(prop_oneof![-2.0f64..-0.1, 0.1f64..2.0], 2),
            offsets in proptest::collection::vec(-3.0f64..3.0, 2),
            zero in any::<u8>(),
        ) {
            let (z, input_scale, output_scale) = (7u16, 0.02, 0.05);
            let affine = ChannelAffine { gain: gains.clone(), offset: offsets.clone() };
            let folded = FoldedWeights::new("layer", codes.clone(), z, &scales, &affine).unwrap();
            let (bias, requantize) = folded.channels("layer", input_scale, zero, output_scale).unwrap();
            for channel in 0..2 {
                let row = &codes[channel * 6..][..6];
                let real: f64 = row.iter().zip(&activations).map(|(&u, &q)| {
                    f64::from(scales[channel]) * (f64::from(u) - 3.5) * input_scale * (f64::from(q) - f64::from(zero))
                }).sum::<f64>() * gains[channel] + offsets[channel];
                let folded_row = &folded.codes[channel * 6..][..6];
                let acc: i32 = folded_row.iter().zip(&activations).map(|(&u, &q)| {
                    (2 * i32::from(u) - i32::from(z)) * i32::from(q)
                }).sum::<i32>() + bias[channel];
                let out = f64::from(requantize[channel].apply(acc)) * output_scale;
                prop_assert!((out - real).abs() <= output_scale * 0.5 + 0.01, "{out} for {real}");
            }
        }
    }

    #[test]
    fn a_batch_norm_folds_into_gain_and_offset() {
        let norm = BatchNorm { gamma: &[2.0], beta: &[0.5], mean: &[1.0], variance: &[4.0], epsilon: 0.0 };
        let folded = ChannelAffine::bias(&[3.0]).then_batch_norm(&norm);
        assert_eq!(folded, ChannelAffine { gain: vec![1.0], offset: vec![2.5] });
    }

    #[test]
    fn a_dead_channel_gives_its_offset() {
        let affine = ChannelAffine { gain: vec![0.0], offset: vec![1.0] };
        let folded = FoldedWeights::new("dead", vec![0, 1, 1], 1, &[0.3], &affine).unwrap();
        let (bias, requantize) = folded.channels("dead", 0.01, 0, 0.1).unwrap();
        let sum_of_weights_times_200 = 200;
        let acc = sum_of_weights_times_200 + bias[0];
        assert_eq!(requantize[0].apply(acc), 10);
    }

    #[test]
    fn scales_without_a_fixed_point_are_refused() {
        let folded = FoldedWeights::new("wide", vec![1], 1, &[1.0], &ChannelAffine::bias(&[0.0])).unwrap();
        assert!(matches!(folded.channels("wide", 1.0, 0, 1.0), Err(PackError::Scale { channel: 0, .. })));
        let output_scale = folded.smallest_output_scale(1.0);
        assert!(folded.channels("wide", 1.0, 0, output_scale).is_ok());
    }

    #[test]
    fn kernels_turn_to_channels_last() {
        let kernel: Vec<u8> = (0..12).collect(); // 3 inputs, 2 x 2
        assert_eq!(channels_last(&kernel, 3, 2, 2), [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
    }
}
