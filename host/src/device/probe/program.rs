//! Flashing: the firmware and the model, each on its own, each read back after it is written.

use object::read::elf::{ElfFile32, ProgramHeader};
use object::{Endianness, elf};

use super::{Piece, Probe, ProbeError};
use crate::device::Board;

/// Bytes read back at a time.
const READ_BACK: usize = 16 * 1024;

/// Whether flash had to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was written, and reads back as it should.
    Written,
    /// It held the same already.
    AlreadyThere,
}

/// What of an ELF file goes into flash.
///
/// # Errors
/// [`ProbeError::Image`].
pub fn pieces_of(image: &[u8]) -> Result<Vec<Piece>, ProbeError> {
    let bad = |error: object::Error| ProbeError::Image(error.to_string());
    let file = ElfFile32::<Endianness>::parse(image).map_err(bad)?;
    let endian = file.endian();
    let mut pieces = Vec::new();
    for header in file.elf_program_headers() {
        if header.p_type(endian) == elf::PT_LOAD && header.p_filesz(endian) > 0 {
            let bytes =
                header.data(endian, image).map_err(|()| ProbeError::Image("a segment is cut off".to_owned()))?;
            pieces.push(Piece { address: u64::from(header.p_paddr(endian)), bytes: bytes.to_vec() });
        }
    }
    if pieces.is_empty() {
        return Err(ProbeError::Image("it has nothing to load".to_owned()));
    }
    Ok(pieces)
}

/// A model in its place.
#[must_use]
pub fn piece_of_model(board: &Board, model: &[u8]) -> Piece {
    Piece { address: board.stored.address, bytes: model.to_vec() }
}

/// Writes what is not there yet, and reads it back.
///
/// # Errors
/// [`ProbeError`]. A model that was cut off in the middle does not pass its checksum on the board, so the board says that
/// it has none, and can be flashed again.
pub fn program(probe: &mut (impl Probe + ?Sized), pieces: &[Piece]) -> Result<Outcome, ProbeError> {
    if difference(probe, pieces)?.is_none() {
        return Ok(Outcome::AlreadyThere);
    }
    probe.program(pieces)?;
    difference(probe, pieces)?.map_or(Ok(Outcome::Written), Err)
}

/// The first byte that differs from what is to be there.
fn difference(probe: &mut (impl Probe + ?Sized), pieces: &[Piece]) -> Result<Option<ProbeError>, ProbeError> {
    for piece in pieces {
        for (index, wanted) in piece.bytes.chunks(READ_BACK).enumerate() {
            let start = piece.address + (index * READ_BACK) as u64;
            let mut found = vec![0; wanted.len()];
            probe.read(start, &mut found)?;
            if let Some(place) = wanted.iter().zip(&found).position(|(wanted, found)| wanted != found) {
                let (address, wanted, found) = (start + place as u64, wanted[place], found[place]);
                return Ok(Some(ProbeError::Verify { address, wanted, found }));
            }
        }
    }
    Ok(None)
}
