//! Spreads the activations under four placements of a kernel to 16-bit lanes, in the order of the pairs.

use releq_shared::blob::Conv2d;
use releq_shared::layout::Lanes;

use super::{PIXELS, gather, spread_runs};

/// Channels of padding at hand.
const PADDING: usize = 64;

/// What all placements of a convolution have in common.
pub(super) struct Spread<'a> {
    op: &'a Conv2d<'a>,
    input: &'a [u8],
    /// Elements from one input row to the next.
    row_len: usize,
    /// Where the activations of each pair lie, from a placement's corner on: for channels that do not come in quads.
    offsets: &'a [[u16; 2]],
    padding: [u8; PADDING],
}

/// Pairs whose places must be looked up, and so kept in scratch: all, or none.
pub(super) fn pairs_to_look_up(op: &Conv2d<'_>) -> usize {
    let reach = usize::from(op.input.width) * usize::from(op.input.channels) * usize::from(op.kernel[0]);
    let by_quads = op.input.channels.is_multiple_of(4);
    if by_quads || reach > usize::from(u16::MAX) { 0 } else { Lanes::pairs(op.columns() as usize) }
}

/// Four placements.
pub(super) struct Patches {
    /// First row and column of each, negative in the padding.
    corners: [[isize; 2]; PIXELS],
    /// Index of the corners' elements in the input, if no placement touches the padding.
    inside: Option<[usize; PIXELS]>,
}

impl<'a> Spread<'a> {
    /// Fills `offsets`, of [`pairs_to_look_up`] entries.
    pub(super) fn new(op: &'a Conv2d<'a>, input: &'a [u8], offsets: &'a mut [[u16; 2]]) -> Self {
        let row_len = usize::from(op.input.width) * usize::from(op.input.channels);
        if !offsets.is_empty() {
            let lanes: &mut [u16] = bytemuck::cast_slice_mut(&mut *offsets);
            lanes.fill(0);
            let columns = op.columns() as usize;
            let run = usize::from(op.kernel[1]) * usize::from(op.input.channels);
            for (row, first) in (0..columns).step_by(run).enumerate() {
                for at in 0..run {
                    lanes[lane_of(columns, first + at)] = (row * row_len + at) as u16;
                }
            }
        }
        Self { op, input, row_len, offsets, padding: [op.input.zero_point; PADDING] }
    }

    /// The placements at `positions`, rows and columns of the convolution's own output.
    pub(super) fn patches(&self, positions: [[usize; 2]; PIXELS]) -> Patches {
        let op = self.op;
        let along =
            |at: usize, side: usize| (at * usize::from(op.stride[side])) as isize - isize::from(op.padding[side]);
        let corners = positions.map(|[y, x]| [along(y, 0), along(x, 1)]);
        let height = isize::try_from(op.input.height).unwrap_or(isize::MAX) - isize::from(op.kernel[0]);
        let width = isize::try_from(op.input.width).unwrap_or(isize::MAX) - isize::from(op.kernel[1]);
        let inside = corners.iter().all(|&[y, x]| y >= 0 && x >= 0 && y <= height && x <= width);
        let channels = usize::from(op.input.channels);
        let first = |[y, x]: [isize; 2]| y.unsigned_abs() * self.row_len + x.unsigned_abs() * channels;
        Patches { corners, inside: inside.then(|| corners.map(first)) }
    }

    /// Writes the pairs under the placements from pair `first`, an even one, on to `pairs`, four words each; returns the
    /// sum of each placement's activations.
    pub(super) fn fill(&self, patches: &Patches, first: usize, pairs: &mut [u32]) -> [i32; PIXELS] {
        let mut totals = [0; PIXELS];
        let by_quads = self.op.input.channels.is_multiple_of(4);
        match patches.inside {
            Some(corners) if by_quads => self.rows(corners, first * 2, pairs, &mut totals),
            Some(corners) if !self.offsets.is_empty() => self.look_up(corners, first, pairs, &mut totals),
            _ if by_quads => self.positions(patches, first * 2, pairs, &mut totals),
            _ => self.columns(patches, first * 2, pairs, &mut totals),
        }
        totals
    }

