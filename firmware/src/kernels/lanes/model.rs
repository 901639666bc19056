//! The inner loops in plain Rust: what the assembly computes, for the host's tests of everything around it.

use releq_shared::blob::Conv2d;
use releq_shared::layout::Lanes;
use releq_shared::requantize::to_activation;

use super::walk::{Line, pair_of};
use super::wide::{COLUMNS_A_TABLE, WORDS_A_TABLE, WORDS_A_TABLE_SET, by_tables, running_bits, settle};
use super::writer::Word;
use super::{ABREAST, Band, Columns, PIXELS, Pooled, Runs, Strip};
use crate::kernels::Matrix;

/// Adds a line's two sums to the `N` and `N` of a twin, or the one to the `N` of a single.
fn add<const N: usize>(lanes: Lanes, sums: &mut [i32], at: usize, [first, second]: [i32; 2]) {
    match sums.split_at_mut(N) {
        (sums, []) => sums[at] += first,
        (raw, upper) => {
            raw[at] = raw[at].wrapping_add(first).wrapping_add(second << (16 - lanes.bits()));
            upper[at] += second;
        }
    }
}

/// What strips of some number of pairs have in common.
pub(super) struct Shape(Lanes);

impl Shape {
    pub(super) fn new(lanes: Lanes, _: usize) -> Self {
        Self(lanes)
    }
}

pub(super) fn clear(sums: &mut [i32]) {
    sums.fill(0);
}

pub(super) fn run_strip(&Shape(lanes): &Shape, strip: Strip<'_>) {
    if by_tables(lanes) {
        return run_look_up(lanes, strip);
    }
    if lanes.is_wide() {
        return run_wide(lanes, strip);
    }
    let Strip { activations, weights, row_len, sums } = strip;
    let count = activations.len() / PIXELS;
    for (row, sums) in sums.chunks_exact_mut(PIXELS * lanes.rows_per_word()).enumerate() {
        let line = Line { weights: &weights[row * row_len..], abreast: 1, place: 0 };
        for pixel in 0..PIXELS {
            let found = line.sums(lanes, count, 0, |pair| activations[pair * PIXELS + pixel]);
            add::<PIXELS>(lanes, sums, pixel, found);
        }
    }
}

/// What the windows of a pooled layer have in common.
pub(super) struct PooledRows<'a> {
    op: &'a Conv2d<'a>,
    lanes: Lanes,
    matrix: &'a Matrix<'a>,
}

impl<'a> PooledRows<'a> {
    pub(super) fn new(op: &'a Conv2d<'a>, lanes: Lanes, _: usize, matrix: &'a Matrix<'a>) -> Self {
        Self { op, lanes, matrix }
    }

    pub(super) fn run(&self, window: Pooled<'_>) {
        let Pooled { activations, totals, bytes } = window;
        let Self { op, lanes, matrix } = *self;
        let row_len = lanes.row_len(matrix.columns);
        for (row, byte) in bytes.iter_mut().enumerate() {
            let line = Line { weights: &matrix.codes[row * row_len..], abreast: 1, place: 0 };
            let sums = [0, 1, 2, 3].map(|pixel| {
                let [sum, _] =
                    line.sums(lanes, activations.len() / PIXELS, 0, |pair| activations[pair * PIXELS + pixel]);
                sum.wrapping_mul(2).wrapping_sub(totals[pixel].wrapping_mul(matrix.z))
            });
            let largest = sums.into_iter().fold(i32::MIN, i32::max).wrapping_add(matrix.bias[row]);
            let value = matrix.scale(row).apply_to_channel(largest);
            *byte = to_activation(value, op.output.zero_point, op.activation.min, op.activation.max);
        }
    }
}

/// A strip of codes of one or two bits by sets of tables.
fn run_look_up(lanes: Lanes, strip: Strip<'_>) {
    let Strip { activations, weights, row_len, sums } = strip;
    for (row, sums) in sums.chunks_exact_mut(PIXELS).enumerate() {
        let codes = weights[row * row_len..].chunks_exact(lanes.word_len());
        for (tables, codes) in activations.chunks_exact(WORDS_A_TABLE_SET).zip(codes) {
            for (plane, codes) in codes.as_chunks::<2>().0.iter().enumerate() {
                for (four, table) in tables.chunks_exact(WORDS_A_TABLE).enumerate() {
                    let entry = usize::from(u16::from_le_bytes(*codes) >> (4 * four) & 15) * 2;
                    for (field, sum) in table[entry..entry + 2].iter().zip(&mut *sums) {
                        *sum = sum.wrapping_add((field << plane) as i32);
                    }
                }
            }
        }
    }
}

