//! What probe-rs' target descriptions say of a chip.

use std::ops::Range;
use std::sync::LazyLock;

use probe_rs::config::{MemoryRegion, Registry, RegistryError};
use probe_rs::{CoreType, Target};

use super::{Architecture, ChipFacts};
use crate::device::DeviceError;

/// Flash chips beside the processor may be smaller than what can be addressed; boards have at least so much.
const OUTSIDE_FLASH: u64 = 2 << 20;

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::from_builtin_families);

/// What probe-rs knows of a chip.
///
/// # Errors
/// [`DeviceError::UnknownChip`] with names that are near, [`DeviceError::UnfitChip`] if its description lacks something.
pub fn facts(chip: &str) -> Result<ChipFacts, DeviceError> {
    let target = REGISTRY.get_target_by_name(chip).map_err(|error| unknown(chip, &error))?;
    let unfit = |reason: &'static str| DeviceError::UnfitChip { chip: target.name.clone(), reason };
    let core = target.cores.first().ok_or_else(|| unfit("it has no core"))?;
    let architecture = match core.core_type {
        CoreType::Armv6m => Architecture::Armv6m,
        CoreType::Armv7m => Architecture::Armv7m,
        CoreType::Armv7em => Architecture::Armv7em,
        CoreType::Armv8m => Architecture::Armv8m,
        _ => return Err(unfit("its core is no Cortex-M")),
    };
    let flash = boot_flash(&target, &core.name).ok_or_else(|| unfit("probe-rs does not know its flash"))?;
    let ram = largest_ram(&target, &core.name).ok_or_else(|| unfit("probe-rs does not know its RAM"))?;
    let sectors = sectors(&target, &flash);
    if sectors.is_empty() {
        return Err(unfit("probe-rs does not know how to write its flash"));
    }
    // Flash of more than that is a window onto a chip of unknown size.
    let end = if flash.end - flash.start > 8 << 20 { flash.start + OUTSIDE_FLASH } else { flash.end };
    Ok(ChipFacts { name: target.name.clone(), architecture, flash: flash.start..end, ram, sectors })
}

/// The flash that the core boots from, with what follows without a gap.
fn boot_flash(target: &Target, core: &str) -> Option<Range<u64>> {
    let usable = target.memory_map.iter().filter_map(MemoryRegion::as_nvm_region).filter(|region| {
        region.accessible_by(core)
            && region.is_executable()
            && !region.is_alias
            && region.range.end > region.range.start
    });
    let mut regions: Vec<_> = usable.collect();
    regions.sort_by_key(|region| region.range.start);
    let first = regions.iter().find(|region| region.is_boot_memory()).or(regions.first())?;
    Some(continued(&first.range, regions.iter().map(|region| &region.range)))
}

/// The largest stretch of RAM.
fn largest_ram(target: &Target, core: &str) -> Option<Range<u64>> {
    let usable = target.memory_map.iter().filter_map(MemoryRegion::as_ram_region);
    let mut ranges: Vec<&Range<u64>> =
        usable.filter(|region| region.accessible_by(core) && !region.is_alias).map(|region| &region.range).collect();
    ranges.sort_by_key(|range| range.start);
    let stretches = ranges.iter().map(|range| continued(range, ranges.iter().copied()));
    // Of equal ones the first.
    stretches.max_by_key(|range| (range.end - range.start, std::cmp::Reverse(range.start)))
}

/// A range with those, in ascending order, that begin where it ends.
fn continued<'a>(first: &Range<u64>, ascending: impl Iterator<Item = &'a Range<u64>>) -> Range<u64> {
    ascending.fold(first.clone(), |all, next| if next.start == all.end { all.start..next.end } else { all })
}

