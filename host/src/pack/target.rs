//! The core that a blob is packed for: which layout its kernels want for each layer.

use releq_shared::Bitwidth;
use releq_shared::layout::Layout;

use crate::network::{Node, Op, Shape};

/// What a blob is packed for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Any core: the dense bitstream.
    #[default]
    Portable,
}

/// The shape of a layer with weights, as far as layouts care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerShape {
    /// Whether it is a dense layer.
    pub dense: bool,
    /// Whether every input channel has kernels of its own.
    pub depthwise: bool,
    /// Weights of one output channel.
    pub columns: usize,
    /// Input channels of one group.
    pub in_channels: usize,
    /// Whether a max pooling runs in the same pass.
    pub pooled: bool,
}

impl LayerShape {
    pub(super) fn new(node: &Node, input: Shape, pooled: bool) -> Self {
        match node.op {
            Op::Conv2d { kernel, groups, .. } => {
                let in_channels = input.channels / groups;
                let columns = in_channels * kernel.0 * kernel.1;
                Self { dense: false, depthwise: groups > 1, columns, in_channels, pooled }
            }
            _ => Self {
                dense: true,
                depthwise: false,
                columns: input.elements(),
                in_channels: input.channels,
                pooled: false,
            },
        }
    }
}

impl Target {
    /// The layout of a layer.
    #[must_use]
    pub fn layout(self, shape: &LayerShape, bits: Bitwidth) -> Layout {
        let _ = (shape, bits);
        match self {
            Self::Portable => Layout::Bitstream,
        }
    }
}
