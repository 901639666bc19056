//! ResNet-8, MLPerf Tiny's image classification network: three basic blocks of 16, 32 and 64 feature maps.

use super::super::{Graph, GraphBuilder, GraphError, Op, Shape};
use super::blocks::{conv_norm, dense, residual};

pub(super) fn build() -> Result<Graph, GraphError> {
    let (mut net, input) = GraphBuilder::new("resnet8", Shape { channels: 3, height: 32, width: 32 });
    let x = conv_norm(&mut net, "conv1", 16, 3, 1, input)?;
    let mut x = net.push("relu_conv1", Op::Relu, &[x])?;
    for (name, channels, stride) in [("block1", 16, 1), ("block2", 32, 2), ("block3", 64, 2)] {
        x = residual(&mut net, name, channels, stride, stride != 1, x)?;
    }
    let x = net.push("pool", Op::GlobalAvgPool, &[x])?;
    net.push("fc", dense(10), &[x])?;
    net.finish()
}
