//! The eight-layer network for street-view house numbers: seven 3x3 convolutions, four poolings, one dense layer.

use super::super::{Graph, GraphBuilder, GraphError, Op, Shape};
use super::blocks::{MAX_POOL_2, conv, dense, with_relu};

pub(super) fn build() -> Result<Graph, GraphError> {
    let (mut net, mut x) = GraphBuilder::new("svhn8", Shape { channels: 3, height: 32, width: 32 });
    // (name, feature maps, padding, pooling behind it)
    let layers = [
        ("conv1", 32, 1, false),
        ("conv2", 32, 1, true),
        ("conv3", 64, 1, false),
        ("conv4", 64, 1, true),
        ("conv5", 128, 1, false),
        ("conv6", 128, 1, true),
        ("conv7", 256, 0, true),
    ];
    for (name, channels, padding, pool) in layers {
        x = with_relu(&mut net, name, conv(channels, 3, padding), x)?;
        if pool {
            x = net.push(&name.replace("conv", "pool"), MAX_POOL_2, &[x])?;
        }
    }
    let x = net.push("flatten", Op::Flatten, &[x])?;
    net.push("fc", dense(10), &[x])?;
    net.finish()
}
