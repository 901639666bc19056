//! RP2040: its boot ROM runs the first 256 bytes of flash, which set up the flash chip and start the image behind them.

#[used]
// SAFETY: memory.x keeps the section at the very start of flash and nothing else in it.
#[unsafe(link_section = ".boot2")]
static SECOND_STAGE: [u8; 256] = rp2040_boot2::BOOT_LOADER_W25Q080;
