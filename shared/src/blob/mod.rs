//! The model blob: a packed network in one file, read in place from flash.
//!
//! ```text
//! offset  bytes  field (little endian)
//!      0      4  magic "RLQB"
//!      4      2  format version
//!      6      2  zero
//!      8      4  length of the whole blob
//!     12      4  CRC-32 (ISO-HDLC) of everything from offset 16 on
//!     16      4  length of the postcard header
//!     20      …  postcard header: one Header, then its operations one behind the other
//!      …      …  zeros up to a multiple of 16
//!      …      …  sections: codes, biases, multipliers, shifts, each starting at a multiple of 4
//! ```
//!
//! `docs/blob-format.md` is the format's document. [`Blob::new_checked`] is the only way in: it checks every offset,
//! shape, bitwidth and arena place once, after which the accessors cannot fail. The writer is [`BlobWriter`].

mod check;
mod decode;
mod error;
mod header;
mod op;
mod reader;
#[cfg(feature = "alloc")]
mod writer;

pub use error::{BlobError, OpProblem};
pub use header::{Header, Provenance};
pub use op::{
    Activation, Add, ChannelTable, Conv2d, Dense, FusedPool, Op, Pool, PoolKind, Section, Tensor, TensorKind, Weights,
};
pub use reader::{Blob, Ops, stated_len};
#[cfg(feature = "alloc")]
pub use writer::{AlignedCopy, BlobWriter, Channels};

/// The first four bytes of every blob.
pub const MAGIC: [u8; 4] = *b"RLQB";
/// The format that this crate reads and writes.
pub const FORMAT_VERSION: u16 = 2;
/// Bytes before the postcard header.
pub const PREFIX_LEN: usize = 20;
/// A blob's first byte and its first section lie at multiples of this, so that sections can be read as words.
pub const ALIGNMENT: usize = 16;
/// The most operations that one blob holds.
pub const MAX_OPS: usize = 128;

/// The checksum of blobs and frames. Without a table, which would take a kilobyte of a board's flash to save time only when a
/// model or a message arrives.
pub const CRC32: crc::Crc<u32, crc::NoTable> = crc::Crc::<u32, crc::NoTable>::new(&crc::CRC_32_ISO_HDLC);

/// `len` rounded up to the alignment of a section base.
pub(crate) const fn align_up(len: usize) -> Option<usize> {
    match len.checked_add(ALIGNMENT - 1) {
        Some(sum) => Some(sum / ALIGNMENT * ALIGNMENT),
        None => None,
    }
}