    /// Kernel row by kernel row: adjacent in the input, where there is no padding.
    fn rows(&self, corners: [usize; PIXELS], first: usize, mut pairs: &mut [u32], totals: &mut [i32; PIXELS]) {
        let run = usize::from(self.op.kernel[1]) * usize::from(self.op.input.channels);
        let (mut row, mut at) = (first / run, first % run);
        while !pairs.is_empty() {
            let len = (run - at).min(pairs.len() / 2);
            let (now, later) = pairs.split_at_mut(len * 2);
            let from = row * self.row_len + at;
            spread_runs(corners.map(|corner| &self.input[corner + from..][..len]), now, totals);
            pairs = later;
            (row, at) = (row + 1, 0);
        }
    }

    /// By the table of offsets.
    fn look_up(&self, corners: [usize; PIXELS], first: usize, pairs: &mut [u32], totals: &mut [i32; PIXELS]) {
        let count = pairs.len() / PIXELS;
        let run = usize::from(self.op.kernel[1]) * usize::from(self.op.input.channels);
        let reach = (usize::from(self.op.kernel[0]) - 1) * self.row_len + run - 1;
        gather(self.input, corners, &self.offsets[first..first + count], reach, pairs, totals);
        let columns = self.op.columns() as usize;
        if columns % 2 == 1 && (first + count) * 2 > columns {
            // The last pair has no second column, but an offset.
            let last = pairs.len() - PIXELS;
            for (pair, total) in pairs[last..].iter_mut().zip(totals) {
                *total -= (*pair >> 16) as i32;
                *pair &= 0xFFFF;
            }
        }
    }

    /// Kernel position by kernel position, some of which lie in the padding.
    fn positions(&self, patches: &Patches, first: usize, mut pairs: &mut [u32], totals: &mut [i32; PIXELS]) {
        let (channels, width) = (usize::from(self.op.input.channels), usize::from(self.op.kernel[1]));
        let (mut position, mut channel) = (first / channels, first % channels);
        while !pairs.is_empty() {
            let len = (channels - channel).min(pairs.len() / 2).min(PADDING);
            let (now, later) = pairs.split_at_mut(len * 2);
            let sources = [0, 1, 2, 3].map(|pixel| {
                match self.pixel(patches.corners[pixel], position / width, position % width) {
                    Some(pixel) => &self.input[pixel + channel..][..len],
                    None => &self.padding[..len],
                }
            });
            spread_runs(sources, now, totals);
            pairs = later;
            channel += len;
            if channel == channels {
                (position, channel) = (position + 1, 0);
            }
        }
    }

    /// Column by column.
    fn columns(&self, patches: &Patches, first: usize, pairs: &mut [u32], totals: &mut [i32; PIXELS]) {
        let (channels, width) = (usize::from(self.op.input.channels), usize::from(self.op.kernel[1]));
        let columns = self.op.columns() as usize;
        pairs.fill(0);
        let lanes: &mut [u16] = bytemuck::cast_slice_mut(pairs);
        let end = columns.min(first + lanes.len() / PIXELS);
        for at in first..end {
            let (position, channel) = (at / channels, at % channels);
            let place = lane_of(columns, at) - first;
            for pixel in 0..PIXELS {
                let found = self.pixel(patches.corners[pixel], position / width, position % width);
                let q = found.map_or(self.op.input.zero_point, |pixel| self.input[pixel + channel]);
                lanes[(place / 2 * PIXELS + pixel) * 2 + place % 2] = u16::from(q);
                totals[pixel] += i32::from(q);
            }
        }
    }

    /// The first element of the input pixel at kernel position (`row`, `column`), `None` in the padding.
    fn pixel(&self, [y, x]: [isize; 2], row: usize, column: usize) -> Option<usize> {
        let y = usize::try_from(y + row as isize).ok().filter(|&y| y < usize::from(self.op.input.height))?;
        let x = usize::try_from(x + column as isize).ok().filter(|&x| x < usize::from(self.op.input.width))?;
        Some(y * self.row_len + x * usize::from(self.op.input.channels))
    }
}

/// The lane of a column among the lanes of all pairs.
fn lane_of(columns: usize, column: usize) -> usize {
    // The middle two of a whole quad change places.
    let whole = column < columns / 4 * 4;
    match column % 4 {
        1 if whole => column + 1,
        2 if whole => column - 1,
        _ => column,
    }
}
