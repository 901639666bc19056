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
