//! The classes of core that kernels are chosen for.

use releq_shared::Bitwidth;
use releq_shared::blob::{Conv2d, Op};
use releq_shared::layout::Layout;

use super::class_name::class_name;
use super::{lanes, stacks};

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
    /// Cortex-M52, M55 and M85 with Helium (MVE): sixteen products an instruction.
    ArmV81mMve,
}

impl CoreClass {
    /// Every class.
    pub const ALL: [Self; 5] = [Self::Portable, Self::ArmV6m, Self::ArmV7m, Self::ArmV7em, Self::ArmV81mMve];

    /// The class that this crate is built for.
    pub const HERE: Self = if cfg!(core_class = "armv81m-mve") {
        Self::ArmV81mMve
    } else if cfg!(core_class = "armv7em") {
        Self::ArmV7em
    } else if cfg!(core_class = "armv7m") {
        Self::ArmV7m
    } else if cfg!(core_class = "armv6m") {
        Self::ArmV6m
    } else {
        Self::Portable
    };

    /// The class of the cores that a Rust target triple is for, unless the compiler is told of a core.
    #[must_use]
    pub fn of_target(triple: &str) -> Self {
        Self::named(class_name(triple, None))
    }

    /// The class of a core by its name ("cortex-m4f"), or if that is not known of those that a target triple is for.
    #[must_use]
    pub fn of_core(core: &str, triple: &str) -> Self {
        Self::named(class_name(triple, Some(core)))
    }

    fn named(name: Option<&str>) -> Self {
        match name {
            Some("armv6m") => Self::ArmV6m,
            Some("armv7m") => Self::ArmV7m,
            Some("armv7em") => Self::ArmV7em,
            Some("armv81m-mve") => Self::ArmV81mMve,
            _ => Self::Portable,
        }
    }

    /// The processor to name to the compiler (`-C target-cpu=`) for the kernels of a core of this class, where its
    /// target triple does not say enough.
    #[must_use]
    pub const fn target_cpu(self) -> Option<&'static str> {
        match self {
            Self::ArmV81mMve => Some("cortex-m55"),
            Self::Portable | Self::ArmV6m | Self::ArmV7m | Self::ArmV7em => None,
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
            (Self::ArmV81mMve, _) if stacks::covers(op) => Layout::Stacks,
            _ => Layout::Bitstream,
        };
        if wanted.holds(bits) { wanted } else { Layout::Bitstream }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_says_more_than_its_target() {
        assert_eq!(CoreClass::of_core("cortex-m55", "thumbv8m.main-none-eabihf"), CoreClass::ArmV81mMve);
        assert_eq!(CoreClass::of_core("cortex-m33", "thumbv8m.main-none-eabihf"), CoreClass::ArmV7em);
        assert_eq!(CoreClass::of_core("cortex-m0", "thumbv6m-none-eabi"), CoreClass::ArmV6m);
        assert_eq!(CoreClass::of_core("unheard-of", "thumbv7m-none-eabi"), CoreClass::ArmV7m);
        assert_eq!(CoreClass::of_target("x86_64-unknown-linux-gnu"), CoreClass::Portable);
    }
}
