//! Dense layer: `y = x W^T + b`, cut into a fixed number of strips that the threads share.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::gemm::{Into, View, multiply};
use super::profile::{Direction, span};
use super::{slices, tape};

/// Strips of one multiplication, whatever the number of threads.
const STRIPS: usize = 4;

/// Multiplies `input` `[N, K]` by the transpose of `weight` `[O, K]` and adds `bias` `[O]`.
///
/// # Errors
/// If the shapes do not fit.
pub fn linear(input: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    if !crate::compute::is_own(input.device()) {
        return super::stock::linear(input, weight, bias);
    }
    let bias = match bias {
        Some(bias) => bias.contiguous()?,
        None => Tensor::zeros(weight.dim(0)?, input.dtype(), input.device())?,
    };
    tape::apply3(&input.contiguous()?, &weight.contiguous()?, &bias, Linear)
}

struct Linear;

/// What a profile is told of so many products.
fn describe(n: usize, k: usize, o: usize, products: u64) -> (String, u64) {
    (format!("{k}->{o}"), products * 2 * (n * k * o) as u64)
}

/// `out = a * b`, `m` x `k` by `k` x `n`, in strips of rows.
fn multiply_in_strips([m, k, n]: [usize; 3], a: View<'_>, b: View<'_>, out: &mut [f32]) {
    let rows = m.div_ceil(STRIPS).max(1);
    out.par_chunks_mut(rows * n).enumerate().for_each(|(strip, out)| {
        let a = View { data: &a.data[strip * rows * a.row_stride..], ..a };
        multiply([out.len() / n, k, n], a, b, out, n, Into::Overwrite);
    });
}

/// Sums of the columns of a matrix of rows of `columns` elements.
fn column_sums(rows: &[f32], columns: usize) -> Vec<f32> {
    let mut sums = vec![0.0; columns];
    for row in rows.chunks_exact(columns) {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += x;
        }
    }
    sums
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
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
        let ((n, k), (o, k2)) = (l1.shape().dims2()?, l2.shape().dims2()?);
        let (input, weight) = (slices::of_storage(s1, l1)?, slices::of_storage(s2, l2)?);
        let bias = slices::of_storage(s3, l3)?;
        if k != k2 || bias.len() != o {
            bail!("a dense layer of {o} x {k2} with {} biases does not fit an input of {n} x {k}", bias.len());
        }
        let mut output = vec![0.0; n * o];
        span(
            "dense",
            Direction::Forward,
            || describe(n, k, o, 1),
            || {
                multiply_in_strips([n, k, o], View::rows(input, k), View::transposed(weight, k), &mut output);
            },
        );
        for row in output.chunks_exact_mut(o) {
            for (output, bias) in row.iter_mut().zip(bias) {
                *output += bias;
            }
        }
        Ok((CpuStorage::F32(output), Shape::from((n, o))))
    }

    fn bwd(
        &self,
        input: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let ((n, k), o) = (input.dims2()?, weight.dim(0)?);
        let mut grad_weight = vec![0.0; o * k];
        let mut grad_input = vec![0.0; if input.track_op() { n * k } else { 0 }];
        let products = 1 + u64::from(!grad_input.is_empty());
        let grad_bias = slices::with(grad, |grad| {
            slices::with(input, |input| {
                slices::with(weight, |weight| {
                    span(
                        "dense",
                        Direction::Backward,
                        || describe(n, k, o, products),
                        || {
                            let transposed = View::transposed(grad, o);
                            multiply_in_strips([o, n, k], transposed, View::rows(input, k), &mut grad_weight);
                            if !grad_input.is_empty() {
                                multiply_in_strips(
                                    [n, o, k],
                                    View::rows(grad, o),
                                    View::rows(weight, k),
                                    &mut grad_input,
                                );
                            }
                        },
                    );
                    Ok(column_sums(grad, o))
                })
            })
        })?;
        let grad_input =
            if input.track_op() { Some(Tensor::from_vec(grad_input, (n, k), input.device())?) } else { None };
        let grad_weight = Tensor::from_vec(grad_weight, (o, k), weight.device())?;
        Ok((grad_input, Some(grad_weight), Some(Tensor::from_vec(grad_bias, bias.shape(), bias.device())?)))
    }
}
