//! The folder of a board, written from a chip's facts.

use std::path::Path;

use super::ChipFacts;
use crate::device::board::{Boot, Kind};
use crate::device::{Board, DeviceError};

/// Writes board.toml and memory.x; files that are so already stay untouched, so that nothing is built again for them.
pub(super) fn write(board: &Board, facts: &ChipFacts, folder: &Path) -> Result<(), DeviceError> {
    let io = |source| DeviceError::Io { path: folder.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(io)?;
    for (name, text) in [("board.toml", board_toml(board)), ("memory.x", memory_x(board, facts))] {
        let path = folder.join(name);
        if std::fs::read(&path).ok().as_deref() != Some(text.as_bytes()) {
            crate::run::write_atomically(&path, text.as_bytes()).map_err(|error| io(std::io::Error::other(error)))?;
        }
    }
    Ok(())
}

fn board_toml(board: &Board) -> String {
    let Board { name, description, core, target, clock_hz, flash_bytes, ram_bytes, .. } = board;
    let Board { model_bytes, arena_bytes, stored, .. } = board;
    let cpu = board.target_cpu.as_ref().map_or_else(String::new, |cpu| format!("target_cpu = {cpu:?}\n"));
    let real = match &board.kind {
        Kind::Real(chip) if chip.boot == Boot::Plain => format!("chip = {:?}\n", chip.chip),
        Kind::Real(chip) => format!("chip = {:?}\nboot = \"{}\"\n", chip.chip, chip.boot.name()),
        Kind::Emulated(_) => String::new(),
    };
    format!(
        "name = {name:?}\ndescription = {description:?}\ncore = {core:?}\ntarget = {target:?}\n{cpu}\
         # In hertz, as the chip starts; 0 if it is not known.\nclock_hz = {clock_hz}\n\
         flash_bytes = {flash_bytes}\nram_bytes = {ram_bytes}\n\
         # Of RAM: for a model (0: it must lie in flash), and for activations and scratch. The rest is the stack's.\n\
         model_bytes = {model_bytes}\narena_bytes = {arena_bytes}\n\n\
         # The flash behind the image, from the start of a sector.\n\
         [stored]\naddress = {:#010x}\nbytes = {:#x}\n\n[kind.real]\n{real}",
        stored.address, stored.bytes,
    )
}

fn memory_x(board: &Board, facts: &ChipFacts) -> String {
    let boot = match &board.kind {
        Kind::Real(chip) => chip.boot,
        Kind::Emulated(_) => Boot::Plain,
    };
    let (regions, sections, flash) = match boot {
        Boot::Plain => (String::new(), "", facts.flash.start),
        Boot::Nrf52 => ("  UICR  : ORIGIN = 0x10001208, LENGTH = 4\n".to_owned(), NRF52, facts.flash.start),
        Boot::Rp2040 => {
            let start = facts.flash.start;
            (format!("  BOOT2 : ORIGIN = {start:#010x}, LENGTH = 256\n"), RP2040, start + 256)
        }
        Boot::Rp2350 => (String::new(), RP2350, facts.flash.start),
    };
    format!(
        "/* The image's part of flash; a model has what is behind it. */\nMEMORY\n{{\n{regions}  \
         FLASH : ORIGIN = {flash:#010x}, LENGTH = {}\n  RAM   : ORIGIN = {:#010x}, LENGTH = {}\n}}\n{sections}",
        board.stored.address - flash,
        facts.ram.start,
        board.ram_bytes,
    )
}

const NRF52: &str = "
SECTIONS
{
  /* The word of the user's configuration that lets the image keep the debug port open. */
  .uicr_approtect 0x10001208 : { KEEP(*(.uicr_approtect)) } > UICR
}
INSERT AFTER .text;
";

const RP2040: &str = "
SECTIONS
{
  .boot2 ORIGIN(BOOT2) : { KEEP(*(.boot2)) } > BOOT2
}
INSERT BEFORE .text;
";

const RP2350: &str = "
SECTIONS
{
  /* The boot ROM looks for it within the first 4 KiB. */
  .start_block : ALIGN(4) { KEEP(*(.start_block)) } > FLASH
}
INSERT AFTER .vector_table;

/* Code begins behind it. */
_stext = ADDR(.start_block) + SIZEOF(.start_block);
";
