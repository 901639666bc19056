//! Max pooling. The backward pass finds each window's maximum again by its value.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::{slices, tape};

/// Largest value of each window of `input` `[N, C, H, W]`, without padding, rounding down. Of several equal values the
/// first gets the gradient.
///
/// # Errors
/// If the window does not fit.
pub fn max_pool2d(input: &Tensor, size: (usize, usize), stride: (usize, usize)) -> Result<Tensor> {
    if !crate::compute::is_own(input.device()) {
        return super::stock::max_pool2d(input, size, stride);
    }
    tape::apply1(&input.contiguous()?, MaxPool { size, stride })
}

/// Mean of each window of `input` `[N, C, H, W]`, without padding, rounding down.
///
/// # Errors
/// If the window does not fit.
pub fn avg_pool2d(input: &Tensor, size: (usize, usize), stride: (usize, usize)) -> Result<Tensor> {
    if !crate::compute::is_own(input.device()) {
        return input.avg_pool2d_with_stride(size, stride);
    }
    tape::apply1(&input.contiguous()?, AvgPool(MaxPool { size, stride }))
}

/// Mean over rows and columns: `[N, C, H, W]` to `[N, C]`.
///
/// # Errors
/// If the input has not four dimensions.
pub fn global_avg_pool(input: &Tensor) -> Result<Tensor> {
    let (n, channels, height, width) = input.dims4()?;
    if !crate::compute::is_own(input.device()) {
        return input.flatten_from(2)?.mean(2);
    }
    let window = (height, width);
    let mean = tape::apply1(&input.contiguous()?, AvgPool(MaxPool { size: window, stride: window }))?;
    tape::reshape(&mean, &[n, channels])
}

/// All but the first dimension in one: `[N, …]` to `[N, features]`.
///
/// # Errors
/// What candle reports.
pub fn flatten(input: &Tensor) -> Result<Tensor> {
    let features = input.elem_count() / input.dim(0)?.max(1);
    tape::reshape(&input.contiguous()?, &[input.dim(0)?, features])
}

/// Means over the windows of a pooling.
struct AvgPool(MaxPool);

impl CustomOp1 for AvgPool {
    fn name(&self) -> &'static str {
        "avg_pool2d"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let [n, c, h, w, oh, ow] = self.0.output(layout.shape())?;
        let (size, stride) = (self.0.size, self.0.stride);
        let input = slices::of_storage(storage, layout)?;
        let mut output = vec![0.0; n * c * oh * ow];
        let share = 1.0 / (size.0 * size.1) as f32;
        output.par_chunks_mut(c * oh * ow).zip(input.par_chunks(c * h * w)).for_each(|(output, input)| {
            for (output, plane) in output.chunks_exact_mut(oh * ow).zip(input.chunks_exact(h * w)) {
                for (place, output) in output.iter_mut().enumerate() {
                    let corner = place / ow * stride.0 * w + place % ow * stride.1;
                    let rows = (0..size.0).map(|i| slices::sum(&plane[corner + i * w..][..size.1]));
                    *output = share * rows.sum::<f32>();
                }
            }
        });
        Ok((CpuStorage::F32(output), Shape::from((n, c, oh, ow))))
    }

    fn bwd(&self, input: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let [_, c, h, w, oh, ow] = self.0.output(input.shape())?;
        let (size, stride) = (self.0.size, self.0.stride);
        let share = 1.0 / (size.0 * size.1) as f32;
        let mut grad_input = vec![0.0; input.elem_count()];
        slices::with(grad, |grad| {
            grad_input.par_chunks_mut(c * h * w).zip(grad.par_chunks(c * oh * ow)).for_each(|(into, grad)| {
                for (into, grad) in into.chunks_exact_mut(h * w).zip(grad.chunks_exact(oh * ow)) {
                    for (place, &grad) in grad.iter().enumerate() {
                        let corner = place / ow * stride.0 * w + place % ow * stride.1;
                        for i in 0..size.0 {
                            into[corner + i * w..][..size.1].iter_mut().for_each(|into| *into += share * grad);
                        }
                    }
                }
            });
            Ok(())
        })?;
        Ok(Some(Tensor::from_vec(grad_input, input.shape(), input.device())?))
    }
}

struct MaxPool {
    size: (usize, usize),
    stride: (usize, usize),
}

impl MaxPool {
    fn output(&self, input: &Shape) -> Result<[usize; 6]> {
        let (n, c, h, w) = input.dims4()?;
        if h < self.size.0 || w < self.size.1 || self.size.0.min(self.size.1).min(self.stride.0).min(self.stride.1) == 0
        {
            bail!("a pooling of {:?} does not fit {input:?}", self.size);
        }
        Ok([n, c, h, w, (h - self.size.0) / self.stride.0 + 1, (w - self.size.1) / self.stride.1 + 1])
    }
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let [n, c, h, w, oh, ow] = self.output(layout.shape())?;
        let input = slices::of_storage(storage, layout)?;
        let mut output = vec![f32::NEG_INFINITY; n * c * oh * ow];
        output.par_chunks_mut(c * oh * ow).zip(input.par_chunks(c * h * w)).for_each(|(output, input)| {
            for (output, plane) in output.chunks_exact_mut(oh * ow).zip(input.chunks_exact(h * w)) {
                for (oy, output) in output.chunks_exact_mut(ow).enumerate() {
                    for i in 0..self.size.0 {
                        let row = &plane[(oy * self.stride.0 + i) * w..][..w];
                        for j in 0..self.size.1 {
                            let values = row[j..].iter().step_by(self.stride.1);
                            for (output, &value) in output.iter_mut().zip(values) {
                                // Written so that a NaN spreads instead of vanishing.
                                *output = if *output >= value { *output } else { value };
                            }
                        }
                    }
                }
            }
        });
        Ok((CpuStorage::F32(output), Shape::from((n, c, oh, ow))))
    }

    fn bwd(&self, input: &Tensor, output: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let [_, c, h, w, oh, ow] = self.output(input.shape())?;
        let mut grad_input = vec![0.0; input.elem_count()];
        slices::with(input, |values| {
            slices::with(output, |output| {
                slices::with(grad, |grad| {
                    grad_input
                        .par_chunks_mut(c * h * w)
                        .zip(values.par_chunks(c * h * w))
                        .zip(output.par_chunks(c * oh * ow).zip(grad.par_chunks(c * oh * ow)))
                        .for_each(|((into, values), (output, grad))| {
                            let planes = into.chunks_exact_mut(h * w).zip(values.chunks_exact(h * w));
                            let results = output.chunks_exact(oh * ow).zip(grad.chunks_exact(oh * ow));
                            for ((into, values), (output, grad)) in planes.zip(results) {
                                self.spread(into, values, output, grad, w, ow);
                            }
                        });
                    Ok(())
                })
            })
        })?;
        Ok(Some(Tensor::from_vec(grad_input, input.shape(), input.device())?))
    }
}

impl MaxPool {
    /// Gives each window's gradient to its first maximum, in one plane.
    fn spread(&self, into: &mut [f32], values: &[f32], output: &[f32], grad: &[f32], w: usize, ow: usize) {
        for (place, (&largest, &grad)) in output.iter().zip(grad).enumerate() {
            let corner = place / ow * self.stride.0 * w + place % ow * self.stride.1;
            let window = (0..self.size.0).flat_map(|i| (0..self.size.1).map(move |j| corner + i * w + j));
            if let Some(first) = window.into_iter().find(|&at| values[at] == largest) {
                into[first] += grad;
            }
        }
    }
}
