//! The checks behind [`Blob::new_checked`]: after them an engine may index without looking.

use super::{
    Activation, Add, Blob, BlobError, Conv2d, Dense, Op, OpProblem, Pool, PoolKind, Section, Tensor, TensorKind,
    Weights,
};
use crate::requantize::{MAX_SHIFT, MIN_CHANNEL_SHIFT};

type Checked = Result<(), OpProblem>;

/// Checks every operation and that they form one network from the header's input to its output.
pub(super) fn check(blob: &Blob<'_>) -> Result<(), BlobError> {
    let mut ops = blob.ops();
    let mut index: u16 = 0;
    let mut last = None;
    while let Some(read) = ops.read() {
        let at = |problem| BlobError::Op { index, problem };
        let op = read.ok_or(at(OpProblem::Malformed))?;
        check_op(blob, &op).map_err(at)?;
        check_inputs_are_written(blob, index, &op).map_err(at)?;
        last = Some(op);
        index += 1;
    }
    let header = blob.header();
    let ends_meet = last.is_some_and(|op| *op.output() == header.output);
    if !ends_meet || header.output.kind != TensorKind::I32 || header.input.kind != TensorKind::U8 {
        return Err(BlobError::EndsMismatch);
    }
    check_tensor(blob, &header.input).map_err(|problem| BlobError::Op { index: 0, problem })?;
    if ops.has_trailing_bytes() { Err(BlobError::MalformedHeader) } else { Ok(()) }
}

fn check_op(blob: &Blob<'_>, op: &Op<'_>) -> Checked {
    for tensor in op.inputs() {
        check_tensor(blob, tensor)?;
        require(tensor.kind == TensorKind::U8, OpProblem::TensorKind)?;
    }
    check_tensor(blob, op.output())?;
    match op {
        Op::Conv2d(op) => check_conv2d(blob, op),
        Op::Dense(op) => check_dense(blob, op),
        Op::Pool(op) => check_pool(op),
        Op::Add(op) => check_add(op),
    }
}

fn require(holds: bool, problem: OpProblem) -> Checked {
    if holds { Ok(()) } else { Err(problem) }
}

fn check_tensor(blob: &Blob<'_>, tensor: &Tensor) -> Checked {
    require(tensor.elements() > 0, OpProblem::ZeroDimension)?;
    let outside =
        OpProblem::OutsideArena { offset: tensor.offset, len: u32::try_from(tensor.bytes()).unwrap_or(u32::MAX) };
    require(u64::from(tensor.offset) + tensor.bytes() <= u64::from(blob.header().arena_bytes), outside)?;
    match tensor.kind {
        TensorKind::U8 => Ok(()),
        TensorKind::I32 => {
            require(tensor.offset.is_multiple_of(4), OpProblem::TensorMisaligned { offset: tensor.offset })?;
            require(tensor.zero_point == 0, OpProblem::TensorKind)
        }
    }
}

fn overlap(a: &Tensor, b: &Tensor) -> bool {
    let end = |tensor: &Tensor| u64::from(tensor.offset) + tensor.bytes();
    u64::from(a.offset) < end(b) && u64::from(b.offset) < end(a)
}

/// Each input must be, whole and unharmed, what the last operation that touched its bytes has written, or the
/// network's input if none has.
fn check_inputs_are_written(blob: &Blob<'_>, index: u16, op: &Op<'_>) -> Checked {
    for input in op.inputs() {
        let mut holds = *input == blob.header().input;
        for earlier in blob.ops().take(usize::from(index)) {
            if overlap(earlier.output(), input) {
                holds = earlier.output() == input;
            }
        }
        require(holds, OpProblem::ReadsUnwritten)?;
    }
    Ok(())
}

fn check_activation(activation: Activation, output: &Tensor) -> Checked {
    require(activation.min <= activation.max || output.kind == TensorKind::I32, OpProblem::ActivationRange)
}

fn check_conv2d(blob: &Blob<'_>, op: &Conv2d<'_>) -> Checked {
    let positive = op.kernel.iter().chain(&op.stride).all(|&n| n > 0) && op.groups > 0;
    require(positive, OpProblem::ZeroDimension)?;
    let (input, output, groups) = (&op.input, &op.output, op.groups);
    let depthwise = groups == input.channels && output.channels.is_multiple_of(groups);
    require(groups == 1 || depthwise, OpProblem::Groups)?;
    // A window that lies wholly in the padding would make no sense, and kernels may count on that.
    let padding_fits = (0..4).all(|side| op.padding[side] < op.kernel[side % 2]);
    require(padding_fits, OpProblem::Shape)?;
    let (mut height, mut width) = op.convolved().ok_or(OpProblem::Shape)?;
    if let Some(pool) = op.pool {
        (height, width) = pooled((height, width), pool.size, pool.stride)?;
    }
    let shape = (u32::from(output.height), u32::from(output.width));
    require((height, width) == shape, OpProblem::Shape)?;
    require(!overlap(input, output), OpProblem::Overlap)?;
    check_activation(op.activation, output)?;
    check_weights(blob, &op.weights, op.output.channels, u64::from(op.columns()))
}

