//! Between tensors and slices: custom operations work on plain contiguous `f32` slices.

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, bail};
use rayon::prelude::*;

/// Element-wise work is cut into pieces of this many elements, whatever the number of threads, so that results never
/// depend on it.
pub(super) const PIECE: usize = 1 << 14;

/// The elements of a contiguous storage.
pub(super) fn of_storage<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("the operation wants contiguous tensors") };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// Calls `work` with the elements of a contiguous tensor on the CPU.
pub(super) fn with<T>(tensor: &Tensor, work: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => work(of_storage(storage, layout)?),
        _ => bail!("the operation works on the CPU"),
    }
}

/// `f` of each element.
pub(super) fn map(a: &[f32], f: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
    let mut out = vec![0.0; a.len()];
    out.par_chunks_mut(PIECE).zip(a.par_chunks(PIECE)).for_each(|(out, a)| {
        for (out, &a) in out.iter_mut().zip(a) {
            *out = f(a);
        }
    });
    out
}

/// `f` of each pair of elements.
pub(super) fn zip(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) -> Vec<f32> {
    let mut out = vec![0.0; a.len()];
    out.par_chunks_mut(PIECE).zip(a.par_chunks(PIECE)).zip(b.par_chunks(PIECE)).for_each(|((out, a), b)| {
        for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
            *out = f(a, b);
        }
    });
    out
}

/// `f` of each triple of elements.
pub(super) fn zip3(a: &[f32], b: &[f32], c: &[f32], f: impl Fn(f32, f32, f32) -> f32 + Sync) -> Vec<f32> {
    let mut out = vec![0.0; a.len()];
    let pairs = a.par_chunks(PIECE).zip(b.par_chunks(PIECE));
    out.par_chunks_mut(PIECE).zip(pairs).zip(c.par_chunks(PIECE)).for_each(|((out, (a, b)), c)| {
        for ((out, (&a, &b)), &c) in out.iter_mut().zip(a.iter().zip(b)).zip(c) {
            *out = f(a, b, c);
        }
    });
    out
}

/// Partial sums of [`sum`] and [`dot`]: a fixed order that vector units can keep.
const PARTS: usize = 16;

/// The sum of all elements.
pub(super) fn sum(a: &[f32]) -> f32 {
    let (chunks, rest) = a.as_chunks::<PARTS>();
    let mut parts = [0.0; PARTS];
    for chunk in chunks {
        for (part, x) in parts.iter_mut().zip(chunk) {
            *part += x;
        }
    }
    parts.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

/// The sum of the products of two equally long slices.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((chunks_a, rest_a), (chunks_b, rest_b)) = (a.as_chunks::<PARTS>(), b.as_chunks::<PARTS>());
    let mut parts = [0.0; PARTS];
    for (a, b) in chunks_a.iter().zip(chunks_b) {
        for (part, (a, b)) in parts.iter_mut().zip(a.iter().zip(b)) {
            *part += a * b;
        }
    }
    parts.iter().sum::<f32>() + rest_a.iter().zip(rest_b).map(|(a, b)| a * b).sum::<f32>()
}
