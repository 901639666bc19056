//! The inner loops in plain Rust: what the assembly computes, for the host's tests of everything around it.

use releq_shared::layout::Lanes;

use super::walk::{Line, pair_of};
use super::{ABREAST, Band, PIXELS, Strip};

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

pub(super) fn run_band(band: Band<'_>) {
    let Band { lanes, activations, weights, sums } = band;
    for place in 0..ABREAST {
        let line = Line { weights, abreast: ABREAST, place };
        let found = line.sums(lanes, activations.len() / 2, 0, |pair| pair_of(activations, pair));
        add::<ABREAST>(lanes, sums, place, found);
    }
}

/// Four runs of whole quads to pairs of four words; adds the runs' sums to `totals`.
pub(super) fn spread_runs(sources: [&[u8]; PIXELS], pairs: &mut [u32], totals: &mut [i32; PIXELS]) {
    for (pixel, source) in sources.into_iter().enumerate() {
        for (quad, pairs) in source.chunks_exact(4).zip(pairs.chunks_exact_mut(2 * PIXELS)) {
            pairs[pixel] = u32::from(quad[0]) | u32::from(quad[2]) << 16;
            pairs[pixel + PIXELS] = u32::from(quad[1]) | u32::from(quad[3]) << 16;
            totals[pixel] += quad.iter().map(|&q| i32::from(q)).sum::<i32>();
        }
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
