//! Convolutions and dense layers in the stack layout, for cores with Helium (MVE): sixteen products of bytes an
//! instruction.
//!
//! A convolution takes the codes of two output channels to bytes, and then runs over a row of outputs, three pixels at a
//! time, straight from the input; so the cost of taking codes apart is shared by all outputs of a row and hardly
//! depends on the bitwidth. Codes of up to 4 bits of both channels go to the same bytes, which halves their scratch. Where the
//! input is padded, the rows that a row of outputs needs are copied with their
//! padding; where a run of adjacent activations is shorter than a vector, patches are copied too. A dense layer meets
//! each code once, so it takes four rows out of a vector by four ANDs and leaves the codes shifted: the sums are shifted
//! back in the end.
//!
//! `conv` and `dense` are plain Rust around the inner loops, which are assembly (`mve_expand`, `mve_conv`, `mve_finish`, `mve_dense`) on
//! the cores that have it and plain Rust (`model`) elsewhere.

mod conv;
mod dense;
#[cfg(not(core_class = "armv81m-mve"))]
mod model;
#[cfg(core_class = "armv81m-mve")]
mod mve_conv;
#[cfg(core_class = "armv81m-mve")]
mod mve_dense;
#[cfg(core_class = "armv81m-mve")]
mod mve_expand;
#[cfg(core_class = "armv81m-mve")]
mod mve_finish;
mod plan;

#[cfg(not(core_class = "armv81m-mve"))]
use model::{Products, add, copy_patches, expand, expand_apart, expand_together, finish, sum_quad, sum_totals};
#[cfg(core_class = "armv81m-mve")]
use mve_conv::{Products, add, copy_patches, sum_totals};
#[cfg(core_class = "armv81m-mve")]
use mve_dense::sum_quad;
#[cfg(core_class = "armv81m-mve")]
use mve_expand::{expand, expand_apart, expand_together};
#[cfg(core_class = "armv81m-mve")]
use mve_finish::finish;

pub use conv::conv2d;
pub use dense::dense;
pub use plan::{covers, scratch_bytes};

use releq_shared::blob::Activation;

/// Bytes of a vector.
const LANES: usize = 16;
/// Rows that a convolution computes together.
const PAIR: usize = 2;
/// Rows that a dense layer computes together.
const QUAD: usize = 4;

/// Some pixels next to each other: where their patches lie, each some runs of adjacent activations.
#[derive(Clone, Copy)]
struct Line<'a> {
    /// From the first run of the first pixel on.
    activations: &'a [u8],
    pixels: usize,
    /// Bytes from one pixel to the next.
    step: usize,
    runs: usize,
    run_len: usize,
    /// Bytes from the start of a run to the start of the next.
    run_step: usize,
}

impl Line<'_> {
    /// Bytes from the first activation to the end of the last.
    const fn reach(&self) -> usize {
        (self.pixels - 1) * self.step + (self.runs - 1) * self.run_step + self.run_len
    }

    /// Activations of a pixel.
    const fn columns(&self) -> usize {
        self.runs * self.run_len
    }
}

/// Some lines of as many pixels, at the same distance from one another.
#[derive(Clone, Copy)]
struct Lines<'a> {
    /// The first, whose activations go on to the end of the last.
    first: Line<'a>,
    count: usize,
    /// Bytes from one line to the next.
    step: usize,
}

impl<'a> Lines<'a> {
    fn line(&self, line: usize) -> Line<'a> {
        Line { activations: &self.first.activations[line * self.step..], ..self.first }
    }

    /// The same pixels, of their runs those from `first` on, so many if there are.
    fn part(&self, first: usize, runs: usize) -> Self {
        let activations = &self.first.activations[first * self.first.run_step..];
        let runs = runs.min(self.first.runs - first);
        Self { first: Line { activations, runs, ..self.first }, ..*self }
    }

    /// Bytes from the first activation to the end of the last.
    #[cfg(core_class = "armv81m-mve")]
    const fn reach(&self) -> usize {
        (self.count - 1) * self.step + self.first.reach()
    }
}

/// The codes of two rows over some columns.
#[derive(Clone, Copy)]
enum Codes<'a> {
    /// Each row's, one byte a column.
    Apart([&'a [u8]; PAIR]),
    /// Both rows' in one byte a column: from bit `split` on the second's, below it the first's.
    Together { bytes: &'a [u8], split: usize },
}

impl Codes<'_> {
    /// By how many bits each row's sums are too large.
    const fn scaled(&self) -> [usize; PAIR] {
        match self {
            Self::Apart(_) => [0; PAIR],
            Self::Together { split, .. } => [0, *split],
        }
    }

    /// Columns that they reach to.
    fn columns(&self) -> usize {
        match self {
            Self::Apart([first, second]) => first.len().min(second.len()),
            Self::Together { bytes, .. } => bytes.len(),
        }
    }
}

/// A row's codes of one plane in the bytes of its stack.
#[derive(Clone, Copy)]
struct Field<'a> {
    /// One byte a column.
    bytes: &'a [u8],
    mask: u8,
    /// The first bit of the codes.
    shift: usize,
    /// Bits by which they count more than as they stand behind the shift.
    weight: usize,
}

/// A row of outputs of one channel, to be made of its pixels' sums.
struct Outputs<'a> {
    /// `sum(u * q)` a pixel, line by line, too large by so many bits.
    sums: &'a [i32],
    scaled: usize,
    /// `-z * sum(q)` a pixel.
    totals: &'a [i32],
    /// Pixels of a line.
    line_len: usize,
    /// Lines and columns of a pooling window.
    window: [usize; 2],
    /// Pixels from one window to the next.
    window_step: usize,
    bias: i32,
    multiplier: i32,
    shift: u8,
    zero_point: u8,
    clamp: Activation,
    /// From the first output on, one each `step` bytes.
    bytes: &'a mut [u8],
    step: usize,
    count: usize,
}

impl Outputs<'_> {
    /// Whether the sums and the places reach as far as the outputs.
    const fn fit(&self) -> bool {
        let last = (self.count - 1) * self.window_step + (self.window[0] - 1) * self.line_len + self.window[1];
        last <= self.sums.len() && last <= self.totals.len() && (self.count - 1) * self.step < self.bytes.len()
    }
}

/// Four fields, each a row's, over the columns of some activations.
struct Quad<'a> {
    activations: &'a [u8],
    /// Their bytes: all the same, two and two the same, or all different.
    stacks: [&'a [u8]; QUAD],
    masks: [u8; QUAD],
}
