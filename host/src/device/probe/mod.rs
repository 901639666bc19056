//! Real boards, reached through a debug probe: flashing, and the link over RTT.
//!
//! What a probe does is a small trait. `attached` is a probe on this machine (probe-rs, feature `probe`); [`memory`] is a
//! chip in this process, which loses its power after so many writes, for tests of what is left behind.

#[cfg(feature = "probe")]
pub mod attached;
pub mod cores;
pub mod memory;
pub mod program;
pub mod rtt;

use super::Board;
#[cfg(not(feature = "probe"))]
use super::DeviceError;

pub use rtt::Rtt;

/// Bytes and where they belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Address of the first byte.
    pub address: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What can be done to a chip from outside.
pub trait Probe {
    /// Reads memory, also while the core runs.
    ///
    /// # Errors
    /// [`ProbeError`] if the probe or the chip does not answer; so for all of these.
    fn read(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), ProbeError>;

    /// Writes RAM, also while the core runs.
    ///
    /// # Errors
    /// [`ProbeError`].
    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), ProbeError>;

    /// Erases the sectors of flash in which the pieces lie, and writes these.
    ///
    /// # Errors
    /// [`ProbeError`]; what the sectors then hold is not known.
    fn program(&mut self, pieces: &[Piece]) -> Result<(), ProbeError>;

    /// Starts the chip again and holds the core at its first instruction.
    ///
    /// # Errors
    /// [`ProbeError`].
    fn reset_and_halt(&mut self) -> Result<(), ProbeError>;

    /// Lets the core run.
    ///
    /// # Errors
    /// [`ProbeError`].
    fn run(&mut self) -> Result<(), ProbeError>;
}

impl<P: Probe + ?Sized> Probe for Box<P> {
    fn read(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), ProbeError> {
        (**self).read(address, bytes)
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), ProbeError> {
        (**self).write(address, bytes)
    }

    fn program(&mut self, pieces: &[Piece]) -> Result<(), ProbeError> {
        (**self).program(pieces)
    }

    fn reset_and_halt(&mut self) -> Result<(), ProbeError> {
        (**self).reset_and_halt()
    }

    fn run(&mut self) -> Result<(), ProbeError> {
        (**self).run()
    }
}

/// What can go wrong between this machine and a chip.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// There is none.
    #[error(
        "no debug probe found; plug in the board's own (ST-LINK, J-Link, CMSIS-DAP) or one of yours. On Linux it also needs \
         a udev rule: https://probe.rs/docs/getting-started/probe-setup/"
    )]
    NoProbe,
    /// There are several, and none was chosen.
    #[error("several debug probes are plugged in; choose one with --probe SERIAL: {found}")]
    Several {
        /// Their names and serial numbers.
        found: String,
    },
    /// There is none of that serial number.
    #[error("no debug probe has the serial number {serial:?}; there is {found}")]
    NoSuchProbe {
        /// The number asked for.
        serial: String,
        /// Names and serial numbers of those that there are.
        found: String,
    },
    /// The probe cannot be used.
    #[error("cannot use the debug probe {probe}: {reason}; is another program using it?")]
    Busy {
        /// Its name.
        probe: String,
        /// probe-rs' words.
        reason: String,
    },
    /// The chip does not answer, or not as expected.
    #[error("cannot attach to {chip}: {reason}; is this the chip on the board, and does it have power?")]
    Attach {
        /// The chip.
        chip: String,
        /// probe-rs' words.
        reason: String,
    },
    /// The chip is locked.
    #[error("{chip} is locked against debuggers; `releq flash --unlock` unlocks it, which erases all of it")]
    Locked {
        /// The chip.
        chip: String,
    },
    /// The chip has another core.
    #[error("wrong chip: the image is for {wanted}, the board has a {found}{advice}")]
    WrongCore {
        /// The core that the image is built for.
        wanted: String,
        /// The core that was found.
        found: String,
        /// What to do.
        advice: String,
    },
    /// Memory cannot be reached.
    #[error("the debug probe cannot {what}: {reason}")]
    Access {
        /// What it was to do.
        what: &'static str,
        /// probe-rs' words.
        reason: String,
    },
    /// What was written is not what is read.
    #[error("flash at {address:#010x} reads back as {found:#04x} where {wanted:#04x} was written; flash again")]
    Verify {
        /// The first address that differs.
        address: u64,
        /// What was written.
        wanted: u8,
        /// What is read.
        found: u8,
    },
    /// An image that cannot be flashed.
    #[error("the firmware image cannot be flashed: {0}")]
    Image(String),
    /// The firmware does not start.
    #[error("the board's firmware does not start: its channel (RTT) does not appear within {seconds} s")]
    NoChannel {
        /// How long it was waited for.
        seconds: u64,
    },
}

/// Which probe a board hangs on, and what may be done to the chip.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeChoice {
    /// Its serial number, where there are several.
    pub serial: Option<String>,
    /// Whether a locked chip may be unlocked, which erases it.
    pub unlock: bool,
}

/// Attaches to the chip of a board: not at all, without probe-rs.
///
/// # Errors
/// Always.
#[cfg(not(feature = "probe"))]
pub fn attach(_board: &Board) -> Result<Box<dyn Probe>, DeviceError> {
    Err(DeviceError::NoProbeFeature)
}

/// Attaches to the chip of a board, and makes sure that its core is the one that the board's image is for.
///
/// # Errors
/// [`ProbeError`] says what is missing or wrong.
#[cfg(feature = "probe")]
pub fn attach(board: &Board) -> Result<Box<dyn Probe>, super::DeviceError> {
    let chip = board.chip()?;
    let mut probe = attached::Attached::open(&chip.chip, &chip.probe)?;
    cores::check(&mut probe, board)?;
    Ok(Box::new(probe))
}
