//! MobileNet, version 1 (arXiv 1704.04861): thirteen pairs of a depthwise and a 1x1 convolution.

use super::super::{Graph, GraphBuilder, GraphError, NodeId, Op, Shape};
use super::blocks::{Built, conv_norm, dense};

/// 32 x 32 images, 10 classes: the first two strides are 1.
pub(super) fn build() -> Result<Graph, GraphError> {
    network("mobilenetv1", 32, 10, 2, 1)
}

/// 224 x 224 images, 1,000 classes.
pub(super) fn build_imagenet() -> Result<Graph, GraphError> {
    network("mobilenetv1-imagenet", 224, 1000, 0, 1)
}

/// A quarter of the width, 96 x 96 images, 2 classes: MLPerf Tiny's network that tells whether a person is there.
pub(super) fn build_tiny() -> Result<Graph, GraphError> {
    network("mobilenetv1-tiny", 96, 2, 0, 4)
}

/// `flat` of the strided layers have stride 1 instead, the first ones; channels are the published ones divided by `narrow`.
fn network(name: &str, size: usize, classes: usize, flat: usize, narrow: usize) -> Result<Graph, GraphError> {
    let (mut net, input) = GraphBuilder::new(name, Shape { channels: 3, height: size, width: size });
    let mut strided = 0;
    let mut stride_of = |stride: usize| {
        strided += usize::from(stride > 1);
        if stride > 1 && strided <= flat { 1 } else { stride }
    };
    let x = conv_norm(&mut net, "conv1", 32 / narrow, 3, stride_of(2), input)?;
    let mut x = net.push("relu_conv1", Op::Relu, &[x])?;
    let mut channels = 32 / narrow;
    let pairs = [
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        (512, 1),
        (512, 1),
        (512, 1),
        (512, 1),
        (512, 1),
        (1024, 2),
        (1024, 1),
    ];
    for (index, (out_channels, stride)) in pairs.into_iter().enumerate() {
        let (pair, out_channels) = (index + 1, out_channels / narrow);
        x = depthwise(&mut net, &format!("depthwise{pair}"), channels, stride_of(stride), x)?;
        let point = conv_norm(&mut net, &format!("pointwise{pair}"), out_channels, 1, 1, x)?;
        x = net.push(&format!("relu_pointwise{pair}"), Op::Relu, &[point])?;
        channels = out_channels;
    }
    let x = net.push("pool", Op::GlobalAvgPool, &[x])?;
    net.push("fc", dense(classes), &[x])?;
    net.finish()
}

/// A 3x3 convolution of each channel by itself, with batch norm and ReLU.
fn depthwise(net: &mut GraphBuilder, name: &str, channels: usize, stride: usize, input: NodeId) -> Built {
    let op = Op::Conv2d {
        out_channels: channels,
        kernel: (3, 3),
        stride: (stride, stride),
        padding: (1, 1),
        groups: channels,
        bias: false,
    };
    let conv = net.push(name, op, &[input])?;
    let norm = net.push(&format!("bn_{name}"), Op::BatchNorm { epsilon: 1e-5 }, &[conv])?;
    net.push(&format!("relu_{name}"), Op::Relu, &[norm])
}
