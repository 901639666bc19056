//! LeNet with random weights: the network by which kernels are measured.

use alloc::vec;
use alloc::vec::Vec;

use releq_shared::Bitwidth;
use releq_shared::blob::{
    Activation, BlobWriter, ChannelTable, Channels, Conv2d, Dense, FusedPool, Header, Op, Provenance, Section, Tensor,
    TensorKind, Weights,
};
use releq_shared::layout::Layout;
use releq_shared::requantize::Requantize;

use crate::kernels::CoreClass;
use crate::random::Random;

/// LeNet 20-50-500-10 on 28 x 28, its four layers of the given bitwidths, in the layouts that `class` prefers and the
/// smallest arena.
///
/// # Panics
/// If the blob is not valid, which would be a bug.
#[must_use]
pub fn lenet(bits: [Bitwidth; 4], class: CoreClass, seed: u64) -> Vec<u8> {
    let mut builder = Builder { random: Random::new(seed), writer: BlobWriter::new(), class };
    let tensor =
        |offset, height, width, channels, kind| Tensor { offset, height, width, channels, kind, zero_point: 0 };
    let input = tensor(2880, 28, 28, 1, TensorKind::U8);
    let first = tensor(0, 12, 12, 20, TensorKind::U8);
    let second = tensor(2880, 4, 4, 50, TensorKind::U8);
    let hidden = tensor(0, 1, 1, 500, TensorKind::U8);
    let output = tensor(2880, 1, 1, 10, TensorKind::I32);
    for (name, input, output, bits) in [("conv1", input, first, bits[0]), ("conv2", first, second, bits[1])] {
        let op = |weights| {
            Op::Conv2d(Conv2d {
                name,
                input,
                output,
                kernel: [5, 5],
                stride: [1, 1],
                padding: [0; 4],
                groups: 1,
                pool: Some(FusedPool { size: [2, 2], stride: [2, 2] }),
                activation: Activation::FULL,
                weights,
            })
        };
        builder.push(bits, op);
    }
    for (name, input, output, bits) in [("fc1", second, hidden, bits[2]), ("fc2", hidden, output, bits[3])] {
        builder.push(bits, |weights| Op::Dense(Dense { name, input, output, activation: Activation::FULL, weights }));
    }
    let provenance = Provenance { version: "0", seed, config_hash: 0 };
    let header = Header {
        network: "lenet",
        dataset: "mnist",
        labels: "0\n1\n2\n3\n4\n5\n6\n7\n8\n9",
        input,
        input_scale: 1.0 / 255.0,
        output,
        output_scale: 1.0,
        arena_bytes: 3680,
        op_count: 0,
        provenance,
    };
    builder.writer.finish(&header).expect("a valid network")
}

struct Builder {
    random: Random,
    writer: BlobWriter,
    class: CoreClass,
}

impl Builder {
    fn push<'a>(&mut self, bits: Bitwidth, op: impl Fn(Weights) -> Op<'a>) {
        let z = u16::from(bits.max_code());
        let mut weights = Weights {
            bits,
            z,
            layout: Layout::Bitstream,
            codes: Section::default(),
            channels: ChannelTable::default(),
        };
        let unpacked = op(weights);
        let (rows, columns) = unpacked.weight_shape().expect("a layer with weights");
        let (rows, columns) = (rows as usize, columns as usize);
        weights.layout = self.class.preferred_layout(&unpacked, bits);
        let mut codes = vec![0; rows * columns];
        codes.fill_with(|| self.random.byte() & bits.max_code());
        weights.codes = self.writer.section(&weights.layout.pack(&codes, rows, columns, bits));
        let spread = f64::from(bits.max_code()) * 255.0 * columns.isqrt() as f64;
        let scale = Requantize::from_scale(128.0 / spread).expect("a small scale");
        weights.channels = self.writer.channels(Channels { bias: &vec![0; rows], scale: &vec![scale; rows] });
        self.writer.push(&op(weights)).expect("an operation can be written");
    }
}