/// Writes tables of the columns that lie in the last quarter of their place.
pub(super) fn build_tables(tables: &mut [u32]) {
    let count = tables.len() / WORDS_A_TABLE;
    let columns = tables.len() - count * COLUMNS_A_TABLE * 2;
    for table in 0..count {
        let from = columns + table * COLUMNS_A_TABLE * 2;
        let mut own = [[0; 2]; COLUMNS_A_TABLE];
        own.as_flattened_mut().copy_from_slice(&tables[from..from + COLUMNS_A_TABLE * 2]);
        build(&own, &mut tables[table * WORDS_A_TABLE..][..WORDS_A_TABLE]);
    }
}

/// Writes tables of at most 256 columns, runs of which are whole quads, and returns the columns' sums.
pub(super) fn build_tables_of_quads(from: &Columns<'_>, tables: &mut [u32]) -> [u32; 2] {
    let mut totals = [0; 2];
    let mut word = Word { before: [0; 2], missing: usize::MAX };
    let (mut at, mut left) = (0, from.first);
    for table in tables.chunks_exact_mut(WORDS_A_TABLE) {
        if left == 0 {
            (at, left) = (at + from.gap, from.run);
        }
        let mut own = [[0; 2]; COLUMNS_A_TABLE];
        let sources = from.sources.map(|source| &source[at..at + COLUMNS_A_TABLE]);
        let quad = Columns { sources, first: COLUMNS_A_TABLE, run: COLUMNS_A_TABLE, gap: 0 };
        let [ab, cd] = pack(&quad, &mut own, 0, usize::MAX, &mut word);
        totals = [totals[0] + ab, totals[1] + cd];
        build(&own, table);
        (at, left) = (at + COLUMNS_A_TABLE, left - COLUMNS_A_TABLE);
    }
    totals
}

fn build(columns: &[[u32; 2]; COLUMNS_A_TABLE], table: &mut [u32]) {
    for (index, entry) in table.chunks_exact_mut(2).enumerate() {
        let chosen = columns.iter().enumerate().filter(|(bit, _)| index >> bit & 1 == 1);
        let [low, high] = chosen.fold([0, 0], |[low, high], (_, column)| [low + column[0], high + column[1]]);
        entry.copy_from_slice(&[low, high]);
    }
}

/// A strip of wide lanes: see [`super::wide`].
fn run_wide(lanes: Lanes, strip: Strip<'_>) {
    let Strip { activations, weights, row_len, sums } = strip;
    let (bits, slots) = (lanes.bits(), lanes.slots() * 2);
    let running = running_bits(lanes) > 0;
    // A field holds the sum of a word's products, or one product of codes of eight bits.
    let columns_a_field = if running { slots } else { 1 };
    for (row, sums) in sums.chunks_exact_mut(PIXELS).enumerate() {
        let row = &weights[row * row_len..];
        for (columns, word) in activations.chunks(slots * 2).zip(row.as_chunks::<4>().0) {
            // The bits behind the last code that counts may be anything.
            let spare = 32 - (columns.len() / 2 * bits) as u32;
            let mut word = u32::from_le_bytes(*word) << spare >> spare;
            for columns in columns.chunks(columns_a_field * 2) {
                let mut fields = [0u32; 2];
                for column in columns.as_chunks::<2>().0 {
                    let code = if running { word } else { word & ((1 << bits) - 1) };
                    for (field, activations) in fields.iter_mut().zip(column) {
                        *field = field.wrapping_add(code.wrapping_mul(*activations));
                    }
                    word >>= bits;
                }
                for (field, sums) in fields.iter().zip(sums.chunks_exact_mut(2)) {
                    sums[0] += (field & 0xFFFF) as i32;
                    sums[1] += (field >> 16) as i32;
                }
            }
        }
    }
}

pub(super) fn run_band(band: Band<'_>) {
    let Band { lanes, activations, weights, sums } = band;
    for place in 0..ABREAST {
        let line = Line { weights, abreast: ABREAST, place };
        let found = line.sums(lanes, activations.len() / 2, 0, |pair| pair_of(activations, pair));
        add::<ABREAST>(lanes, sums, place, found);
    }
}

/// Activations of four pixels that lie in runs of whole quads with gaps between.
pub(super) struct Stream<'a> {
    input: &'a [u8],
    /// Where the next quad of each pixel is.
    places: [usize; PIXELS],
    /// Quads that are left of the run at hand.
    left: usize,
    runs: Runs,
    /// Quads that are left.
    quads: usize,
}

impl<'a> Stream<'a> {
    /// `quads` of each pixel, the first of which are at `starts`.
    pub(super) fn new(input: &'a [u8], starts: [usize; PIXELS], runs: Runs, quads: usize) -> Self {
        debug_assert!(starts.iter().all(|start| start + runs.reach(quads) <= input.len()));
        Self { input, places: starts, left: runs.first, runs, quads }
    }

