//! Random networks: valid blobs that reach every operation, bitwidth and layout, odd shapes, and the extremes of values.

use alloc::vec;
use alloc::vec::Vec;

use releq_shared::Bitwidth;
use releq_shared::blob::{
    Activation, Add, BlobWriter, Channels, Conv2d, Dense, FusedPool, Header, Op, Pool, PoolKind, Provenance, Tensor,
    TensorKind, Weights,
};
use releq_shared::layout::Layout;
use releq_shared::requantize::{MAX_SHIFT, Requantize};

use crate::random::Random;

/// How large a random network may become.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Operations before the last one.
    pub ops: u32,
    /// Rows and columns of the input.
    pub side: u32,
    /// Channels of any tensor.
    pub channels: u32,
    /// Rows and columns of any kernel or window.
    pub kernel: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { ops: 4, side: 10, channels: 9, kernel: 5 }
    }
}

/// The blob of `seed`.
///
/// # Panics
/// If the network that was made up is not valid: a bug here or in the check of blobs.
#[must_use]
pub fn random_network(seed: u64, limits: Limits) -> Vec<u8> {
    let mut builder = Builder { random: Random::new(seed), limits, writer: BlobWriter::new(), end: 0, written: vec![] };
    let side = 1..=limits.side;
    let shape = [builder.random.within(side.clone()), builder.random.within(side), builder.dimension(limits.channels)];
    let input = builder.place(shape.map(|n| n as u16), TensorKind::U8);
    builder.written.push(input);
    for _ in 0..builder.random.within(0..=limits.ops) {
        match builder.random.within(0..=9) {
            0..=4 => builder.conv2d(TensorKind::U8),
            5 => builder.dense(TensorKind::U8),
            6 | 7 => builder.pool(),
            _ => builder.add(),
        }
    }
    if builder.random.one_in(3) {
        builder.conv2d(TensorKind::I32)
    } else {
        builder.dense(TensorKind::I32)
    }
    let output = builder.last();
    let arena_bytes = builder.end + builder.random.within(0..=5);
    let provenance = Provenance { version: "0", seed, config_hash: 0 };
    let header = Header {
        network: "random",
        dataset: "random",
        labels: "",
        input,
        input_scale: 1.0,
        output,
        output_scale: 1.0,
        arena_bytes,
        op_count: 0,
        provenance,
    };
    builder.writer.finish(&header).expect("a random network is valid")
}

struct Builder {
    random: Random,
    limits: Limits,
    writer: BlobWriter,
    /// Where the arena's free part starts.
    end: u32,
    written: Vec<Tensor>,
}

impl Builder {
    /// A dimension of 1..=`max`: small ones and the largest are more likely than the rest.
    fn dimension(&mut self, max: u32) -> u32 {
        match self.random.within(0..=5) {
            0 => 1,
            1 => max,
            _ => self.random.within(1..=max),
        }
    }

    fn last(&self) -> Tensor {
        *self.written.last().expect("the input is there")
    }

    /// A new tensor behind all others, at an odd place if it may.
    fn place(&mut self, [height, width, channels]: [u16; 3], kind: TensorKind) -> Tensor {
        let zero_point = if kind == TensorKind::U8 { self.zero_point() } else { 0 };
        let gap = self.random.within(0..=3);
        let offset = if kind == TensorKind::U8 { self.end + gap } else { self.end.next_multiple_of(4) };
        let tensor = Tensor { offset, height, width, channels, kind, zero_point };
        self.end = offset + tensor.bytes() as u32;
        tensor
    }

    fn zero_point(&mut self) -> u8 {
        if self.random.one_in(3) { 0 } else { self.random.byte() }
    }

    fn activation(&mut self, zero_point: u8) -> Activation {
        let (a, b) = (self.random.byte(), self.random.byte());
        match self.random.within(0..=2) {
            0 => Activation { min: a.min(b), max: a.max(b) },
            1 => Activation { min: zero_point, max: u8::MAX },
            _ => Activation::FULL,
        }
    }

    fn weights(&mut self, rows: u32, columns: u32) -> Weights {
        let bits = Bitwidth::new(self.random.within(1..=8) as u8).expect("1 to 8");
        let fitting: Vec<Layout> = Layout::ALL.into_iter().filter(|layout| layout.holds(bits)).collect();
        let layout = fitting[self.random.within(0..=fitting.len() as u32 - 1) as usize];
        let mut codes = vec![0; (rows * columns) as usize];
        self.random.fill(&mut codes, bits.max_code());
        let max_z = 2 * u32::from(bits.max_code());
        let z =
            [0, max_z, u32::from(bits.max_code()), self.random.within(0..=max_z)][self.random.within(0..=3) as usize];
        let largest_sum = columns * 255 * z.max(max_z - z);
        // Outputs spread over the whole range and a bit beyond it.
        let spread = 255.0 / f64::from(largest_sum.max(1));
        let mut bias = Vec::new();
        let mut scale = Vec::new();
        for _ in 0..rows {
            let magnitude = if self.random.one_in(8) { i32::MAX as u32 - largest_sum } else { largest_sum };
            let size = self.random.within(0..=magnitude.min(i32::MAX as u32 - largest_sum)) as i32;
            bias.push(if self.random.one_in(2) { size } else { -size });
            scale.push(match self.random.within(0..=9) {
                0 => Requantize {
                    multiplier: self.random.within(0..=i32::MAX as u32) as i32,
                    shift: self.random.within(33..=MAX_SHIFT.into()) as u8,
                },
                1 => Requantize { multiplier: i32::MAX, shift: 33 },
                _ => {
                    let factor = f64::from(self.random.within(1..=4096)) / 1024.0;
                    Requantize::from_scale((spread * factor).min(0.2499)).expect("a small scale")
                }
            });
        }
        let section = self.writer.section(&layout.pack(&codes, rows as usize, columns as usize, bits));
        let channels = self.writer.channels(Channels { bias: &bias, scale: &scale });
        Weights { bits, z: z as u16, layout, codes: section, channels }
    }

