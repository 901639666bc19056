//! What each kernel costs on a board: one small layer of every kind, bitwidth and layout.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use releq_shared::Bitwidth;
use releq_shared::blob::{
    Activation, BlobError, BlobWriter, ChannelTable, Channels, Conv2d, Dense, FusedPool, Header, Op, Provenance,
    Section, Tensor, TensorKind, Weights,
};
use releq_shared::layout::Layout;
use releq_shared::requantize::Requantize;
use serde::Serialize;

use super::ModelCost;
use crate::device::Board;
use crate::pack::costs::{CostTable, LayerKind};

/// A layer to be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelCase {
    /// What it is.
    pub kind: LayerKind,
    /// Bits of its weights.
    pub bits: Bitwidth,
    /// Their layout.
    pub layout: Layout,
}

/// What a layer costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelCost {
    /// What it is.
    pub kind: LayerKind,
    /// Bits of its weights.
    pub bits: u8,
    /// Their layout.
    pub layout: Layout,
    /// Instructions (or cycles) of one run, `None` if the board has no room for the layer.
    pub instructions: Option<u64>,
    /// Its multiply-accumulates.
    pub macs: u64,
    /// The quotient of both.
    pub per_mac: Option<f64>,
}

impl KernelCase {
    /// Every kind in every bitwidth and every layout that holds it; for a quick look, the bitwidths 1, 2, 4 and 8 only.
    #[must_use]
    pub fn all(quick: bool) -> Vec<Self> {
        let widths: Vec<Bitwidth> = Bitwidth::all().filter(|bits| !quick || bits.get().is_power_of_two()).collect();
        let mut cases = Vec::new();
        for kind in LayerKind::ALL {
            for &bits in &widths {
                let layouts = Layout::ALL.into_iter().filter(|layout| layout.holds(bits));
                cases.extend(layouts.map(|layout| Self { kind, bits, layout }));
            }
        }
        cases
    }

    /// A model of the layer, with random weights, and a tiny dense layer behind it that makes its outputs logits.
    ///
    /// # Errors
    /// [`BlobError`] if the model is not sound, which would be a bug.
    pub fn blob(&self) -> Result<Vec<u8>, BlobError> {
        let mut builder = Builder { rng: ChaCha8Rng::seed_from_u64(1), writer: BlobWriter::new() };
        let [input, output] = self.tensors();
        let logits = Tensor { offset: 0, height: 1, width: 1, channels: 1, kind: TensorKind::I32, zero_point: 0 };
        let arena_bytes = output.offset + output.bytes() as u32;
        let activation = Activation::FULL;
        let layer = |weights| match self.kind {
            LayerKind::Dense => Op::Dense(Dense { name: self.kind.name(), input, output, activation, weights }),
            kind => Op::Conv2d(Conv2d {
                name: kind.name(),
                input,
                output,
                kernel: match kind {
                    LayerKind::FewChannels => [5, 5],
                    LayerKind::Pointwise => [1, 1],
                    _ => [3, 3],
                },
                stride: if kind == LayerKind::Strided { [2, 2] } else { [1, 1] },
                padding: match kind {
                    LayerKind::Padded | LayerKind::Strided | LayerKind::Depthwise => [1; 4],
                    _ => [0; 4],
                },
                groups: if kind == LayerKind::Depthwise { input.channels } else { 1 },
                pool: (kind == LayerKind::FewChannels).then_some(FusedPool { size: [2, 2], stride: [2, 2] }),
                activation,
                weights,
            }),
        };
        builder.push(self.bits, self.layout, layer)?;
        builder.push(Bitwidth::MIN, Layout::Bitstream, |weights| {
            Op::Dense(Dense { name: "logits", input: output, output: logits, activation, weights })
        })?;
        builder.writer.finish(&Header {
            network: self.kind.name(),
            dataset: "random",
            labels: "",
            input,
            input_scale: 1.0,
            output: logits,
            output_scale: 1.0,
            arena_bytes,
            op_count: 0,
            provenance: Provenance { version: env!("CARGO_PKG_VERSION"), seed: 1, config_hash: 0 },
        })
    }

