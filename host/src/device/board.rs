//! Boards, as the folders of `boards/` describe them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use releq_firmware::kernels::CoreClass;

use super::DeviceError;
use super::probe::ProbeChoice;
use super::serial::PortChoice;

/// A board.toml.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// Its name, as its folder.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Its core.
    pub core: String,
    /// Rust's target for that core.
    pub target: String,
    /// The processor to compile for, where the target alone says too little.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_cpu: Option<String>,
    /// Clock in hertz, as the image has it; 0 if it is not known.
    pub clock_hz: u32,
    /// Bytes of flash.
    pub flash_bytes: u64,
    /// Bytes of RAM.
    pub ram_bytes: u64,
    /// Bytes of RAM set aside for a model; 0 if it must lie in flash.
    pub model_bytes: u64,
    /// Bytes of RAM set aside for activations and scratch.
    pub arena_bytes: u64,
    /// Where a model lies in flash.
    pub stored: Stored,
    /// How it is run and reached.
    pub kind: Kind,
    /// Where its board.toml and memory.x are.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// How a board is run and reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// In QEMU; semihosting is the link.
    Emulated(Emulated),
    /// On the desk, behind a debug probe, which is the link (RTT), or on a serial port.
    Real(Chip),
}

/// How QEMU emulates a board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emulated {
    /// QEMU's name of the machine.
    pub machine: String,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// What a tick of its counter is.
    pub ticks: TickRatio,
}

/// What a debug probe has to know of a board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chip {
    /// probe-rs' name of the chip.
    pub chip: String,
    /// What it wants before an image runs.
    #[serde(default)]
    pub boot: Boot,
    /// Its UART, for images whose link is that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uart: Option<Uart>,
    /// The probe that it hangs on.
    #[serde(skip)]
    pub probe: ProbeChoice,
    /// The serial port that it is reached by, in place of the probe.
    #[serde(skip)]
    pub port: Option<PortChoice>,
}

/// A board's UART as its registers (`boards/src/uart.rs`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uart {
    /// Bits a second; the setup makes it so.
    pub baud: u32,
    /// Which pins it is on, for people.
    pub pins: String,
    /// Whether the status registers hold events, one for each byte, in place of flags.
    #[serde(default)]
    pub events: bool,
    /// What starts it, in order.
    pub setup: Vec<UartStep>,
    /// How bytes come.
    pub receive: UartWay,
    /// How bytes go.
    pub transmit: UartWay,
}

/// A step of a UART's setup: a register is set to `value`, or bits of it are cleared and others set; then bits of it are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UartStep {
    /// Its address.
    pub register: u32,
    /// All of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<u32>,
    /// Bits to clear.
    #[serde(default)]
    pub clear: u32,
    /// Bits to set.
    #[serde(default)]
    pub set: u32,
    /// Bits that have to come by themselves.
    #[serde(default)]
    pub wait: u32,
}

/// A direction of a UART: bytes can be moved through `data` while `status`, as far as `mask` goes, is `ready`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UartWay {
    /// Address of the status register.
    pub status: u32,
    /// The bits that matter.
    pub mask: u32,
    /// What they are then; by default all set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<u32>,
    /// Address of the data register.
    pub data: u32,
}

/// What a chip wants before an image runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Boot {
    /// Nothing.
    #[default]
    Plain,
    /// nRF52: that the image keeps the debug port open.
    Nrf52,
    /// RP2040: a second stage in the first 256 bytes of flash.
    Rp2040,
    /// RP2350: a block that says what the image is.
    Rp2350,
}

impl Boot {
    /// Its name in a board.toml.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Nrf52 => "nrf52",
            Self::Rp2040 => "rp2040",
            Self::Rp2350 => "rp2350",
        }
    }
}

/// The part of flash that is set aside for a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Its first address.
    pub address: u64,
    /// Its length.
    pub bytes: u64,
}

/// Instructions of one tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TickRatio {
    /// Numerator.
    pub numerator: u32,
    /// Denominator.
    pub denominator: u32,
}

impl Board {
    /// What its core can do, as far as kernels care.
    #[must_use]
    pub fn class(&self) -> CoreClass {
        CoreClass::of_core(&self.core, &self.target)
    }

