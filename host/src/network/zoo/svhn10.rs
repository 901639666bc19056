//! The ten-layer network for street-view house numbers: eight 5x5 convolutions, poolings of stride 2 and 1 in turn, two
//! wide dense layers and one digit's logits. On 32 x 32 images the last pooling would see one place, and is left out.

use super::super::{Graph, GraphBuilder, GraphError, Op, Shape};
use super::blocks::{conv_norm, dense, with_relu};

pub(super) fn build() -> Result<Graph, GraphError> {
    let (mut net, mut x) = GraphBuilder::new("svhn10", Shape { channels: 3, height: 32, width: 32 });
    for (index, channels) in [48, 64, 128, 160, 192, 192, 192, 192].into_iter().enumerate() {
        let layer = index + 1;
        let conv = conv_norm(&mut net, &format!("conv{layer}"), channels, 5, 1, x)?;
        x = net.push(&format!("relu_conv{layer}"), Op::Relu, &[conv])?;
        if layer < 8 {
            let stride = if layer % 2 == 1 { 2 } else { 1 };
            let pool = Op::MaxPool { size: (2, 2), stride: (stride, stride) };
            x = net.push(&format!("pool{layer}"), pool, &[x])?;
        }
    }
    let x = net.push("flatten", Op::Flatten, &[x])?;
    let x = with_relu(&mut net, "fc1", dense(3072), x)?;
    let x = with_relu(&mut net, "fc2", dense(3072), x)?;
    net.push("fc3", dense(10), &[x])?;
    net.finish()
}
