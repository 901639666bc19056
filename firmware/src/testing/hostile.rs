//! Hostile blobs: sound ones, changed where it hurts, and sealed again so that the checks behind the checksum are reached.
//!
//! What a reader makes of them is for tests to say: each is refused, or runs within its bounds.

use alloc::vec;
use alloc::vec::Vec;

use releq_shared::Bitwidth;
use releq_shared::blob::{
    ALIGNMENT, Activation, AlignedCopy, Blob, FusedPool, Header, Op, PREFIX_LEN, PoolKind, Section, Tensor, TensorKind,
    Weights,
};
use releq_shared::layout::Layout;

use crate::random::Random;

/// A change of the sound blob `sound`; which one follows from `seed`.
///
/// # Panics
/// If `sound` is not sound.
#[must_use]
pub fn mutate(sound: &[u8], seed: u64) -> AlignedCopy {
    let mut hostile = Hostile { random: Random::new(seed) };
    let mut bytes = match hostile.random.within(0..=9) {
        0 => hostile.change_bytes(sound, PREFIX_LEN),
        1 => hostile.change_bytes(sound, 0),
        2 => hostile.change_header_bytes(sound),
        3 => hostile.cut_or_extend(sound),
        _ => hostile.change_fields(sound),
    };
    if !hostile.random.one_in(20) {
        bytes.seal();
    }
    bytes
}

/// Bytes of the postcard header.
fn header_len(blob: &[u8]) -> usize {
    blob.get(16..PREFIX_LEN).and_then(|bytes| bytes.first_chunk()).map_or(0, |len| u32::from_le_bytes(*len) as usize)
}

struct Hostile {
    random: Random,
}

impl Hostile {
    fn place(&mut self, len: usize) -> usize {
        self.random.within(0..=len.saturating_sub(1) as u32) as usize
    }

    /// Up to four bytes from `first` on.
    fn change_bytes(&mut self, sound: &[u8], first: usize) -> AlignedCopy {
        let mut bytes = AlignedCopy::new(sound);
        for _ in 0..self.random.within(1..=4) {
            let place = first + self.place(sound.len() - first);
            bytes[place] = self.byte(bytes[place]);
        }
        bytes
    }

    /// Up to three bytes of the header, and now and then its length.
    fn change_header_bytes(&mut self, sound: &[u8]) -> AlignedCopy {
        let mut bytes = AlignedCopy::new(sound);
        let len = header_len(sound);
        for _ in 0..self.random.within(1..=3) {
            let place = PREFIX_LEN + self.place(len);
            bytes[place] = self.byte(bytes[place]);
        }
        if self.random.one_in(4) {
            let len = self.word(len as u32);
            bytes[16..PREFIX_LEN].copy_from_slice(&len.to_le_bytes());
        }
        bytes
    }

    fn cut_or_extend(&mut self, sound: &[u8]) -> AlignedCopy {
        if self.random.one_in(2) {
            return AlignedCopy::new(&sound[..self.place(sound.len())]);
        }
        let mut more = vec![0; self.random.within(1..=64) as usize];
        self.random.fill(&mut more, u8::MAX);
        AlignedCopy::new(&[sound, &more].concat())
    }

    /// One or two fields of the header or of operations, which is then written anew before the same sections.
    fn change_fields(&mut self, sound: &[u8]) -> AlignedCopy {
        let aligned = AlignedCopy::new(sound);
        let blob = Blob::new_checked(&aligned).expect("a sound blob");
        let mut header = *blob.header();
        let mut ops: Vec<Op<'_>> = blob.ops().collect();
        for _ in 0..self.random.within(1..=2) {
            match self.random.within(0..=9) {
                0 => self.change_header(&mut header),
                1 => self.change_list(&mut header, &mut ops),
                _ => {
                    let index = self.place(ops.len());
                    if let Some(op) = ops.get_mut(index) {
                        self.change_op(op);
                    }
                }
            }
        }
        let sections = (PREFIX_LEN + header_len(sound)).next_multiple_of(ALIGNMENT);
        write(&header, &ops, &sound[sections..])
    }