/// Where sectors of which size begin.
fn sectors(target: &Target, flash: &Range<u64>) -> Vec<(u64, u64)> {
    let algorithms = target.flash_algorithms.iter().map(|algorithm| &algorithm.flash_properties);
    let of_flash = algorithms.filter(|properties| properties.address_range.contains(&flash.start));
    // Where there are several, the one for the most flash.
    let Some(properties) = of_flash.max_by_key(|properties| properties.address_range.end) else { return Vec::new() };
    let start = properties.address_range.start;
    let mut sectors: Vec<(u64, u64)> =
        properties.sectors.iter().map(|sector| (start + sector.address, sector.size)).collect();
    sectors.sort_unstable();
    sectors
}

fn unknown(chip: &str, error: &RegistryError) -> DeviceError {
    let hint = match error {
        RegistryError::ChipNotUnique(_, several) => format!("; it may be one of {several}"),
        _ => {
            let all = REGISTRY.families().iter().flat_map(|family| family.variants.iter());
            let names: Vec<&str> = all.map(|variant| variant.name.as_str()).collect();
            crate::suggest::hint(chip, &names)
        }
    };
    DeviceError::UnknownChip { chip: chip.to_owned(), hint }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::board::{self, Kind};

    /// Facts as in ST's and Nordic's datasheets.
    #[test]
    fn chips_are_known_by_their_memory_and_core() {
        let l476 = facts("STM32L476RGTx").unwrap();
        assert_eq!(l476.architecture, Architecture::Armv7em);
        assert_eq!((l476.flash, l476.ram), (0x0800_0000..0x0810_0000, 0x2000_0000..0x2001_8000));
        let l053 = facts("STM32L053R8Tx").unwrap();
        assert_eq!(l053.architecture, Architecture::Armv6m);
        assert_eq!((l053.flash, l053.ram), (0x0800_0000..0x0801_0000, 0x2000_0000..0x2000_2000));
        let f100 = facts("STM32F100RBTx").unwrap();
        assert_eq!((f100.architecture, f100.flash), (Architecture::Armv7m, 0x0800_0000..0x0802_0000));
        let rp2350 = facts("RP235x").unwrap();
        assert_eq!((rp2350.architecture, rp2350.ram), (Architecture::Armv8m, 0x2000_0000..0x2008_2000));
        let f446 = facts("STM32F446RETx").unwrap();
        assert_eq!(f446.sectors, [(0x0800_0000, 16 << 10), (0x0801_0000, 64 << 10), (0x0802_0000, 128 << 10)]);
    }

    #[test]
    fn an_unknown_chip_is_met_with_a_suggestion() {
        let error = facts("STM32L467RG").unwrap_err().to_string();
        assert!(error.contains("did you mean \"STM32L4"), "{error}");
        let error = facts("STM32F446").unwrap_err().to_string();
        assert!(error.contains("STM32F446RETx"), "{error}");
        let error = facts("CH32V003F4U6").unwrap_err().to_string();
        assert!(error.contains("no Cortex-M"), "{error}");
    }

    /// What board.toml says of flash and RAM is what the chip has, and a model's slot begins with a sector.
    #[test]
    fn real_boards_lie_within_the_memory_of_their_chips() {
        for board in board::all().unwrap() {
            let Kind::Real(chip) = &board.kind else { continue };
            let facts = facts(&chip.chip).unwrap();
            let name = &board.name;
            assert_eq!(board.ram_bytes, facts.ram.end - facts.ram.start, "{name}");
            // The flash of a Pico is a chip of its own.
            if !name.starts_with("rpi-") {
                assert_eq!(board.flash_bytes, facts.flash.end - facts.flash.start, "{name}");
            }
            assert_eq!(facts.sector_from(board.stored.address), Some(board.stored.address), "{name}: a whole sector");
            assert_eq!(board.stored.address + board.stored.bytes, facts.flash.start + board.flash_bytes, "{name}");
            let usual = super::super::lay_out(&facts, &Default::default()).unwrap();
            let found = usual.chip().unwrap();
            let (wanted, found) = ((board.class(), &chip.chip, chip.boot), (usual.class(), &found.chip, found.boot));
            assert_eq!(found, wanted, "{name}");
        }
    }
}
