//! Starts a board with its firmware, and a model in its flash if one is to lie there: in the emulator, or on the desk.

use super::board::Kind;
use super::firmware::Firmware;
use super::link::Transport;
use super::probe::program::{Outcome, piece_of_model, pieces_of, program};
use super::probe::{Probe, Rtt, attach};
use super::qemu::Qemu;
use super::{Board, DeviceError, toolchain};
use crate::progress::Progress;

/// Starts a board and returns the line to it. On a real board only what is not in flash yet is written there.
///
/// # Errors
/// [`DeviceError`].
pub fn start(
    board: &Board,
    firmware: &Firmware,
    stored: Option<&[u8]>,
    progress: Progress,
) -> Result<Box<dyn Transport>, DeviceError> {
    match board.kind {
        Kind::Emulated(_) => {
            let qemu = toolchain::ensure_qemu(progress)?;
            Ok(Box::new(Qemu::start(&qemu, board, &firmware.elf, stored)?))
        }
        Kind::Real(_) => {
            let mut probe = attach(board)?;
            flash(&mut probe, board, Some(firmware), stored, progress)?;
            Ok(Box::new(Rtt::start(probe, &firmware.bytes)?))
        }
    }
}

/// Writes the firmware, the model, or both, and reads them back.
///
/// # Errors
/// [`DeviceError`].
pub fn flash(
    probe: &mut (impl Probe + ?Sized),
    board: &Board,
    firmware: Option<&Firmware>,
    model: Option<&[u8]>,
    progress: Progress,
) -> Result<(), DeviceError> {
    let image = firmware.map(|firmware| pieces_of(&firmware.bytes)).transpose()?;
    let parts = [("firmware", image), ("model", model.map(|model| vec![piece_of_model(board, model)]))];
    for (what, pieces) in parts {
        let Some(pieces) = pieces else { continue };
        let bytes: usize = pieces.iter().map(|piece| piece.bytes.len()).sum();
        progress.say(format_args!("{:>12} {what} on {}: {bytes} bytes", "flash", board.name));
        match program(probe, &pieces)? {
            Outcome::Written => {
                progress.say(format_args!("{:>12} {what} on {}: written and read back", "flash", board.name))
            }
            Outcome::AlreadyThere => {
                progress.say(format_args!("{:>12} {what} on {}: is there already", "flash", board.name))
            }
        }
    }
    Ok(())
}