    fn change_header(&mut self, header: &mut Header<'_>) {
        match self.random.within(0..=3) {
            0 => header.arena_bytes = self.word(header.arena_bytes),
            1 => header.op_count = self.half(header.op_count),
            2 => self.change_tensor(&mut header.input),
            _ => self.change_tensor(&mut header.output),
        }
    }

    /// Takes an operation away, doubles one, or has two change places.
    fn change_list(&mut self, header: &mut Header<'_>, ops: &mut Vec<Op<'_>>) {
        if ops.is_empty() {
            return;
        }
        let (a, b) = (self.place(ops.len()), self.place(ops.len()));
        match self.random.within(0..=2) {
            0 => drop(ops.remove(a)),
            1 => ops.insert(a, ops[b]),
            _ => ops.swap(a, b),
        }
        header.op_count = ops.len() as u16;
    }

    fn change_op(&mut self, op: &mut Op<'_>) {
        match op {
            Op::Conv2d(op) => match self.random.within(0..=9) {
                0 | 1 => self.change_tensor(&mut op.input),
                2 | 3 => self.change_tensor(&mut op.output),
                4 => self.change_one(&mut op.kernel),
                5 => self.change_one(&mut op.stride),
                6 => self.change_one(&mut op.padding),
                7 => op.groups = self.half(op.groups),
                8 => self.change_pool(&mut op.pool),
                _ => self.change_layer(&mut op.activation, &mut op.weights),
            },
            Op::Dense(op) => match self.random.within(0..=3) {
                0 => self.change_tensor(&mut op.input),
                1 => self.change_tensor(&mut op.output),
                _ => self.change_layer(&mut op.activation, &mut op.weights),
            },
            Op::Pool(op) => match self.random.within(0..=4) {
                0 => self.change_tensor(&mut op.input),
                1 => self.change_tensor(&mut op.output),
                2 => self.change_one(&mut op.size),
                3 => self.change_one(&mut op.stride),
                _ => match &mut op.kind {
                    PoolKind::Max => op.input.zero_point = self.byte(op.input.zero_point),
                    PoolKind::Average(scale) => {
                        scale.multiplier = self.word(scale.multiplier as u32) as i32;
                        scale.shift = self.byte(scale.shift);
                    }
                },
            },
            Op::Add(op) => match self.random.within(0..=4) {
                0 | 1 => {
                    let which = self.place(2);
                    self.change_tensor(&mut op.inputs[which]);
                }
                2 => self.change_tensor(&mut op.output),
                3 => op.multipliers[0] = self.word(op.multipliers[0] as u32) as i32,
                _ => op.shift = self.byte(op.shift),
            },
        }
    }

    fn change_tensor(&mut self, tensor: &mut Tensor) {
        match self.random.within(0..=6) {
            0 | 1 => tensor.offset = self.word(tensor.offset),
            2 => tensor.height = self.half(tensor.height),
            3 => tensor.width = self.half(tensor.width),
            4 => tensor.channels = self.half(tensor.channels),
            5 => tensor.zero_point = self.byte(tensor.zero_point),
            _ => {
                tensor.kind = if tensor.kind == TensorKind::U8 { TensorKind::I32 } else { TensorKind::U8 };
            }
        }
    }

    fn change_pool(&mut self, pool: &mut Option<FusedPool>) {
        match pool {
            Some(window) if !self.random.one_in(3) => {
                let sizes = self.random.one_in(2);
                self.change_one(if sizes { &mut window.size } else { &mut window.stride });
            }
            Some(_) => *pool = None,
            None => *pool = Some(FusedPool { size: [2; 2], stride: [self.byte(2); 2] }),
        }
    }

