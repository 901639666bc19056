//! A unit of a network in one operation on the CPU: a convolution, a bias or batch norm, a max pooling, and a ReLU or the
//! rounding of activations.
//!
//! A convolution is a matrix multiplication of weights and patches. Patches are made block by block, so that they never
//! leave the cache, and again for the backward pass, which is cheaper than to keep them. What stays between the passes is
//! one byte an output ([`finish`]) and, for a batch norm, the convolution's sums. The steps between are what a graph of
//! separate operations spends most of its time on: each would write a tensor, and candle's bookkeeping of its gradient
//! fills another one with zeros and adds to it.

mod backward;
mod depthwise;
mod finish;
mod forward;
mod geometry;
mod patches;
mod scratch;

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

pub(super) use finish::Plane;
pub use finish::{Finish, Window};
use geometry::Geometry;

use super::norm::BatchStatistics;
use super::profile::{Direction, span};
use super::{slices, tape};

/// Geometry of a 2-D convolution; pairs are (vertical, horizontal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dConfig {
    /// Stride.
    pub stride: (usize, usize),
    /// Zeros on both sides.
    pub padding: (usize, usize),
    /// Groups of channels that do not see each other.
    pub groups: usize,
}

impl Default for Conv2dConfig {
    fn default() -> Self {
        Self { stride: (1, 1), padding: (0, 0), groups: 1 }
    }
}

/// What a unit does to each output channel of its convolution. All tensors are `[O]`.
#[derive(Clone, Copy, Debug)]
pub enum Channels<'a> {
    /// Nothing, or adds a bias.
    Bias(Option<&'a Tensor>),
    /// Multiplies and adds: a batch norm with running statistics. Has no gradients of its own.
    Affine {
        /// Factors.
        gain: &'a Tensor,
        /// Summands.
        offset: &'a Tensor,
    },
    /// Normalises by the batch's statistics.
    BatchNorm {
        /// Scale.
        gamma: &'a Tensor,
        /// Shift.
        beta: &'a Tensor,
        /// Added to the variance.
        epsilon: f64,
    },
}

/// Convolves `input` `[N, C, H, W]` with `weight` `[O, C / groups, KH, KW]`, does to each channel what `channels` says, and
/// finishes the result. Also returns the batch's statistics if there is a batch norm.
///
/// # Errors
/// If the shapes do not fit.
pub fn conv_unit(
    input: &Tensor,
    weight: &Tensor,
    channels: Channels<'_>,
    config: Conv2dConfig,
    finish: Finish,
) -> Result<(Tensor, Option<BatchStatistics>)> {
    if !crate::compute::is_own(input.device()) {
        return super::stock::conv_unit(input, weight, channels, config, finish);
    }
    let (post, channel) = match channels {
        Channels::Bias(Some(bias)) => (Post::Bias, bias.clone()),
        Channels::Bias(None) => (Post::Bias, Tensor::zeros(weight.dim(0)?, input.dtype(), input.device())?),
        Channels::Affine { gain, offset } => (Post::Affine, tape::concatenate(&[gain, offset])?),
        Channels::BatchNorm { gamma, beta, epsilon } => {
            (Post::BatchNorm { epsilon }, tape::concatenate(&[gamma, beta])?)
        }
    };
    let saved = Arc::new(Mutex::new(Saved::default()));
    let operation = Unit { config, post, finish, saved: saved.clone() };
    let output = tape::apply3(&input.contiguous()?, &weight.contiguous()?, &channel.contiguous()?, operation)?;
    let statistics = match post {
        Post::BatchNorm { .. } => {
            let saved = saved.lock().unwrap_or_else(PoisonError::into_inner);
            let tensor = |values: &[f32]| Tensor::from_slice(values, values.len(), input.device());
            Some(BatchStatistics { mean: tensor(&saved.mean)?, variance: tensor(&saved.variance)? })
        }
        _ => None,
    };
    Ok((output, statistics))
}

/// Convolves `input` `[N, C, H, W]` with `weight` `[O, C / groups, KH, KW]` and adds `bias` `[O]`.
///
/// # Errors
/// If the shapes do not fit.
pub fn conv2d(input: &Tensor, weight: &Tensor, bias: Option<&Tensor>, config: Conv2dConfig) -> Result<Tensor> {
    Ok(conv_unit(input, weight, Channels::Bias(bias), config, Finish::default())?.0)
}

/// What happens to each channel; the rows of the per-channel parameters are given with each.
#[derive(Clone, Copy, Debug)]
enum Post {
    /// Rows: bias.
    Bias,
    /// Rows: gain, offset.
    Affine,
    /// Rows: gamma, beta.
    BatchNorm { epsilon: f64 },
}

impl Post {
    const fn rows(self) -> usize {
        match self {
            Self::Bias => 1,
            Self::Affine | Self::BatchNorm { .. } => 2,
        }
    }
}

