//! The operations of a network, as the blob states them.
//!
//! Activations are unsigned 8-bit values `q` with a zero point, stored by row, column, channel (channels last). Weights
//! are codes `u`, value `s_c * (u - z/2)`. A convolution or dense layer computes, in 32 bits for each output channel,
//!
//! ```text
//! acc = 2 * sum(u * q) - z * sum(q) + bias_c          (padding counts as q = the input's zero point)
//! out = clamp(requantize_c(acc) + zero_point_out)     (8-bit outputs)
//! out = requantize_c(acc)                             (32-bit outputs, the logits)
//! ```
//!
//! where `bias_c` holds the layer's bias and the input zero point's share, both in units of `s_c * s_in / 2`.

use serde::{Deserialize, Serialize};

use crate::{Bitwidth, layout::Layout, requantize::Requantize};

/// The element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum TensorKind {
    /// Unsigned 8-bit activations.
    U8,
    /// Signed 32-bit logits.
    I32,
}

/// A tensor and its place in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Tensor {
    /// Its first byte in the arena.
    pub offset: u32,
    /// Rows.
    pub height: u16,
    /// Columns.
    pub width: u16,
    /// Channels, adjacent in memory.
    pub channels: u16,
    /// Element type.
    pub kind: TensorKind,
    /// The `q` that stands for 0.0 (0 for 32-bit tensors).
    pub zero_point: u8,
}

/// A range of bytes behind the header, relative to the first section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Section {
    /// First byte, a multiple of 4.
    pub offset: u32,
    /// Bytes.
    pub len: u32,
}

/// The range to which 8-bit outputs are clamped. ReLU is `min` = the output's zero point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Activation {
    /// Smallest output.
    pub min: u8,
    /// Largest output.
    pub max: u8,
}

/// A layer's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Weights {
    /// Bits of one code.
    pub bits: Bitwidth,
    /// Twice the code that stands for zero: value = `s_c * (u - z/2)`.
    pub z: u16,
    /// How the codes are packed.
    pub layout: Layout,
    /// The packed codes.
    pub codes: Section,
    /// What each output channel adds and multiplies by.
    pub channels: ChannelTable,
}

/// The sections with one entry an output channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ChannelTable {
    /// `bias_c`, `i32` each.
    pub bias: Section,
    /// Multipliers, `i32` each, not negative.
    pub multiplier: Section,
    /// Shifts, `u8` each, [`MIN_CHANNEL_SHIFT`](crate::requantize::MIN_CHANNEL_SHIFT)..=[`MAX_SHIFT`](crate::requantize::MAX_SHIFT).
    pub shift: Section,
}

/// A max pooling computed in the same pass as the convolution before it (floor, no padding).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct FusedPool {
    /// Rows and columns of the window.
    pub size: [u8; 2],
    /// Vertical and horizontal stride.
    pub stride: [u8; 2],
}

/// A 2-D convolution, with the pooling behind it if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conv2d<'a> {
    /// The layer's name.
    pub name: &'a str,
    /// 8-bit input.
    pub input: Tensor,
    /// 8- or 32-bit output, behind the pooling.
    pub output: Tensor,
    /// Rows and columns of the kernel.
    pub kernel: [u8; 2],
    /// Vertical and horizontal stride.
    pub stride: [u8; 2],
    /// Rows and columns of padding: top, left, bottom, right.
    pub padding: [u8; 4],
    /// 1, or the number of input channels (depthwise).
    pub groups: u16,
    /// Pooling in the same pass.
    pub pool: Option<FusedPool>,
    /// Clamp of 8-bit outputs.
    pub activation: Activation,
    /// Weights: one row an output channel; columns run over (kernel row, kernel column, input channel of the group).
    pub weights: Weights,
}

/// A dense layer over its whole input, flattened by row, column, channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dense<'a> {
    /// The layer's name.
    pub name: &'a str,
    /// 8-bit input.
    pub input: Tensor,
    /// 8- or 32-bit output of 1 x 1 x outputs.
    pub output: Tensor,
    /// Clamp of 8-bit outputs.
    pub activation: Activation,
    /// Weights: one row an output.
    pub weights: Weights,
}

/// Which pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum PoolKind {
    /// The largest value; input and output share a grid.
    Max,
    /// `round(scale * sum(q - zero_point_in)) + zero_point_out`, the scale holding the division by the window's size.
    Average(Requantize),
}

/// A pooling (floor, no padding). A window as large as the input is a global pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool<'a> {
    /// The layer's name.
    pub name: &'a str,
    /// 8-bit input.
    pub input: Tensor,
    /// 8-bit output.
    pub output: Tensor,
    /// Maximum or average.
    pub kind: PoolKind,
    /// Rows and columns of the window.
    pub size: [u8; 2],
    /// Vertical and horizontal stride.
    pub stride: [u8; 2],
}

