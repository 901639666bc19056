//! ReLU, the fake quantisation of activations, and sums that end in either, each with its gradient in one pass.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::profile::{Direction, plain, span};
use super::{Finish, slices, tape};

/// `max(x, 0)`.
///
/// # Errors
/// What candle reports.
pub fn relu(input: &Tensor) -> Result<Tensor> {
    if !crate::compute::is_own(input.device()) {
        return input.relu();
    }
    tape::apply1(&input.contiguous()?, Activation::Relu)
}

/// Rounds `input` to the 8-bit grid `scale * (q - zero_point)`, `q` in 0..=255, ties to even. The gradient passes where
/// the input lies within the grid's range, and is zero elsewhere (straight-through). With `zero_point` 0 this is a ReLU
/// as well.
///
/// # Errors
/// What candle reports.
pub fn fake_quantize_activations(input: &Tensor, scale: f32, zero_point: u8) -> Result<Tensor> {
    if !crate::compute::is_own(input.device()) {
        return super::stock::fake_quantize_activations(input, scale, zero_point);
    }
    tape::apply1(&input.contiguous()?, Activation::grid(scale, zero_point))
}

/// `a + b`, then what `finish` says, without a pooling.
///
/// # Errors
/// If the shapes differ, or `finish` has a pooling.
pub fn sum_unit(a: &Tensor, b: &Tensor, finish: Finish) -> Result<Tensor> {
    if finish.pool.is_some() {
        bail!("a sum has no pooling");
    }
    if !crate::compute::is_own(a.device()) {
        return super::stock::sum_unit(a, b, finish);
    }
    if a.shape() != b.shape() {
        bail!("a sum of {:?} and {:?}", a.shape(), b.shape());
    }
    tape::apply2(&a.contiguous()?, &b.contiguous()?, Sum(Activation::of(finish)))
}

/// An element-wise function whose gradient is that of the identity where it passes, and zero elsewhere.
#[derive(Clone, Copy, Debug)]
pub(super) enum Activation {
    Identity,
    Relu,
    Grid { scale: f32, zero: f32 },
}

impl Activation {
    /// What ends a unit, behind its pooling. Rounding to a grid comes for the ReLU too: behind one the grid starts at zero.
    pub(super) fn of(finish: Finish) -> Self {
        match finish {
            Finish { grid: Some((scale, zero_point)), .. } => Self::grid(scale, zero_point),
            Finish { relu: true, .. } => Self::Relu,
            Finish { .. } => Self::Identity,
        }
    }

    fn grid(scale: f32, zero_point: u8) -> Self {
        Self::Grid { scale, zero: f32::from(zero_point) }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Relu => "relu",
            Self::Grid { .. } => "quantise activations",
        }
    }

    /// The function of each element.
    fn forward(self, input: &[f32]) -> Vec<f32> {
        match self {
            Self::Identity => input.to_vec(),
            // `x < 0` is false for NaN, which so stays NaN.
            Self::Relu => slices::map(input, |x| if x < 0.0 { 0.0 } else { x }),
            Self::Grid { scale, zero } => slices::map(input, move |x| round(x, scale, 1.0 / scale, zero)),
        }
    }

    /// The function of each sum.
    fn forward_sum(self, a: &[f32], b: &[f32]) -> Vec<f32> {
        match self {
            Self::Identity => slices::zip(a, b, |a, b| a + b),
            Self::Relu => slices::zip(a, b, |a, b| if a + b < 0.0 { 0.0 } else { a + b }),
            Self::Grid { scale, zero } => slices::zip(a, b, move |a, b| round(a + b, scale, 1.0 / scale, zero)),
        }
    }

    /// The ends between which the gradient passes.
    pub(super) fn ends(self) -> (f32, f32) {
        match self {
            Self::Identity => (f32::NEG_INFINITY, f32::INFINITY),
            Self::Relu => (0.0, f32::INFINITY),
            Self::Grid { scale, zero } => (-zero * scale, (255.0 - zero) * scale),
        }
    }

    fn backward(self, input: &[f32], grad: &[f32]) -> Vec<f32> {
        let (low, high) = self.ends();
        slices::zip(input, grad, move |x, grad| if x > low && x < high { grad } else { 0.0 })
    }

    fn backward_sum(self, a: &[f32], b: &[f32], grad: &[f32]) -> Vec<f32> {
        let (low, high) = self.ends();
        slices::zip3(a, b, grad, move |a, b, grad| if a + b > low && a + b < high { grad } else { 0.0 })
    }
}

/// The nearest number of the grid, of two equally near ones the even step's.
#[inline]
pub(super) fn round(x: f32, scale: f32, inverse: f32, zero: f32) -> f32 {
    let q = ((x * inverse).round_ties_even() + zero).clamp(0.0, 255.0);
    (q - zero) * scale
}

impl CustomOp1 for Activation {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let input = slices::of_storage(storage, layout)?;
        let output = span(Activation::name(*self), Direction::Forward, plain, || self.forward(input));
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(&self, input: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let data = slices::with(input, |input| {
            slices::with(grad, |grad| {
                Ok(span(Activation::name(*self), Direction::Backward, plain, || self.backward(input, grad)))
            })
        })?;
        Ok(Some(Tensor::from_vec(data, grad.shape(), grad.device())?))
    }
}

struct Sum(Activation);

impl CustomOp2 for Sum {
    fn name(&self) -> &'static str {
        "sum_unit"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (a, b) = (slices::of_storage(s1, l1)?, slices::of_storage(s2, l2)?);
        let output = span("sum", Direction::Forward, plain, || self.0.forward_sum(a, b));
        Ok((CpuStorage::F32(output), l1.shape().clone()))
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let data = slices::with(a, |a| {
            slices::with(b, |b| {
                slices::with(grad, |grad| {
                    Ok(span("sum", Direction::Backward, plain, || self.0.backward_sum(a, b, grad)))
                })
            })
        })?;
        // Both summands share one gradient.
        let grad = Tensor::from_vec(data, grad.shape(), grad.device())?;
        Ok((Some(grad.clone()), Some(grad)))
    }
}
