//! The dense bitstream: codes of 1 to 8 bits, one behind the other, least significant bit first.
//!
//! Code `i` of `k` bits takes bits `i * k .. (i + 1) * k` of the stream; bit `j` of the stream is bit `j % 8` of byte
//! `j / 8`. This is what `bitvec` reads as `BitSlice<u8, Lsb0>`, and it is the portable reference for every other layout.

use crate::Bitwidth;

/// Bytes that `count` codes take as a dense bitstream.
///
/// Returns `None` if the number of bits does not fit a `usize`.
#[must_use]
pub const fn packed_len(count: usize, bits: Bitwidth) -> Option<usize> {
    match count.checked_mul(bits.get() as usize) {
        Some(total) => Some(total.div_ceil(8)),
        None => None,
    }
}

/// Packs `codes` into `out`, which must hold exactly [`packed_len`] bytes. Bits above a code's width are dropped, and
/// the unused bits of the last byte are zero.
///
/// # Panics
/// If `out` has another length.
pub fn pack(codes: &[u8], bits: Bitwidth, out: &mut [u8]) {
    assert_eq!(Some(out.len()), packed_len(codes.len(), bits), "the packed buffer has the wrong length");
    out.fill(0);
    for (i, &code) in codes.iter().enumerate() {
        set_bits(out, bits, i * usize::from(bits.get()), code);
    }
}

/// Reads code `index` of a dense bitstream.
///
/// # Panics
/// If the stream is too short to hold that code.
#[inline]
#[must_use]
pub fn code_at(stream: &[u8], bits: Bitwidth, index: usize) -> u8 {
    bits_at(stream, bits, index * usize::from(bits.get()))
}

/// Reads the code whose first bit is bit `first` of `bytes`.
#[inline]
pub(crate) fn bits_at(bytes: &[u8], bits: Bitwidth, first: usize) -> u8 {
    let (byte, shift) = (first / 8, first % 8);
    let low = u16::from(bytes[byte]);
    let high = if shift + usize::from(bits.get()) > 8 { u16::from(bytes[byte + 1]) } else { 0 };
    ((low | high << 8) >> shift) as u8 & bits.max_code()
}

/// Writes a code whose first bit is bit `first` of `bytes`, where zeros have stood.
pub(crate) fn set_bits(bytes: &mut [u8], bits: Bitwidth, first: usize, code: u8) {
    let (byte, shift) = (first / 8, first % 8);
    let [low, high] = (u16::from(code & bits.max_code()) << shift).to_le_bytes();
    bytes[byte] |= low;
    if shift + usize::from(bits.get()) > 8 {
        bytes[byte + 1] |= high;
    }
}

/// The codes of a dense bitstream from code `first` on, without end: the caller takes as many as there are.
///
/// Yields zeros past the end of the stream.
pub fn codes_from(stream: &[u8], bits: Bitwidth, first: usize) -> impl Iterator<Item = u8> {
    let width = u32::from(bits.get());
    let start = first * width as usize;
    let mut bytes = stream.get(start / 8..).unwrap_or_default().iter();
    let mut held: u32 = 0;
    let mut count: u32 = 0;
    let mut skip = (start % 8) as u32;
    core::iter::from_fn(move || {
        while count < width + skip {
            held |= u32::from(bytes.next().copied().unwrap_or(0)) << count;
            count += 8;
        }
        let code = (held >> skip) as u8 & bits.max_code();
        held >>= width + skip;
        count -= width + skip;
        skip = 0;
        Some(code)
    })
}

/// Writes the codes of a dense bitstream from code `first` on to `codes`, as many as it holds.
///
/// # Panics
/// If the stream is too short to hold those codes.
pub fn unpack(stream: &[u8], bits: Bitwidth, first: usize, codes: &mut [u8]) {
    match bits.get() {
        1 => unpack_width::<1>(stream, first, codes),
        2 => unpack_width::<2>(stream, first, codes),
        3 => unpack_width::<3>(stream, first, codes),
        4 => unpack_width::<4>(stream, first, codes),
        5 => unpack_width::<5>(stream, first, codes),
        6 => unpack_width::<6>(stream, first, codes),
        7 => unpack_width::<7>(stream, first, codes),
        _ => unpack_width::<8>(stream, first, codes),
    }
}

