//! Batch norm in training: statistics of the batch, and their share in the gradient.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::{slices, tape};

/// Mean and biased variance of each channel of a batch, `[C]` each, without gradients.
#[derive(Clone, Debug)]
pub struct BatchStatistics {
    /// Means.
    pub mean: Tensor,
    /// Biased variances.
    pub variance: Tensor,
}

/// Normalises `input` `[N, C, H, W]` by its own statistics, then scales by `gamma` `[C]` and shifts by `beta` `[C]`.
///
/// # Errors
/// If the shapes do not fit.
pub fn batch_norm_train(
    input: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    epsilon: f64,
) -> Result<(Tensor, BatchStatistics)> {
    if !crate::compute::is_own(input.device()) {
        return super::stock::batch_norm_train(input, gamma, beta, epsilon);
    }
    let input = input.contiguous()?;
    let (_, channels, height, width) = input.dims4()?;
    let planes = Planes { channels, places: height * width };
    let (mean, variance): (Vec<f32>, Vec<f32>) = slices::with(&input, |data| Ok(planes.statistics(data)))?;
    let inverse = variance.iter().map(|&variance| 1.0 / (variance + epsilon as f32).sqrt()).collect();
    let norm = Normalise { planes, mean: mean.clone(), inverse };
    let output = tape::apply3(&input, &gamma.contiguous()?, &beta.contiguous()?, norm)?;
    let statistics = BatchStatistics {
        mean: Tensor::from_vec(mean, channels, input.device())?,
        variance: Tensor::from_vec(variance, channels, input.device())?,
    };
    Ok((output, statistics))
}

/// How `[N, C, H, W]` falls into planes of one channel of one image.
#[derive(Clone, Copy, Debug)]
struct Planes {
    channels: usize,
    places: usize,
}

impl Planes {
    fn of<'a>(&self, data: &'a [f32], channel: usize) -> impl Iterator<Item = &'a [f32]> {
        let places = self.places;
        data.chunks_exact(self.channels * places).map(move |image| &image[channel * places..][..places])
    }

    fn statistics(&self, data: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let count = (data.len() / self.channels) as f64;
        let of_channel = |channel: usize| {
            let mean = self.of(data, channel).map(|plane| f64::from(plane.iter().sum::<f32>())).sum::<f64>() / count;
            let deviation = |plane: &[f32]| plane.iter().map(|&x| (x - mean as f32).powi(2)).sum::<f32>();
            let variance = self.of(data, channel).map(|plane| f64::from(deviation(plane))).sum::<f64>() / count;
            (mean as f32, variance as f32)
        };
        (0..self.channels).into_par_iter().map(of_channel).unzip()
    }
}

struct Normalise {
    planes: Planes,
    mean: Vec<f32>,
    inverse: Vec<f32>,
}

impl CustomOp3 for Normalise {
    fn name(&self) -> &'static str {
        "batch_norm"
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
        let Planes { channels, places } = self.planes;
        let (input, gamma, beta) =
            (slices::of_storage(s1, l1)?, slices::of_storage(s2, l2)?, slices::of_storage(s3, l3)?);
        if gamma.len() != channels || beta.len() != channels {
            bail!("a batch norm of {} channels for an input of {channels}", gamma.len());
        }
        let mut output = vec![0.0; input.len()];
        output.par_chunks_mut(channels * places).zip(input.par_chunks(channels * places)).for_each(
            |(output, input)| {
                let planes = output.chunks_exact_mut(places).zip(input.chunks_exact(places));
                for (channel, (output, input)) in planes.enumerate() {
                    let gain = gamma[channel] * self.inverse[channel];
                    let offset = beta[channel] - gain * self.mean[channel];
                    for (output, &x) in output.iter_mut().zip(input) {
                        *output = gain * x + offset;
                    }
                }
            },
        );
        Ok((CpuStorage::F32(output), l1.shape().clone()))
    }

    fn bwd(
        &self,
        input: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Planes { channels, places } = self.planes;
        let count = (input.elem_count() / channels) as f32;
        let gamma_values: Vec<f32> = gamma.to_vec1()?;
        let (grad_input, grad_gamma, grad_beta) = slices::with(input, |input| {
            slices::with(grad, |grad| {
                // For each channel: the sum of the gradients, and of the gradients times the normalised input.
                let sums = (0..channels).into_par_iter().map(|channel| {
                    let pairs = self.planes.of(input, channel).zip(self.planes.of(grad, channel));
                    let (mut plain, mut weighted) = (0.0f64, 0.0f64);
                    for (input, grad) in pairs {
                        plain += f64::from(grad.iter().sum::<f32>());
                        let centred = input.iter().zip(grad).map(|(&x, &g)| (x - self.mean[channel]) * g);
                        weighted += f64::from(centred.sum::<f32>() * self.inverse[channel]);
                    }
                    (plain as f32, weighted as f32)
                });
                let (plain, weighted): (Vec<f32>, Vec<f32>) = sums.unzip();
                let mut grad_input = vec![0.0; input.len()];
                let images = grad_input.par_chunks_mut(channels * places).zip(input.par_chunks(channels * places));
                images.zip(grad.par_chunks(channels * places)).for_each(|((into, input), grad)| {
                    for channel in 0..channels {
                        let range = channel * places..(channel + 1) * places;
                        let gain = gamma_values[channel] * self.inverse[channel];
                        let mean_grad = plain[channel] / count;
                        let slope = weighted[channel] / count * self.inverse[channel];
                        let values = input[range.clone()].iter().zip(&grad[range.clone()]);
                        for (into, (&x, &g)) in into[range].iter_mut().zip(values) {
                            *into = gain * (g - mean_grad - (x - self.mean[channel]) * slope);
                        }
                    }
                });
                Ok((grad_input, weighted, plain))
            })
        })?;
        Ok((
            Some(Tensor::from_vec(grad_input, input.shape(), input.device())?),
            Some(Tensor::from_vec(grad_gamma, gamma.shape(), gamma.device())?),
            Some(Tensor::from_vec(grad_beta, beta.shape(), beta.device())?),
        ))
    }
}
