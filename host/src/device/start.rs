//! Starts a board with its firmware, and a model in its flash if one is to lie there: in the emulator, or on the desk.

use std::time::Instant;

use super::board::Kind;
use super::firmware::{self, Firmware, ImageLine, ImageOptions, LogLevel};
use super::link::{Patience, Transport};
use super::probe::program::{Outcome, piece_of_model, pieces_of, program};
use super::probe::{Probe, Rtt, attach};
use super::qemu::Qemu;
use super::serial::Serial;
use super::{Board, DeviceError, Link, toolchain};
use crate::progress::Progress;

/// The link to a board of any kind.
pub type Line = Link<Box<dyn Transport>>;

/// A board that has been started.
pub struct Started {
    /// The link to it.
    pub link: Line,
    /// Whether it runs the very image that was built for it; one behind a serial port has whatever was flashed there.
    pub runs_image: bool,
}

/// Builds the image that a board is to run, and says so.
///
/// # Errors
/// [`DeviceError`].
pub fn image(board: &Board, log: LogLevel, progress: Progress) -> Result<Firmware, DeviceError> {
    let started = Instant::now();
    let line = ImageLine::uart_if(board.port().is_some() && board.chip()?.uart.is_some());
    progress.say(format_args!("{:>12} for {}: building", "firmware", board.name));
    let firmware = firmware::build_with(board, ImageOptions { log, line, ..ImageOptions::default() }, progress)?;
    progress.say(format_args!(
        "{:>12} for {}: {} bytes of flash ({:.1} s)",
        "firmware",
        board.name,
        firmware.flash.total(),
        started.elapsed().as_secs_f64()
    ));
    Ok(firmware)
}

/// Starts a board and links to it. On one behind a probe only what is not in flash yet is written there; on one behind a serial
/// port nothing is: it has to run already. `on_log` gets each line of its log.
///
/// # Errors
/// [`DeviceError`]; [`DeviceError::OtherBoard`] if another answers.
pub fn start(
    board: &Board,
    firmware: &Firmware,
    stored: Option<&[u8]>,
    progress: Progress,
    on_log: impl FnMut(&str) + 'static,
) -> Result<Started, DeviceError> {
    let transport: Box<dyn Transport> = match &board.kind {
        Kind::Emulated(_) => {
            let qemu = toolchain::ensure_qemu(progress)?;
            Box::new(Qemu::start(&qemu, board, &firmware.elf, stored)?)
        }
        Kind::Real(chip) => match &chip.port {
            Some(port) => Box::new(Serial::open(port, chip.uart.as_ref().map(|uart| uart.baud))?),
            None => {
                let mut probe = attach(board)?;
                flash(&mut probe, board, Some(firmware), stored, progress)?;
                Box::new(Rtt::start(probe, &firmware.bytes)?)
            }
        },
    };
    let mut link = Link::new(transport, Patience::default());
    let runs_image = board.port().is_none() || runs(&mut link, board, firmware)?;
    if runs_image {
        link = link.with_logs(&firmware.bytes, on_log);
    } else {
        progress.say(format_args!(
            "{:>12} {} runs another build of its firmware, which is measured as it is; its log cannot be read",
            "board", board.name
        ));
    }
    Ok(Started { link, runs_image })
}

/// Takes the lines of a board's log, and shows them if they are to be shown.
pub fn show_log(shown: bool) -> impl FnMut(&str) + 'static {
    move |line| {
        if shown {
            eprintln!("{:>12} {line}", "board");
        }
    }
}

/// Whether the board behind a link runs an image.
fn runs(link: &mut Line, board: &Board, firmware: &Firmware) -> Result<bool, DeviceError> {
    let found = link.hello()?.board;
    if found != board.name {
        return Err(DeviceError::OtherBoard { found, wanted: board.name.clone() });
    }
    Ok(u64::from(link.memory()?.flash_used) == firmware.flash_used())
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
