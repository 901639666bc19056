//! What a blob means: the formulas of [`releq_shared::blob`]'s operations, one weight at a time, in 64 bits.
//!
//! It shares no code with the kernels: tensors are kept apart in vectors, padding is read as the zero point, pooling
//! takes the largest output and not the largest accumulator, and codes are read one by one.

use alloc::vec;
use alloc::vec::Vec;

use releq_shared::blob::{Activation, Add, Blob, Conv2d, Dense, Op, Pool, PoolKind, Tensor, TensorKind, Weights};

/// The logits of `blob` for `input`.
///
/// # Panics
/// If an accumulator does not fit 32 bits, which the check of a blob excludes.
#[must_use]
pub fn run(blob: &Blob<'_>, input: &[u8]) -> Vec<i32> {
    let mut written: Vec<(Tensor, Vec<i64>)> =
        vec![(blob.header().input, input.iter().map(|&q| i64::from(q)).collect())];
    for op in blob.ops() {
        let values = {
            let read = |tensor: &Tensor| -> &[i64] {
                let found = written.iter().rev().find(|(earlier, _)| earlier == tensor);
                &found.expect("a checked blob reads only what was written").1
            };
            match &op {
                Op::Conv2d(op) => conv2d(blob, op, read(&op.input)),
                Op::Dense(op) => dense(blob, op, read(&op.input)),
                Op::Pool(op) => pool(op, read(&op.input)),
                Op::Add(op) => add(op, [read(&op.inputs[0]), read(&op.inputs[1])]),
            }
        };
        written.push((*op.output(), values));
    }
    let (_, logits) = written.pop().expect("a checked blob has an operation");
    logits.into_iter().map(|logit| logit as i32).collect()
}

/// `2 u - z` of one weight.
fn weight(blob: &Blob<'_>, weights: &Weights, columns: usize, row: usize, column: usize) -> i64 {
    let code = weights.layout.code_at(blob.section(weights.codes), weights.bits, columns, row, column);
    2 * i64::from(code) - i64::from(weights.z)
}

/// `floor(value * multiplier / 2^shift + 1/2)`.
fn rescale(value: i64, multiplier: i32, shift: u8) -> i64 {
    let product = i128::from(value) * i128::from(multiplier);
    let rounded = (product + (1i128 << (shift - 1))).div_euclid(1i128 << shift);
    i64::from(rounded as i32)
}

fn finish(blob: &Blob<'_>, weights: &Weights, channel: usize, sum: i64, output: &Tensor, clamp: Activation) -> i64 {
    let (bias, multiplier, shift) = blob.channels(&weights.channels);
    let accumulator = sum + i64::from(bias[channel]);
    assert!(i32::try_from(accumulator).is_ok(), "the accumulator {accumulator} does not fit 32 bits");
    let value = rescale(accumulator, multiplier[channel], shift[channel]);
    match output.kind {
        TensorKind::I32 => value,
        TensorKind::U8 => (value + i64::from(output.zero_point)).clamp(clamp.min.into(), clamp.max.into()),
    }
}

/// The value at a row, column and channel, the zero point where that is outside.
fn at(values: &[i64], tensor: &Tensor, y: i64, x: i64, channel: usize) -> i64 {
    if y < 0 || x < 0 || y >= i64::from(tensor.height) || x >= i64::from(tensor.width) {
        return i64::from(tensor.zero_point);
    }
    values[(y as usize * usize::from(tensor.width) + x as usize) * usize::from(tensor.channels) + channel]
}

fn conv2d(blob: &Blob<'_>, op: &Conv2d<'_>, input: &[i64]) -> Vec<i64> {
    let per_group = usize::from(op.input.channels / op.groups);
    let outputs_per_group = usize::from(op.output.channels / op.groups);
    let [kernel_rows, kernel_columns] = op.kernel.map(usize::from);
    let one = |y: u32, x: u32, channel: usize| {
        let group = channel / outputs_per_group;
        let mut sum = 0;
        for row in 0..kernel_rows {
            for column in 0..kernel_columns {
                for c in 0..per_group {
                    let in_y = i64::from(y) * i64::from(op.stride[0]) + row as i64 - i64::from(op.padding[0]);
                    let in_x = i64::from(x) * i64::from(op.stride[1]) + column as i64 - i64::from(op.padding[1]);
                    let q = at(input, &op.input, in_y, in_x, group * per_group + c);
                    let k = (row * kernel_columns + column) * per_group + c;
                    sum += weight(blob, &op.weights, op.columns() as usize, channel, k) * q;
                }
            }
        }
        finish(blob, &op.weights, channel, sum, &op.output, op.activation)
    };
    let ([pool_rows, pool_columns], [pool_down, pool_right]) =
        op.pool.map_or(([1, 1], [1, 1]), |pool| (pool.size, pool.stride));
    elements(&op.output, |y, x, channel| {
        let window = (0..u32::from(pool_rows)).flat_map(|row| (0..u32::from(pool_columns)).map(move |col| (row, col)));
        let outputs =
            window.map(|(row, col)| one(y * u32::from(pool_down) + row, x * u32::from(pool_right) + col, channel));
        outputs.max().expect("a window is not empty")
    })
}

fn dense(blob: &Blob<'_>, op: &Dense<'_>, input: &[i64]) -> Vec<i64> {
    elements(&op.output, |_, _, channel| {
        let terms = input.iter().enumerate();
        let sum = terms.map(|(i, q)| weight(blob, &op.weights, input.len(), channel, i) * q).sum();
        finish(blob, &op.weights, channel, sum, &op.output, op.activation)
    })
}

fn pool(op: &Pool<'_>, input: &[i64]) -> Vec<i64> {
    elements(&op.output, |y, x, channel| {
        let mut window = Vec::new();
        for row in 0..u32::from(op.size[0]) {
            for column in 0..u32::from(op.size[1]) {
                let (in_y, in_x) = (y * u32::from(op.stride[0]) + row, x * u32::from(op.stride[1]) + column);
                window.push(at(input, &op.input, in_y.into(), in_x.into(), channel));
            }
        }
        match op.kind {
            PoolKind::Max => window.into_iter().max().expect("a window is not empty"),
            PoolKind::Average(scale) => {
                let sum = window.iter().map(|q| q - i64::from(op.input.zero_point)).sum();
                (rescale(sum, scale.multiplier, scale.shift) + i64::from(op.output.zero_point)).clamp(0, 255)
            }
        }
    })
}

fn add(op: &Add<'_>, [a, b]: [&[i64]; 2]) -> Vec<i64> {
    let [zero_a, zero_b] = op.inputs.map(|tensor| i64::from(tensor.zero_point));
    let [multiplier_a, multiplier_b] = op.multipliers.map(i64::from);
    let sums = a.iter().zip(b).map(|(a, b)| {
        let sum = rescale((a - zero_a) * multiplier_a + (b - zero_b) * multiplier_b, 1, op.shift);
        (sum + i64::from(op.output.zero_point)).clamp(op.activation.min.into(), op.activation.max.into())
    });
    sums.collect()
}

/// Every element of `tensor` in its order: rows, columns, channels.
fn elements(tensor: &Tensor, element: impl Fn(u32, u32, usize) -> i64) -> Vec<i64> {
    let mut values = Vec::new();
    for y in 0..u32::from(tensor.height) {
        for x in 0..u32::from(tensor.width) {
            for channel in 0..usize::from(tensor.channels) {
                values.push(element(y, x, channel));
            }
        }
    }
    values
}
