//! Every way in which a blob can be wrong, each made from a valid one by one change.
#![allow(clippy::unwrap_used, missing_docs)]

use proptest::prelude::*;
use releq_shared::Bitwidth;
use releq_shared::blob::*;
use releq_shared::layout::Layout;
use releq_shared::requantize::Requantize;

fn tensor(offset: u32, height: u16, width: u16, channels: u16) -> Tensor {
    Tensor { offset, height, width, channels, kind: TensorKind::U8, zero_point: 0 }
}

const INPUT: Tensor = Tensor { offset: 0, height: 6, width: 6, channels: 2, kind: TensorKind::U8, zero_point: 0 };
const LOGITS: Tensor = Tensor { offset: 0, height: 1, width: 1, channels: 3, kind: TensorKind::I32, zero_point: 0 };

fn weights(writer: &mut BlobWriter, rows: usize, columns: usize, bits: u8, bias: i32) -> Weights {
    let bits = Bitwidth::new(bits).unwrap();
    let codes: Vec<u8> = (0..rows * columns).map(|i| (i * 7 % 256) as u8 & bits.max_code()).collect();
    let codes = writer.section(&Layout::Bitstream.pack(&codes, rows, columns, bits));
    let scale = vec![Requantize::from_scale(0.249_999_9).unwrap(); rows];
    let channels = writer.channels(Channels { bias: &vec![bias; rows], scale: &scale });
    Weights { bits, z: u16::from(bits.max_code()), layout: Layout::Bitstream, codes, channels }
}