    /// One dimension of a window over `len` padded elements: its size and stride.
    fn window(&mut self, len: u32) -> (u8, u8) {
        let size = self.dimension(self.limits.kernel.min(len));
        (size as u8, self.random.within(1..=3) as u8)
    }

    fn conv2d(&mut self, kind: TensorKind) {
        let input = self.last();
        let channels = u32::from(input.channels);
        let depthwise = self.random.one_in(4);
        let out_channels = match depthwise {
            true => channels * self.random.within(1..=2),
            false => self.dimension(self.limits.channels),
        };
        let mut along = |len: u16| {
            let len = u32::from(len);
            let (kernel, stride) = self.window(len);
            let pad = |random: &mut Random| if random.one_in(2) { 0 } else { random.within(0..=kernel as u32 - 1) };
            let (before, after) = (pad(&mut self.random), pad(&mut self.random));
            let convolved = (len + before + after - u32::from(kernel)) / u32::from(stride) + 1;
            (kernel, stride, before as u8, after as u8, convolved)
        };
        let (kernel_rows, down, top, bottom, height) = along(input.height);
        let (kernel_columns, right, left, after, width) = along(input.width);
        let pool = self.random.one_in(3).then(|| {
            let ((rows, down), (columns, right)) = (self.window(height), self.window(width));
            FusedPool { size: [rows, columns], stride: [down, right] }
        });
        let pooled = |len: u32, size: u8, stride: u8| (len - u32::from(size)) / u32::from(stride) + 1;
        let (height, width) = pool.map_or((height, width), |FusedPool { size, stride }| {
            (pooled(height, size[0], stride[0]), pooled(width, size[1], stride[1]))
        });
        let output = self.place([height as u16, width as u16, out_channels as u16], kind);
        let groups = if depthwise { input.channels } else { 1 };
        let columns = u32::from(kernel_rows) * u32::from(kernel_columns) * (channels / u32::from(groups));
        let weights = self.weights(out_channels, columns);
        let activation = self.activation(output.zero_point);
        self.push(Op::Conv2d(Conv2d {
            name: "conv",
            input,
            output,
            kernel: [kernel_rows, kernel_columns],
            stride: [down, right],
            padding: [top, left, bottom, after],
            groups,
            pool,
            activation,
            weights,
        }));
    }

    fn dense(&mut self, kind: TensorKind) {
        let input = self.last();
        let outputs = self.dimension(self.limits.channels * 2);
        let output = self.place([1, 1, outputs as u16], kind);
        let weights = self.weights(outputs, input.elements() as u32);
        let activation = self.activation(output.zero_point);
        self.push(Op::Dense(Dense { name: "dense", input, output, activation, weights }));
    }

    fn pool(&mut self) {
        let input = self.last();
        let ((rows, down), (columns, right)) = (self.window(input.height.into()), self.window(input.width.into()));
        let pooled = |len: u16, size: u8, stride: u8| (len - u16::from(size)) / u16::from(stride) + 1;
        let shape = [pooled(input.height, rows, down), pooled(input.width, columns, right), input.channels];
        let mut output = self.place(shape, TensorKind::U8);
        let kind = if self.random.one_in(2) {
            output.zero_point = input.zero_point;
            PoolKind::Max
        } else {
            let scale = f64::from(self.random.within(1..=2000)) / 1000.0 / f64::from(rows) / f64::from(columns);
            PoolKind::Average(Requantize::from_scale(scale).expect("a small scale"))
        };
        self.push(Op::Pool(Pool { name: "pool", input, output, kind, size: [rows, columns], stride: [down, right] }));
    }

    /// The sum of the last tensor and an earlier one of its shape, perhaps itself, perhaps in place of either.
    fn add(&mut self) {
        let a = self.last();
        let shape = |tensor: &Tensor| [tensor.height, tensor.width, tensor.channels];
        let fitting: Vec<Tensor> = self.written.iter().filter(|b| shape(b) == shape(&a)).copied().collect();
        let b = fitting[self.random.within(0..=fitting.len() as u32 - 1) as usize];
        let inputs = if self.random.one_in(2) { [a, b] } else { [b, a] };
        let output = match self.random.within(0..=2) {
            0 => self.place(shape(&a), TensorKind::U8),
            which => {
                let target = inputs[which as usize - 1];
                // What lay there is gone.
                self.written.retain(|tensor| tensor.offset != target.offset);
                Tensor { zero_point: self.zero_point(), ..target }
            }
        };
        let shift = self.random.within(1..=MAX_SHIFT.into()) as u8;
        let multiplier = |random: &mut Random| {
            let size = random.within(0..=u32::from(shift)).min(31);
            (random.bits() & ((1u64 << size) - 1)) as i32 & i32::MAX
        };
        let multipliers = [multiplier(&mut self.random), multiplier(&mut self.random)];
        let activation = self.activation(output.zero_point);
        self.push(Op::Add(Add { name: "add", inputs, output, multipliers, shift, activation }));
    }

    fn push(&mut self, op: Op<'_>) {
        self.writer.push(&op).expect("an operation can be written");
        self.written.push(*op.output());
    }
}
