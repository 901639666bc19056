//! Poolings that stand alone; one behind a convolution is part of its unit.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::profile::{Direction, plain, span};
use super::unit::{Finish, Plane, Window};
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
    let pool = MaxPool { window: Window { size, stride }, codes: Mutex::default() };
    tape::apply1(&input.contiguous()?, pool)
}

/// Mean of each window of `input` `[N, C, H, W]`, without padding, rounding down.
///
/// # Errors
/// If the window does not fit.
pub fn avg_pool2d(input: &Tensor, size: (usize, usize), stride: (usize, usize)) -> Result<Tensor> {
    if !crate::compute::is_own(input.device()) {
        return input.avg_pool2d_with_stride(size, stride);
    }
    tape::apply1(&input.contiguous()?, AvgPool(Window { size, stride }))
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
    let mean = tape::apply1(&input.contiguous()?, AvgPool(Window { size: window, stride: window }))?;
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
struct AvgPool(Window);

impl CustomOp1 for AvgPool {
    fn name(&self) -> &'static str {
        "avg_pool2d"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let [n, c, h, w, oh, ow] = output(self.0, layout.shape())?;
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
        let [_, c, h, w, oh, ow] = output(self.0, input.shape())?;
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

/// The largest of each window; keeps which place that was.
struct MaxPool {
    window: Window,
    codes: Mutex<Vec<u8>>,
}

/// Images, channels, rows and columns of the input, rows and columns of the output.
fn output(Window { size, stride }: Window, input: &Shape) -> Result<[usize; 6]> {
    let (n, c, h, w) = input.dims4()?;
    if h < size.0 || w < size.1 || size.0.min(size.1).min(stride.0).min(stride.1) == 0 {
        bail!("a pooling of {size:?} does not fit {input:?}");
    }
    Ok([n, c, h, w, (h - size.0) / stride.0 + 1, (w - size.1) / stride.1 + 1])
}

impl MaxPool {
    /// The pooling as the end of a unit that does nothing else, and its plane.
    fn finish(&self, height: usize, width: usize) -> Result<(Finish, Plane)> {
        let finish = Finish { pool: Some(self.window), ..Finish::default() };
        match finish.plane(height, width) {
            Some(plane) => Ok((finish, plane)),
            None => bail!("a pooling of {:?} does not fit {height} x {width}", self.window),
        }
    }
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let [n, c, h, w, oh, ow] = output(self.window, layout.shape())?;
        let (finish, plane) = self.finish(h, w)?;
        let input = slices::of_storage(storage, layout)?;
        let mut result = vec![0.0; n * c * oh * ow];
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        codes.resize(result.len(), 0);
        span("max pool", Direction::Forward, plain, || {
            let planes = result.par_chunks_mut(oh * ow).zip(codes.par_chunks_mut(oh * ow));
            planes.zip(input.par_chunks(h * w)).for_each(|((result, codes), input)| {
                finish.apply(plane, input, (1.0, 0.0), result, codes);
            });
        });
        Ok((CpuStorage::F32(result), Shape::from((n, c, oh, ow))))
    }

    fn bwd(&self, input: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let [_, _, h, w, oh, ow] = output(self.window, input.shape())?;
        let (finish, plane) = self.finish(h, w)?;
        let mut grad_input = vec![0.0; input.elem_count()];
        let codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        slices::with(grad, |grad| {
            span("max pool", Direction::Backward, plain, || {
                let planes = grad_input.par_chunks_mut(h * w).zip(grad.par_chunks(oh * ow));
                planes.zip(codes.par_chunks(oh * ow)).for_each(|((into, grad), codes)| {
                    finish.reverse(plane, grad, codes, into);
                });
            });
            Ok(())
        })?;
        Ok(Some(Tensor::from_vec(grad_input, input.shape(), input.device())?))
    }
}
