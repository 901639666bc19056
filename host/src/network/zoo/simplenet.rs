//! SimpleNet: the small CIFAR-10 network of the ReLeQ paper, 6 and 16 feature maps, three dense layers.

use super::super::{Graph, GraphBuilder, GraphError, Op, Shape};
use super::blocks::{MAX_POOL_2, conv, dense, with_relu};

pub(super) fn build() -> Result<Graph, GraphError> {
    let (mut net, input) = GraphBuilder::new("simplenet", Shape { channels: 3, height: 32, width: 32 });
    let x = with_relu(&mut net, "conv1", conv(6, 5, 0), input)?;
    let x = net.push("pool1", MAX_POOL_2, &[x])?;
    let x = with_relu(&mut net, "conv2", conv(16, 5, 0), x)?;
    let x = net.push("pool2", MAX_POOL_2, &[x])?;
    let x = net.push("flatten", Op::Flatten, &[x])?;
    let x = with_relu(&mut net, "fc1", dense(120), x)?;
    let x = with_relu(&mut net, "fc2", dense(84), x)?;
    net.push("fc3", dense(10), &[x])?;
    net.finish()
}