    fn change_layer(&mut self, activation: &mut Activation, weights: &mut Weights) {
        match self.random.within(0..=8) {
            0 => activation.min = self.byte(activation.min),
            1 => activation.max = self.byte(activation.max),
            2 => weights.bits = Bitwidth::new(self.random.within(1..=8) as u8).unwrap_or(Bitwidth::MAX),
            3 => weights.z = self.half(weights.z),
            4 => weights.layout = Layout::ALL[self.place(Layout::ALL.len())],
            5 => self.change_section(&mut weights.codes),
            6 => self.change_section(&mut weights.channels.bias),
            7 => self.change_section(&mut weights.channels.multiplier),
            _ => self.change_section(&mut weights.channels.shift),
        }
    }

    fn change_section(&mut self, section: &mut Section) {
        // By whole words, too: a section that is off by some of them is aligned and may lie within another.
        match self.random.within(0..=2) {
            0 => section.offset = self.word(section.offset),
            1 => section.offset = (section.offset / 4).wrapping_add(self.random.within(0..=16)).wrapping_sub(8) * 4,
            _ => section.len = self.word(section.len),
        }
    }

    fn change_one<const N: usize>(&mut self, bytes: &mut [u8; N]) {
        let which = self.place(N);
        bytes[which] = self.byte(bytes[which]);
    }

    /// A number near `value` or near an end of 0..=`max`, or any.
    fn near(&mut self, value: u64, max: u64) -> u64 {
        let changed = match self.random.within(0..=9) {
            0 => 0,
            1 => 1,
            2 => max,
            3 => max - 1,
            4 => value + 1,
            5 => value.wrapping_sub(1),
            6 => value * 2,
            7 => value / 2,
            8 => value ^ (1 << self.random.within(0..=31)),
            _ => self.random.bits(),
        };
        changed & max
    }

    fn byte(&mut self, value: u8) -> u8 {
        self.near(value.into(), u8::MAX.into()) as u8
    }

    fn half(&mut self, value: u16) -> u16 {
        self.near(value.into(), u16::MAX.into()) as u16
    }

    fn word(&mut self, value: u32) -> u32 {
        self.near(value.into(), u32::MAX.into()) as u32
    }
}

/// A blob of these parts, whatever they say.
fn write(header: &Header<'_>, ops: &[Op<'_>], sections: &[u8]) -> AlignedCopy {
    // More than any header of the networks made here takes.
    let mut text = vec![0; 1024 + 256 * ops.len()];
    let mut len = postcard::to_slice(header, &mut text).expect("room").len();
    for op in ops {
        len += postcard::to_slice(op, &mut text[len..]).expect("room").len();
    }
    let mut bytes = vec![0; (PREFIX_LEN + len).next_multiple_of(ALIGNMENT)];
    bytes[..4].copy_from_slice(&releq_shared::blob::MAGIC);
    bytes[4..6].copy_from_slice(&releq_shared::blob::FORMAT_VERSION.to_le_bytes());
    bytes[16..PREFIX_LEN].copy_from_slice(&(len as u32).to_le_bytes());
    bytes[PREFIX_LEN..][..len].copy_from_slice(&text[..len]);
    bytes.extend_from_slice(sections);
    let mut blob = AlignedCopy::new(&bytes);
    blob.seal();
    blob
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Limits, random_network};

    #[test]
    fn a_blob_written_anew_from_its_parts_is_the_same_and_most_changes_make_another() {
        let sound = AlignedCopy::new(&random_network(1, Limits::default()));
        let blob = Blob::new_checked(&sound).unwrap();
        let sections = (PREFIX_LEN + header_len(&sound)).next_multiple_of(ALIGNMENT);
        let written = write(blob.header(), &blob.ops().collect::<Vec<_>>(), &sound[sections..]);
        assert_eq!(&written[..], &sound[..]);
        let changed = (0..1000).filter(|&seed| mutate(&sound, seed)[..] != sound[..]).count();
        assert!(changed > 900, "{changed}");
    }
}
