//! Patches of an image as the columns of a matrix, and back (im2col and col2im).
//!
//! An image is first copied into a padded one whose columns are sorted by their remainder modulo the stride. Every row of the
//! patch matrix then is made of whole runs of `ow` neighbours, whatever stride and padding are.

use super::geometry::{Block, Geometry};

/// One group of one image, padded, its columns sorted by their remainder modulo the horizontal stride.
#[derive(Clone, Copy, Debug)]
pub(super) struct Padded {
    /// Padded rows.
    rows: usize,
    /// Columns of one remainder.
    run: usize,
    /// Elements of a padded row.
    pitch: usize,
}

impl Padded {
    pub(super) const fn new(geometry: &Geometry) -> Self {
        let rows = geometry.h + 2 * geometry.padding.0;
        let run = (geometry.w + 2 * geometry.padding.1).div_ceil(geometry.stride.1);
        Self { rows, run, pitch: run * geometry.stride.1 }
    }

    /// Elements of `channels` padded channels.
    pub(super) const fn len(&self, channels: usize) -> usize {
        channels * self.rows * self.pitch
    }

    /// Whether padding would change nothing: the image itself can be read.
    pub(super) fn is_plain(&self, geometry: &Geometry) -> bool {
        geometry.padding == (0, 0) && geometry.stride.1 == 1
    }

    /// Copies `channels` channels into `padded`, whose padding is zero already.
    pub(super) fn fill(&self, geometry: &Geometry, channels: usize, image: &[f32], padded: &mut [f32]) {
        let (stride, left) = (geometry.stride.1, geometry.padding.1);
        for channel in 0..channels {
            for y in 0..geometry.h {
                let from = &image[(channel * geometry.h + y) * geometry.w..][..geometry.w];
                let to = &mut padded[(channel * self.rows + y + geometry.padding.0) * self.pitch..][..self.pitch];
                if stride == 1 {
                    to[left..][..from.len()].copy_from_slice(from);
                    continue;
                }
                if (y + geometry.padding.0) % geometry.stride.0 >= geometry.kh {
                    // No kernel row ever falls on it.
                    continue;
                }
                if stride == 2 {
                    deal(from, left, to, self.run);
                    continue;
                }
                for (x, &value) in from.iter().enumerate() {
                    let x = x + left;
                    to[x % stride * self.run + x / stride] = value;
                }
            }
        }
    }

    /// The reverse of [`Padded::fill`]: writes the image's share of `padded` to `image`.
    pub(super) fn take(&self, geometry: &Geometry, channels: usize, padded: &[f32], image: &mut [f32]) {
        let (stride, left) = (geometry.stride.1, geometry.padding.1);
        for channel in 0..channels {
            for y in 0..geometry.h {
                let to = &mut image[(channel * geometry.h + y) * geometry.w..][..geometry.w];
                let from = &padded[(channel * self.rows + y + geometry.padding.0) * self.pitch..][..self.pitch];
                if stride == 1 {
                    to.copy_from_slice(&from[left..][..geometry.w]);
                    continue;
                }
                if stride == 2 {
                    collect(from, self.run, left, to);
                    continue;
                }
                for (x, value) in to.iter_mut().enumerate() {
                    let x = x + left;
                    *value = from[x % stride * self.run + x / stride];
                }
            }
        }
    }

    /// Where the run of output row `oy` for kernel place (`i`, `j`) of `channel` starts.
    pub(super) const fn start(&self, geometry: &Geometry, channel: usize, i: usize, j: usize, oy: usize) -> usize {
        let row = channel * self.rows + oy * geometry.stride.0 + i;
        row * self.pitch + j % geometry.stride.1 * self.run + j / geometry.stride.1
    }

    /// Lays the patches of a block's rows of one image into `columns` from column `at` on, `stride` elements to a row.
    pub(super) fn lay_columns(
        &self,
        geometry: &Geometry,
        block: Block,
        padded: &[f32],
        columns: &mut [f32],
        stride: usize,
        at: usize,
    ) {
        match geometry.ow {
            4 => self.copy_runs::<4>(geometry, block, padded, columns, stride, at),
            8 => self.copy_runs::<8>(geometry, block, padded, columns, stride, at),
            10 => self.copy_runs::<10>(geometry, block, padded, columns, stride, at),
            12 => self.copy_runs::<12>(geometry, block, padded, columns, stride, at),
            16 => self.copy_runs::<16>(geometry, block, padded, columns, stride, at),
            24 => self.copy_runs::<24>(geometry, block, padded, columns, stride, at),
            28 => self.copy_runs::<28>(geometry, block, padded, columns, stride, at),
            32 => self.copy_runs::<32>(geometry, block, padded, columns, stride, at),
            ow => self.for_each_run(geometry, block, stride, at, |from, to| {
                columns[to..][..ow].copy_from_slice(&padded[from..][..ow]);
            }),
        }
    }

