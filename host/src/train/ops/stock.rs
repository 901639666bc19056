//! The same operations made of candle's own: for other devices than the CPU, as the oracle in tests, and as the other
//! side of the bench.

use candle_core::{D, Result, Tensor, bail};

use super::{BatchStatistics, Channels, Conv2dConfig, Finish, WeightGrid};

/// As [`super::conv2d`].
///
/// # Errors
/// What candle reports; strides that differ between rows and columns.
pub fn conv2d(input: &Tensor, weight: &Tensor, bias: Option<&Tensor>, config: Conv2dConfig) -> Result<Tensor> {
    let Conv2dConfig { stride, padding, groups } = config;
    if stride.0 != stride.1 {
        bail!("the backend has no convolution of stride {stride:?}");
    }
    let padded = input.pad_with_zeros(2, padding.0, padding.0)?.pad_with_zeros(3, padding.1, padding.1)?;
    let output = padded.conv2d(weight, 0, stride.0, 1, groups)?;
    match bias {
        Some(bias) => output.broadcast_add(&bias.reshape((1, bias.elem_count(), 1, 1))?),
        None => Ok(output),
    }
}

/// As [`super::conv_unit`].
///
/// # Errors
/// What candle reports.
pub fn conv_unit(
    input: &Tensor,
    weight: &Tensor,
    channels: Channels<'_>,
    config: Conv2dConfig,
    finish: Finish,
) -> Result<(Tensor, Option<BatchStatistics>)> {
    let bias = if let Channels::Bias(bias) = channels { bias } else { None };
    let (mut value, mut statistics) = (conv2d(input, weight, bias, config)?, None);
    let broadcast = |tensor: &Tensor| tensor.reshape((1, tensor.elem_count(), 1, 1));
    match channels {
        Channels::Bias(_) => {}
        Channels::Affine { gain, offset } => {
            value = value.broadcast_mul(&broadcast(gain)?)?.broadcast_add(&broadcast(offset)?)?;
        }
        Channels::BatchNorm { gamma, beta, epsilon } => {
            let normalised = batch_norm_train(&value, gamma, beta, epsilon)?;
            (value, statistics) = (normalised.0, Some(normalised.1));
        }
    }
    if let Some(window) = finish.pool {
        value = max_pool2d(&value, window.size, window.stride)?;
    }
    Ok((activate(value, finish)?, statistics))
}

/// As [`super::sum_unit`].
///
/// # Errors
/// What candle reports.
pub fn sum_unit(a: &Tensor, b: &Tensor, finish: Finish) -> Result<Tensor> {
    activate((a + b)?, finish)
}

/// What ends a unit, behind its pooling.
fn activate(value: Tensor, finish: Finish) -> Result<Tensor> {
    match finish.grid {
        Some((scale, zero_point)) => fake_quantize_activations(&value, scale, zero_point),
        None if finish.relu => value.relu(),
        None => Ok(value),
    }
}

/// As [`super::max_pool2d`].
///
/// Candle's gradient of a maximum is too small by the size of the window, which is put right here, and it has none for
/// windows that overlap: those are made of the larger of two, again and again.
///
/// # Errors
/// What candle reports.
pub fn max_pool2d(input: &Tensor, size: (usize, usize), stride: (usize, usize)) -> Result<Tensor> {
    if size == stride {
        let pooled = input.max_pool2d_with_stride(size, stride)?;
        let window = (size.0 * size.1) as f64;
        return (&pooled * window)? - (pooled.detach() * (window - 1.0))?;
    }
    let (_, _, h, w) = input.dims4()?;
    if h < size.0 || w < size.1 || stride.0 == 0 || stride.1 == 0 {
        bail!("a pooling of {size:?} does not fit {:?}", input.shape());
    }
    let every = |offset: usize, len: usize, size: usize, stride: usize| {
        let places: Vec<u32> = (0..(len - size) / stride + 1).map(|i| (i * stride + offset) as u32).collect();
        let count = places.len();
        Tensor::from_vec(places, count, input.device())
    };
    let mut largest: Option<Tensor> = None;
    for i in 0..size.0 {
        let rows = input.index_select(&every(i, h, size.0, stride.0)?, 2)?;
        for j in 0..size.1 {
            let values = rows.index_select(&every(j, w, size.1, stride.1)?, 3)?;
            largest = Some(match largest {
                Some(largest) => largest.maximum(&values)?,
                None => values,
            });
        }
    }
    largest.ok_or_else(|| candle_core::Error::Msg("a pooling needs a window".to_owned()))
}

