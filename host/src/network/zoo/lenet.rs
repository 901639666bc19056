//! LeNet for 28 x 28 digits, in Caffe's form: 20 and 50 feature maps, 500 hidden units.

use super::super::{Graph, GraphBuilder, GraphError, Op, Shape};
use super::blocks::{MAX_POOL_2, conv, dense, with_relu};

pub(super) fn build() -> Result<Graph, GraphError> {
    let (mut net, input) = GraphBuilder::new("lenet", Shape { channels: 1, height: 28, width: 28 });
    let x = with_relu(&mut net, "conv1", conv(20, 5, 0), input)?;
    let x = net.push("pool1", MAX_POOL_2, &[x])?;
    let x = with_relu(&mut net, "conv2", conv(50, 5, 0), x)?;
    let x = net.push("pool2", MAX_POOL_2, &[x])?;
    let x = net.push("flatten", Op::Flatten, &[x])?;
    let x = with_relu(&mut net, "fc1", dense(500), x)?;
    net.push("fc2", dense(10), &[x])?;
    net.finish()
}
