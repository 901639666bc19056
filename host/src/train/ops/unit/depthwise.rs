//! Convolutions in which each channel sees itself only: too little to multiply matrices with, so rows are added up.

use super::geometry::Geometry;
use super::patches::Padded;
use crate::train::ops::slices;

/// Sums of one channel of one image.
pub(super) fn forward(geometry: &Geometry, padding: Padded, padded: &[f32], weight: &[f32], sums: &mut [f32]) {
    sums.fill(0.0);
    for_each_run(geometry, padding, |tap, start, place| {
        let from = &padded[start..][..geometry.ow];
        for (sum, &x) in sums[place..][..geometry.ow].iter_mut().zip(from) {
            *sum += weight[tap] * x;
        }
    });
}

/// Adds the gradients of one channel of one image to those of its weights and, where wanted, of its padded input.
pub(super) fn backward(
    geometry: &Geometry,
    padding: Padded,
    padded: &[f32],
    weight: &[f32],
    grad: &[f32],
    grad_weight: &mut [f32],
    mut grad_padded: Option<&mut [f32]>,
) {
    for_each_run(geometry, padding, |tap, start, place| {
        let (grad, from) = (&grad[place..][..geometry.ow], &padded[start..][..geometry.ow]);
        grad_weight[tap] += slices::dot(grad, from);
        if let Some(into) = grad_padded.as_deref_mut() {
            for (into, &grad) in into[start..][..geometry.ow].iter_mut().zip(grad) {
                *into += weight[tap] * grad;
            }
        }
    });
}

/// Visits each kernel place and output row: the place, where its run of inputs starts, where the row of outputs does.
fn for_each_run(geometry: &Geometry, padding: Padded, mut visit: impl FnMut(usize, usize, usize)) {
    for oy in 0..geometry.oh {
        for i in 0..geometry.kh {
            for j in 0..geometry.kw {
                visit(i * geometry.kw + j, padding.start(geometry, 0, i, j, oy), oy * geometry.ow);
            }
        }
    }
}
