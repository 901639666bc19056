//! Compares this core's kernels with the portable ones, on the core itself.
//!
//! A board image (or a test on the host) calls [`run`] with its class, a seed and some memory. Each round makes up a layer of odd
//! shape in one of the layouts that hold it, fills it with random bytes (any bytes are codes), now and then with the
//! extremes, and runs it twice. Nothing is allocated.

use releq_shared::Bitwidth;
use releq_shared::blob::{
    Activation, ChannelTable, Conv2d, Dense, FusedPool, Op, Section, Tensor, TensorKind, Weights,
};
use releq_shared::layout::Layout;
use releq_shared::requantize::{MAX_SHIFT, MIN_CHANNEL_SHIFT, Requantize};

use crate::arena::Places;
use crate::kernels::{self, CoreClass, Matrix, portable};
use crate::random::Random;

/// Memory that [`run`] wants: less than the smallest board has.
pub const MEMORY: usize = 12 * 1024;

/// The first output in which two kernels differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Mismatch {
    /// The round, counted from 0.
    pub round: u32,
    /// Whether it was a convolution (or else a dense layer).
    pub convolution: bool,
    /// Bits of a weight.
    pub bits: Bitwidth,
    /// The layout of the weights.
    pub layout: Layout,
    /// Weights of one output channel.
    pub columns: u32,
    /// The first byte of the output that differs.
    pub index: u32,
    /// What the portable kernel says.
    pub expected: u8,
    /// What this core's kernel says.
    pub found: u8,
}

/// Runs `rounds` random layers with the kernels of `class`: on a board, of [`CoreClass::HERE`].
///
/// # Errors
/// The first [`Mismatch`].
///
/// # Panics
/// If `memory` is smaller than [`MEMORY`] or not aligned to 16 bytes.
pub fn run(class: CoreClass, seed: u64, rounds: u32, memory: &mut [u8]) -> Result<(), Mismatch> {
    let mut random = Random::new(seed);
    for round in 0..rounds {
        if random.one_in(2) {
            check_conv2d(class, &mut random, memory).map_err(|mismatch| Mismatch { round, ..mismatch })?;
        } else {
            check_dense(class, &mut random, memory).map_err(|mismatch| Mismatch { round, ..mismatch })?;
        }
    }
    Ok(())
}

/// Cuts pieces of 4-byte multiples off some memory.
struct Pieces<'a>(&'a mut [u8]);

impl<'a> Pieces<'a> {
    fn take(&mut self, len: usize) -> &'a mut [u8] {
        let (piece, rest) = core::mem::take(&mut self.0).split_at_mut(len.next_multiple_of(16));
        self.0 = rest;
        &mut piece[..len]
    }
}

fn check_conv2d(class: CoreClass, random: &mut Random, memory: &mut [u8]) -> Result<(), Mismatch> {
    let [mut height, mut width] = [random.within(1..=9), random.within(1..=9)];
    let depthwise = random.one_in(3);
    let channels =
        [random.within(1..=3), 4 * random.within(1..=5), random.within(1..=13)][random.within(0..=2) as usize];
    let channels = if depthwise { channels.min(9) } else { channels };
    let kernel = [random.within(1..=5.min(height)), random.within(1..=5.min(width))];
    let stride = [random.within(1..=2), random.within(1..=2)];
    let pad = |random: &mut Random, kernel: u32| if random.one_in(2) { 0 } else { random.within(0..=kernel - 1) };
    let padding = [kernel[0], kernel[1], kernel[0], kernel[1]].map(|kernel| pad(random, kernel));
    let tensor = |height: u32, width: u32, channels: u32, kind, zero_point| Tensor {
        offset: 0,
        height: height as u16,
        width: width as u16,
        channels: channels as u16,
        kind,
        zero_point,
    };
    let input = tensor(height, width, channels, TensorKind::U8, random.byte());
    height = (height + padding[0] + padding[2] - kernel[0]) / stride[0] + 1;
    width = (width + padding[1] + padding[3] - kernel[1]) / stride[1] + 1;
    let pool = random.one_in(if depthwise { 8 } else { 2 }).then(|| {
        let size = [random.within(1..=3.min(height)), random.within(1..=3.min(width))];
        let stride = [random.within(1..=2), random.within(1..=2)];
        (height, width) = ((height - size[0]) / stride[0] + 1, (width - size[1]) / stride[1] + 1);
        FusedPool { size: size.map(|n| n as u8), stride: stride.map(|n| n as u8) }
    });
    let outputs = if depthwise { channels * random.within(1..=9 / channels) } else { random.within(1..=9) };
    let kind = if random.one_in(5) { TensorKind::I32 } else { TensorKind::U8 };
    let output = tensor(height, width, outputs, kind, if kind == TensorKind::U8 { random.byte() } else { 0 });
    let op = Conv2d {
        name: "",
        input,
        output,
        kernel: kernel.map(|n| n as u8),
        stride: stride.map(|n| n as u8),
        padding: padding.map(|n| n as u8),
        groups: if depthwise { channels as u16 } else { 1 },
        pool,
        activation: activation(random),
        weights: weights(random, [Layout::LaneRows, Layout::TwinRows, Layout::WideRows, Layout::Stacks]),
    };
    let columns = op.columns() as usize;
    let mut pieces = Pieces(memory);
    let matrix = matrix(random, &mut pieces, &op.weights, outputs as usize, columns);
    let activations = pieces.take(op.input.elements() as usize);
    random.fill(activations, u8::MAX);
    let (found, expected) = (pieces.take(op.output.bytes() as usize), pieces.take(op.output.bytes() as usize));
    let scratch = pieces.0;
    let rubbish = random.byte();
    scratch.fill(rubbish);
    portable::conv2d(&op, &matrix, Places { input: activations, output: expected, scratch });
    let len = kernels::scratch_bytes(&Op::Conv2d(op), class);
    kernels::conv2d_on(class, &op, &matrix, Places { input: activations, output: found, scratch: &mut scratch[..len] });
    compare(&op.weights, columns, true, expected, found)
}