    /// Writes the next quads to pairs of four words; adds their sums to `totals`.
    pub(super) fn spread(&mut self, pairs: &mut [u32], mut totals: Option<&mut [i32; PIXELS]>) {
        for pairs in pairs.chunks_exact_mut(2 * PIXELS) {
            self.quads -= 1;
            if self.left == 0 {
                self.left = self.runs.run;
                self.places = self.places.map(|place| place + self.runs.gap);
            }
            self.left -= 1;
            for (pixel, place) in self.places.iter_mut().enumerate() {
                let quad = &self.input[*place..*place + 4];
                *place += 4;
                pairs[pixel] = u32::from(quad[0]) | u32::from(quad[2]) << 16;
                pairs[pixel + PIXELS] = u32::from(quad[1]) | u32::from(quad[3]) << 16;
                if let Some(totals) = &mut totals {
                    totals[pixel] += quad.iter().map(|&q| i32::from(q)).sum::<i32>();
                }
            }
        }
    }
}

/// Pairs gathered from where `offsets`, none beyond `reach`, say, from four places of `input` on; adds their sums to
/// `totals`. If asked to, leaves the high lane of the last pair empty.
pub(super) fn gather(
    input: &[u8],
    corners: [usize; PIXELS],
    offsets: &[[u16; 2]],
    reach: usize,
    lone: bool,
    pairs: &mut [u32],
    totals: &mut [i32; PIXELS],
) {
    debug_assert!(offsets.iter().flatten().all(|&offset| usize::from(offset) <= reach));
    let lone = lone.then(|| offsets.len() - 1);
    for (index, (offsets, pairs)) in offsets.iter().zip(pairs.chunks_exact_mut(PIXELS)).enumerate() {
        for pixel in 0..PIXELS {
            let [low, mut high] = offsets.map(|offset| u32::from(input[corners[pixel] + usize::from(offset)]));
            if lone == Some(index) {
                high = 0;
            }
            pairs[pixel] = low | high << 16;
            totals[pixel] += (low + high) as i32;
        }
    }
}

/// Replaces the four sums of each row by the largest of `2 sum - correction`, one a row, at the front.
pub(super) fn largest_of_singles(corrections: &[i32; PIXELS], sums: &mut [i32]) {
    for row in 0..sums.len() / PIXELS {
        sums[row] = largest(sums, row * PIXELS, corrections, 0);
    }
}

/// As [`largest_of_singles`], from sums that tables have made.
pub(super) fn largest_of_fields(corrections: &[i32; PIXELS], sums: &mut [i32]) {
    settle(sums);
    largest_of_singles(corrections, sums);
}

/// Replaces the eight sums of each twin of `bits` by the largest of `2 sum - correction` of each of its two rows, at the
/// front.
pub(super) fn largest_of_twins(bits: usize, corrections: &[i32; 2 * PIXELS], sums: &mut [i32]) {
    for twin in 0..sums.len() / (2 * PIXELS) {
        let first = twin * 2 * PIXELS;
        for pixel in first..first + PIXELS {
            sums[pixel] = sums[pixel].wrapping_sub(sums[pixel + PIXELS] << (16 - bits));
        }
        let found = [largest(sums, first, corrections, 0), largest(sums, first + PIXELS, corrections, PIXELS)];
        sums[2 * twin..][..2].copy_from_slice(&found);
    }
}

fn largest(sums: &[i32], from: usize, corrections: &[i32], of: usize) -> i32 {
    let pairs = sums[from..][..PIXELS].iter().zip(&corrections[of..]);
    pairs.map(|(sum, correction)| sum.wrapping_mul(2).wrapping_sub(*correction)).max().unwrap_or(0)
}

/// Packs at most 256 columns for wide lanes, `slots` of which belong to a word of codes; returns their sums.
pub(super) fn pack(
    from: &Columns<'_>,
    columns: &mut [[u32; 2]],
    bits: usize,
    slots: usize,
    word: &mut Word,
) -> [u32; 2] {
    let (mut at, mut left) = (0, from.first);
    let mut totals = [0; 2];
    for column in columns.iter_mut() {
        if left == 0 {
            (at, left) = (at + from.gap, from.run);
        }
        let [a, b, c, d] = from.sources.map(|source| u32::from(source[at]));
        (at, left) = (at + 1, left - 1);
        let words = [a | b << 16, c | d << 16];
        *column = [words[0].wrapping_sub(word.before[0]), words[1].wrapping_sub(word.before[1])];
        totals = [totals[0] + words[0], totals[1] + words[1]];
        word.before = if bits == 0 { [0; 2] } else { words.map(|word| word << bits) };
        word.missing -= 1;
        if word.missing == 0 {
            *word = Word { before: [0; 2], missing: slots };
        }
    }
    debug_assert!(from.sources.iter().all(|source| source.len() == at));
    totals
}
