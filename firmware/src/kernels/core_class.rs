//! The classes of core that kernels are chosen for.

use releq_shared::Bitwidth;
use releq_shared::blob::{Conv2d, Op};
use releq_shared::layout::Layout;

use super::lanes;

/// What a core can do, as far as kernels care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CoreClass {
    /// Any core, the host's included: the portable kernels.
    Portable,
    /// Cortex-M0, M0+, M1 and M23: no long multiplication, eight registers in most instructions.
    ArmV6m,
    /// Cortex-M3: all of Thumb-2, no dual multiplications.
    ArmV7m,
    /// Cortex-M4, M7 and M33 with the DSP extension: dual 16-bit multiplications.
    ArmV7em,
}

impl CoreClass {
    /// Every class.
    pub const ALL: [Self; 4] = [Self::Portable, Self::ArmV6m, Self::ArmV7m, Self::ArmV7em];

    /// The class that this crate is built for.
    pub const HERE: Self = if cfg!(core_class = "armv7em") {
        Self::ArmV7em
    } else if cfg!(core_class = "armv7m") {
        Self::ArmV7m
    } else if cfg!(core_class = "armv6m") {
        Self::ArmV6m
    } else {
        Self::Portable
    };

    /// The class of the cores that a Rust target triple is for.
    #[must_use]
    pub fn of_target(triple: &str) -> Self {
        if triple.starts_with("thumbv7em") || triple.starts_with("thumbv8m.main") {
            Self::ArmV7em
        } else if triple.starts_with("thumbv7m") {
            Self::ArmV7m
        } else if triple.starts_with("thumbv6m") || triple.starts_with("thumbv8m.base") {
            Self::ArmV6m
        } else {
            Self::Portable
        }
    }

    /// The layout in which this class runs an operation's weights of `bits` fastest, at no more than 7% above their bare
    /// bits on a layer that matters. For an operation without weights the answer has no meaning.
    #[must_use]
    pub fn preferred_layout(self, op: &Op<'_>, bits: Bitwidth) -> Layout {
        let fast_convolution = matches!(op, Op::Conv2d(Conv2d { groups: 1, pool, .. }) if lanes::pools(*pool));
        let wanted = match (self, op) {
            (Self::ArmV7em, Op::Conv2d(_)) if fast_convolution && bits.get() <= 2 => Layout::TwinRows,
            (Self::ArmV7em, Op::Dense(_)) if bits.get() <= 2 => Layout::TwinQuads,
            (Self::ArmV7em, Op::Conv2d(_)) if fast_convolution => Layout::LaneRows,
            (Self::ArmV7em, Op::Dense(_)) => Layout::LaneQuads,
            (Self::ArmV6m | Self::ArmV7m, Op::Conv2d(_)) if fast_convolution => Layout::WideRows,
            (Self::ArmV6m | Self::ArmV7m, Op::Dense(_)) => Layout::Duos,
            _ => Layout::Bitstream,
        };
        if wanted.holds(bits) { wanted } else { Layout::Bitstream }
    }
}
