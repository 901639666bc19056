//! Reads headers and operations from their postcard form.
//!
//! Postcard's own reader, made by serde for these types, takes three times the flash of this one. It stays the definition:
//! tests hold this reader to it.

use super::{
    Activation, Add, ChannelTable, Conv2d, Dense, FusedPool, Header, Op, Pool, PoolKind, Provenance, Section, Tensor,
    TensorKind, Weights,
};
use crate::Bitwidth;
use crate::layout::Layout;
use crate::requantize::Requantize;

/// The first operation in `bytes` and what follows it, `None` if there is none that can be read.
pub(super) fn op(bytes: &[u8]) -> Option<(Op<'_>, &[u8])> {
    let mut reader = Reader { rest: bytes };
    let op = reader.op()?;
    Some((op, reader.rest))
}

/// The header in `bytes` and what follows it, `None` if it cannot be read.
pub(super) fn header(bytes: &[u8]) -> Option<(Header<'_>, &[u8])> {
    let mut reader = Reader { rest: bytes };
    let header = reader.header()?;
    Some((header, reader.rest))
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline(never)]
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.first_chunk().copied()
    }

    fn u8(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    /// Seven bits a byte, the lowest first; the top bit says that more follow. No more bytes than `bits` can fill.
    #[inline(never)]
    fn varint(&mut self, bits: u32) -> Option<u64> {
        let mut value = 0;
        for shift in (0..bits).step_by(7) {
            let byte = self.u8()?;
            let part = u64::from(byte & 0x7F);
            // What passes the last bit is not a number of that width.
            if part >> (bits - shift).min(7) != 0 {
                return None;
            }
            value |= part << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// A number of at most 32 bits; most are a single byte.
    #[inline(never)]
    fn number(&mut self, bits: u32) -> Option<u32> {
        match *self.rest {
            [byte @ ..0x80, ref rest @ ..] => {
                self.rest = rest;
                Some(u32::from(byte))
            }
            _ => Some(self.varint(bits)? as u32),
        }
    }

    fn u16(&mut self) -> Option<u16> {
        Some(self.number(16)? as u16)
    }

    fn u32(&mut self) -> Option<u32> {
        self.number(32)
    }

    /// Signed numbers alternate: 0, -1, 1, -2.
    fn i32(&mut self) -> Option<i32> {
        let zigzag = self.u32()?;
        Some((zigzag >> 1) as i32 ^ -((zigzag & 1) as i32))
    }

    fn f32(&mut self) -> Option<f32> {
        self.bytes().map(f32::from_le_bytes)
    }

    #[inline(never)]
    fn text(&mut self) -> Option<&'a str> {
        let len = self.u32()? as usize;
        core::str::from_utf8(self.take(len)?).ok()
    }

    #[inline(never)]
    fn tensor(&mut self) -> Option<Tensor> {
        Some(Tensor {
            offset: self.u32()?,
            height: self.u16()?,
            width: self.u16()?,
            channels: self.u16()?,
            kind: match self.u32()? {
                0 => TensorKind::U8,
                1 => TensorKind::I32,
                _ => return None,
            },
            zero_point: self.u8()?,
        })
    }

    #[inline(never)]
    fn section(&mut self) -> Option<Section> {
        Some(Section { offset: self.u32()?, len: self.u32()? })
    }

    fn activation(&mut self) -> Option<Activation> {
        Some(Activation { min: self.u8()?, max: self.u8()? })
    }

    #[inline(never)]
    fn weights(&mut self) -> Option<Weights> {
        Some(Weights {
            bits: Bitwidth::new(self.u8()?).ok()?,
            z: self.u16()?,
            layout: *Layout::ALL.get(self.u32()? as usize)?,
            codes: self.section()?,
            channels: ChannelTable { bias: self.section()?, multiplier: self.section()?, shift: self.section()? },
        })
    }

    fn fused_pool(&mut self) -> Option<Option<FusedPool>> {
        match self.u8()? {
            0 => Some(None),
            1 => Some(Some(FusedPool { size: self.bytes()?, stride: self.bytes()? })),
            _ => None,
        }
    }

    fn pool_kind(&mut self) -> Option<PoolKind> {
        match self.u32()? {
            0 => Some(PoolKind::Max),
            1 => Some(PoolKind::Average(Requantize { multiplier: self.i32()?, shift: self.u8()? })),
            _ => None,
        }
    }

    fn op(&mut self) -> Option<Op<'a>> {
        let kind = self.u32()?;
        let name = self.text()?;
        let input = self.tensor()?;
        Some(match kind {
            0 => Op::Conv2d(Conv2d {
                name,
                input,
                output: self.tensor()?,
                kernel: self.bytes()?,
                stride: self.bytes()?,
                padding: self.bytes()?,
                groups: self.u16()?,
                pool: self.fused_pool()?,
                activation: self.activation()?,
                weights: self.weights()?,
            }),
            1 => Op::Dense(Dense {
                name,
                input,
                output: self.tensor()?,
                activation: self.activation()?,
                weights: self.weights()?,
            }),
            2 => Op::Pool(Pool {
                name,
                input,
                output: self.tensor()?,
                kind: self.pool_kind()?,
                size: self.bytes()?,
                stride: self.bytes()?,
            }),
            3 => Op::Add(Add {
                name,
                inputs: [input, self.tensor()?],
                output: self.tensor()?,
                multipliers: [self.i32()?, self.i32()?],
                shift: self.u8()?,
                activation: self.activation()?,
            }),
            _ => return None,
        })
    }

    fn header(&mut self) -> Option<Header<'a>> {
        Some(Header {
            network: self.text()?,
            dataset: self.text()?,
            labels: self.text()?,
            input: self.tensor()?,
            input_scale: self.f32()?,
            output: self.tensor()?,
            output_scale: self.f32()?,
            arena_bytes: self.u32()?,
            op_count: self.u16()?,
            provenance: Provenance { version: self.text()?, seed: self.varint(64)?, config_hash: self.varint(64)? },
        })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// Bytes of which many are small, so that they are the beginning of something.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![8 => 0u8..4, 2 => any::<u8>(), 1 => Just(0x80u8), 1 => Just(0xFFu8)];
        proptest::collection::vec(byte, 0..120)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn operations_are_read_as_postcard_reads_them(bytes in bytes()) {
            prop_assert_eq!(op(&bytes), postcard::take_from_bytes(&bytes).ok());
        }

        #[test]
        fn headers_are_read_as_postcard_reads_them(bytes in bytes()) {
            // Compared as text: a scale may be no number.
            let expected = postcard::take_from_bytes::<Header<'_>>(&bytes).ok();
            prop_assert_eq!(std::format!("{:?}", header(&bytes)), std::format!("{expected:?}"));
        }

        #[test]
        fn so_are_numbers(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 0x80u8..=0xFF], 0..12)) {
            let read = |bits| Reader { rest: &bytes }.varint(bits);
            prop_assert_eq!(read(16), postcard::take_from_bytes::<u16>(&bytes).ok().map(|(n, _)| n.into()));
            prop_assert_eq!(read(32), postcard::take_from_bytes::<u32>(&bytes).ok().map(|(n, _)| n.into()));
            prop_assert_eq!(read(64), postcard::take_from_bytes::<u64>(&bytes).ok().map(|(n, _)| n));
            let signed = Reader { rest: &bytes }.i32();
            prop_assert_eq!(signed, postcard::take_from_bytes::<i32>(&bytes).ok().map(|(n, _)| n));
        }
    }

    #[test]
    fn layouts_are_numbered_in_their_order() {
        for (index, layout) in Layout::ALL.into_iter().enumerate() {
            assert_eq!(postcard::to_slice(&layout, &mut [0; 4]).unwrap(), [index as u8]);
        }
    }

    #[test]
    fn long_operations_are_read_as_postcard_reads_them() {
        let tensor = |n: u16| Tensor {
            offset: u32::from(n) << 16,
            height: n,
            width: n * 2,
            channels: u16::MAX - n,
            kind: if n.is_multiple_of(2) { TensorKind::U8 } else { TensorKind::I32 },
            zero_point: n as u8,
        };
        let section = |n: u32| Section { offset: n << 20, len: u32::MAX - n };
        let channels = ChannelTable { bias: section(1), multiplier: section(2), shift: section(3) };
        let layout = Layout::Duos;
        let weights = Weights { bits: Bitwidth::MAX, z: 511, layout, codes: section(0), channels };
        let (name, activation) = ("łayer", Activation { min: 3, max: 200 });
        let (input, output) = (tensor(4), tensor(300));
        let pool = Some(FusedPool { size: [2, 3], stride: [1, 200] });
        let (kernel, stride, padding) = ([5, 200], [1, 2], [0, 1, 2, 255]);
        let average = PoolKind::Average(Requantize { multiplier: i32::MIN, shift: 40 });
        let ops = [
            Op::Conv2d(Conv2d { name, input, output, kernel, stride, padding, groups: 999, pool, activation, weights }),
            Op::Dense(Dense { name, input, output, activation, weights }),
            Op::Pool(Pool { name, input, output, kind: average, size: [7, 8], stride: [9, 10] }),
            Op::Add(Add { name, inputs: [input, output], output, multipliers: [-1, i32::MAX], shift: 9, activation }),
        ];
        for expected in ops {
            let mut buffer = [0; 200];
            let bytes = postcard::to_slice(&expected, &mut buffer).unwrap();
            assert_eq!(op(bytes), Some((expected, &[][..])));
            for len in 0..bytes.len() {
                assert_eq!(op(&bytes[..len]), None, "cut to {len} of {} bytes", bytes.len());
            }
        }
    }
}
