//! The loss of a classifier.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::{slices, tape};

/// Mean cross-entropy of `logits` `[N, classes]` and `labels` `[N]` (`u32`), a scalar.
///
/// # Errors
/// If there is not one label below `classes` for each row.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    if !crate::compute::is_own(logits.device()) {
        return candle_nn::loss::cross_entropy(logits, labels);
    }
    let labels: Vec<u32> = labels.to_vec1()?;
    let (rows, classes) = logits.dims2()?;
    if labels.len() != rows || labels.iter().any(|&label| label as usize >= classes) {
        bail!("{} labels for {rows} rows of {classes} classes, or one that is no class", labels.len());
    }
    tape::apply1(&logits.contiguous()?, CrossEntropy { labels })
}

struct CrossEntropy {
    labels: Vec<u32>,
}

/// Shifts a row so that its largest element is zero, and returns the logarithm of the sum of exponentials after that.
fn log_sum(row: &[f32], shifted: &mut [f32]) -> f32 {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for (shifted, x) in shifted.iter_mut().zip(row) {
        *shifted = x - largest;
    }
    shifted.iter().map(|x| x.exp()).sum::<f32>().ln()
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let logits = slices::of_storage(storage, layout)?;
        let classes = logits.len() / self.labels.len();
        let mut shifted = vec![0.0; classes];
        let losses = logits.chunks_exact(classes).zip(&self.labels).map(|(row, &label)| {
            let total = log_sum(row, &mut shifted);
            f64::from(total - shifted[label as usize])
        });
        let mean = losses.sum::<f64>() / self.labels.len() as f64;
        Ok((CpuStorage::F32(vec![mean as f32]), Shape::from(())))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let weight = grad.to_scalar::<f32>()? / self.labels.len() as f32;
        let classes = logits.dim(1)?;
        let data = slices::with(logits, |logits| {
            let mut data = vec![0.0; logits.len()];
            let rows = data.chunks_exact_mut(classes).zip(logits.chunks_exact(classes));
            for ((into, row), &label) in rows.zip(&self.labels) {
                let total = log_sum(row, into);
                for (class, into) in into.iter_mut().enumerate() {
                    let hit = if class == label as usize { 1.0 } else { 0.0 };
                    *into = weight * ((*into - total).exp() - hit);
                }
            }
            Ok(data)
        })?;
        Ok(Some(Tensor::from_vec(data, logits.shape(), logits.device())?))
    }
}
