//! Fake quantisation of weights to k bits with a learned step for each output channel (LSQ, arXiv 1902.08153).

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::profile::{Direction, plain, span};
use super::{slices, tape};

/// The grid `step * (u - zero / 2)`, `u` in `0..levels`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightGrid {
    /// The number of codes.
    pub levels: u32,
    /// Twice the code of zero.
    pub zero: u32,
    /// How far beyond the outermost levels, in steps, a weight still has a gradient: 0.5 for what rounds without being cut
    /// off.
    pub reach: f32,
    /// Factor on the step's gradient; LSQ uses `1 / sqrt(weights of a channel * largest code)`.
    pub step_gradient_scale: f64,
}

impl WeightGrid {
    /// The code of `weight / step`, ties to even, and whether the weight lies within the grid's reach.
    #[inline]
    fn code(self, scaled: f32) -> (f32, bool) {
        let (half_zero, largest) = (self.zero as f32 / 2.0, (self.levels - 1) as f32);
        let place = scaled + half_zero;
        (place.round_ties_even().clamp(0.0, largest), place >= -self.reach && place <= largest + self.reach)
    }
}

/// Rounds `weight` `[O, …]` to the grid whose step is `step[o]` in channel `o`. Gradients: straight through for weights
/// within the grid's reach, zero for others; LSQ's for the steps.
///
/// # Errors
/// If there is not one step a channel.
pub fn fake_quantize_weights(weight: &Tensor, step: &Tensor, grid: WeightGrid) -> Result<Tensor> {
    if !crate::compute::is_own(weight.device()) {
        return super::stock::fake_quantize_weights(weight, step, grid);
    }
    tape::apply2(&weight.contiguous()?, &step.contiguous()?, FakeQuantize { grid })
}

/// The codes that [`fake_quantize_weights`] rounds to.
///
/// # Panics
/// If `weights` is no whole number of rows.
#[must_use]
pub fn weight_codes(weights: &[f32], steps: &[f32], grid: WeightGrid) -> Vec<u8> {
    let columns = weights.len() / steps.len().max(1);
    assert_eq!(columns * steps.len(), weights.len(), "the weights are no whole number of channels");
    let rows = weights.chunks_exact(columns).zip(steps);
    rows.flat_map(|(row, &step)| row.iter().map(move |&weight| grid.code(weight / step).0 as u8)).collect()
}

struct FakeQuantize {
    grid: WeightGrid,
}

impl CustomOp2 for FakeQuantize {
    fn name(&self) -> &'static str {
        "fake_quantize_weights"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (weights, steps) = (slices::of_storage(s1, l1)?, slices::of_storage(s2, l2)?);
        if l1.shape().dims().first() != Some(&steps.len()) || steps.is_empty() {
            bail!("{} steps for weights of shape {:?}", steps.len(), l1.shape());
        }
        let columns = weights.len() / steps.len();
        let half_zero = self.grid.zero as f32 / 2.0;
        let mut output = vec![0.0; weights.len()];
        let rows = output.par_chunks_mut(columns).zip(weights.par_chunks(columns)).zip(steps.par_iter());
        span("quantise weights", Direction::Forward, plain, || {
            rows.with_min_len(16).for_each(|((output, weights), &step)| {
                for (output, &weight) in output.iter_mut().zip(weights) {
                    *output = step * (self.grid.code(weight / step).0 - half_zero);
                }
            });
        });
        Ok((CpuStorage::F32(output), l1.shape().clone()))
    }

    fn bwd(
        &self,
        weight: &Tensor,
        step: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let half_zero = self.grid.zero as f32 / 2.0;
        let columns = weight.elem_count() / step.elem_count();
        let mut grad_weight = vec![0.0; weight.elem_count()];
        let mut grad_step = vec![0.0; step.elem_count()];
        slices::with(weight, |weights| {
            slices::with(step, |steps| {
                slices::with(grad, |grad| {
                    let rows = grad_weight.par_chunks_mut(columns).zip(grad_step.par_iter_mut());
                    let values = weights.par_chunks(columns).zip(grad.par_chunks(columns)).zip(steps.par_iter());
                    span("quantise weights", Direction::Backward, plain, || {
                        rows.zip(values).with_min_len(16).for_each(|((into, grad_step), ((weights, grad), &step))| {
                            // The step's gradient of each weight first, summed afterwards in an order that vectors can keep.
                            for (into, &weight) in into.iter_mut().zip(weights) {
                                let scaled = weight / step;
                                let (code, inside) = self.grid.code(scaled);
                                *into = code - half_zero - if inside { scaled } else { 0.0 };
                            }
                            *grad_step = slices::dot(into, grad) * self.grid.step_gradient_scale as f32;
                            for ((into, &weight), &grad) in into.iter_mut().zip(weights).zip(grad) {
                                *into = if self.grid.code(weight / step).1 { grad } else { 0.0 };
                            }
                        });
                    });
                    Ok(())
                })
            })
        })?;
        let grad_weight = Tensor::from_vec(grad_weight, weight.shape(), weight.device())?;
        Ok((Some(grad_weight), Some(Tensor::from_vec(grad_step, step.shape(), step.device())?)))
    }
}
