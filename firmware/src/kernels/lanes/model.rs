//! The inner loops in plain Rust: what the assembly computes, for the host's tests of everything around it.

use releq_shared::layout::Lanes;

use super::walk::{Line, pair_of};
use super::wide::{COLUMNS_A_TABLE_SET, WORDS_A_TABLE_SET, by_tables, words_between_flushes};
use super::writer::Word;
use super::{ABREAST, Band, PIXELS, Runs, Strip};

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
#[cfg_attr(any(core_class = "armv6m", core_class = "armv7m"), allow(dead_code))]
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
        return run_look_up(strip);
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

/// A strip of one-bit codes by sets of tables.
pub(super) fn run_look_up(strip: Strip<'_>) {
    let Strip { activations, weights, row_len, sums } = strip;
    for (row, sums) in sums.chunks_exact_mut(PIXELS).enumerate() {
        let codes = weights[row * row_len..].as_chunks::<2>().0;
        for (tables, codes) in activations.chunks_exact(WORDS_A_TABLE_SET).zip(codes) {
            for (four, table) in tables.chunks_exact(32).enumerate() {
                let entry = usize::from(u16::from_le_bytes(*codes) >> (4 * four) & 15) * 2;
                for (field, sums) in table[entry..entry + 2].iter().zip(sums.chunks_exact_mut(2)) {
                    sums[0] += (field & 0xFFFF) as i32;
                    sums[1] += (field >> 16) as i32;
                }
            }
        }
    }
}

/// Writes the four tables of sixteen columns.
pub(super) fn build_tables(columns: &[[u32; 2]; COLUMNS_A_TABLE_SET], tables: &mut [u32; WORDS_A_TABLE_SET]) {
    for (columns, table) in columns.chunks_exact(4).zip(tables.chunks_exact_mut(32)) {
        for (index, entry) in table.chunks_exact_mut(2).enumerate() {
            let chosen = columns.iter().enumerate().filter(|(bit, _)| index >> bit & 1 == 1);
            let [low, high] = chosen.fold([0, 0], |[low, high], (_, column)| [low + column[0], high + column[1]]);
            entry.copy_from_slice(&[low, high]);
        }
    }
}

/// A strip of wide lanes: see [`super::wide`].
fn run_wide(lanes: Lanes, strip: Strip<'_>) {
    let Strip { activations, weights, row_len, sums } = strip;
    let slots = lanes.slots() * 2;
    for (row, sums) in sums.chunks_exact_mut(PIXELS).enumerate() {
        let row = &weights[row * row_len..];
        let words = activations.chunks(slots * 2).zip(row.as_chunks::<4>().0);
        let mut fields = [0u32; 2];
        for (n, (columns, word)) in words.enumerate() {
            // The bits behind the last code that counts may be anything.
            let spare = 32 - (columns.len() / 2 * lanes.bits()) as u32;
            let mut word = u32::from_le_bytes(*word) << spare >> spare;
            for column in columns.as_chunks::<2>().0 {
                for (field, activations) in fields.iter_mut().zip(column) {
                    *field = field.wrapping_add(word.wrapping_mul(*activations));
                }
                word >>= lanes.bits();
            }
            if (n + 1) % words_between_flushes(lanes.bits()) == 0 || (n + 1) * slots * 2 >= activations.len() {
                for (field, sums) in fields.iter_mut().zip(sums.chunks_exact_mut(2)) {
                    sums[0] += (*field & 0xFFFF) as i32;
                    sums[1] += (*field >> 16) as i32;
                    *field = 0;
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

/// Four sources, runs of whole quads with gaps between, to pairs of four words; adds their sums to `totals`.
pub(super) fn spread_runs(
    input: &[u8],
    starts: [usize; PIXELS],
    runs: Runs,
    pairs: &mut [u32],
    totals: Option<&mut [i32; PIXELS]>,
) {
    let mut found = [0; PIXELS];
    for (pixel, start) in starts.into_iter().enumerate() {
        let (mut at, mut left) = (start, runs.first);
        for pairs in pairs.chunks_exact_mut(2 * PIXELS) {
            if left == 0 {
                (at, left) = (at + runs.gap, runs.run);
            }
            let quad = &input[at..at + 4];
            pairs[pixel] = u32::from(quad[0]) | u32::from(quad[2]) << 16;
            pairs[pixel + PIXELS] = u32::from(quad[1]) | u32::from(quad[3]) << 16;
            found[pixel] += quad.iter().map(|&q| i32::from(q)).sum::<i32>();
            (at, left) = (at + 4, left - 1);
        }
        debug_assert!(at - start == runs.reach(pairs.len() / (2 * PIXELS)));
    }
    if let Some(totals) = totals {
        *totals = [0, 1, 2, 3].map(|pixel| totals[pixel] + found[pixel]);
    }
}

/// Pairs gathered from where `offsets`, none beyond `reach`, say, from four places of `input` on; adds their sums to
/// `totals`.
pub(super) fn gather(
    input: &[u8],
    corners: [usize; PIXELS],
    offsets: &[[u16; 2]],
    reach: usize,
    pairs: &mut [u32],
    totals: &mut [i32; PIXELS],
) {
    debug_assert!(offsets.iter().flatten().all(|&offset| usize::from(offset) <= reach));
    for (offsets, pairs) in offsets.iter().zip(pairs.chunks_exact_mut(PIXELS)) {
        for pixel in 0..PIXELS {
            let [low, high] = offsets.map(|offset| u32::from(input[corners[pixel] + usize::from(offset)]));
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

/// Packs a run of at most 257 columns for wide lanes, `slots` of which belong to a word of codes; returns its sums.
pub(super) fn pack(
    sources: [&[u8]; PIXELS],
    columns: &mut [[u32; 2]],
    bits: usize,
    slots: usize,
    word: &mut Word,
) -> [u32; 2] {
    let mut totals = [0; 2];
    for (n, column) in columns.iter_mut().enumerate() {
        let [a, b, c, d] = sources.map(|source| u32::from(source[n]));
        let words = [a | b << 16, c | d << 16];
        *column = [words[0].wrapping_sub(word.before[0]), words[1].wrapping_sub(word.before[1])];
        totals = [totals[0] + words[0], totals[1] + words[1]];
        word.before = if bits == 0 { [0; 2] } else { words.map(|word| word << bits) };
        word.missing -= 1;
        if word.missing == 0 {
            *word = Word { before: [0; 2], missing: slots };
        }
    }
    totals
}
