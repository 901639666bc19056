//! Convolutions and dense layers in the lane layouts, for cores with dual 16-bit multiplications (SMLAD).
//!
//! A pair of codes, one in each half of a word, times a pair of activations is one instruction. The codes stay unsigned
//! and are taken out of a packed word by one AND with a rotated operand; the weights' zero is dealt with once a patch,
//! by the sum of its activations. In the twin layouts each half holds the codes of *two* output channels, some bits
//! apart, so that the same instruction makes four products; the lower field is emptied before it can overflow into the
//! upper one, after 16 columns of 2 bits or 128 of 1 bit.
//!
//! Convolutions keep the sums of their rows in scratch, strip by strip of their columns; under a pooling whose whole window fits the
//! scratch, rows in single lanes go from activations to outputs one by one (`PooledRows`).
//!
//! `conv` and `dense` are plain Rust around the inner loops, which are assembly (`dsp`) on the cores that have it
//! and plain Rust (`model`) elsewhere: so the host tests everything but the assembly, and a board tests that against
//! [`super::portable`].

mod conv;
mod dense;
mod expand;
mod finish;
mod plan;
mod wide;
mod wide_dense;

#[cfg(core_class = "armv7em")]
mod dsp_conv;
#[cfg(core_class = "armv7em")]
mod dsp_dense;
#[cfg(core_class = "armv7em")]
mod dsp_finish;
#[cfg(core_class = "armv7em")]
mod dsp_pooled;
#[cfg(core_class = "armv7em")]
mod dsp_spread;
// Cores without dual multiplications have assembly for a part of it.
#[cfg(not(core_class = "armv7em"))]
#[cfg_attr(any(core_class = "armv6m", core_class = "armv7m"), allow(dead_code))]
mod model;
#[cfg(any(core_class = "armv6m", core_class = "armv7m"))]
mod mul_build;
#[cfg(any(core_class = "armv6m", core_class = "armv7m"))]
mod mul_conv;
#[cfg(any(core_class = "armv6m", core_class = "armv7m"))]
mod mul_fields;
#[cfg(any(core_class = "armv6m", core_class = "armv7m"))]
mod mul_pack;
#[cfg(any(core_class = "armv6m", core_class = "armv7m"))]
mod mul_table;
#[cfg(not(core_class = "armv7em"))]
mod walk;
#[cfg(not(core_class = "armv7em"))]
mod writer;

#[cfg(core_class = "armv7em")]
use dsp_conv::{Shape, clear, run_strip};
#[cfg(core_class = "armv7em")]
use dsp_dense::run_band;
#[cfg(core_class = "armv7em")]
use dsp_finish::{largest_of_singles, largest_of_twins};
#[cfg(core_class = "armv7em")]
use dsp_pooled::PooledRows;
#[cfg(core_class = "armv7em")]
use dsp_spread::{Stream, gather};
#[cfg(not(core_class = "armv7em"))]
use model::{PooledRows, Stream, clear, gather, largest_of_singles, largest_of_twins, run_band};
#[cfg(not(any(core_class = "armv7em", core_class = "armv7m", core_class = "armv6m")))]
use model::{Shape, build_tables, build_tables_of_quads, largest_of_fields, pack, run_strip};
#[cfg(any(core_class = "armv6m", core_class = "armv7m"))]
use mul_build::{build_tables, build_tables_of_quads};
#[cfg(any(core_class = "armv6m", core_class = "armv7m"))]
use mul_conv::{Shape, run_strip};
#[cfg(any(core_class = "armv6m", core_class = "armv7m"))]
use mul_fields::largest_of_fields;
#[cfg(any(core_class = "armv6m", core_class = "armv7m"))]
use mul_pack::pack;

pub(crate) use conv::is_unpacked;
pub use conv::{conv2d, pools};
pub use dense::dense;
pub(crate) use expand::has_short_reach;
pub(super) use plan::scratch_budget;
pub use plan::scratch_bytes;

use releq_shared::layout::Lanes;

/// Pixels that a convolution computes together.
const PIXELS: usize = 4;
/// Rows, or twins, that a dense layer computes together.
const ABREAST: usize = 4;

/// Some pairs of columns of some rows of a convolution, over four pixels.
struct Strip<'a> {
    /// Four words a pair, one a pixel: the pair's activations in the halves. For wide lanes as [`wide`] says.
    activations: &'a [u32],
    /// From the first row's word of the first pair on.
    weights: &'a [u8],
    /// Bytes from one row to the next.
    row_len: usize,
    /// The sums to add to. A row has four, one a pixel; by tables, the first two of its words have two each. A twin has four of `a + b * 2^(16 - k)` and then four of `b`,
    /// `a` and `b` being the sums of its rows as stored.
    sums: &'a mut [i32],
}

/// The window of an output of a pooled convolution in single lanes.
struct Pooled<'a> {
    /// Those of a whole row's pairs, as a [`Strip`] has them.
    activations: &'a [u32],
    /// The sums of each pixel's activations.
    totals: [i32; PIXELS],
    /// Where the outputs of all rows go.
    bytes: &'a mut [u8],
}

/// Whole groups of columns of four rows, or four twins, of a dense layer.
struct Band<'a> {
    lanes: Lanes,
    /// Activations, as many as the groups have columns.
    activations: &'a [u8],
    /// From the first word of the four rows on.
    weights: &'a [u8],
    /// The sums to add to: one a row, or the four of `a + b * 2^(16 - k)` and the four of `b` of the twins.
    sums: &'a mut [i32],
}

/// Activations of four pixels, column by column: runs of adjacent ones, the first perhaps shorter, with gaps between.
#[cfg(not(core_class = "armv7em"))]
#[derive(Clone, Copy)]
struct Columns<'a> {
    /// From the first column to the last.
    sources: [&'a [u8]; PIXELS],
    /// Columns in the first run.
    first: usize,
    /// Columns in each other run: at least one.
    run: usize,
    /// Bytes between runs.
    gap: usize,
}

/// Where the quads of a pixel's patch lie: runs of adjacent ones, the first perhaps shorter, with gaps between.
#[derive(Clone, Copy)]
struct Runs {
    /// Quads in the first run.
    first: usize,
    /// Quads in each other run.
    run: usize,
    /// Bytes between runs.
    gap: usize,
}

impl Runs {
    /// Bytes from the first quad to the end of the last.
    fn reach(&self, quads: usize) -> usize {
        let gaps = if quads > self.first { (quads - self.first).div_ceil(self.run) } else { 0 };
        quads * 4 + gaps * self.gap
    }
}
