//! ReLU, and the fake quantisation of activations, each with its gradient in one pass.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::slices;

/// `max(x, 0)`.
///
/// # Errors
/// What candle reports.
pub fn relu(input: &Tensor) -> Result<Tensor> {
    if !input.device().is_cpu() {
        return input.relu();
    }
    input.contiguous()?.apply_op1(Relu)
}

/// Rounds `input` to the 8-bit grid `scale * (q - zero_point)`, `q` in 0..=255, ties to even. The gradient passes where
/// the input lies within the grid's range, and is zero elsewhere (straight-through). With `zero_point` 0 this is a ReLU
/// as well.
///
/// # Errors
/// What candle reports.
pub fn fake_quantize_activations(input: &Tensor, scale: f32, zero_point: u8) -> Result<Tensor> {
    if !input.device().is_cpu() {
        return super::stock::fake_quantize_activations(input, scale, zero_point);
    }
    input.contiguous()?.apply_op1(FakeQuantize { scale, zero: f32::from(zero_point) })
}

struct Relu;

impl CustomOp1 for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        // `x < 0` is false for NaN, which so stays NaN.
        let output = slices::map(slices::of_storage(storage, layout)?, |x| if x < 0.0 { 0.0 } else { x });
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, output: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let data = slices::with(output, |output| {
            slices::with(grad, |grad| Ok(slices::zip(output, grad, |y, grad| if y > 0.0 { grad } else { 0.0 })))
        })?;
        Ok(Some(Tensor::from_vec(data, grad.shape(), grad.device())?))
    }
}

struct FakeQuantize {
    scale: f32,
    zero: f32,
}

impl CustomOp1 for FakeQuantize {
    fn name(&self) -> &'static str {
        "fake_quantize_activations"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (scale, zero, inverse) = (self.scale, self.zero, 1.0 / self.scale);
        let output = slices::map(slices::of_storage(storage, layout)?, |x| {
            let q = ((x * inverse).round_ties_even() + zero).clamp(0.0, 255.0);
            (q - zero) * scale
        });
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(&self, input: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (low, high) = (-self.zero * self.scale, (255.0 - self.zero) * self.scale);
        let data = slices::with(input, |input| {
            slices::with(grad, |grad| {
                Ok(slices::zip(input, grad, |x, grad| if x > low && x < high { grad } else { 0.0 }))
            })
        })?;
        Ok(Some(Tensor::from_vec(data, grad.shape(), grad.device())?))
    }
}