/// What the forward pass leaves for the backward pass.
#[derive(Debug, Default)]
struct Saved {
    /// One byte an output, see [`finish`].
    codes: Vec<u8>,
    /// The convolution's sums, for a batch norm: by chunk of images, channel, image, place.
    sums: Vec<f32>,
    /// Statistics of a batch norm by channel: mean, biased variance, and the inverse of the deviation.
    mean: Vec<f32>,
    variance: Vec<f32>,
    inverse: Vec<f32>,
}

impl Saved {
    /// Takes the statistics from each lane's sums and sums of squares.
    fn set_statistics(&mut self, lanes: &[Vec<[f64; 2]>], count: usize, epsilon: f64) {
        let channels = lanes.first().map_or(0, Vec::len);
        let total =
            |channel: usize, kind: usize| lanes.iter().map(|lane| lane[channel][kind]).sum::<f64>() / count as f64;
        let moments: Vec<(f64, f64)> = (0..channels).map(|channel| (total(channel, 0), total(channel, 1))).collect();
        let variances = moments.iter().map(|(mean, square)| (square - mean * mean).max(0.0));
        self.inverse = variances.clone().map(|variance| (1.0 / (variance + epsilon).sqrt()) as f32).collect();
        self.variance = variances.map(|variance| variance as f32).collect();
        self.mean = moments.iter().map(|&(mean, _)| mean as f32).collect();
    }

    /// Gain and offset of each channel's batch norm.
    fn affine(&self, channel: &[f32]) -> Vec<(f32, f32)> {
        let (gamma, beta) = channel.split_at(self.mean.len());
        let gains = gamma.iter().zip(&self.inverse).map(|(gamma, inverse)| gamma * inverse);
        gains.zip(beta.iter().zip(&self.mean)).map(|(gain, (beta, mean))| (gain, beta - gain * mean)).collect()
    }
}

/// A unit with all its sizes: what both passes work by.
#[derive(Clone, Copy, Debug)]
struct Kernel {
    geometry: Geometry,
    post: Post,
    finish: Finish,
    plane: Plane,
}

impl Kernel {
    fn new(input: &Shape, weight: &Shape, channel: &Shape, unit: &Unit) -> Result<Self> {
        let geometry = Geometry::new(input, weight, unit.config)?;
        if channel.elem_count() != geometry.channels() * unit.post.rows() {
            bail!("{channel:?} per-channel parameters do not fit {} channels", geometry.channels());
        }
        let Some(plane) = unit.finish.plane(geometry.oh, geometry.ow) else {
            bail!("a pooling of {:?} does not fit {} x {}", unit.finish.pool, geometry.oh, geometry.ow);
        };
        Ok(Self { geometry, post: unit.post, finish: unit.finish, plane })
    }

    /// Elements of a finished image.
    const fn pooled(&self) -> usize {
        self.geometry.channels() * self.plane.out_height * self.plane.out_width
    }
}

/// The operation that candle sees.
struct Unit {
    config: Conv2dConfig,
    post: Post,
    finish: Finish,
    saved: Arc<Mutex<Saved>>,
}

impl CustomOp3 for Unit {
    fn name(&self) -> &'static str {
        "conv_unit"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let kernel = Kernel::new(l1.shape(), l2.shape(), l3.shape(), self)?;
        let (input, weight, channel) =
            (slices::of_storage(s1, l1)?, slices::of_storage(s2, l2)?, slices::of_storage(s3, l3)?);
        let mut output = vec![0.0; kernel.geometry.n * kernel.pooled()];
        let describe = || (kernel.geometry.describe(), kernel.geometry.flops());
        span("conv", Direction::Forward, describe, || {
            let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
            kernel.forward(input, weight, channel, &mut output, &mut saved);
        });
        let Plane { out_height, out_width, .. } = kernel.plane;
        let shape = Shape::from((kernel.geometry.n, kernel.geometry.channels(), out_height, out_width));
        Ok((CpuStorage::F32(output), shape))
    }

    fn bwd(
        &self,
        input: &Tensor,
        weight: &Tensor,
        channel: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let kernel = Kernel::new(input.shape(), weight.shape(), channel.shape(), self)?;
        let wanted = input.track_op();
        let mut grad_input = vec![0.0; if wanted { input.elem_count() } else { 0 }];
        let products = 1 + u64::from(wanted);
        let describe = || (kernel.geometry.describe(), products * kernel.geometry.flops());
        let saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let gradients = slices::with(input, |input| {
            slices::with(weight, |weight| {
                slices::with(channel, |channel| {
                    slices::with(grad, |grad| {
                        let work = || kernel.backward(input, weight, channel, grad, &saved, &mut grad_input);
                        Ok(span("conv", Direction::Backward, describe, work))
                    })
                })
            })
        })?;
        let device = input.device();
        let grad_input = wanted.then(|| Tensor::from_vec(grad_input, input.shape(), device)).transpose()?;
        let of_channel = match self.post {
            Post::Affine => None,
            _ => Some(Tensor::from_vec(gradients.channel, channel.shape(), device)?),
        };
        Ok((grad_input, Some(Tensor::from_vec(gradients.weight, weight.shape(), device)?), of_channel))
    }
}
