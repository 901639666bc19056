//! What DoReFa does to a layer's weights before it rounds them.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::{slices, tape};

/// `tanh(w) / max|tanh w|`, the maximum over the whole tensor and a constant for the gradient. Zeros stay zeros.
///
/// # Errors
/// What candle reports.
pub fn squash(weight: &Tensor) -> Result<Tensor> {
    if !crate::compute::is_own(weight.device()) {
        return super::stock::squash(weight);
    }
    tape::apply1(&weight.contiguous()?, Squash)
}

/// [`squash`] of a slice, the same to the bit.
#[must_use]
pub fn squashed(weights: &[f32]) -> Vec<f32> {
    let factor = factor(weights);
    slices::map(weights, |weight| weight.tanh() * factor)
}

/// `1 / max|tanh w|`; tanh is monotone.
fn factor(weights: &[f32]) -> f32 {
    let largest = weights.iter().fold(0.0f32, |largest, weight| largest.max(weight.abs())).tanh();
    if largest > 0.0 { 1.0 / largest } else { 1.0 }
}

struct Squash;

impl CustomOp1 for Squash {
    fn name(&self) -> &'static str {
        "squash"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(squashed(slices::of_storage(storage, layout)?)), layout.shape().clone()))
    }

    fn bwd(&self, weight: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let data = slices::with(weight, |weights| {
            let factor = factor(weights);
            slices::with(grad, |grad| {
                Ok(slices::zip(weights, grad, |weight, grad| grad * factor * (1.0 - weight.tanh().powi(2))))
            })
        })?;
        Ok(Some(Tensor::from_vec(data, weight.shape(), weight.device())?))
    }
}
