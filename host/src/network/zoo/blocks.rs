//! Pieces that several networks of the zoo are made of.

use super::super::{GraphBuilder, GraphError, NodeId, Op};

pub(super) type Built = Result<NodeId, GraphError>;

/// A square convolution of stride 1 with a bias, "valid" or padded by `padding`.
pub(super) const fn conv(out_channels: usize, kernel: usize, padding: usize) -> Op {
    Op::Conv2d {
        out_channels,
        kernel: (kernel, kernel),
        stride: (1, 1),
        padding: (padding, padding),
        groups: 1,
        bias: true,
    }
}

/// Max pooling of 2 x 2, stride 2.
pub(super) const MAX_POOL_2: Op = Op::MaxPool { size: (2, 2), stride: (2, 2) };

pub(super) const fn dense(outputs: usize) -> Op {
    Op::Dense { outputs, bias: true }
}

/// An operation followed by a ReLU called `relu_…`.
pub(super) fn with_relu(builder: &mut GraphBuilder, name: &str, op: Op, input: NodeId) -> Built {
    let output = builder.push(name, op, &[input])?;
    builder.push(&format!("relu_{name}"), Op::Relu, &[output])
}

/// Convolution without bias, then batch norm `bn_…`: what residual networks are made of.
pub(super) fn conv_norm(
    builder: &mut GraphBuilder,
    name: &str,
    out_channels: usize,
    kernel: usize,
    stride: usize,
    input: NodeId,
) -> Built {
    let padding = kernel / 2;
    let op = Op::Conv2d {
        out_channels,
        kernel: (kernel, kernel),
        stride: (stride, stride),
        padding: (padding, padding),
        groups: 1,
        bias: false,
    };
    let output = builder.push(name, op, &[input])?;
    builder.push(&format!("bn_{name}"), Op::BatchNorm { epsilon: 1e-5 }, &[output])
}

/// A basic residual block of two 3x3 convolutions; where the shape changes the shortcut is a 1x1 convolution.
pub(super) fn residual(
    builder: &mut GraphBuilder,
    name: &str,
    out_channels: usize,
    stride: usize,
    project: bool,
    input: NodeId,
) -> Built {
    let first = conv_norm(builder, &format!("{name}_conv1"), out_channels, 3, stride, input)?;
    let first = builder.push(&format!("relu_{name}_conv1"), Op::Relu, &[first])?;
    let second = conv_norm(builder, &format!("{name}_conv2"), out_channels, 3, 1, first)?;
    let shortcut =
        if project { conv_norm(builder, &format!("{name}_shortcut"), out_channels, 1, stride, input)? } else { input };
    let sum = builder.push(&format!("{name}_add"), Op::Add, &[second, shortcut])?;
    builder.push(&format!("relu_{name}"), Op::Relu, &[sum])
}
