//! VGG (arXiv 1409.1556) for 32 x 32 images: 3x3 convolutions with batch norm, five poolings, one dense layer.

use super::super::{Graph, GraphBuilder, GraphError, Op, Shape};
use super::blocks::{MAX_POOL_2, conv_norm, dense};

/// Configuration A: eight convolutions.
pub(super) fn build11() -> Result<Graph, GraphError> {
    build("vgg11", &[&[64], &[128], &[256, 256], &[512, 512], &[512, 512]])
}

/// Configuration D: thirteen convolutions.
pub(super) fn build16() -> Result<Graph, GraphError> {
    build("vgg16", &[&[64, 64], &[128, 128], &[256, 256, 256], &[512, 512, 512], &[512, 512, 512]])
}

fn build(name: &str, stages: &[&[usize]]) -> Result<Graph, GraphError> {
    let (mut net, mut x) = GraphBuilder::new(name, Shape { channels: 3, height: 32, width: 32 });
    let mut layer = 0;
    for (stage, channels) in stages.iter().enumerate() {
        for &channels in *channels {
            layer += 1;
            let conv = conv_norm(&mut net, &format!("conv{layer}"), channels, 3, 1, x)?;
            x = net.push(&format!("relu_conv{layer}"), Op::Relu, &[conv])?;
        }
        x = net.push(&format!("pool{}", stage + 1), MAX_POOL_2, &[x])?;
    }
    let x = net.push("flatten", Op::Flatten, &[x])?;
    net.push("fc", dense(10), &[x])?;
    net.finish()
}
