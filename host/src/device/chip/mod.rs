//! A board out of a chip's name: what probe-rs knows of the chip becomes a folder with a board.toml and a memory.x.
//!
//! What is laid out here is the same for every chip: the image comes first in flash, the model begins with the next
//! sector, so that flashing the one never erases the other; RAM is shared out among stack, activations and, where it is
//! large enough, a model.

mod folder;
#[cfg(feature = "probe")]
mod known;

use std::ops::Range;
use std::path::PathBuf;

use super::board::{self, Boot, Chip, Kind, Stored};
use super::probe::ProbeChoice;
use super::{Board, DeviceError};

#[cfg(feature = "probe")]
pub use known::facts;

/// Flash that an image for any model takes at most, on cores with the simplest kernels and on all others.
const IMAGE_BYTES: [u64; 2] = [60 * 1024, 96 * 1024];
/// The least RAM: stack, buffers of the link, and an arena that runs something.
const RAM_AT_LEAST: u64 = 8 * 1024;
/// From so much RAM on, a model may lie there too.
const RAM_FOR_MODELS: u64 = 64 * 1024;

/// What has to be known of a chip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChipFacts {
    /// Its name, with its package.
    pub name: String,
    /// What its first core understands.
    pub architecture: Architecture,
    /// The flash that it boots from.
    pub flash: Range<u64>,
    /// Its largest RAM.
    pub ram: Range<u64>,
    /// Sectors of flash: from which address on they have which size, in ascending order.
    pub sectors: Vec<(u64, u64)>,
}

/// Instruction sets of Cortex-M.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Cortex-M0, M0+, M1.
    Armv6m,
    /// Cortex-M3.
    Armv7m,
    /// Cortex-M4, M7.
    Armv7em,
    /// Cortex-M23, M33, M55, M85.
    Armv8m,
}

impl Architecture {
    /// The core that nearly all chips of this architecture have; flashing finds out if one has another.
    const fn usual_core(self) -> &'static str {
        match self {
            Self::Armv6m => "cortex-m0plus",
            Self::Armv7m => "cortex-m3",
            Self::Armv7em => "cortex-m4f",
            Self::Armv8m => "cortex-m33",
        }
    }
}

/// Cores with Rust's targets for them, and whether the compiler has to be told the core.
const CORES: [(&str, &str, bool); 11] = [
    ("cortex-m0", "thumbv6m-none-eabi", false),
    ("cortex-m0plus", "thumbv6m-none-eabi", false),
    ("cortex-m1", "thumbv6m-none-eabi", false),
    ("cortex-m3", "thumbv7m-none-eabi", false),
    ("cortex-m4", "thumbv7em-none-eabi", false),
    ("cortex-m4f", "thumbv7em-none-eabihf", false),
    ("cortex-m7", "thumbv7em-none-eabihf", false),
    ("cortex-m23", "thumbv8m.base-none-eabi", false),
    ("cortex-m33", "thumbv8m.main-none-eabihf", true),
    ("cortex-m55", "thumbv8m.main-none-eabihf", true),
    ("cortex-m85", "thumbv8m.main-none-eabihf", true),
];

/// What the name of a chip does not tell.
#[derive(Clone, Debug, Default)]
pub struct ChipOptions {
    /// Its core, where it is not the usual one of its architecture.
    pub core: Option<String>,
    /// Its clock after a reset; 0 if it is not known.
    pub clock_hz: u32,
}

/// The board that consists of a chip that probe-rs knows, with its folder beside what is built.
///
/// # Errors
/// [`DeviceError::UnknownChip`], or why no image can be made for it.
pub fn board(chip: &str, options: &ChipOptions) -> Result<Board, DeviceError> {
    let facts = facts(chip)?;
    let folder = board::source_root()?.join("target/firmware/chips").join(&facts.name);
    let description = format!("{}, as probe-rs describes it", facts.name);
    create(&facts, options, &facts.name, &description, folder)
}

/// Makes the folder of a new board in `boards/`.
///
/// # Errors
/// As [`board()`]; [`DeviceError::BoardExists`].
pub fn scaffold(name: &str, chip: &str, options: &ChipOptions) -> Result<Board, DeviceError> {
    let proper = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if name.is_empty() || !name.chars().all(proper) {
        return Err(DeviceError::BoardName { name: name.to_owned() });
    }
    let facts = facts(chip)?;
    let folder = board::source_root()?.join("boards").join(name);
    if folder.exists() {
        return Err(DeviceError::BoardExists { path: folder });
    }
    create(&facts, options, name, &format!("Board with an {}", facts.name), folder)
}

fn create(
    facts: &ChipFacts,
    options: &ChipOptions,
    name: &str,
    description: &str,
    folder: PathBuf,
) -> Result<Board, DeviceError> {
    let board = Board { name: name.to_owned(), description: description.to_owned(), ..lay_out(facts, options)? };
    folder::write(&board, facts, &folder)?;
    board::read(&folder)
}