fn check_dense(blob: &Blob<'_>, op: &Dense<'_>) -> Checked {
    require(op.output.height == 1 && op.output.width == 1, OpProblem::Shape)?;
    require(!overlap(&op.input, &op.output), OpProblem::Overlap)?;
    check_activation(op.activation, &op.output)?;
    check_weights(blob, &op.weights, op.output.channels, op.input.elements())
}

/// Height and width behind a pooling without padding.
fn pooled((height, width): (u32, u32), size: [u8; 2], stride: [u8; 2]) -> Result<(u32, u32), OpProblem> {
    require(size.iter().chain(&stride).all(|&n| n > 0), OpProblem::ZeroDimension)?;
    let along = |len: u32, size: u8, stride: u8| {
        Ok(len.checked_sub(u32::from(size)).ok_or(OpProblem::Shape)? / u32::from(stride) + 1)
    };
    Ok((along(height, size[0], stride[0])?, along(width, size[1], stride[1])?))
}

fn check_pool(op: &Pool<'_>) -> Checked {
    let (input, output) = (&op.input, &op.output);
    require(output.kind == TensorKind::U8, OpProblem::TensorKind)?;
    let shape = pooled((input.height.into(), input.width.into()), op.size, op.stride)?;
    require(shape == (output.height.into(), output.width.into()), OpProblem::Shape)?;
    require(input.channels == output.channels, OpProblem::Shape)?;
    require(!overlap(input, output), OpProblem::Overlap)?;
    match op.kind {
        PoolKind::Max => require(input.zero_point == output.zero_point, OpProblem::TensorKind),
        PoolKind::Average(scale) => require(
            scale.multiplier >= 0 && (1..=MAX_SHIFT).contains(&scale.shift),
            OpProblem::Multiplier { channel: 0 },
        ),
    }
}

fn check_add(op: &Add<'_>) -> Checked {
    let shape = |tensor: &Tensor| (tensor.height, tensor.width, tensor.channels);
    require(op.output.kind == TensorKind::U8, OpProblem::TensorKind)?;
    for input in &op.inputs {
        require(shape(input) == shape(&op.output), OpProblem::Shape)?;
        // In place is fine, partly over one another is not.
        require(input.offset == op.output.offset || !overlap(input, &op.output), OpProblem::Overlap)?;
    }
    let scales = op.multipliers.iter().all(|&multiplier| multiplier >= 0) && (1..=MAX_SHIFT).contains(&op.shift);
    require(scales, OpProblem::Multiplier { channel: 0 })?;
    check_activation(op.activation, &op.output)
}

fn check_section(blob: &Blob<'_>, section: Section, expected: u64) -> Checked {
    let Section { offset, len } = section;
    require(offset.is_multiple_of(4), OpProblem::SectionMisaligned { offset })?;
    let end = u64::from(offset) + u64::from(len);
    require(end <= blob.sections_len() as u64, OpProblem::SectionOutside { offset, len })?;
    let expected_len = u32::try_from(expected).unwrap_or(u32::MAX);
    require(u64::from(len) == expected, OpProblem::SectionLength { expected: expected_len, found: len })
}

fn check_weights(blob: &Blob<'_>, weights: &Weights, rows: u16, columns: u64) -> Checked {
    let max_code = u64::from(weights.bits.max_code());
    let z = u64::from(weights.z);
    require(z <= 2 * max_code, OpProblem::Zero { z: weights.z })?;
    require(weights.layout.holds(weights.bits), OpProblem::LayoutWidth { bits: weights.bits })?;
    let expected = usize::try_from(columns)
        .ok()
        .and_then(|columns| weights.layout.section_len(usize::from(rows), columns, weights.bits))
        .ok_or(OpProblem::AccumulatorOverflow { channel: 0 })?;
    check_section(blob, weights.codes, expected as u64)?;
    let rows_wide = u64::from(rows);
    check_section(blob, weights.channels.bias, rows_wide * 4)?;
    check_section(blob, weights.channels.multiplier, rows_wide * 4)?;
    check_section(blob, weights.channels.shift, rows_wide)?;
    let (bias, multiplier, shift) = blob.channels(&weights.channels);
    // |2u - z| is at most max(z, 2 max_code - z), |q| at most 255: every sum of the accumulator stays below this.
    let largest_sum = columns.saturating_mul(255).saturating_mul(z.max(2 * max_code - z));
    for (channel, ((bias, multiplier), shift)) in (0u32..).zip(bias.iter().zip(multiplier).zip(shift)) {
        require(
            *multiplier >= 0 && (MIN_CHANNEL_SHIFT..=MAX_SHIFT).contains(shift),
            OpProblem::Multiplier { channel },
        )?;
        let fits = largest_sum.saturating_add(u64::from(bias.unsigned_abs())) <= i32::MAX as u64;
        require(fits, OpProblem::AccumulatorOverflow { channel })?;
    }
    Ok(())
}
