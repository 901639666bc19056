//! A debug probe on this machine, through probe-rs.

use std::time::Duration;

use probe_rs::architecture::arm::ArmError;
use probe_rs::flashing::{DownloadOptions, FlashError};
use probe_rs::probe::DebugProbeInfo;
use probe_rs::probe::list::Lister;
use probe_rs::{Core, MemoryInterface, Permissions, Session};

use super::{Piece, Probe, ProbeChoice, ProbeError};

/// How long a reset may take.
const RESET: Duration = Duration::from_millis(500);

/// A chip on a probe.
pub struct Attached {
    session: Session,
}

impl std::fmt::Debug for Attached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attached").field("chip", &self.session.target().name).finish()
    }
}

impl Attached {
    /// Opens the probe that is chosen, or the only one, and attaches to the chip.
    ///
    /// # Errors
    /// [`ProbeError`] says what is missing.
    pub fn open(chip: &str, choice: &ProbeChoice) -> Result<Self, ProbeError> {
        let probes = Lister::new().list_all();
        let names: Vec<Listed> = probes.iter().map(Listed::from).collect();
        let probe = &probes[choose(&names, choice.serial.as_deref())?];
        let busy = |reason: String| ProbeError::Busy { probe: probe.identifier.clone(), reason };
        let opened = probe.open().map_err(|error| busy(chain(&error)))?;
        let permissions = if choice.unlock { Permissions::new().allow_erase_all() } else { Permissions::new() };
        let session = opened.attach(chip, permissions).map_err(|error| match error {
            probe_rs::Error::MissingPermissions(_) | probe_rs::Error::Arm(ArmError::MissingPermissions(_)) => {
                ProbeError::Locked { chip: chip.to_owned() }
            }
            error => ProbeError::Attach { chip: chip.to_owned(), reason: chain(&error) },
        })?;
        Ok(Self { session })
    }

    fn core<R>(
        &mut self,
        what: &'static str,
        act: impl FnOnce(&mut Core<'_>) -> Result<R, probe_rs::Error>,
    ) -> Result<R, ProbeError> {
        let done = self.session.core(0).and_then(|mut core| act(&mut core));
        done.map_err(|error| ProbeError::Access { what, reason: chain(&error) })
    }

    fn commit(&mut self, pieces: &[Piece]) -> Result<(), FlashError> {
        let mut loader = self.session.target().flash_loader();
        for piece in pieces {
            loader.add_data(piece.address, &piece.bytes)?;
        }
        loader.commit(&mut self.session, DownloadOptions::default())
    }
}

impl Probe for Attached {
    fn read(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), ProbeError> {
        self.core("read memory", |core| core.read(address, bytes))
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), ProbeError> {
        self.core("write memory", |core| match bytes.try_into() {
            // In one access: the board reads offsets while they are written.
            Ok(word) if address.is_multiple_of(4) => core.write_word_32(address, u32::from_le_bytes(word)),
            _ => core.write(address, bytes),
        })
    }

    fn program(&mut self, pieces: &[Piece]) -> Result<(), ProbeError> {
        self.commit(pieces).map_err(|error| ProbeError::Access { what: "write flash", reason: chain(&error) })
    }

    fn reset_and_halt(&mut self) -> Result<(), ProbeError> {
        self.core("reset the chip", |core| core.reset_and_halt(RESET).map(|_| ()))
    }

    fn run(&mut self) -> Result<(), ProbeError> {
        self.core("start the core", |core| core.run())
    }
}

/// What is known of a probe before it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    name: String,
    serial: Option<String>,
}

impl From<&DebugProbeInfo> for Listed {
    fn from(probe: &DebugProbeInfo) -> Self {
        Self { name: probe.identifier.clone(), serial: probe.serial_number.clone() }
    }
}

impl std::fmt::Display for Listed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.serial.as_deref().unwrap_or("no serial number"))
    }
}

/// Which of the probes to use.
fn choose(probes: &[Listed], serial: Option<&str>) -> Result<usize, ProbeError> {
    let found = || probes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match (probes, serial) {
        ([], _) => Err(ProbeError::NoProbe),
        (_, Some(serial)) => {
            let same = |probe: &Listed| probe.serial.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(serial));
            let place = probes.iter().position(same);
            place.ok_or_else(|| ProbeError::NoSuchProbe { serial: serial.to_owned(), found: found() })
        }
        ([_], None) => Ok(0),
        _ => Err(ProbeError::Several { found: found() }),
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_probe_is_taken_and_one_of_several_must_be_named() {
        let listed = |name: &str, serial: &str| Listed { name: name.to_owned(), serial: Some(serial.to_owned()) };
        let [one, other] = [listed("ST-LINK", "0667FF"), listed("J-Link", "000683")];
        assert!(matches!(choose(&[], None), Err(ProbeError::NoProbe)));
        assert_eq!(choose(std::slice::from_ref(&one), None).unwrap(), 0);
        let both = [one, other];
        let error = choose(&both, None).unwrap_err().to_string();
        assert!(error.contains("ST-LINK (0667FF), J-Link (000683)") && error.contains("--probe"), "{error}");
        assert_eq!(choose(&both, Some("000683")).unwrap(), 1);
        assert_eq!(choose(&both, Some("0667ff")).unwrap(), 0);
        let error = choose(&both, Some("1")).unwrap_err().to_string();
        assert!(error.contains("ST-LINK (0667FF)"), "{error}");
    }
}