    /// Runs of a length that the compiler knows need no call to copy each.
    fn copy_runs<const OW: usize>(
        &self,
        geometry: &Geometry,
        block: Block,
        padded: &[f32],
        columns: &mut [f32],
        stride: usize,
        at: usize,
    ) {
        self.for_each_run(geometry, block, stride, at, |from, to| {
            let (Some(from), Some(to)) = (padded[from..].first_chunk::<OW>(), columns[to..].first_chunk_mut::<OW>())
            else {
                unreachable!("a run lies inside its image");
            };
            *to = *from;
        });
    }

    /// The transpose of [`Padded::lay_columns`]: adds the patches' gradients to the padded image's.
    pub(super) fn add_columns(
        &self,
        geometry: &Geometry,
        block: Block,
        columns: &[f32],
        stride: usize,
        at: usize,
        padded: &mut [f32],
    ) {
        match geometry.ow {
            4 => self.add_runs::<4>(geometry, block, columns, stride, at, padded),
            8 => self.add_runs::<8>(geometry, block, columns, stride, at, padded),
            10 => self.add_runs::<10>(geometry, block, columns, stride, at, padded),
            12 => self.add_runs::<12>(geometry, block, columns, stride, at, padded),
            16 => self.add_runs::<16>(geometry, block, columns, stride, at, padded),
            24 => self.add_runs::<24>(geometry, block, columns, stride, at, padded),
            28 => self.add_runs::<28>(geometry, block, columns, stride, at, padded),
            32 => self.add_runs::<32>(geometry, block, columns, stride, at, padded),
            ow => self.for_each_run(geometry, block, stride, at, |to, from| {
                for (to, from) in padded[to..][..ow].iter_mut().zip(&columns[from..][..ow]) {
                    *to += from;
                }
            }),
        }
    }

    fn add_runs<const OW: usize>(
        &self,
        geometry: &Geometry,
        block: Block,
        columns: &[f32],
        stride: usize,
        at: usize,
        padded: &mut [f32],
    ) {
        self.for_each_run(geometry, block, stride, at, |to, from| {
            let (Some(to), Some(from)) = (padded[to..].first_chunk_mut::<OW>(), columns[from..].first_chunk::<OW>())
            else {
                unreachable!("a run lies inside its image");
            };
            for (to, from) in to.iter_mut().zip(from) {
                *to += from;
            }
        });
    }

    /// Visits each run of a block's rows with its place in the padded image and in the columns.
    #[inline]
    fn for_each_run(
        &self,
        geometry: &Geometry,
        block: Block,
        stride: usize,
        at: usize,
        mut visit: impl FnMut(usize, usize),
    ) {
        let mut row = at;
        for channel in 0..geometry.c {
            for i in 0..geometry.kh {
                for j in 0..geometry.kw {
                    let mut from = self.start(geometry, channel, i, j, block.row);
                    let mut to = row;
                    for _ in 0..block.rows {
                        visit(from, to);
                        from += geometry.stride.0 * self.pitch;
                        to += geometry.ow;
                    }
                    row += stride;
                }
            }
        }
    }
}

/// Deals a row, which starts at padded column `left`, to the even columns in the first `run` elements of `to` and the odd
/// ones behind them.
fn deal(from: &[f32], left: usize, to: &mut [f32], run: usize) {
    let (even, odd) = to.split_at_mut(run);
    let (from, first) = match from {
        [alone, from @ ..] if left % 2 == 1 => {
            odd[left / 2] = *alone;
            (from, left / 2 + 1)
        }
        _ => (from, left / 2),
    };
    let (pairs, rest) = from.as_chunks::<2>();
    for (&[a, b], (even, odd)) in pairs.iter().zip(even[first..].iter_mut().zip(&mut odd[first..])) {
        (*even, *odd) = (a, b);
    }
    if let [last] = rest {
        even[first + pairs.len()] = *last;
    }
}

/// The reverse of [`deal`].
fn collect(from: &[f32], run: usize, left: usize, to: &mut [f32]) {
    let (even, odd) = from.split_at(run);
    let (to, first) = match to {
        [alone, to @ ..] if left % 2 == 1 => {
            *alone = odd[left / 2];
            (to, left / 2 + 1)
        }
        to => (to, left / 2),
    };
    let (pairs, rest) = to.as_chunks_mut::<2>();
    let count = pairs.len();
    for (pair, (&even, &odd)) in pairs.iter_mut().zip(even[first..].iter().zip(&odd[first..])) {
        *pair = [even, odd];
    }
    if let [last] = rest {
        *last = even[first + count];
    }
}