/// A conv 3x3 with fused 2x2 pooling, then a dense layer; `change` may spoil either before they are written.
fn build(change: impl FnOnce(&mut Header<'_>, &mut Conv2d<'_>, &mut Dense<'_>)) -> AlignedCopy {
    let mut writer = BlobWriter::new();
    let mut conv = Conv2d {
        name: "conv",
        input: INPUT,
        output: tensor(72, 2, 2, 4),
        kernel: [3, 3],
        stride: [1, 1],
        padding: [0; 4],
        groups: 1,
        pool: Some(FusedPool { size: [2, 2], stride: [2, 2] }),
        activation: Activation::FULL,
        weights: weights(&mut writer, 4, 18, 3, 5),
    };
    let mut dense = Dense {
        name: "dense",
        input: tensor(72, 2, 2, 4),
        output: LOGITS,
        activation: Activation::FULL,
        weights: weights(&mut writer, 3, 16, 1, -5),
    };
    let mut header = Header {
        network: "tiny",
        dataset: "made up",
        labels: "a\nb\nc",
        input: INPUT,
        input_scale: 1.0 / 255.0,
        output: LOGITS,
        output_scale: 0.5,
        arena_bytes: 88,
        op_count: 0,
        provenance: Provenance { version: "0.0.0", seed: 7, config_hash: 9 },
    };
    change(&mut header, &mut conv, &mut dense);
    writer.push(&Op::Conv2d(conv)).unwrap();
    writer.push(&Op::Dense(dense)).unwrap();
    AlignedCopy::new(&writer.finish_unchecked(&header).unwrap())
}

fn valid() -> AlignedCopy {
    build(|_, _, _| ())
}

/// The problem that a spoilt operation is refused for.
fn problem(change: impl FnOnce(&mut Header<'_>, &mut Conv2d<'_>, &mut Dense<'_>)) -> (u16, OpProblem) {
    match Blob::new_checked(&build(change)).unwrap_err() {
        BlobError::Op { index, problem } => (index, problem),
        other => panic!("refused for another reason: {other:?}"),
    }
}

#[test]
fn a_valid_blob_reads_back_as_written() {
    let bytes = valid();
    let blob = Blob::new_checked(&bytes).unwrap();
    assert_eq!(blob.header().network, "tiny");
    assert_eq!(blob.header().labels().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(
        blob.ops().map(|op| (op.name(), op.macs())).collect::<Vec<_>>(),
        [("conv", 4 * 4 * 4 * 18), ("dense", 48)]
    );
    let dense = blob.ops().nth(1).unwrap();
    let (bias, _, _) = blob.channels(&dense.weights().unwrap().channels);
    assert_eq!(bias, [-5; 3]);
    let weights = *dense.weights().unwrap();
    let section = blob.section(weights.codes);
    assert_eq!(weights.layout.code_at(section, weights.bits, 16, 2, 3), (35 * 7 % 2) as u8);
}

#[test]
fn cut_and_padded_blobs_are_refused() {
    let bytes = valid();
    for len in 0..bytes.len() {
        let expected_too_short = len < PREFIX_LEN;
        let error = Blob::new_checked(&bytes[..len]).unwrap_err();
        assert_eq!(matches!(error, BlobError::TooShort { .. }), expected_too_short, "{len}: {error:?}");
        assert_eq!(matches!(error, BlobError::LengthMismatch { .. }), !expected_too_short, "{len}: {error:?}");
    }
    let mut longer = bytes.to_vec();
    longer.push(0);
    let error = Blob::new_checked(&AlignedCopy::new(&longer)).unwrap_err();
    assert!(matches!(error, BlobError::LengthMismatch { .. }), "{error:?}");
}

#[test]
fn another_magic_is_refused() {
    let mut bytes = valid();
    bytes[0] = b'X';
    assert_eq!(Blob::new_checked(&bytes).unwrap_err(), BlobError::BadMagic { found: *b"XLQB" });
}

#[test]
fn another_version_is_refused() {
    let mut bytes = valid();
    bytes[4] = 99;
    assert_eq!(Blob::new_checked(&bytes).unwrap_err(), BlobError::UnsupportedVersion { found: 99 });
}

#[test]
fn every_single_flipped_bit_is_noticed() {
    let bytes = valid();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Blob::new_checked(&flipped).is_err(), "bit {bit} was flipped and nobody noticed");
    }
}

#[test]
fn a_misaligned_blob_is_refused() {
    let bytes = valid();
    let mut shifted = vec![0u8; 4];
    shifted.extend_from_slice(&bytes);
    let shifted = AlignedCopy::new(&shifted);
    assert_eq!(Blob::new_checked(&shifted[4..]).unwrap_err(), BlobError::Misaligned { remainder: 4 });
}

#[test]
fn a_header_that_cannot_be_read_is_refused() {
    let mut bytes = valid();
    bytes[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
    bytes.seal();
    assert_eq!(Blob::new_checked(&bytes).unwrap_err(), BlobError::MalformedHeader);
    let mut bytes = valid();
    bytes[20] = 0xFF;
    bytes.seal();
    assert_eq!(Blob::new_checked(&bytes).unwrap_err(), BlobError::MalformedHeader);
}

#[test]
fn a_network_needs_operations() {
    let header = Header {
        network: "",
        dataset: "",
        labels: "",
        input: INPUT,
        input_scale: 1.0,
        output: LOGITS,
        output_scale: 1.0,
        arena_bytes: 88,
        op_count: 0,
        provenance: Provenance { version: "", seed: 0, config_hash: 0 },
    };
    let bytes = AlignedCopy::new(&BlobWriter::new().finish_unchecked(&header).unwrap());
    assert_eq!(Blob::new_checked(&bytes).unwrap_err(), BlobError::OpCount { count: 0 });
}

#[test]
fn the_ends_must_meet() {
    let error = |change: fn(&mut Header<'_>)| Blob::new_checked(&build(|header, _, _| change(header))).unwrap_err();
    assert_eq!(error(|header| header.output.channels = 2), BlobError::EndsMismatch);
    let index_0_reads = BlobError::Op { index: 0, problem: OpProblem::ReadsUnwritten };
    assert_eq!(error(|header| header.input.channels = 1), index_0_reads);
}

#[test]
fn shapes_must_follow() {
    assert_eq!(problem(|_, conv, _| conv.stride = [0, 1]), (0, OpProblem::ZeroDimension));
    assert_eq!(problem(|_, conv, _| conv.groups = 0), (0, OpProblem::ZeroDimension));
    assert_eq!(problem(|_, conv, _| conv.kernel = [7, 1]), (0, OpProblem::Shape));
    assert_eq!(problem(|_, conv, _| conv.padding = [3, 0, 0, 0]), (0, OpProblem::Shape));
    assert_eq!(problem(|_, conv, _| conv.pool = None), (0, OpProblem::Shape));
    assert_eq!(
        problem(|_, conv, _| conv.pool = Some(FusedPool { size: [0, 2], stride: [2, 2] })),
        (0, OpProblem::ZeroDimension)
    );
    assert_eq!(problem(|_, conv, _| conv.groups = 3), (0, OpProblem::Groups));
    assert_eq!(problem(|_, _, dense| dense.output.height = 2), (1, OpProblem::Shape));
}

#[test]
fn tensors_must_lie_apart_inside_the_arena() {
    assert_eq!(problem(|header, _, _| header.arena_bytes = 87), (0, OpProblem::OutsideArena { offset: 72, len: 16 }));
    assert_eq!(problem(|_, conv, _| conv.output.offset = 71), (0, OpProblem::Overlap));
    assert_eq!(
        problem(|_, conv, _| conv.output.offset = u32::MAX),
        (0, OpProblem::OutsideArena { offset: u32::MAX, len: 16 })
    );
    assert_eq!(problem(|_, _, dense| dense.output.offset = 2), (1, OpProblem::TensorMisaligned { offset: 2 }));
    assert_eq!(problem(|_, _, dense| dense.input.offset = 71), (1, OpProblem::ReadsUnwritten));
    assert_eq!(
        problem(|_, _, dense| dense.input.kind = TensorKind::I32),
        (1, OpProblem::OutsideArena { offset: 72, len: 64 })
    );
}

#[test]
fn sections_must_fit_their_layer() {
    assert_eq!(problem(|_, conv, _| conv.weights.codes.offset += 1), (0, OpProblem::SectionMisaligned { offset: 1 }));
    assert_eq!(
        problem(|_, conv, _| conv.weights.codes.offset = 1 << 30),
        (0, OpProblem::SectionOutside { offset: 1 << 30, len: 27 })
    );
    assert_eq!(
        problem(|_, conv, _| conv.weights.bits = Bitwidth::new(4).unwrap()),
        (0, OpProblem::SectionLength { expected: 36, found: 27 })
    );
    assert_eq!(
        problem(|_, conv, _| conv.weights.channels.bias.len = 12),
        (0, OpProblem::SectionLength { expected: 16, found: 12 })
    );
}

#[test]
fn numbers_must_stay_in_range() {
    assert_eq!(problem(|_, conv, _| conv.weights.z = 15), (0, OpProblem::Zero { z: 15 }));
    let wide = OpProblem::LayoutWidth { bits: Bitwidth::new(3).unwrap() };
    assert_eq!(problem(|_, conv, _| conv.weights.layout = Layout::TwinRows), (0, wide));
    assert_eq!(problem(|_, conv, _| conv.activation = Activation { min: 2, max: 1 }), (0, OpProblem::ActivationRange));
    // Shifts read from the bias table: 5, 0, 0, 0.
    assert_eq!(
        problem(|_, conv, _| conv.weights.channels.shift.offset = conv.weights.channels.bias.offset),
        (0, OpProblem::Multiplier { channel: 0 })
    );
    // Biases read from the multiplier table lie near 2^31.
    assert_eq!(
        problem(|_, conv, _| {
            conv.weights.channels.bias = conv.weights.channels.multiplier;
            conv.input.channels = 2;
        }),
        (0, OpProblem::AccumulatorOverflow { channel: 0 })
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    /// A resealed blob gets past the checksum: whatever was changed, the reader answers, and what it accepts is sound.
    #[test]
    fn hostile_blobs_are_refused_or_sound(changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..6)) {
        let mut bytes = valid();
        for (place, value) in changes {
            let place = 16 + usize::from(place) % (bytes.len() - 16);
            bytes[place] = value;
        }
        bytes.seal();
        if let Ok(blob) = Blob::new_checked(&bytes) {
            for op in blob.ops() {
                prop_assert!(op.output().range().end <= blob.header().arena_bytes as usize);
                let weights = op.weights().unwrap();
                prop_assert_eq!(blob.section(weights.codes).len(), weights.codes.len as usize);
            }
        }
    }
}
