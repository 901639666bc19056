//! Spreads the activations under four placements of a kernel to 16-bit lanes, in the order of the pairs.

use core::marker::PhantomData;
use core::ops::Range;

use releq_shared::blob::Conv2d;
use releq_shared::layout::Lanes;

#[cfg(not(core_class = "armv7em"))]
use super::wide::{COLUMNS_A_TABLE, WORDS_A_TABLE, running_bits, runs_by_tables};
use super::{PIXELS, Runs, Stream, gather};
#[cfg(not(core_class = "armv7em"))]
use crate::needs::conv2d_of;
use crate::needs::{self, Need, needed};

#[cfg(not(core_class = "armv7em"))]
mod columns;

/// Whether this build has convolutions by tables, and in wide lanes no others.
#[cfg(not(core_class = "armv7em"))]
const TABLES_HERE: bool = conv2d_of(1) || conv2d_of(2);
#[cfg(not(core_class = "armv7em"))]
const TABLES_ONLY: bool = TABLES_HERE && !(conv2d_of(3) || conv2d_of(4) || conv2d_of(5) || conv2d_of(8));

/// What all placements of a convolution have in common.
pub(super) struct Spread<'a> {
    op: &'a Conv2d<'a>,
    #[cfg_attr(core_class = "armv7em", allow(dead_code))]
    lanes: Lanes,
    input: &'a [u8],
    channels: usize,
    /// Elements from one input row to the next.
    row_len: usize,
    /// Elements of a row of the kernel, and of all of them.
    run: usize,
    columns: usize,
    /// Elements from the first activation under a kernel to the last.
    reach: usize,
    /// The last row and column at which a kernel does not reach into the padding.
    last: [isize; 2],
    /// Where the activations of each pair lie, from a placement's corner on: for channels that do not come in quads.
    offsets: &'a [[u16; 2]],
}

/// Pairs whose places must be looked up, and so kept in scratch: all, or none.
pub(super) fn pairs_to_look_up(op: &Conv2d<'_>, lanes: Lanes) -> usize {
    let by_quads = op.input.channels.is_multiple_of(4);
    if lanes.is_wide() || by_quads || !has_short_reach(op) { 0 } else { Lanes::pairs(op.columns() as usize) }
}

/// Whether a kernel's last activation lies so near its first that the place of each fits 16 bits.
pub(crate) fn has_short_reach(op: &Conv2d<'_>) -> bool {
    let reach = usize::from(op.input.width) * usize::from(op.input.channels) * usize::from(op.kernel[0]);
    reach <= usize::from(u16::MAX)
}

/// How the four placements that are computed together lie to one another.
#[derive(Clone, Copy)]
pub(super) struct Window {
    /// Rows and columns of the input from the first placement to each.
    steps: [[isize; 2]; PIXELS],
    /// The furthest steps back and forth.
    back: [isize; 2],
    forth: [isize; 2],
    /// The same as elements.
    offsets: [isize; PIXELS],
}

/// Four placements.
pub(super) struct Patches {
    /// First row and column of each, negative in the padding.
    corners: [[isize; 2]; PIXELS],
    /// Index of the corners' elements in the input, if no placement touches the padding.
    inside: Option<[usize; PIXELS]>,
    /// The same if placements touch the padding on the left and right only, and what lies there instead, of the rows above and
    /// below, is in the input.
    #[cfg_attr(not(core_class = "armv7em"), allow(dead_code))]
    level: Option<[usize; PIXELS]>,
}

