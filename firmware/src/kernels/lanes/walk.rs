//! Lane layouts pair by pair in plain Rust: what is left over of a dense layer, and the model of the inner loops.

use releq_shared::layout::Lanes;

/// A row (or twin) in its section.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    /// From the first word of the first of the lines abreast on.
    pub(super) weights: &'a [u8],
    /// Lines abreast of one another.
    pub(super) abreast: usize,
    /// This one's place among them.
    pub(super) place: usize,
}

impl Line<'_> {
    /// The word or halfword of `len` bytes that lies behind `byte` bytes of each line.
    #[inline(always)]
    fn word(&self, byte: usize, len: usize) -> u32 {
        let word = &self.weights[byte * self.abreast + self.place * len..];
        if len == 2 {
            u32::from(u16::from_le_bytes([word[0], word[1]]))
        } else {
            u32::from_le_bytes([word[0], word[1], word[2], word[3]])
        }
    }

    /// Adds up the pairs from whole group `first_group` on of a line of `count` pairs. `activations` gives a pair's,
    /// by its index, in the halves of a word. The first sum is of the (first) row, the second of a twin's second.
    #[inline]
    pub(super) fn sums(
        &self,
        lanes: Lanes,
        count: usize,
        first_group: usize,
        activations: impl Fn(usize) -> u32,
    ) -> [i32; 2] {
        let (bits, slots) = (lanes.bits(), lanes.slots());
        let left = count % lanes.pairs_per_group();
        let mut pair = first_group * lanes.pairs_per_group();
        let mut byte = first_group * lanes.words_per_group() * 4;
        let mut sums = [0i32; 2];
        while pair < count {
            let partial = if pair == count - left { left % slots } else { 0 };
            let len = if partial > 0 { lanes.partial_len(left) } else { 4 };
            let mut word = self.word(byte, len);
            if len == 2 {
                word = lanes.widen(word as u16);
            }
            let skipped = if partial > 0 { slots - partial } else { 0 };
            let (start, step, mask) = match lanes.rows_per_word() {
                1 => (0, bits, (1i32 << bits) - 1),
                _ => (bits, 2 * bits, (1i32 << (16 - bits)) - 1),
            };
            word = word.rotate_right((start + skipped * step) as u32);
            for _ in skipped..slots {
                let activations = activations(pair);
                let [low, high] = [activations as u16, (activations >> 16) as u16].map(i32::from);
                let (code_low, code_high) = (i32::from(word as u16), i32::from((word >> 16) as u16));
                if lanes.rows_per_word() == 1 {
                    sums[0] += (code_low & mask) * low + (code_high & mask) * high;
                } else {
                    let field = (1 << bits) - 1;
                    let signed = |code: i32| i32::from(code as i16) >> (16 - bits);
                    sums[0] += (code_low & field) * low + (code_high & field) * high;
                    sums[1] += signed(code_low) * low + signed(code_high) * high;
                }
                word = word.rotate_right(step as u32);
                pair += 1;
            }
            byte += len;
        }
        sums
    }
}

/// Pair `index` of the activations of a dense layer.
#[inline(always)]
pub(super) fn pair_of(activations: &[u8], index: usize) -> u32 {
    let first = index / 2 * 4;
    let [low, high] = match activations.len() - first {
        4.. => [first + index % 2, first + 2 + index % 2],
        _ => [first + index % 2 * 2, first + index % 2 * 2 + 1],
    };
    u32::from(activations[low]) | activations.get(high).map_or(0, |&q| u32::from(q) << 16)
}
