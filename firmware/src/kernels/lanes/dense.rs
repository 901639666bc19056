//! Dense layers: four rows, or four twins, at a time.
//!
//! The inner loop takes whole groups of columns and whole sets of four; what is left over of either is taken here.

use releq_shared::blob::Dense;
use releq_shared::layout::{Lanes, Layout};

use super::finish::Correction;
use super::{ABREAST, Band, run_band, wide_dense};
use crate::arena::Places;
use crate::kernels::{CoreClass, Matrix, Sink, portable};

/// Pairs in the largest group of any layout: two words of 3-bit codes.
const LARGEST_GROUP: usize = 10;
/// Words of four lines that are copied at a time.
const WORDS: usize = 16;

/// Whether this build runs dense layers in wide lanes.
const WIDE_HERE: bool = matches!(CoreClass::HERE, CoreClass::ArmV7m | CoreClass::Portable);

/// The geometry of a dense layer that this module runs on a core of some class.
pub(super) fn geometry(op: &Dense<'_>, class: CoreClass) -> Option<Lanes> {
    match op.weights.layout {
        Layout::LaneQuads | Layout::TwinQuads if class == CoreClass::ArmV7em => {
            op.weights.layout.lanes(op.weights.bits)
        }
        _ => None,
    }
}

/// Runs a dense layer if it is one for these kernels; returns whether it was.
pub fn dense(class: CoreClass, op: &Dense<'_>, matrix: &Matrix<'_>, places: &mut Places<'_>) -> bool {
    let Some(lanes) = geometry(op, class) else {
        return WIDE_HERE && wide_dense::dense(class, op, matrix, places);
    };
    let input = places.input;
    let mut sink = Sink::new(places.output, &op.output, op.activation);
    let total = portable::sum_of_activations(input);
    let correction = Correction::new(lanes, matrix.z, [total; 4]);
    let per_word = lanes.rows_per_word();
    let row_len = lanes.row_len(matrix.columns);
    // A last group that holds fewer columns than it could is not wholly in quads.
    let groups = input.len() / 2 / lanes.pairs_per_group();
    let (in_groups, behind) = input.split_at(groups * 2 * lanes.pairs_per_group());
    let mut last_columns = [0; 2 * LARGEST_GROUP];
    let last_columns = right_aligned(lanes, behind, &mut last_columns);
    let field = 16 - lanes.bits() as u32;
    let lines = usize::from(op.output.channels).div_ceil(per_word);
    for first in (0..lines).step_by(ABREAST) {
        let abreast = ABREAST.min(lines - first);
        let set = Set { lanes, weights: &matrix.codes[first * row_len..][..row_len * abreast], abreast };
        let mut sums = [0; 2 * ABREAST];
        let kinds = &mut sums[..ABREAST * per_word];
        if abreast == ABREAST {
            run_band(Band { lanes, activations: in_groups, weights: set.weights, sums: kinds });
        } else {
            set.run_groups(in_groups, kinds);
        }
        if !behind.is_empty() {
            set.run_rest(groups, row_len, last_columns, kinds);
        }
        let mut accumulators = [0; 2 * ABREAST];
        for place in 0..abreast {
            let [raw, upper] = [sums[place], sums[place + ABREAST]];
            let lower = raw.wrapping_sub(upper << field);
            let rows = [correction.lower(0, lower), correction.upper(0, upper)];
            accumulators[place * per_word..][..per_word].copy_from_slice(&rows[..per_word]);
        }
        sink.put_rows(0, first * per_word, matrix, &accumulators[..abreast * per_word], 1);
    }
    true
}

/// The activations behind whole groups, as those of a group whose last slots hold their pairs; the others are 0.
fn right_aligned<'a>(lanes: Lanes, behind: &[u8], group: &'a mut [u8; 2 * LARGEST_GROUP]) -> &'a [u8] {
    let pairs = Lanes::pairs(behind.len());
    let first = lanes.pairs_per_group() - pairs;
    for pair in 0..pairs {
        let quad = pair / 2 * 4;
        let [low, high] = match behind.len() - quad {
            4.. => [quad + pair % 2, quad + 2 + pair % 2],
            _ => [quad + pair % 2 * 2, quad + pair % 2 * 2 + 1],
        };
        let slot = (first + pair) / 2 * 4 + (first + pair) % 2;
        group[slot] = behind[low];
        group[slot + 2] = behind.get(high).copied().unwrap_or(0);
    }
    &group[..2 * lanes.pairs_per_group()]
}

/// Up to four lines abreast of one another.
struct Set<'a> {
    lanes: Lanes,
    weights: &'a [u8],
    abreast: usize,
}

impl Set<'_> {
    /// Runs the groups of fewer than four lines, a few at a time, as four of which the last are empty.
    fn run_groups(&self, mut activations: &[u8], sums: &mut [i32]) {
        let mut from = 0;
        while !activations.is_empty() {
            let group = 2 * self.lanes.pairs_per_group();
            let most = WORDS / self.lanes.words_per_group() * group;
            let (now, later) = activations.split_at(most.min(activations.len()));
            let words = now.len() / group * self.lanes.words_per_group();
            let mut copy = [[0u32; ABREAST]; WORDS];
            for (word, copy) in copy[..words].iter_mut().enumerate() {
                self.copy(from + word * 4 * self.abreast, 4, copy);
            }
            from += words * 4 * self.abreast;
            let weights = bytemuck::cast_slice(&copy[..words]);
            run_band(Band { lanes: self.lanes, activations: now, weights, sums });
            activations = later;
        }
    }

    /// Runs what is left behind `groups` whole groups, filled up in front by zeros to a group of four lines.
    fn run_rest(&self, groups: usize, row_len: usize, activations: &[u8], sums: &mut [i32]) {
        let words = self.lanes.words_per_group();
        let mut copy = [[0u32; ABREAST]; 2];
        let group = &mut copy[..words];
        let (mut byte, mut word) = (row_len, words);
        while byte > groups * words * 4 {
            // Whole words stand at the end, a shorter one in front of them.
            let len = (byte - groups * words * 4).min(4);
            byte -= len;
            word -= 1;
            self.copy(byte * self.abreast, len, &mut group[word]);
        }
        let weights = bytemuck::cast_slice(group);
        run_band(Band { lanes: self.lanes, activations, weights, sums });
    }

    /// Copies the words (or halfwords) of all lines from byte `from` on.
    fn copy(&self, from: usize, len: usize, words: &mut [u32; ABREAST]) {
        let source = &self.weights[from..from + len * self.abreast];
        for (word, source) in words.iter_mut().zip(source.chunks_exact(len)) {
            *word = match *source {
                [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
                [a, b] => self.lanes.widen(u16::from_le_bytes([a, b])),
                _ => 0,
            };
        }
    }
}