/// Shares out a chip's memory.
fn lay_out(facts: &ChipFacts, options: &ChipOptions) -> Result<Board, DeviceError> {
    let core = options.core.as_deref().unwrap_or(facts.architecture.usual_core());
    let Some(&(core, target, named)) = CORES.iter().find(|known| known.0 == core) else {
        let known = CORES.map(|known| known.0);
        let hint = crate::suggest::hint(core, &known);
        return Err(DeviceError::UnknownCore { core: core.to_owned(), hint, known: known.join(", ") });
    };
    let too_small =
        |what, needed, available| DeviceError::ChipTooSmall { chip: facts.name.clone(), what, needed, available };
    let image = IMAGE_BYTES[usize::from(facts.architecture != Architecture::Armv6m)];
    let flash_bytes = facts.flash.end - facts.flash.start;
    let slot = facts.sector_from(facts.flash.start + image).filter(|&start| start < facts.flash.end);
    let slot = slot.ok_or_else(|| too_small("flash", image, flash_bytes))?;
    let ram_bytes = facts.ram.end - facts.ram.start;
    if ram_bytes < RAM_AT_LEAST {
        return Err(too_small("RAM", RAM_AT_LEAST, ram_bytes));
    }
    // The stack, the buffers of the link, what little else is static.
    let reserved = if ram_bytes < 32 * 1024 { 7680 } else { 16 * 1024 };
    let free = ram_bytes - reserved;
    let model_bytes = if ram_bytes < RAM_FOR_MODELS { 0 } else { (free / 2).next_multiple_of(1024) };
    Ok(Board {
        name: String::new(),
        description: String::new(),
        core: core.to_owned(),
        target: target.to_owned(),
        target_cpu: named.then(|| core.to_owned()),
        clock_hz: options.clock_hz,
        flash_bytes,
        ram_bytes,
        model_bytes,
        arena_bytes: (free - model_bytes) / 16 * 16,
        stored: Stored { address: slot, bytes: facts.flash.end - slot },
        kind: Kind::Real(Chip {
            chip: facts.name.clone(),
            boot: boot_of(&facts.name),
            uart: None,
            probe: ProbeChoice::default(),
            port: None,
        }),
        folder: PathBuf::new(),
    })
}

impl ChipFacts {
    /// The first sector that begins at `address` or behind it.
    fn sector_from(&self, address: u64) -> Option<u64> {
        let ends = self.sectors.iter().skip(1).map(|sector| sector.0).chain([self.flash.end]);
        let groups = self.sectors.iter().zip(ends);
        let first = |(&(start, size), end): (&(u64, u64), u64)| {
            let steps = address.saturating_sub(start).div_ceil(size.max(1));
            Some(start + steps * size).filter(|&sector| sector < end)
        };
        groups.filter(|group| group.1 > address).find_map(first)
    }
}

/// What a chip wants before an image runs, by the name of its family.
fn boot_of(chip: &str) -> Boot {
    let chip = chip.to_ascii_lowercase();
    match chip {
        _ if chip.starts_with("nrf52") => Boot::Nrf52,
        _ if chip.starts_with("rp2040") => Boot::Rp2040,
        _ if chip.starts_with("rp235") => Boot::Rp2350,
        _ => Boot::Plain,
    }
}

/// What is known of a chip: nothing, without probe-rs.
///
/// # Errors
/// Always.
#[cfg(not(feature = "probe"))]
pub fn facts(_chip: &str) -> Result<ChipFacts, DeviceError> {
    Err(DeviceError::NoProbeFeature)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chip(flash: u64, ram: u64, sectors: &[(u64, u64)], architecture: Architecture) -> ChipFacts {
        ChipFacts {
            name: "TEST1".to_owned(),
            architecture,
            flash: 0x0800_0000..0x0800_0000 + flash * 1024,
            ram: 0x2000_0000..0x2000_0000 + ram * 1024,
            sectors: sectors.iter().map(|&(at, size)| (0x0800_0000 + at * 1024, size * 1024)).collect(),
        }
    }

    #[test]
    fn a_model_begins_with_the_first_sector_behind_the_image() {
        let growing = [(0, 16), (64, 64), (128, 128)];
        let board = lay_out(&chip(512, 128, &growing, Architecture::Armv7em), &ChipOptions::default()).unwrap();
        assert_eq!((board.stored.address, board.stored.bytes), (0x0802_0000, 384 * 1024));
        assert_eq!((board.target.as_str(), board.target_cpu), ("thumbv7em-none-eabihf", None));
        let board = lay_out(&chip(128, 36, &[(0, 2)], Architecture::Armv6m), &ChipOptions::default()).unwrap();
        assert_eq!(board.stored.address, 0x0800_0000 + 60 * 1024);
        assert_eq!((board.model_bytes, board.arena_bytes), (0, 20 * 1024));
    }

    #[test]
    fn memory_that_is_too_small_is_said_with_both_numbers() {
        let refused = |flash, ram| {
            let facts = chip(flash, ram, &[(0, 1)], Architecture::Armv6m);
            lay_out(&facts, &ChipOptions::default()).unwrap_err().to_string()
        };
        assert!(
            refused(32, 8).contains("61440 bytes of flash") && refused(32, 8).contains("32768"),
            "{}",
            refused(32, 8)
        );
        assert!(refused(64, 4).contains("8192 bytes of RAM"), "{}", refused(64, 4));
    }

    #[test]
    fn another_core_has_another_target_and_an_unknown_one_is_refused() {
        let facts = chip(512, 128, &[(0, 4)], Architecture::Armv8m);
        let with = |core: &str| lay_out(&facts, &ChipOptions { core: Some(core.to_owned()), clock_hz: 0 });
        assert_eq!(with("cortex-m55").unwrap().target_cpu.as_deref(), Some("cortex-m55"));
        assert_eq!(with("cortex-m23").unwrap().target, "thumbv8m.base-none-eabi");
        let error = with("cortex-m56").unwrap_err().to_string();
        assert!(error.contains("did you mean \"cortex-m55\""), "{error}");
    }
}