/// An element-wise sum of two tensors:
/// `clamp(((a - zero_a) * multiplier_a + (b - zero_b) * multiplier_b + 2^(shift-1)) >> shift + zero_out)` in 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Add<'a> {
    /// The layer's name.
    pub name: &'a str,
    /// Both summands, 8-bit, of one shape.
    pub inputs: [Tensor; 2],
    /// 8-bit sum; it may take the very place of one of the summands.
    pub output: Tensor,
    /// The multipliers of both summands, not negative.
    pub multipliers: [i32; 2],
    /// Their common shift, 1..=62.
    pub shift: u8,
    /// Clamp of the sum.
    pub activation: Activation,
}

/// One step of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op<'a> {
    /// Convolution.
    #[serde(borrow)]
    Conv2d(Conv2d<'a>),
    /// Dense layer.
    Dense(Dense<'a>),
    /// Pooling.
    Pool(Pool<'a>),
    /// Sum.
    Add(Add<'a>),
}

impl Activation {
    /// No clamp beyond the 8 bits.
    pub const FULL: Self = Self { min: 0, max: u8::MAX };
}

impl Tensor {
    /// The number of elements; cannot overflow, since three `u16` fit a `u64`.
    #[must_use]
    pub const fn elements(&self) -> u64 {
        self.height as u64 * self.width as u64 * self.channels as u64
    }

    /// Bytes in the arena.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        match self.kind {
            TensorKind::U8 => self.elements(),
            TensorKind::I32 => self.elements() * 4,
        }
    }

    /// The tensor's bytes in the arena. Only for tensors of a checked blob, whose places fit a `usize`.
    #[must_use]
    pub const fn range(&self) -> core::ops::Range<usize> {
        self.offset as usize..self.offset as usize + self.bytes() as usize
    }
}

impl Conv2d<'_> {
    /// Height and width before the fused pooling, `None` if the kernel does not fit the padded input.
    #[must_use]
    pub fn convolved(&self) -> Option<(u32, u32)> {
        let [top, left, bottom, right] = self.padding.map(u32::from);
        let [rows, columns] = self.kernel.map(u32::from);
        let height = (u32::from(self.input.height) + top + bottom).checked_sub(rows)? / u32::from(self.stride[0]) + 1;
        let width = (u32::from(self.input.width) + left + right).checked_sub(columns)? / u32::from(self.stride[1]) + 1;
        Some((height, width))
    }

    /// Weights of one output channel.
    #[must_use]
    pub const fn columns(&self) -> u32 {
        self.kernel[0] as u32 * self.kernel[1] as u32 * (self.input.channels / self.groups) as u32
    }
}

impl<'a> Op<'a> {
    /// The layer's name.
    #[must_use]
    pub const fn name(&self) -> &'a str {
        match self {
            Self::Conv2d(op) => op.name,
            Self::Dense(op) => op.name,
            Self::Pool(op) => op.name,
            Self::Add(op) => op.name,
        }
    }

    /// What it writes.
    #[must_use]
    pub const fn output(&self) -> &Tensor {
        match self {
            Self::Conv2d(op) => &op.output,
            Self::Dense(op) => &op.output,
            Self::Pool(op) => &op.output,
            Self::Add(op) => &op.output,
        }
    }

    /// What it reads: one tensor, or two.
    #[must_use]
    pub fn inputs(&self) -> &[Tensor] {
        match self {
            Self::Conv2d(op) => core::slice::from_ref(&op.input),
            Self::Dense(op) => core::slice::from_ref(&op.input),
            Self::Pool(op) => core::slice::from_ref(&op.input),
            Self::Add(op) => &op.inputs,
        }
    }

    /// Its weights, if it has any.
    #[must_use]
    pub const fn weights(&self) -> Option<&Weights> {
        match self {
            Self::Conv2d(op) => Some(&op.weights),
            Self::Dense(op) => Some(&op.weights),
            Self::Pool(_) | Self::Add(_) => None,
        }
    }

    /// Rows and columns of its weight matrix: output channels by weights a channel.
    #[must_use]
    pub fn weight_shape(&self) -> Option<(u32, u64)> {
        match self {
            Self::Conv2d(op) => Some((u32::from(op.output.channels), u64::from(op.columns()))),
            Self::Dense(op) => Some((u32::from(op.output.channels), op.input.elements())),
            Self::Pool(_) | Self::Add(_) => None,
        }
    }

    /// Multiply-accumulates of one inference; 0 for operations without weights.
    #[must_use]
    pub fn macs(&self) -> u64 {
        match self {
            Self::Conv2d(op) => {
                let (height, width) = op.convolved().unwrap_or((0, 0));
                u64::from(height) * u64::from(width) * u64::from(op.output.channels) * u64::from(op.columns())
            }
            Self::Dense(op) => op.input.elements() * u64::from(op.output.channels),
            Self::Pool(_) | Self::Add(_) => 0,
        }
    }
}
