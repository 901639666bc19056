//! The sizes of one convolution, and how its work is cut into pieces.
//!
//! The images of a batch fall into at most [`LANES`] lanes of consecutive images, whatever the number of threads; lanes run
//! side by side, and what is summed over images is summed within each lane and then over the lanes in order. So results do
//! not depend on the number of threads, to the bit. Within a lane work goes block by block: some output rows of one
//! image, or all rows of several images where those are small.

use std::ops::Range;

use candle_core::{Result, Shape, bail};

use super::Conv2dConfig;

/// Lanes of a batch.
pub(super) const LANES: usize = 8;
/// Elements of a block's patches: they should stay in a core's second-level cache, beside what they are multiplied with.
const BLOCK_ELEMENTS: usize = 64 * 1024;
/// Columns of a matrix multiplication that are enough for full speed.
const COLUMNS: Range<usize> = 48..384;

/// All sizes of one convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    /// Images.
    pub(super) n: usize,
    pub(super) groups: usize,
    /// Input channels of a group.
    pub(super) c: usize,
    pub(super) h: usize,
    pub(super) w: usize,
    /// Output channels of a group.
    pub(super) o: usize,
    pub(super) kh: usize,
    pub(super) kw: usize,
    pub(super) oh: usize,
    pub(super) ow: usize,
    pub(super) stride: (usize, usize),
    pub(super) padding: (usize, usize),
}

/// Output rows of each image of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// The first row.
    pub(super) row: usize,
    pub(super) rows: usize,
}

impl Geometry {
    pub(super) fn new(input: &Shape, weight: &Shape, config: Conv2dConfig) -> Result<Self> {
        let (n, c, h, w) = input.dims4()?;
        let (o, c_group, kh, kw) = weight.dims4()?;
        let Conv2dConfig { stride, padding, groups } = config;
        let fits = groups > 0 && c == c_group * groups && o % groups == 0 && stride.0 > 0 && stride.1 > 0;
        if !fits || h + 2 * padding.0 < kh || w + 2 * padding.1 < kw || [n, c, o, kh, kw].contains(&0) {
            bail!("a convolution of {input:?} with {weight:?} does not fit {config:?}");
        }
        let oh = (h + 2 * padding.0 - kh) / stride.0 + 1;
        let ow = (w + 2 * padding.1 - kw) / stride.1 + 1;
        Ok(Self { n, groups, c: c_group, h, w, o: o / groups, kh, kw, oh, ow, stride, padding })
    }

    /// Elements of one patch of a group: columns of the weight matrix.
    pub(super) const fn patch(&self) -> usize {
        self.c * self.kh * self.kw
    }

    /// Output places of an image.
    pub(super) const fn places(&self) -> usize {
        self.oh * self.ow
    }

    /// Elements of an input image, all groups.
    pub(super) const fn image(&self) -> usize {
        self.groups * self.c * self.h * self.w
    }

    /// Output channels, all groups.
    pub(super) const fn channels(&self) -> usize {
        self.groups * self.o
    }

    /// Elements of an output image.
    pub(super) const fn result(&self) -> usize {
        self.channels() * self.places()
    }

    /// Images of a lane; the last lane may have fewer.
    pub(super) const fn lane(&self) -> usize {
        self.n.div_ceil(LANES)
    }

    /// Whether each channel is convolved by itself, which matrix multiplication is no help for.
    pub(super) const fn is_depthwise(&self) -> bool {
        self.c == 1 && self.o == 1 && self.groups > 1
    }

    /// Floating-point operations of the forward pass.
    pub(super) const fn flops(&self) -> u64 {
        2 * (self.n * self.result() * self.patch()) as u64
    }

    /// Images of a chunk: one, or several if one alone has too few places to multiply at full speed.
    pub(super) fn chunk(&self) -> usize {
        if self.places() >= COLUMNS.start { 1 } else { (COLUMNS.end / 2).div_ceil(self.places()).min(self.lane()) }
    }

    /// The blocks of a chunk, in order: all rows, unless that are too many columns for one image.
    pub(super) fn blocks(&self) -> impl Iterator<Item = Block> + use<> {
        let (oh, mut step) = (self.oh, self.oh);
        if self.chunk() == 1 {
            let columns = (BLOCK_ELEMENTS / self.patch()).clamp(COLUMNS.start, COLUMNS.end);
            // Rows spread evenly over as many blocks as it takes.
            step = oh.div_ceil(oh.div_ceil((columns / self.ow).max(1)));
        }
        (0..oh).step_by(step).map(move |row| Block { row, rows: step.min(oh - row) })
    }

    /// What a profile calls this convolution.
    pub(super) fn describe(&self) -> String {
        let Self { groups, c, h, w, o, kh, kw, stride, .. } = self;
        let (stride, groups) =
            (format!("/{}", stride.0), if *groups > 1 { format!(" x{groups}") } else { String::new() });
        format!("{kh}x{kw}{} {c}->{o}{groups} on {h}x{w}", if self.stride == (1, 1) { "" } else { &stride })
    }
}

/// Elements from row to row of a scratch matrix of so many columns: not a power of two, whose rows would all fall into the
/// same lines of a cache.
pub(super) const fn pitch(columns: usize) -> usize {
    let whole = columns.next_multiple_of(16);
    if whole.is_multiple_of(64) { whole + 16 } else { whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_every_output_row_once() {
        for (size, channels, kernel) in [(32, 16, 3), (8, 64, 3), (28, 1, 5), (3, 128, 3), (40, 3, 7)] {
            let config = Conv2dConfig { padding: (kernel / 2, kernel / 2), ..Conv2dConfig::default() };
            let (input, weight) = (Shape::from((5, channels, size, size)), Shape::from((4, channels, kernel, kernel)));
            let geometry = Geometry::new(&input, &weight, config).unwrap();
            let mut seen = vec![0; geometry.oh];
            for block in geometry.blocks() {
                seen[block.row..block.row + block.rows].iter_mut().for_each(|times| *times += 1);
            }
            assert!(seen.iter().all(|&times| times == 1), "{geometry:?}");
        }
    }
}
