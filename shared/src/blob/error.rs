//! What can be wrong with a blob. Each value travels over the link as it is and becomes a sentence on the host.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::Bitwidth;

/// Why a blob was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum BlobError {
    /// Fewer bytes than the fixed prefix.
    TooShort {
        /// Bytes given.
        len: u32,
    },
    /// The first four bytes are not the magic: this is no blob.
    BadMagic {
        /// The four bytes found.
        found: [u8; 4],
    },
    /// Another format version.
    UnsupportedVersion {
        /// The version found.
        found: u16,
    },
    /// The blob says another length than it has: cut or padded.
    LengthMismatch {
        /// Bytes that the prefix announces.
        stated: u32,
        /// Bytes given.
        actual: u32,
    },
    /// The checksum does not hold: bits have changed.
    BadChecksum {
        /// The CRC-32 that the prefix states.
        stated: u32,
        /// The CRC-32 of the bytes.
        computed: u32,
    },
    /// The blob does not start at a multiple of [`super::ALIGNMENT`] in memory.
    Misaligned {
        /// Its address modulo the alignment.
        remainder: u8,
    },
    /// The header is longer than the blob, or postcard cannot read it.
    MalformedHeader,
    /// The network has no operation, or more than [`super::MAX_OPS`].
    OpCount {
        /// The number found.
        count: u16,
    },
    /// One operation is wrong.
    Op {
        /// Its index in execution order.
        index: u16,
        /// What is wrong with it.
        problem: OpProblem,
    },
    /// The header's input is not the first operation's, or its output not the last one's.
    EndsMismatch,
    /// The device's arena is smaller than the network needs.
    ArenaTooSmall {
        /// Bytes that activations and kernel scratch need.
        needed: u32,
        /// Bytes that the device has.
        available: u32,
    },
    /// The device's arena does not start at a multiple of [`super::ALIGNMENT`] in memory.
    ArenaMisaligned {
        /// Its address modulo the alignment.
        remainder: u8,
    },
}

/// What is wrong with one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum OpProblem {
    /// Postcard cannot read it: an unknown kind, layout or bitwidth, or the end of the header.
    Malformed,
    /// A dimension, kernel, stride or group count is zero.
    ZeroDimension,
    /// The output's shape does not follow from the input's and the operation's.
    Shape,
    /// The number of groups divides neither the input's nor the output's channels, or is neither 1 nor the channels.
    Groups,
    /// A tensor lies outside the arena.
    OutsideArena {
        /// Where the tensor starts.
        offset: u32,
        /// Its bytes.
        len: u32,
    },
    /// A 32-bit tensor does not start at a multiple of 4.
    TensorMisaligned {
        /// Where the tensor starts.
        offset: u32,
    },
    /// Input and output overlap in the arena.
    Overlap,
    /// A section lies outside the blob.
    SectionOutside {
        /// Where the section starts, relative to the first.
        offset: u32,
        /// Its bytes.
        len: u32,
    },
    /// A section does not start at a multiple of 4.
    SectionMisaligned {
        /// Where the section starts, relative to the first.
        offset: u32,
    },
    /// A section has another length than the layer's shape asks for.
    SectionLength {
        /// The length asked for.
        expected: u32,
        /// The length found.
        found: u32,
    },
    /// The zero `z` is larger than twice the largest code.
    Zero {
        /// The `z` found.
        z: u16,
    },
    /// A multiplier is negative or a shift outside its range.
    Multiplier {
        /// The first channel for which that is so.
        channel: u32,
    },
    /// An accumulator could pass 32 bits.
    AccumulatorOverflow {
        /// The first channel for which that is so.
        channel: u32,
    },
    /// The activation's lower bound is above its upper one.
    ActivationRange,
    /// The tensor kinds (8 or 32 bits) do not fit the operation.
    TensorKind,
    /// The operation reads a tensor that nothing before it has written.
    ReadsUnwritten,
    /// The layout does not hold codes of that many bits.
    LayoutWidth {
        /// The bits.
        bits: Bitwidth,
    },
}

impl fmt::Display for BlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooShort { len } => write!(f, "{len} bytes are too few for a model blob"),
            Self::BadMagic { found } => write!(f, "this is no model blob: it starts with {found:02x?}"),
            Self::UnsupportedVersion { found } => {
                write!(f, "blob format {found} is not supported (this release reads {})", super::FORMAT_VERSION)
            }
            Self::LengthMismatch { stated, actual } => {
                write!(f, "the blob should have {stated} bytes but has {actual}: it was cut or padded")
            }
            Self::BadChecksum { stated, computed } => {
                write!(f, "the blob is damaged: checksum {computed:08x}, not {stated:08x}")
            }
            Self::Misaligned { remainder } => {
                write!(f, "the blob lies {remainder} bytes past a multiple of {}", super::ALIGNMENT)
            }
            Self::MalformedHeader => f.write_str("the blob's header cannot be read"),
            Self::OpCount { count } => {
                write!(f, "the blob has {count} operations; 1 to {} are possible", super::MAX_OPS)
            }
            Self::Op { index, problem } => write!(f, "operation {index} of the blob: {problem}"),
            Self::EndsMismatch => f.write_str("the blob's input or output is not that of its operations"),
            Self::ArenaTooSmall { needed, available } => {
                write!(f, "the network needs {needed} bytes of working memory, there are {available}")
            }
            Self::ArenaMisaligned { remainder } => {
                write!(f, "the working memory lies {remainder} bytes past a multiple of {}", super::ALIGNMENT)
            }
        }
    }
}

impl fmt::Display for OpProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Malformed => f.write_str("it cannot be read (unknown kind, layout or bitwidth, or cut off)"),
            Self::ZeroDimension => f.write_str("a dimension, kernel, stride or group count is zero"),
            Self::Shape => f.write_str("the output's shape does not follow from the input's"),
            Self::Groups => f.write_str("the groups must be 1 or the number of input channels, and divide the outputs"),
            Self::OutsideArena { offset, len } => write!(f, "a tensor of {len} bytes at {offset} leaves the arena"),
            Self::TensorMisaligned { offset } => write!(f, "a 32-bit tensor at {offset} is not aligned to 4 bytes"),
            Self::Overlap => f.write_str("input and output overlap in the arena"),
            Self::SectionOutside { offset, len } => write!(f, "a section of {len} bytes at {offset} leaves the blob"),
            Self::SectionMisaligned { offset } => write!(f, "a section at {offset} is not aligned to 4 bytes"),
            Self::SectionLength { expected, found } => {
                write!(f, "a section has {found} bytes where the layer's shape asks for {expected}")
            }
            Self::Zero { z } => write!(f, "the zero {z} is more than twice the largest code"),
            Self::Multiplier { channel } => write!(f, "channel {channel} has a multiplier or shift out of range"),
            Self::AccumulatorOverflow { channel } => write!(f, "the accumulator of channel {channel} could overflow"),
            Self::ActivationRange => f.write_str("the activation's lower bound is above its upper one"),
            Self::TensorKind => f.write_str("8-bit and 32-bit tensors are mixed up"),
            Self::LayoutWidth { bits } => write!(f, "its weights' layout does not hold codes of {bits} bits"),
            Self::ReadsUnwritten => f.write_str("it reads a tensor that nothing before it has written"),
        }
    }
}

impl core::error::Error for BlobError {}
impl core::error::Error for OpProblem {}
