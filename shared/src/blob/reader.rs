//! Reads a blob in place.

use super::{
    ALIGNMENT, BlobError, CRC32, ChannelTable, FORMAT_VERSION, Header, MAGIC, MAX_OPS, Op, PREFIX_LEN, Section,
    align_up, check, decode,
};

/// A checked blob. It borrows the bytes; nothing is copied.
#[derive(Clone, Copy, Debug)]
pub struct Blob<'a> {
    bytes: &'a [u8],
    header: Header<'a>,
    ops: &'a [u8],
    sections: &'a [u8],
}

/// The operations of a blob in execution order, each read from the header as it is asked for.
#[derive(Clone, Debug)]
pub struct Ops<'a> {
    rest: &'a [u8],
    left: u16,
}

/// The length that a blob at the start of `bytes` states, unchecked; `None` if there are fewer bytes than a prefix. For a
/// reader that does not know where the blob in its flash ends.
#[must_use]
pub fn stated_len(bytes: &[u8]) -> Option<usize> {
    let (_, len) = bytes.get(..PREFIX_LEN)?.split_first_chunk::<8>()?;
    Some(u32::from_le_bytes(*len.first_chunk()?) as usize)
}

impl<'a> Blob<'a> {
    /// Checks all of `bytes` and gives access to them. They must start at a multiple of [`ALIGNMENT`] and be exactly
    /// one blob long.
    ///
    /// # Errors
    /// The first thing found wrong: see [`BlobError`]. After `Ok`, no accessor fails and no operation of the blob
    /// reaches outside its sections or its arena of [`Header::arena_bytes`].
    #[inline(never)]
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, BlobError> {
        let blob = Self::parse(bytes, true)?;
        check::check(&blob)?;
        Ok(blob)
    }

    /// Opens a blob that [`Blob::new_checked`] has accepted elsewhere, and checks that it is still the same by its checksum:
    /// for an image that was built around its model.
    ///
    /// # Errors
    /// What is wrong with the outside.
    pub fn new_unchanged(bytes: &'a [u8]) -> Result<Self, BlobError> {
        Self::parse(bytes, true)
    }

    /// Opens a blob that [`Blob::new_checked`] has accepted before, without checking it all again: for a device that
    /// keeps the bytes and cannot keep the borrow. Bytes that have changed since may make the accessors panic, nothing
    /// worse.
    ///
    /// # Errors
    /// What is wrong with the outside, the checksum excepted.
    #[inline(never)]
    pub fn reopen(bytes: &'a [u8]) -> Result<Self, BlobError> {
        Self::parse(bytes, false)
    }

    /// Reads the outside: everything but the operations.
    fn parse(bytes: &'a [u8], verify: bool) -> Result<Self, BlobError> {
        let Some((prefix, body)) = bytes.split_first_chunk::<PREFIX_LEN>() else {
            return Err(BlobError::TooShort { len: bytes.len() as u32 });
        };
        let [m0, m1, m2, m3, v0, v1, r0, r1, l0, l1, l2, l3, c0, c1, c2, c3, h0, h1, h2, h3] = *prefix;
        let found = [m0, m1, m2, m3];
        if found != MAGIC {
            return Err(BlobError::BadMagic { found });
        }
        let version = u16::from_le_bytes([v0, v1]);
        if version != FORMAT_VERSION {
            return Err(BlobError::UnsupportedVersion { found: version });
        }
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        if length as usize != bytes.len() {
            return Err(BlobError::LengthMismatch { stated: length, actual: bytes.len() as u32 });
        }
        let stated = u32::from_le_bytes([c0, c1, c2, c3]);
        let computed = if verify { CRC32.checksum(&bytes[16..]) } else { stated };
        if stated != computed {
            return Err(BlobError::BadChecksum { stated, computed });
        }
        let remainder = (bytes.as_ptr().addr() % ALIGNMENT) as u8;
        if remainder != 0 {
            return Err(BlobError::Misaligned { remainder });
        }
        let header_len = u32::from_le_bytes([h0, h1, h2, h3]) as usize;
        let header_bytes = body.get(..header_len).ok_or(BlobError::MalformedHeader)?;
        let sections = PREFIX_LEN
            .checked_add(header_len)
            .and_then(align_up)
            .and_then(|start| bytes.get(start..))
            .ok_or(BlobError::MalformedHeader)?;
        let (header, ops) = decode::header(header_bytes).ok_or(BlobError::MalformedHeader)?;
        if [r0, r1] != [0, 0] {
            return Err(BlobError::MalformedHeader);
        }
        if header.op_count == 0 || usize::from(header.op_count) > MAX_OPS {
            return Err(BlobError::OpCount { count: header.op_count });
        }
        Ok(Self { bytes, header, ops, sections })
    }

    /// Its checksum, as it says itself: every blob that was checked is what this stands for.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        // No blob is shorter than its prefix.
        self.bytes.get(12..16).and_then(|stated| stated.try_into().ok()).map_or(0, u32::from_le_bytes)
    }

    /// The network as a whole.
    #[must_use]
    pub const fn header(&self) -> &Header<'a> {
        &self.header
    }

    /// The operations in execution order.
    #[must_use]
    pub const fn ops(&self) -> Ops<'a> {
        Ops { rest: self.ops, left: self.header.op_count }
    }

    /// The whole blob.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes of a section of this blob.
    ///
    /// # Panics
    /// If the section is another blob's and does not fit this one.
    #[must_use]
    pub fn section(&self, section: Section) -> &'a [u8] {
        &self.sections[section.offset as usize..][..section.len as usize]
    }

    /// A section as little-endian words; bytes past the last whole word are left out.
    ///
    /// # Panics
    /// As [`Blob::section`].
    #[must_use]
    pub fn words(&self, section: Section) -> &'a [u32] {
        let bytes = self.section(section);
        bytemuck::cast_slice(&bytes[..bytes.len() / 4 * 4])
    }

    /// The per-channel bias, multiplier and shift tables of a layer.
    ///
    /// # Panics
    /// As [`Blob::section`].
    #[must_use]
    pub fn channels(&self, table: &ChannelTable) -> (&'a [i32], &'a [i32], &'a [u8]) {
        (
            bytemuck::cast_slice(self.section(table.bias)),
            bytemuck::cast_slice(self.section(table.multiplier)),
            self.section(table.shift),
        )
    }

    /// Bytes of the part behind the header.
    pub(super) const fn sections_len(&self) -> usize {
        self.sections.len()
    }
}

impl<'a> Ops<'a> {
    /// The next operation, `Some(None)` if it cannot be read.
    pub(super) fn read(&mut self) -> Option<Option<Op<'a>>> {
        self.left = self.left.checked_sub(1)?;
        let read = decode::op(self.rest);
        Some(read.map(|(op, rest)| {
            self.rest = rest;
            op
        }))
    }

    /// Whether bytes follow the last operation.
    pub(super) const fn has_trailing_bytes(&self) -> bool {
        self.left == 0 && !self.rest.is_empty()
    }
}

impl<'a> Iterator for Ops<'a> {
    type Item = Op<'a>;

    /// The next operation. Those of a checked blob can all be read.
    fn next(&mut self) -> Option<Op<'a>> {
        self.read()?
    }
}

#[cfg(target_endian = "big")]
compile_error!("blobs are read in place and little endian");
