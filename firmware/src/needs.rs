//! What of the engine a model needs, so that an image for that model alone leaves the rest out.
//!
//! The host asks [`Needs::of`] a blob and passes the answer to this crate's build script (`RELEQ_NEEDS`); in that build
//! [`HERE`] has it, and the kernels' dispatch asks it, so that what is not needed becomes dead code. Every other build
//! needs everything. An image that lacks something runs the model that it was built for and no other: `boards` gives it no
//! slot to load one into.

use releq_shared::Bitwidth;
use releq_shared::blob::{Blob, Op};

use crate::kernels::lanes::{has_short_reach, is_unpacked};
use crate::kernels::{self, CoreClass};

/// A set of things that a model may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs(u32);

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Need {
    /// A pooling of its own.
    Pool,
    /// A sum.
    Add,
    /// A convolution that only the portable kernels run.
    PortableConv2d,
    /// A dense layer that only the portable kernels run.
    PortableDense,
    /// A convolution by fast kernels with a pooling fused.
    PooledConv2d,
    /// One without.
    PlainConv2d,
    /// One whose kernel reaches into the padding.
    Padding,
    /// One whose input channels do not come in quads.
    LooseChannels,
    /// One of those whose activations must be fetched column by column.
    SingleColumns,
    /// A dense layer by fast kernels.
    Dense,
    /// A depthwise convolution by the fast kernel.
    Depthwise,
    /// A convolution by fast kernels whose codes are unpacked first.
    Unpacked,
}

/// The first bit of those that stand for the bitwidths of convolutions, and of dense layers, by fast kernels.
const CONV2D_BITS: u32 = 12;
const DENSE_BITS: u32 = 20;

include!(concat!(env!("OUT_DIR"), "/needs.rs"));

/// Whether this build is for one model.
pub(crate) const ONE_MODEL: bool = HERE.0 != Needs::ALL;

impl Needs {
    /// Everything.
    const ALL: u32 = u32::MAX;

    /// What `blob` needs on a core of some class.
    #[must_use]
    pub fn of(blob: &Blob<'_>, class: CoreClass) -> Self {
        let mut needs = 0;
        for op in blob.ops() {
            let fast = kernels::is_fast(&op, class);
            let mut add = |bit: u32, holds: bool| needs |= u32::from(holds) << bit;
            add(Need::Pool as u32, matches!(op, Op::Pool(_)));
            add(Need::Add as u32, matches!(op, Op::Add(_)));
            if let Op::Conv2d(op) = &op {
                add(Need::PortableConv2d as u32, !fast);
                if op.groups > 1 {
                    add(Need::Depthwise as u32, fast);
                    continue;
                }
                add(Need::PooledConv2d as u32, fast && op.pool.is_some());
                add(Need::PlainConv2d as u32, fast && op.pool.is_none());
                add(Need::Padding as u32, fast && op.padding != [0; 4]);
                let loose = fast && !op.input.channels.is_multiple_of(4);
                add(Need::LooseChannels as u32, loose);
                add(Need::SingleColumns as u32, loose && (op.padding != [0; 4] || !has_short_reach(op)));
                let unpacked = fast && class != CoreClass::ArmV81mMve && is_unpacked(op);
                add(Need::Unpacked as u32, unpacked);
                let bits = if unpacked { Bitwidth::MAX } else { op.weights.bits };
                add(CONV2D_BITS + u32::from(bits.get()) - 1, fast);
            }
            if let Op::Dense(op) = &op {
                add(Need::PortableDense as u32, !fast);
                add(Need::Dense as u32, fast);
                add(DENSE_BITS + u32::from(op.weights.bits.get()) - 1, fast);
            }
        }
        Self(needs)
    }

    /// For `RELEQ_NEEDS`.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    const fn has(self, bit: u32) -> bool {
        self.0 >> bit & 1 == 1
    }
}

/// Whether this build has what `need` names.
#[must_use]
pub(crate) const fn needed(need: Need) -> bool {
    HERE.has(need as u32)
}

/// Whether this build has fast convolutions of codes of so many bits.
#[must_use]
pub(crate) const fn conv2d_of(bits: u32) -> bool {
    HERE.has(CONV2D_BITS + bits - 1)
}

/// Whether this build has fast dense layers of codes of so many bits.
#[must_use]
#[cfg_attr(not(target_os = "none"), allow(dead_code))]
pub(crate) const fn dense_of(bits: u32) -> bool {
    HERE.has(DENSE_BITS + bits - 1)
}

/// What is called where a kernel would be that this build lacks: never, as its one model does not need it.
#[cold]
pub(crate) fn lacking() -> ! {
    panic!("not in this image")
}

#[cfg(test)]
mod tests {
    extern crate std;

    use releq_shared::blob::AlignedCopy;

    use super::*;
    use crate::testing;

    fn needs(bits: [u8; 4], class: CoreClass) -> Needs {
        let model = AlignedCopy::new(&testing::lenet(bits.map(|bits| Bitwidth::new(bits).unwrap()), class, 1));
        Needs::of(&Blob::new_checked(&model).unwrap(), class)
    }

    #[test]
    fn this_build_has_everything() {
        for class in CoreClass::ALL {
            assert_eq!(needs([1, 2, 3, 8], class).0 & !HERE.0, 0);
        }
    }

    #[test]
    fn lenet_at_one_bit_needs_little() {
        let found = needs([1; 4], CoreClass::ArmV7em);
        assert!(found.has(Need::PooledConv2d as u32) && found.has(Need::LooseChannels as u32));
        assert!(found.has(CONV2D_BITS) && found.has(DENSE_BITS) && found.has(Need::Dense as u32));
        assert_eq!(found.0.count_ones(), 5);
    }

    #[test]
    fn what_no_fast_kernel_runs_is_left_to_the_portable_ones() {
        let found = needs([1; 4], CoreClass::Portable);
        assert_eq!(found.0, 1 << Need::PortableConv2d as u32 | 1 << Need::PortableDense as u32);
    }
}