    /// Its chip, for a debug probe.
    ///
    /// # Errors
    /// [`DeviceError::NotReal`] if it is emulated.
    pub fn chip(&self) -> Result<&Chip, DeviceError> {
        match &self.kind {
            Kind::Real(chip) => Ok(chip),
            Kind::Emulated(_) => Err(DeviceError::NotReal { board: self.name.clone() }),
        }
    }

    /// The same board on a certain probe; emulated ones have none.
    #[must_use]
    pub fn on_probe(mut self, probe: ProbeChoice) -> Self {
        if let Kind::Real(chip) = &mut self.kind {
            chip.probe = probe;
        }
        self
    }

    /// The same board on a serial port.
    ///
    /// # Errors
    /// [`DeviceError::NotReal`] if it is emulated: QEMU's boards have their own link.
    pub fn on_port(mut self, port: PortChoice) -> Result<Self, DeviceError> {
        match &mut self.kind {
            Kind::Real(chip) => chip.port = Some(port),
            Kind::Emulated(_) => return Err(DeviceError::NotReal { board: self.name }),
        }
        Ok(self)
    }

    /// The serial port that it is reached by, if it is.
    #[must_use]
    pub const fn port(&self) -> Option<&PortChoice> {
        match &self.kind {
            Kind::Real(chip) => chip.port.as_ref(),
            Kind::Emulated(_) => None,
        }
    }

    /// How QEMU emulates it.
    ///
    /// # Errors
    /// [`DeviceError::NotEmulated`] if it does not.
    pub fn emulated(&self) -> Result<&Emulated, DeviceError> {
        match &self.kind {
            Kind::Emulated(emulated) => Ok(emulated),
            Kind::Real(_) => Err(DeviceError::NotEmulated { board: self.name.clone() }),
        }
    }
}

/// The top of the source tree: where boards and firmware are.
///
/// # Errors
/// [`DeviceError::NoSources`] if it has moved since this program was built; `RELEQ_HOME` then names it.
pub fn source_root() -> Result<PathBuf, DeviceError> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned);
    let candidates = std::env::var_os("RELEQ_HOME").map(PathBuf::from).into_iter().chain(built);
    let found = candidates.into_iter().find(|root| root.join("boards").is_dir() && root.join("firmware").is_dir());
    found.ok_or(DeviceError::NoSources)
}

/// All boards, by name.
///
/// # Errors
/// If a board.toml cannot be read.
pub fn all() -> Result<Vec<Board>, DeviceError> {
    let folder = source_root()?.join("boards");
    let io = |source| DeviceError::Io { path: folder.clone(), source };
    let mut boards = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.join("board.toml").exists() {
            boards.push(read(&path)?);
        }
    }
    boards.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(boards)
}

/// Reads the board of a folder.
///
/// # Errors
/// If its board.toml cannot be read.
pub fn read(folder: &Path) -> Result<Board, DeviceError> {
    let path = folder.join("board.toml");
    let text = std::fs::read_to_string(&path).map_err(|source| DeviceError::Io { path: path.clone(), source })?;
    match toml::from_str::<Board>(&text) {
        Ok(board) => Ok(Board { folder: folder.to_owned(), ..board }),
        Err(error) => Err(DeviceError::BoardFile { path, reason: error.to_string() }),
    }
}

/// The board of a name.
///
/// # Errors
/// [`DeviceError::UnknownBoard`] with the known names and the nearest one.
pub fn by_name(name: &str) -> Result<Board, DeviceError> {
    let boards = all()?;
    let names: Vec<String> = boards.iter().map(|board| board.name.clone()).collect();
    let found = boards.into_iter().find(|board| board.name == name);
    found.ok_or_else(|| DeviceError::UnknownBoard {
        name: name.to_owned(),
        hint: crate::suggest::hint(name, &names),
        known: names.join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_board_can_be_read_and_has_the_name_of_its_folder() {
        let boards = all().unwrap();
        assert!(boards.iter().any(|board| board.name == "qemu-mps2-an386"));
        for board in boards {
            assert!(
                source_root().unwrap().join("boards").join(&board.name).join("memory.x").exists(),
                "{}",
                board.name
            );
            assert!(board.model_bytes + board.arena_bytes < board.ram_bytes, "{}", board.name);
        }
    }

    #[test]
    fn an_unknown_board_is_met_with_a_suggestion() {
        let error = by_name("qemu-mps2-an387").unwrap_err().to_string();
        assert!(error.contains("did you mean \"qemu-mps2-an38"), "{error}");
    }
}