/// Where the next columns of some placements come from.
pub(super) enum Feed<'a> {
    /// From the rows of the kernel as they lie in the input: single and twin lanes only.
    #[cfg(not(any(core_class = "armv6m", core_class = "armv7m")))]
    Rows(Stream<'a>),
    /// Column by column.
    Columns(Cursor, PhantomData<&'a ()>),
}

/// How far the columns of some placements are spread.
#[derive(Clone, Copy, Default)]
pub(super) struct Cursor {
    /// Columns that are done.
    column: usize,
    /// Columns of the kernel row at hand that are done, and that row.
    at: usize,
    row: usize,
}

impl Cursor {
    fn advance(&mut self, columns: usize, run: usize) {
        self.column += columns;
        (self.row, self.at) = in_rows(self.row, self.at + columns, run);
    }
}

/// The row, and the place in it, that lies `at` places behind the start of row `row`, a few rows further at most.
fn in_rows(mut row: usize, mut at: usize, run: usize) -> (usize, usize) {
    while at >= run {
        // Hidden, or the compiler makes a division of it, which takes Cortex-M0 longer.
        (row, at) = (row + 1, core::hint::black_box(at - run));
    }
    (row, at)
}

impl<'a> Spread<'a> {
    /// Fills `offsets`, of [`pairs_to_look_up`] entries.
    pub(super) fn new(op: &'a Conv2d<'a>, lanes: Lanes, input: &'a [u8], offsets: &'a mut [[u16; 2]]) -> Self {
        let channels = usize::from(op.input.channels);
        let row_len = usize::from(op.input.width) * channels;
        let run = usize::from(op.kernel[1]) * channels;
        let columns = op.columns() as usize;
        if !offsets.is_empty() {
            let lanes: &mut [u16] = bytemuck::cast_slice_mut(&mut *offsets);
            lanes.fill(0);
            for (row, first) in (0..columns).step_by(run).enumerate() {
                for at in 0..run {
                    lanes[lane_of(columns, first + at)] = (row * row_len + at) as u16;
                }
            }
        }
        let last = |len: u16, kernel: u8| isize::try_from(len).unwrap_or(isize::MAX) - isize::from(kernel);
        let last = [last(op.input.height, op.kernel[0]), last(op.input.width, op.kernel[1])];
        let reach = (usize::from(op.kernel[0]) - 1) * row_len + run - 1;
        Self { op, lanes, input, channels, row_len, run, columns, reach, last, offsets }
    }

    /// How four positions of the convolution's own output, given from the first of them on, lie in its input.
    pub(super) fn window(&self, positions: [[isize; 2]; PIXELS]) -> Window {
        let steps = positions.map(|[y, x]| [y * isize::from(self.op.stride[0]), x * isize::from(self.op.stride[1])]);
        let (mut back, mut forth) = ([0; 2], [0; 2]);
        for step in steps {
            for side in 0..2 {
                back[side] = step[side].min(back[side]);
                forth[side] = step[side].max(forth[side]);
            }
        }
        let offsets = steps.map(|[y, x]| y * self.row_len as isize + x * self.channels as isize);
        Window { steps, back, forth, offsets }
    }

    /// The placements of a window whose first is at row `y` and column `x` of the convolution's own output.
    pub(super) fn patches(&self, window: &Window, [y, x]: [usize; 2]) -> Patches {
        let op = self.op;
        let y = (y * usize::from(op.stride[0])) as isize - isize::from(op.padding[0]);
        let x = (x * usize::from(op.stride[1])) as isize - isize::from(op.padding[1]);
        let Window { back, forth, .. } = window;
        let inside =
            y + back[0] >= 0 && x + back[1] >= 0 && y + forth[0] <= self.last[0] && x + forth[1] <= self.last[1];
        if inside || !needed(Need::Padding) {
            let first = y as usize * self.row_len + x as usize * self.channels;
            let inside = window.offsets.map(|offset| first.wrapping_add_signed(offset));
            return Patches { corners: [[0; 2]; PIXELS], inside: Some(inside), level: None };
        }
        let corners = window.steps.map(|[down, right]| [y + down, x + right]);
        let mut level = None;
        let wide_only = cfg!(any(core_class = "armv6m", core_class = "armv7m"));
        if !wide_only && y + back[0] >= 0 && y + forth[0] <= self.last[0] {
            let element = |[y, x]: [isize; 2]| y * self.row_len as isize + x * self.channels as isize;
            let end = self.input.len() as isize - self.reach as isize - 1;
            let elements = corners.map(element);
            if elements.iter().all(|element| (0..=end).contains(element)) {
                level = Some(elements.map(|element| element as usize));
            }
        }
        Patches { corners, inside: None, level }
    }

    /// The columns of some placements from the first on.
    #[inline]
    #[cfg_attr(any(core_class = "armv6m", core_class = "armv7m"), allow(unused_variables))]
    pub(super) fn feed(&self, patches: &Patches) -> Feed<'a> {
        #[cfg(not(any(core_class = "armv6m", core_class = "armv7m")))]
        if let (Some(corners), true) = (patches.inside, self.by_quads()) {
            return Feed::Rows(self.rows(corners, Cursor::default(), self.columns / 4));
        }
        Feed::Columns(Cursor::default(), PhantomData)
    }

    /// Whether input channels come in quads, to be spread in single or twin lanes.
    #[inline]
    fn by_quads(&self) -> bool {
        #[cfg(not(core_class = "armv7em"))]
        if cfg!(any(core_class = "armv6m", core_class = "armv7m")) || self.lanes.is_wide() {
            return false;
        }
        !needed(Need::LooseChannels) || self.channels.is_multiple_of(4)
    }

    /// Writes all pairs under the placements, of single or twin lanes, to `pairs`, and adds each placement's activations to `totals`.
    pub(super) fn fill_all(&self, patches: &Patches, pairs: &mut [u32], totals: &mut [i32; PIXELS]) {
        match patches.inside {
            Some(corners) if !self.offsets.is_empty() => self.look_up(corners, 0, pairs, totals),
            _ => self.fill(patches, &mut self.feed(patches), pairs, Some(totals)),
        }
    }

    /// Writes the next pairs of `feed`, which must be at an even pair, to `pairs`, four words each, and adds each placement's
    /// activations to `totals`, if asked to.
    #[inline]
    pub(super) fn fill(
        &self,
        patches: &Patches,
        feed: &mut Feed<'_>,
        pairs: &mut [u32],
        totals: Option<&mut [i32; PIXELS]>,
    ) {
        match feed {
            #[cfg(not(any(core_class = "armv6m", core_class = "armv7m")))]
            Feed::Rows(stream) => stream.spread(pairs, totals),
            Feed::Columns(cursor, _) => {
                self.fill_columns(patches, cursor, pairs, totals.unwrap_or(&mut [0; PIXELS]));
            }
        }
    }

    /// As [`Self::fill`], where the rows of the kernel cannot be spread as they lie in the input.
    // On Cortex-M0 the smallest images need it inlined: what they have no layers for falls away then.
    #[cfg_attr(not(core_class = "armv6m"), inline(never))]
    fn fill_columns(&self, patches: &Patches, cursor: &mut Cursor, pairs: &mut [u32], totals: &mut [i32; PIXELS]) {
        #[cfg(not(core_class = "armv7em"))]
        if cfg!(any(core_class = "armv6m", core_class = "armv7m")) || self.lanes.is_wide() {
            if TABLES_ONLY || runs_by_tables(self.lanes) {
                self.fill_tables(patches, *cursor, pairs, totals);
                return cursor.advance(pairs.len() / WORDS_A_TABLE * COLUMNS_A_TABLE, self.run);
            }
            self.fill_wide(patches, *cursor, running_bits(self.lanes), pairs.as_chunks_mut::<2>().0, totals);
            return cursor.advance(pairs.len() / 2, self.run);
        }
        let by_quads = self.by_quads();
        match (patches.inside, patches.level) {
            (_, Some(corners)) if needed(Need::Padding) && by_quads => {
                self.rows(corners, *cursor, pairs.len() / (2 * PIXELS)).spread(pairs, Some(totals));
                self.pad_beside(patches, cursor.column, pairs, totals);
            }
            _ if needed(Need::Padding) && by_quads => self.positions(patches, cursor.column, pairs, totals),
            (Some(corners), _) if !self.offsets.is_empty() => {
                self.look_up(corners, cursor.column / 2, pairs, totals);
            }
            (_, Some(corners)) if needed(Need::Padding) && !self.offsets.is_empty() => {
                self.look_up(corners, cursor.column / 2, pairs, totals);
                self.pad_beside(patches, cursor.column, pairs, totals);
            }
            _ if needed(Need::SingleColumns) => self.columns(patches, cursor.column, pairs, totals),
            _ => needs::lacking(),
        }
        cursor.advance(pairs.len() / 2, self.run);
    }

    /// Replaces what was spread from beside the input's rows by padding; the first of `pairs` is of column `first`.
    fn pad_beside(&self, patches: &Patches, first: usize, pairs: &mut [u32], totals: &mut [i32; PIXELS]) {
        let (width, kernel) = (self.op.input.width as isize, usize::from(self.op.kernel[1]));
        let end = first + pairs.len() / 2;
        for (pixel, &[_, x]) in patches.corners.iter().enumerate() {
            let before = (-x).max(0) as usize;
            let behind = (width - x).clamp(0, kernel as isize) as usize;
            if (before, behind) == (0, kernel) {
                continue;
            }
            for row in (0..usize::from(self.op.kernel[0])).map(|row| row * self.run) {
                for columns in [0..before, behind..kernel] {
                    let [from, to] = [columns.start, columns.end].map(|column| row + column * self.channels);
                    let (from, to) = (from.max(first), to.min(end));
                    if from >= to {
                        continue;
                    }
                    if self.channels.is_multiple_of(4) {
                        self.pad(pixel, &mut pairs[(from - first) * 2..(to - first) * 2], &mut totals[pixel]);
                    } else {
                        self.pad_lanes(pixel, from..to, first, pairs, &mut totals[pixel]);
                    }
                }
            }
        }
    }

    /// Replaces columns that were spread for one pixel by padding; the first of `pairs` is of column `first`.
    fn pad_lanes(&self, pixel: usize, columns: Range<usize>, first: usize, pairs: &mut [u32], total: &mut i32) {
        let zero = u16::from(self.op.input.zero_point);
        let lanes: &mut [u16] = bytemuck::cast_slice_mut(pairs);
        for column in columns {
            let place = lane_of(self.columns, column) - first;
            let lane = &mut lanes[(place / 2 * PIXELS + pixel) * 2 + place % 2];
            *total += i32::from(zero) - i32::from(*lane);
            *lane = zero;
        }
    }

    /// Kernel row by kernel row: adjacent in the input, where there is no padding.
    #[inline]
    fn rows(&self, corners: [usize; PIXELS], cursor: Cursor, quads: usize) -> Stream<'a> {
        let from = cursor.row * self.row_len + cursor.at;
        let runs = Runs { first: (self.run - cursor.at) / 4, run: self.run / 4, gap: self.row_len - self.run };
        Stream::new(self.input, corners.map(|corner| corner + from), runs, quads)
    }

    /// By the table of offsets.
    fn look_up(&self, corners: [usize; PIXELS], first: usize, pairs: &mut [u32], totals: &mut [i32; PIXELS]) {
        let count = pairs.len() / PIXELS;
        let lone = (first + count) * 2 > self.columns;
        gather(self.input, corners, &self.offsets[first..first + count], self.reach, lone, pairs, totals);
    }

    /// Kernel position by kernel position, some of which lie in the padding.
    fn positions(&self, patches: &Patches, first: usize, mut pairs: &mut [u32], totals: &mut [i32; PIXELS]) {
        let (channels, width) = (usize::from(self.op.input.channels), usize::from(self.op.kernel[1]));
        let (mut position, mut channel) = (first / channels, first % channels);
        while !pairs.is_empty() {
            let len = (channels - channel).min(pairs.len() / 2);
            let (now, later) = pairs.split_at_mut(len * 2);
            let pixels = patches.corners.map(|corner| self.pixel(corner, position / width, position % width));
            let runs = Runs { first: len / 4, run: len / 4, gap: 0 };
            let starts = pixels.map(|pixel| pixel.unwrap_or(0) + channel);
            Stream::new(self.input, starts, runs, len / 4).spread(now, Some(totals));
            for (pixel, _) in pixels.iter().enumerate().filter(|(_, pixel)| pixel.is_none()) {
                self.pad(pixel, now, &mut totals[pixel]);
            }
            pairs = later;
            (position, channel) = (position + 1, 0);
        }
    }

    /// Replaces what was spread for one pixel by padding.
    fn pad(&self, pixel: usize, pairs: &mut [u32], total: &mut i32) {
        let zero = u32::from(self.op.input.zero_point);
        for pair in pairs.iter_mut().skip(pixel).step_by(PIXELS) {
            *total += (2 * zero) as i32 - ((*pair & 0xFFFF) + (*pair >> 16)) as i32;
            *pair = zero | zero << 16;
        }
    }

    /// Column by column.
    fn columns(&self, patches: &Patches, first: usize, pairs: &mut [u32], totals: &mut [i32; PIXELS]) {
        let (channels, width) = (usize::from(self.op.input.channels), usize::from(self.op.kernel[1]));
        pairs.fill(0);
        let lanes: &mut [u16] = bytemuck::cast_slice_mut(pairs);
        let end = self.columns.min(first + lanes.len() / PIXELS);
        for at in first..end {
            let (position, channel) = (at / channels, at % channels);
            let place = lane_of(self.columns, at) - first;
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
