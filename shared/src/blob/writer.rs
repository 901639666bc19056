//! Writes a blob.

use alloc::vec::Vec;

use super::{ALIGNMENT, Blob, BlobError, CRC32, ChannelTable, FORMAT_VERSION, Header, MAGIC, Op, PREFIX_LEN, Section};
use crate::requantize::Requantize;

/// Builds a blob: sections first, then the operations that refer to them, then [`BlobWriter::finish`].
#[derive(Debug, Default)]
pub struct BlobWriter {
    ops: Vec<u8>,
    op_count: u16,
    sections: Vec<u8>,
}

/// What each output channel of a layer adds and multiplies by.
#[derive(Clone, Copy, Debug)]
pub struct Channels<'a> {
    /// One bias a channel.
    pub bias: &'a [i32],
    /// One scale a channel.
    pub scale: &'a [Requantize],
}

impl BlobWriter {
    /// An empty blob.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a section and says where it lies.
    pub fn section(&mut self, bytes: &[u8]) -> Section {
        let section = Section { offset: self.sections.len() as u32, len: bytes.len() as u32 };
        self.sections.extend_from_slice(bytes);
        self.sections.resize(self.sections.len().next_multiple_of(4), 0);
        section
    }

    /// Appends the three per-channel sections of a layer.
    pub fn channels(&mut self, channels: Channels<'_>) -> ChannelTable {
        let words = |values: &mut dyn Iterator<Item = i32>| values.flat_map(i32::to_le_bytes).collect::<Vec<u8>>();
        ChannelTable {
            bias: self.section(&words(&mut channels.bias.iter().copied())),
            multiplier: self.section(&words(&mut channels.scale.iter().map(|scale| scale.multiplier))),
            shift: self.section(&channels.scale.iter().map(|scale| scale.shift).collect::<Vec<u8>>()),
        }
    }

    /// Appends an operation; they run in the order in which they are pushed.
    ///
    /// # Errors
    /// [`BlobError::MalformedHeader`] if postcard cannot write it.
    pub fn push(&mut self, op: &Op<'_>) -> Result<(), BlobError> {
        let bytes = postcard::to_allocvec(op).map_err(|_| BlobError::MalformedHeader)?;
        self.ops.extend_from_slice(&bytes);
        self.op_count += 1;
        Ok(())
    }

    /// Writes the blob and checks it as a reader would. The header's `op_count` is filled in.
    ///
    /// # Errors
    /// What [`Blob::new_checked`] finds wrong with the result.
    pub fn finish(self, header: &Header<'_>) -> Result<Vec<u8>, BlobError> {
        let bytes = self.finish_unchecked(header)?;
        Blob::new_checked(&AlignedCopy::new(&bytes))?;
        Ok(bytes)
    }

    /// Writes the blob without a check of its contents: for tests of readers.
    ///
    /// # Errors
    /// [`BlobError::MalformedHeader`] if postcard cannot write the header.
    pub fn finish_unchecked(self, header: &Header<'_>) -> Result<Vec<u8>, BlobError> {
        let header = Header { op_count: self.op_count, ..*header };
        let mut encoded = postcard::to_allocvec(&header).map_err(|_| BlobError::MalformedHeader)?;
        encoded.extend_from_slice(&self.ops);
        let mut bytes = Vec::with_capacity(PREFIX_LEN + encoded.len() + ALIGNMENT + self.sections.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&(encoded.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&encoded);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        bytes.extend_from_slice(&self.sections);
        seal(&mut bytes);
        Ok(bytes)
    }
}

/// Sets length and checksum of a blob's prefix to what its bytes are. Bytes shorter than a prefix are left alone.
fn seal(bytes: &mut [u8]) {
    let len = bytes.len() as u32;
    if bytes.len() < PREFIX_LEN {
        return;
    }
    bytes[8..12].copy_from_slice(&len.to_le_bytes());
    let checksum = CRC32.checksum(&bytes[16..]);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
}

/// A copy of a blob whose first byte lies at a multiple of [`ALIGNMENT`], as [`Blob::new_checked`] wants it.
#[derive(Clone, Debug)]
pub struct AlignedCopy {
    words: Vec<u128>,
    len: usize,
}

impl AlignedCopy {
    /// Copies `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut words = alloc::vec![0u128; bytes.len().div_ceil(ALIGNMENT)];
        bytemuck::cast_slice_mut::<u128, u8>(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self { words, len: bytes.len() }
    }

    /// Sets length and checksum to what the bytes are, after a change to them: for tests of readers.
    pub fn seal(&mut self) {
        seal(self);
    }
}

impl core::ops::Deref for AlignedCopy {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }
}

impl core::ops::DerefMut for AlignedCopy {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.len]
    }
}
