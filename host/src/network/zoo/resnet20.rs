//! ResNet-20 for CIFAR-10: three stages of three basic blocks, 1x1 convolutions as shortcuts where the shape changes.

use super::super::{Graph, GraphBuilder, GraphError, Op, Shape};
use super::blocks::{conv_norm, dense, residual};

pub(super) fn build() -> Result<Graph, GraphError> {
    let (mut net, input) = GraphBuilder::new("resnet20", Shape { channels: 3, height: 32, width: 32 });
    let x = conv_norm(&mut net, "conv1", 16, 3, 1, input)?;
    let mut x = net.push("relu_conv1", Op::Relu, &[x])?;
    for (stage, channels) in [(1, 16), (2, 32), (3, 64)] {
        for block in 1..=3 {
            let stride = if stage > 1 && block == 1 { 2 } else { 1 };
            x = residual(&mut net, &format!("stage{stage}_block{block}"), channels, stride, stride != 1, x)?;
        }
    }
    let x = net.push("pool", Op::GlobalAvgPool, &[x])?;
    net.push("fc", dense(10), &[x])?;
    net.finish()
}
