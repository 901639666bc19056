//! Lane layouts: codes where a dual 16-bit multiplication wants them.
//!
//! A row's columns are taken in *pairs*, whose two codes lie in the two 16-bit lanes of a word. Of each whole *quad*
//! of columns `4i..4i + 4` the pairs are `(4i, 4i + 2)` and `(4i + 1, 4i + 3)`, which is how UXTB16 takes four adjacent
//! activations apart; one to three columns left over make the pairs `(0, 1)` and `(2, -)`. The first column of a pair
//! is in the low lane.
//!
//! Words of 32 bits, little endian, hold some pairs each, in *slots*, and words form *groups*. A row is its whole
//! groups and then what is left: of `r` pairs left, the first word holds `r % slots` in its **last** slots (if that
//! is not 0), and whole words follow. So one piece of code runs whole groups from the top and the rest from its middle.
//!
//! [`Lanes::single`], for `k` of 3, 4, 5 and 8: a word holds one row's codes of `k` bits, `slots = floor(16 / k)` in each lane: slot `s` of
//! the low lane at bits `s * k`, of the high lane at `16 + s * k`. Two words are a group. A first word with a single
//! pair shrinks to 16 bits: the low lane's code in its place, the high lane's code in the place below it.
//!
//! [`Lanes::twin`], for `k` of 1 or 2: a word holds the codes of two rows, `a = 2i` and `b = 2i + 1`, in `8 / k` slots;
//! slot `s` of the word rotated right by `k + 2 k s` has the low and high lane's code of `a` at bits 0 and 16, and of
//! `b` at bits `16 - k` and `32 - k`. As a lane is signed, `b`'s codes are `u - 2^(k-1)` in two's complement. Eight
//! pairs are a group. A last row without a partner has zeros for one.
//!
//! [`Lanes::wide`], for `k` of 1 to 5 and 8: a word is one lane of 32 bits and holds `floor(32 / k)` codes of one row, the
//! first in its lowest bits, in the order of the columns; of 16 bits for `k = 1`. For `k = 2` its lower half holds the lower
//! bits of sixteen codes, its upper half their upper bits. For cores without dual multiplications. A pair is two columns.
//!
//! Rows follow one another (`interleave` of 1), or stand four abreast: words of four rows (or twins) alternate, and so
//! do their halfwords; fewer than four at the end alternate among themselves.

use crate::Bitwidth;

/// One of the lane layouts, for codes of one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    bits: usize,
    kind: Kind,
    /// Rows (or twins) abreast.
    interleave: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Single,
    Twin,
    Wide,
}

/// A code's place: its first bit in the section, how far it is from one of its bits to the next, and whether its top bit
/// is stored inverted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) bit: usize,
    pub(super) step: usize,
    pub(super) signed: bool,
}

impl Lanes {
    /// One row a word, `None` for 1 and 2 bits, for which [`Lanes::twin`] is better, and for 6 and 7, which would waste too
    /// much.
    #[must_use]
    #[inline]
    pub const fn single(bits: Bitwidth, interleave: usize) -> Option<Self> {
        match bits.get() {
            3 | 4 | 5 | 8 => Some(Self { bits: bits.get() as usize, kind: Kind::Single, interleave }),
            _ => None,
        }
    }

    /// Two rows a word, `None` for codes of more than 2 bits.
    #[must_use]
    #[inline]
    pub const fn twin(bits: Bitwidth, interleave: usize) -> Option<Self> {
        match bits.get() {
            1 | 2 => Some(Self { bits: bits.get() as usize, kind: Kind::Twin, interleave }),
            _ => None,
        }
    }

    /// One lane a word, `None` for codes of 6 and 7 bits.
    #[must_use]
    #[inline]
    pub const fn wide(bits: Bitwidth) -> Option<Self> {
        match bits.get() {
            1..=5 | 8 => Some(Self { bits: bits.get() as usize, kind: Kind::Wide, interleave: 1 }),
            _ => None,
        }
    }

    /// Whether words are one lane.
    #[must_use]
    #[inline]
    pub const fn is_wide(self) -> bool {
        matches!(self.kind, Kind::Wide)
    }

