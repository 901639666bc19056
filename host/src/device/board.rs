//! Boards, as the folders of `boards/` describe them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use releq_firmware::kernels::CoreClass;

use super::DeviceError;

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
    /// Clock in hertz.
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
    /// What a tick of its counter is.
    pub ticks: TickRatio,
    /// How QEMU emulates it.
    pub qemu: Qemu,
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

/// How QEMU emulates a board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Qemu {
    /// QEMU's name of the machine.
    pub machine: String,
    /// Further arguments.
    pub arguments: Vec<String>,
}

impl Board {
    /// What its core can do, as far as kernels care.
    #[must_use]
    pub fn class(&self) -> CoreClass {
        CoreClass::of_core(&self.core, &self.target)
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
        let path = entry.map_err(io)?.path().join("board.toml");
        if path.exists() {
            boards.push(read(&path)?);
        }
    }
    boards.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(boards)
}

fn read(path: &Path) -> Result<Board, DeviceError> {
    let text = std::fs::read_to_string(path).map_err(|source| DeviceError::Io { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|error| DeviceError::BoardFile { path: path.to_owned(), reason: error.to_string() })
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