fn check_dense(class: CoreClass, random: &mut Random, memory: &mut [u8]) -> Result<(), Mismatch> {
    let inputs = [random.within(1..=40), random.within(1..=300)][random.within(0..=1) as usize];
    let outputs = random.within(1..=20);
    let kind = if random.one_in(3) { TensorKind::I32 } else { TensorKind::U8 };
    let tensor =
        |channels: u32, kind| Tensor { offset: 0, height: 1, width: 1, channels: channels as u16, kind, zero_point: 0 };
    let op = Dense {
        name: "",
        input: tensor(inputs, TensorKind::U8),
        output: tensor(outputs, kind),
        activation: activation(random),
        weights: weights(
            random,
            [Layout::LaneQuads, Layout::TwinQuads, Layout::Duos, Layout::WideRows, Layout::Stacks],
        ),
    };
    let mut pieces = Pieces(memory);
    let matrix = matrix(random, &mut pieces, &op.weights, outputs as usize, inputs as usize);
    let odd = random.within(0..=3) as usize;
    let activations = &mut pieces.take(inputs as usize + odd)[odd..];
    random.fill(activations, u8::MAX);
    let (found, expected) = (pieces.take(op.output.bytes() as usize), pieces.take(op.output.bytes() as usize));
    let scratch = pieces.0;
    portable::dense(&op, &matrix, Places { input: activations, output: expected, scratch });
    let len = kernels::scratch_bytes(&Op::Dense(op), class);
    kernels::dense_on(class, &op, &matrix, Places { input: activations, output: found, scratch: &mut scratch[..len] });
    compare(&op.weights, inputs as usize, false, expected, found)
}

fn activation(random: &mut Random) -> Activation {
    let (a, b) = (random.byte(), random.byte());
    if random.one_in(2) { Activation::FULL } else { Activation { min: a.min(b), max: a.max(b) } }
}

/// Weights of one of the layouts that hold them, or now and then of the bitstream, without sections.
fn weights<const N: usize>(random: &mut Random, layouts: [Layout; N]) -> Weights {
    let bits = Bitwidth::all().nth(random.within(0..=7) as usize).unwrap_or(Bitwidth::MAX);
    let chosen = layouts.get(random.within(0..=3 * N as u32) as usize / 3);
    let layout = chosen.copied().filter(|layout| layout.holds(bits)).unwrap_or(Layout::Bitstream);
    let z = random.within(0..=2 * u32::from(bits.max_code())) as u16;
    Weights { bits, z, layout, codes: Section::default(), channels: ChannelTable::default() }
}

/// Random codes, biases and scales.
fn matrix<'a>(
    random: &mut Random,
    pieces: &mut Pieces<'a>,
    weights: &Weights,
    rows: usize,
    columns: usize,
) -> Matrix<'a> {
    let Weights { bits, z, layout, .. } = *weights;
    let codes = pieces.take(layout.section_len(rows, columns, bits).unwrap_or(0));
    random.fill(codes, u8::MAX);
    let bias: &mut [i32] = bytemuck::cast_slice_mut(pieces.take(rows * 4));
    let multiplier: &mut [i32] = bytemuck::cast_slice_mut(pieces.take(rows * 4));
    let shift = pieces.take(rows);
    let reach = (columns as u32) << (bits.get() + 8);
    let scale = Requantize::from_scale(255.0 / f64::from(reach)).map_or(40, |scale| scale.shift);
    for row in 0..rows {
        bias[row] = random.within(0..=reach) as i32 - (reach / 2) as i32;
        multiplier[row] = random.within(0..=i32::MAX as u32) as i32;
        shift[row] = scale.clamp(MIN_CHANNEL_SHIFT, MAX_SHIFT);
        if random.one_in(8) {
            shift[row] = random.within(MIN_CHANNEL_SHIFT.into()..=MAX_SHIFT.into()) as u8;
        }
    }
    Matrix { bits, z: i32::from(z), layout, columns, codes, bias, multiplier, shift }
}

fn compare(
    weights: &Weights,
    columns: usize,
    convolution: bool,
    expected: &[u8],
    found: &[u8],
) -> Result<(), Mismatch> {
    match expected.iter().zip(found).position(|(expected, found)| expected != found) {
        None => Ok(()),
        Some(index) => Err(Mismatch {
            round: 0,
            convolution,
            bits: weights.bits,
            layout: weights.layout,
            columns: columns as u32,
            index: index as u32,
            expected: expected[index],
            found: found[index],
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_of_core_computes_what_the_portable_kernels_do() {
        for class in CoreClass::ALL {
            let mut memory = [0u128; MEMORY / 16];
            assert_eq!(run(class, 1, 20_000, bytemuck::cast_slice_mut(&mut memory)), Ok(()), "{class:?}");
        }
    }
}