/// Eight codes at a time: they start at the same bit of a byte, so one window of `WIDTH + 1` bytes holds them.
fn unpack_width<const WIDTH: usize>(stream: &[u8], first: usize, codes: &mut [u8]) {
    let mask = ((1u32 << WIDTH) - 1) as u8;
    let shift = first * WIDTH % 8;
    let mut byte = first * WIDTH / 8;
    for group in codes.chunks_mut(8) {
        let whole = &stream[byte..];
        if let (Ok(group), 0, true) = (<&mut [u8; 8]>::try_from(&mut *group), shift, whole.len() >= WIDTH) {
            // Whole bytes, all of whose shifts are known here.
            let mut window = [0; 8];
            window[..WIDTH].copy_from_slice(&whole[..WIDTH]);
            let window = u64::from_le_bytes(window);
            *group = [0, 1, 2, 3, 4, 5, 6, 7].map(|i| (window >> (i * WIDTH)) as u8 & mask);
            byte += WIDTH;
            continue;
        }
        let mut window = [0; 16];
        let len = if whole.len() > WIDTH { WIDTH + 1 } else { whole.len() };
        window[..len].copy_from_slice(&whole[..len]);
        assert!(len * 8 >= shift + group.len() * WIDTH, "the stream is too short");
        let window = (u128::from_le_bytes(window) >> shift) as u64;
        for (i, code) in group.iter_mut().enumerate() {
            *code = (window >> (i * WIDTH)) as u8 & mask;
        }
        byte += WIDTH;
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    use bitvec::prelude::*;
    use proptest::prelude::*;

    use super::*;

    fn widths_and_codes() -> impl Strategy<Value = (Bitwidth, Vec<u8>)> {
        (1u8..=8).prop_flat_map(|bits| {
            let bits = Bitwidth::new(bits).unwrap();
            (Just(bits), proptest::collection::vec(0..=bits.max_code(), 0..200))
        })
    }

    proptest! {
        #[test]
        fn unpacking_is_the_inverse_of_packing((bits, codes) in widths_and_codes()) {
            let mut packed = vec![0xFF; packed_len(codes.len(), bits).unwrap()];
            pack(&codes, bits, &mut packed);
            for (i, &code) in codes.iter().enumerate() {
                prop_assert_eq!(code_at(&packed, bits, i), code);
                prop_assert_eq!(codes_from(&packed, bits, i).next(), Some(code));
            }
            let streamed: Vec<u8> = codes_from(&packed, bits, 0).take(codes.len()).collect();
            prop_assert_eq!(&streamed, &codes);
            for first in 0..codes.len() {
                let mut unpacked = vec![0; codes.len() - first];
                unpack(&packed, bits, first, &mut unpacked);
                prop_assert_eq!(&unpacked[..], &codes[first..]);
            }
        }

        #[test]
        fn the_stream_is_what_bitvec_reads((bits, codes) in widths_and_codes()) {
            let mut packed = vec![0; packed_len(codes.len(), bits).unwrap()];
            pack(&codes, bits, &mut packed);
            let view = packed.view_bits::<Lsb0>();
            for (chunk, &code) in view.chunks_exact(bits.get().into()).zip(&codes) {
                prop_assert_eq!(chunk.load_le::<u8>(), code);
            }
        }
    }

    #[test]
    fn bits_above_the_width_are_dropped() {
        let bits = Bitwidth::new(3).unwrap();
        let mut packed = [0; 1];
        pack(&[0xFF, 0], bits, &mut packed);
        assert_eq!(packed, [0b111]);
    }
}