    /// The cost of the case, measured as the first layer of [`KernelCase::blob`].
    pub(super) fn cost(&self, measured: Option<&ModelCost>) -> KernelCost {
        let layer = measured.and_then(|measured| measured.layers.first());
        KernelCost {
            kind: self.kind,
            bits: self.bits.get(),
            layout: self.layout,
            instructions: layer.map(|layer| layer.instructions),
            macs: layer.map_or(0, |layer| layer.macs),
            per_mac: layer.and_then(|layer| layer.per_mac),
        }
    }

    /// The layer's input and output: large enough that what a layer costs once does not tell, small enough for small
    /// boards.
    fn tensors(&self) -> [Tensor; 2] {
        let [input, output] = match self.kind {
            LayerKind::FewChannels => [[28, 28, 1], [12, 12, 20]],
            LayerKind::Pointwise => [[8, 8, 32], [8, 8, 32]],
            LayerKind::Convolution => [[8, 8, 32], [6, 6, 32]],
            LayerKind::Padded => [[8, 8, 16], [8, 8, 32]],
            LayerKind::Strided => [[12, 12, 16], [6, 6, 32]],
            LayerKind::Depthwise => [[12, 12, 16], [12, 12, 16]],
            LayerKind::Dense => [[1, 1, 256], [1, 1, 64]],
        };
        let tensor = |[height, width, channels]: [u16; 3], offset, zero_point| Tensor {
            offset,
            height,
            width,
            channels,
            kind: TensorKind::U8,
            zero_point,
        };
        let input = tensor(input, 0, 120);
        [input, tensor(output, input.bytes() as u32, 0)]
    }
}

struct Builder {
    rng: ChaCha8Rng,
    writer: BlobWriter,
}

impl Builder {
    /// Appends an operation with random codes.
    fn push<'a>(&mut self, bits: Bitwidth, layout: Layout, op: impl Fn(Weights) -> Op<'a>) -> Result<(), BlobError> {
        let (codes, channels) = (Section::default(), ChannelTable::default());
        let mut weights = Weights { bits, z: u16::from(bits.max_code()), layout, codes, channels };
        let (rows, columns) = op(weights).weight_shape().unwrap_or_default();
        let (rows, columns) = (rows as usize, columns as usize);
        let codes: Vec<u8> = (0..rows * columns).map(|_| self.rng.random_range(0..=bits.max_code())).collect();
        weights.codes = self.writer.section(&layout.pack(&codes, rows, columns, bits));
        // Outputs spread over the whole range and a bit beyond.
        let spread = f64::from(bits.max_code()) * 255.0 * (columns as f64).sqrt();
        let scale = Requantize::from_scale((128.0 / spread).min(0.2)).ok_or(BlobError::MalformedHeader)?;
        weights.channels = self.writer.channels(Channels { bias: &vec![0; rows], scale: &vec![scale; rows] });
        self.writer.push(&op(weights))
    }
}

/// The table of some costs, `None` if one of them is missing.
#[must_use]
pub fn cost_table(board: &Board, unit: &str, costs: &[KernelCost]) -> Option<CostTable> {
    let mut table = CostTable::new(&board.name, &board.core, unit);
    for cost in costs {
        table.insert(cost.kind, Bitwidth::new(cost.bits).ok()?, cost.layout, cost.per_mac?);
    }
    Some(table)
}

#[cfg(test)]
mod tests {
    use releq_shared::blob::{AlignedCopy, Blob};

    use super::*;

    #[test]
    fn every_case_is_a_sound_model_of_its_kind() {
        let cases = KernelCase::all(false);
        assert!(cases.len() > 7 * 8 && KernelCase::all(true).len() < cases.len());
        for case in cases {
            let blob = AlignedCopy::new(&case.blob().unwrap());
            let blob = Blob::new_checked(&blob).unwrap();
            let op = blob.ops().next().unwrap();
            let weights = op.weights().unwrap();
            assert_eq!((LayerKind::of(&op), weights.bits, weights.layout), (Some(case.kind), case.bits, case.layout));
            assert!(op.macs() > 10_000, "{case:?}");
        }
    }
}