    /// Bits of a code.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> usize {
        self.bits
    }

    /// Rows that share a word: 1 or 2.
    #[must_use]
    #[inline]
    pub const fn rows_per_word(self) -> usize {
        match self.kind {
            Kind::Single | Kind::Wide => 1,
            Kind::Twin => 2,
        }
    }

    /// Bytes of a word.
    #[must_use]
    #[inline]
    pub const fn word_len(self) -> usize {
        match (self.kind, self.bits) {
            (Kind::Wide, 1) => 2,
            _ => 4,
        }
    }

    /// Pairs in a word.
    #[must_use]
    #[inline]
    pub const fn slots(self) -> usize {
        match self.kind {
            Kind::Single => 16 / self.bits,
            Kind::Twin => 8 / self.bits,
            Kind::Wide => self.word_len() * 8 / self.bits / 2,
        }
    }

    /// Words in a group.
    #[must_use]
    #[inline]
    pub const fn words_per_group(self) -> usize {
        match self.kind {
            Kind::Single => 2,
            Kind::Twin => self.bits,
            Kind::Wide => 1,
        }
    }

    /// Pairs in a group: an even number, save in wide lanes.
    #[must_use]
    #[inline]
    pub const fn pairs_per_group(self) -> usize {
        self.slots() * self.words_per_group()
    }

    /// Pairs that `columns` make.
    #[must_use]
    #[inline]
    pub const fn pairs(columns: usize) -> usize {
        columns.div_ceil(2)
    }

    /// Bytes of the partial word of what is left behind a row's whole groups: 0, 2 or 4.
    #[must_use]
    #[inline]
    pub const fn partial_len(self, pairs: usize) -> usize {
        match (pairs % self.slots(), self.kind) {
            (0, _) => 0,
            (1, Kind::Single) => 2,
            _ => self.word_len(),
        }
    }

    /// The word that a halfword stands for: its pair in the last slot.
    #[must_use]
    #[inline]
    pub const fn widen(self, halfword: u16) -> u32 {
        let word = halfword as u32;
        word | word << (16 + self.bits)
    }

    /// Bytes of one row (or twin) of `columns`.
    #[must_use]
    #[inline]
    pub const fn row_len(self, columns: usize) -> usize {
        let pairs = Self::pairs(columns);
        pairs / self.slots() * self.word_len() + self.partial_len(pairs)
    }

    /// Bytes of a section, `None` if that does not fit a `usize`.
    pub(super) fn section_len(self, rows: usize, columns: usize) -> Option<usize> {
        rows.div_ceil(self.rows_per_word()).checked_mul(self.row_len(columns))
    }

    /// Where the code at (`row`, `column`) lies in a section of `section_len` bytes.
    pub(super) fn place(self, section_len: usize, columns: usize, row: usize, column: usize) -> Place {
        let (pair, high) = self.pair_of(columns, column);
        let second = row % self.rows_per_word() == 1;
        self.in_word(self.word_of(Self::pairs(columns), pair), self.line(section_len, columns, row), high, second)
    }

    /// Reads the codes of a row from column `first` on, as many as there are places for.
    pub(super) fn unpack_row(self, section: &[u8], columns: usize, row: usize, first: usize, codes: &mut [u8]) {
        let line = self.line(section.len(), columns, row);
        let second = row % self.rows_per_word() == 1;
        let max = ((1u16 << self.bits) - 1) as u8;
        let flip = if second { 1 << (self.bits - 1) } else { 0 };
        let end = first + codes.len();
        // Whole quads only, so that their four columns can be told at a glance.
        let mut pair = first / 4 * 2;
        let last = (end.div_ceil(4) * 2).min(Self::pairs(columns));
        while pair < last {
            let mut word = self.word_of(Self::pairs(columns), pair);
            let from = line.first * line.len + word.behind * line.abreast + line.place * word.len;
            let mut held = 0;
            for &byte in section[from..from + word.len].iter().rev() {
                held = held << 8 | u32::from(byte);
            }
            while word.slot < self.slots() && pair < Self::pairs(columns) {
                for high in [false, true] {
                    let column = self.column_of(columns, pair, high);
                    if (first..end).contains(&column) {
                        let bit = self.bit(word, high, second);
                        let code =
                            if self.in_planes() { held >> bit & 1 | held >> (bit + 15) & 2 } else { held >> bit };
                        codes[column - first] = code as u8 & max ^ flip;
                    }
                }
                (pair, word.slot) = (pair + 1, word.slot + 1);
            }
        }
    }

    /// Where a row's line stands in its section.
    fn line(self, section_len: usize, columns: usize, row: usize) -> Line {
        let len = self.row_len(columns);
        let lines = section_len.checked_div(len).unwrap_or(0);
        let line = row / self.rows_per_word();
        // The lines abreast of this one, and its place among them.
        let first = line / self.interleave * self.interleave;
        let abreast = self.interleave.min(lines.saturating_sub(first)).max(1);
        Line { first, abreast, place: line - first, len }
    }

    /// The word that holds a pair of a row of `pairs`.
    fn word_of(self, pairs: usize, pair: usize) -> Word {
        let slots = self.slots();
        if self.is_wide() {
            let len = self.word_len();
            return Word { behind: pair / slots * len, len, slot: pair % slots };
        }
        let in_groups = pairs / self.pairs_per_group() * self.pairs_per_group();
        if pair < in_groups {
            return Word { behind: pair / slots * 4, len: 4, slot: pair % slots };
        }
        let left = pairs - in_groups;
        let (partial, partial_len) = (left % slots, self.partial_len(left));
        let (behind, pair) = (in_groups / slots * 4, pair - in_groups);
        if pair < partial {
            return Word { behind, len: partial_len, slot: slots - partial + pair };
        }
        let pair = pair - partial;
        Word { behind: behind + partial_len + pair / slots * 4, len: 4, slot: pair % slots }
    }

    /// A code's first bit in its word.
    fn bit(self, word: Word, high: bool, second: bool) -> usize {
        let lane = if high { 16 } else { 0 };
        match self.kind {
            Kind::Single if word.len == 2 => (word.slot - usize::from(high)) * self.bits,
            Kind::Single => word.slot * self.bits + lane,
            Kind::Twin => {
                let rotation = self.bits + 2 * self.bits * word.slot;
                let row = if second { 16 - self.bits } else { 0 };
                (rotation + lane + row) % 32
            }
            Kind::Wide if self.in_planes() => word.slot * 2 + usize::from(high),
            Kind::Wide => (word.slot * 2 + usize::from(high)) * self.bits,
        }
    }

    /// A code's place, from its word, line, lane and row.
    fn in_word(self, word: Word, line: Line, high: bool, second: bool) -> Place {
        let byte = line.first * line.len + word.behind * line.abreast + line.place * word.len;
        let step = if self.in_planes() { 16 } else { 1 };
        Place { bit: byte * 8 + self.bit(word, high, second), step, signed: second }
    }

    /// Whether the lower bits of a word's codes lie apart from the upper ones.
    const fn in_planes(self) -> bool {
        self.is_wide() && self.bits == 2
    }

    /// The pair that a column is in, and whether it is in its high lane.
    const fn pair_of(self, columns: usize, column: usize) -> (usize, bool) {
        let (quad, rest) = (column / 4, column % 4);
        if self.is_wide() || quad >= columns / 4 {
            (quad * 2 + rest / 2, rest % 2 == 1)
        } else {
            (quad * 2 + rest % 2, rest >= 2)
        }
    }

    /// The column in a lane of a pair; past the end if there is none.
    const fn column_of(self, columns: usize, pair: usize, high: bool) -> usize {
        let (quad, rest) = (pair / 2, pair % 2);
        let high = high as usize;
        if self.is_wide() || quad >= columns / 4 { quad * 4 + 2 * rest + high } else { quad * 4 + rest + 2 * high }
    }
}

/// A row (or twin) in its section.
#[derive(Clone, Copy)]
struct Line {
    /// The first of the lines abreast of it.
    first: usize,
    abreast: usize,
    place: usize,
    /// Bytes of a line.
    len: usize,
}

/// A word (or halfword) of a line, and a slot of it.
#[derive(Clone, Copy)]
struct Word {
    /// Bytes of its line before it.
    behind: usize,
    len: usize,
    slot: usize,
}
