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
    tape::apply1(&logits.contiguous()?, CrossEntropy { labels: labels_of(logits, labels)? })
}

fn labels_of(logits: &Tensor, labels: &Tensor) -> Result<Vec<u32>> {
    let labels: Vec<u32> = labels.to_vec1()?;
    let (rows, classes) = logits.dims2()?;
    if labels.len() != rows || labels.iter().any(|&label| label as usize >= classes) {
        bail!("{} labels for {rows} rows of {classes} classes, or one that is no class", labels.len());
    }
    Ok(labels)
}

/// `(1 - weight)` of the mean cross-entropy of `logits` `[N, classes]` and `labels` `[N]` and `weight` of `heat^2` times the
/// mean divergence `KL(softmax(teacher / heat) || softmax(logits / heat))` (arXiv 1503.02531), a scalar. The gradient is that of
/// `logits`; `teacher` `[N, classes]` is a constant.
///
/// # Errors
/// If there is not one label below `classes` and one row of the teacher for each row.
pub fn distillation(logits: &Tensor, labels: &Tensor, teacher: &Tensor, weight: f64, heat: f64) -> Result<Tensor> {
    if logits.shape() != teacher.shape() {
        bail!("logits of shape {:?} and a teacher's of {:?}", logits.shape(), teacher.shape());
    }
    if !crate::compute::is_own(logits.device()) {
        return super::stock::distillation(logits, labels, teacher, weight, heat);
    }
    let hard = CrossEntropy { labels: labels_of(logits, labels)? };
    let soft = teacher.detach().flatten_all()?.to_vec1()?;
    tape::apply1(&logits.contiguous()?, Distillation { hard, soft, weight: weight as f32, heat: heat as f32 })
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
        let mean = self.mean(slices::of_storage(storage, layout)?);
        Ok((CpuStorage::F32(vec![mean as f32]), Shape::from(())))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let weight = grad.to_scalar::<f32>()?;
        let data = slices::with(logits, |logits| Ok(self.slopes(logits, weight)))?;
        Ok(Some(Tensor::from_vec(data, logits.shape(), logits.device())?))
    }
}

impl CrossEntropy {
    fn mean(&self, logits: &[f32]) -> f64 {
        let classes = logits.len() / self.labels.len();
        let mut shifted = vec![0.0; classes];
        let losses = logits.chunks_exact(classes).zip(&self.labels).map(|(row, &label)| {
            let total = log_sum(row, &mut shifted);
            f64::from(total - shifted[label as usize])
        });
        losses.sum::<f64>() / self.labels.len() as f64
    }

    /// `weight` times the gradient of the mean.
    fn slopes(&self, logits: &[f32], weight: f32) -> Vec<f32> {
        let (classes, weight) = (logits.len() / self.labels.len(), weight / self.labels.len() as f32);
        let mut data = vec![0.0; logits.len()];
        let rows = data.chunks_exact_mut(classes).zip(logits.chunks_exact(classes));
        for ((into, row), &label) in rows.zip(&self.labels) {
            let total = log_sum(row, into);
            for (class, into) in into.iter_mut().enumerate() {
                let hit = if class == label as usize { 1.0 } else { 0.0 };
                *into = weight * ((*into - total).exp() - hit);
            }
        }
        data
    }
}

struct Distillation {
    hard: CrossEntropy,
    /// The teacher's logits.
    soft: Vec<f32>,
    weight: f32,
    heat: f32,
}

impl Distillation {
    /// Calls `work` with the logarithms of both softened distributions of each row, the teacher's first.
    fn for_each_row(&self, logits: &[f32], mut work: impl FnMut(usize, &[f32], &[f32])) {
        let classes = logits.len() / self.hard.labels.len();
        let (mut wanted, mut found) = (vec![0.0; classes], vec![0.0; classes]);
        let soften = |row: &[f32], into: &mut Vec<f32>| {
            let cooled: Vec<f32> = row.iter().map(|x| x / self.heat).collect();
            let total = log_sum(&cooled, into);
            into.iter_mut().for_each(|x| *x -= total);
        };
        for (row, (logits, soft)) in logits.chunks_exact(classes).zip(self.soft.chunks_exact(classes)).enumerate() {
            soften(soft, &mut wanted);
            soften(logits, &mut found);
            work(row, &wanted, &found);
        }
    }
}

impl CustomOp1 for Distillation {
    fn name(&self) -> &'static str {
        "distillation"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let logits = slices::of_storage(storage, layout)?;
        let mut divergence = 0.0;
        self.for_each_row(logits, |_, wanted, found| {
            let terms = wanted.iter().zip(found).map(|(&wanted, &found)| wanted.exp() * (wanted - found));
            divergence += f64::from(terms.sum::<f32>());
        });
        let (weight, heat) = (f64::from(self.weight), f64::from(self.heat));
        let soft = heat * heat * divergence / self.hard.labels.len() as f64;
        let loss = (1.0 - weight) * self.hard.mean(logits) + weight * soft;
        Ok((CpuStorage::F32(vec![loss as f32]), Shape::from(())))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.to_scalar::<f32>()?;
        let classes = logits.dim(1)?;
        let data = slices::with(logits, |logits| {
            let mut data = self.hard.slopes(logits, grad * (1.0 - self.weight));
            let weight = grad * self.weight * self.heat / self.hard.labels.len() as f32;
            self.for_each_row(logits, |row, wanted, found| {
                let into = &mut data[row * classes..(row + 1) * classes];
                for (into, (wanted, found)) in into.iter_mut().zip(wanted.iter().zip(found)) {
                    *into += weight * (found.exp() - wanted.exp());
                }
            });
            Ok(data)
        })?;
        Ok(Some(Tensor::from_vec(data, logits.shape(), logits.device())?))
    }
}
