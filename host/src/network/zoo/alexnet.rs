//! AlexNet in its one-tower form (arXiv 1404.5997): for ImageNet, and the usual small form for 32 x 32 images.

use super::super::{Graph, GraphBuilder, GraphError, NodeId, Op, Shape};
use super::blocks::{MAX_POOL_2, conv, dense, with_relu};

/// 32 x 32 images, 10 classes: the poolings are 2 x 2, and one dense layer is left.
pub(super) fn build() -> Result<Graph, GraphError> {
    let (mut net, input) = GraphBuilder::new("alexnet", Shape { channels: 3, height: 32, width: 32 });
    let x = features(&mut net, input, 5, MAX_POOL_2)?;
    let x = net.push("flatten", Op::Flatten, &[x])?;
    net.push("fc", dense(10), &[x])?;
    net.finish()
}

/// 224 x 224 images, 1,000 classes.
pub(super) fn build_imagenet() -> Result<Graph, GraphError> {
    let (mut net, input) = GraphBuilder::new("alexnet-imagenet", Shape { channels: 3, height: 224, width: 224 });
    let x = features(&mut net, input, 2, Op::MaxPool { size: (3, 3), stride: (2, 2) })?;
    let x = net.push("flatten", Op::Flatten, &[x])?;
    let x = with_relu(&mut net, "fc1", dense(4096), x)?;
    let x = with_relu(&mut net, "fc2", dense(4096), x)?;
    net.push("fc3", dense(1000), &[x])?;
    net.finish()
}

fn features(net: &mut GraphBuilder, input: NodeId, padding: usize, pool: Op) -> Result<NodeId, GraphError> {
    let first = Op::Conv2d {
        out_channels: 64,
        kernel: (11, 11),
        stride: (4, 4),
        padding: (padding, padding),
        groups: 1,
        bias: true,
    };
    let x = with_relu(net, "conv1", first, input)?;
    let x = net.push("pool1", pool, &[x])?;
    let x = with_relu(net, "conv2", conv(192, 5, 2), x)?;
    let x = net.push("pool2", pool, &[x])?;
    let x = with_relu(net, "conv3", conv(384, 3, 1), x)?;
    let x = with_relu(net, "conv4", conv(256, 3, 1), x)?;
    let x = with_relu(net, "conv5", conv(256, 3, 1), x)?;
    net.push("pool5", pool, &[x])
}