/// As [`super::linear`].
///
/// # Errors
/// What candle reports.
pub fn linear(input: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let output = input.matmul(&weight.t()?)?;
    match bias {
        Some(bias) => output.broadcast_add(bias),
        None => Ok(output),
    }
}

/// As [`super::batch_norm_train`].
///
/// # Errors
/// What candle reports.
pub fn batch_norm_train(
    input: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    epsilon: f64,
) -> Result<(Tensor, BatchStatistics)> {
    let channels = input.dim(1)?;
    let broadcast = |tensor: &Tensor| tensor.reshape((1, channels, 1, 1));
    let by_channel = input.transpose(0, 1)?.flatten_from(1)?;
    let mean = by_channel.mean(D::Minus1)?;
    let centred = input.broadcast_sub(&broadcast(&mean)?)?;
    let variance = centred.sqr()?.transpose(0, 1)?.flatten_from(1)?.mean(D::Minus1)?;
    let deviation = broadcast(&(&variance + epsilon)?.sqrt()?)?;
    let output = centred.broadcast_div(&deviation)?.broadcast_mul(&broadcast(gamma)?)?;
    let statistics = BatchStatistics { mean: mean.detach(), variance: variance.detach() };
    Ok((output.broadcast_add(&broadcast(beta)?)?, statistics))
}

/// As [`super::fake_quantize_activations`].
///
/// # Errors
/// What candle reports.
pub fn fake_quantize_activations(input: &Tensor, scale: f32, zero_point: u8) -> Result<Tensor> {
    let (scale, zero) = (f64::from(scale), f64::from(zero_point));
    // The clamp is differentiable; what rounding adds is a constant for the gradient.
    let clamped = input.clamp(-zero * scale, (255.0 - zero) * scale)?;
    let rounded = ((clamped.detach() / scale)?.round()? * scale)?;
    &clamped + (rounded - clamped.detach())?
}

/// As [`super::squash`].
///
/// # Errors
/// What candle reports.
pub fn squash(weight: &Tensor) -> Result<Tensor> {
    let squashed = weight.tanh()?;
    let largest = squashed.detach().abs()?.max_all()?.to_scalar::<f32>()?;
    squashed / if largest > 0.0 { f64::from(largest) } else { 1.0 }
}

/// As [`super::distillation`].
///
/// # Errors
/// What candle reports.
pub fn distillation(logits: &Tensor, labels: &Tensor, teacher: &Tensor, weight: f64, heat: f64) -> Result<Tensor> {
    let log = candle_nn::ops::log_softmax(&(logits / heat)?, D::Minus1)?;
    let wanted = candle_nn::ops::log_softmax(&(teacher.detach() / heat)?, D::Minus1)?;
    let divergence = (wanted.exp()? * (wanted - log)?)?.sum(D::Minus1)?.mean(0)?;
    (candle_nn::loss::cross_entropy(logits, labels)? * (1.0 - weight))? + (divergence * (weight * heat * heat))?
}

/// As [`super::fake_quantize_weights`].
///
/// # Errors
/// What candle reports.
pub fn fake_quantize_weights(weight: &Tensor, step: &Tensor, grid: WeightGrid) -> Result<Tensor> {
    let mut shape = vec![1; weight.rank()];
    shape[0] = step.elem_count();
    let scale = grid.step_gradient_scale;
    // The step's value is unchanged, its gradient is scaled.
    let step = ((step * scale)? + (step.detach() * (1.0 - scale))?)?.reshape(shape)?;
    let (half_zero, largest) = (f64::from(grid.zero) / 2.0, f64::from(grid.levels - 1));
    let place = (weight.broadcast_div(&step)? + half_zero)?;
    let clamped = place.clamp(-f64::from(grid.reach), largest + f64::from(grid.reach))?;
    let code = clamped.detach().round()?.clamp(0.0, largest)?;
    let through = (&clamped + (code - clamped.detach())?)?;
    // Where the place was cut off the step alone has a gradient; `clamped` is a constant there.
    (through - half_zero)?.broadcast_mul(&step)
}
