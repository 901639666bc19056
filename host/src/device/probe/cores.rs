//! Which core a chip has, as the core itself says.

use releq_firmware::kernels::CoreClass;

use super::{Probe, ProbeError};
use crate::device::Board;

/// Every Cortex-M says here what it is.
const CPUID: u64 = 0xE000_ED00;
/// What the floating-point unit can do; zero where there is none.
const MVFR0: u64 = 0xE000_EF40;

/// Cores by the part number in CPUID.
const PARTS: [(u32, &str); 10] = [
    (0xC20, "cortex-m0"),
    (0xC21, "cortex-m1"),
    (0xC60, "cortex-m0plus"),
    (0xC23, "cortex-m3"),
    (0xC24, "cortex-m4"),
    (0xC27, "cortex-m7"),
    (0xD20, "cortex-m23"),
    (0xD21, "cortex-m33"),
    (0xD22, "cortex-m55"),
    (0xD23, "cortex-m85"),
];

fn word(probe: &mut (impl Probe + ?Sized), address: u64) -> Result<u32, ProbeError> {
    let mut bytes = [0; 4];
    probe.read(address, &mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

/// Makes sure that the chip's core runs a board's image. A core that is not in the list is let pass.
///
/// # Errors
/// [`ProbeError::WrongCore`] with what to do.
pub fn check(probe: &mut (impl Probe + ?Sized), board: &Board) -> Result<(), ProbeError> {
    let part = word(probe, CPUID)? >> 4 & 0xFFF;
    let Some(&(_, found)) = PARTS.iter().find(|known| known.0 == part) else { return Ok(()) };
    let wrong = |found: &str, core: &str| ProbeError::WrongCore {
        wanted: board.core.clone(),
        found: found.to_owned(),
        advice: format!("; with --chip add --core {core}, with --board choose the board that this is"),
    };
    if CoreClass::of_core(found, &board.target) != board.class() {
        return Err(wrong(found, found));
    }
    if board.target.ends_with("hf") && word(probe, MVFR0)? == 0 {
        return Err(wrong(&format!("{found} without floating-point unit"), found));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::board;
    use crate::device::probe::memory::MemoryChip;

    fn check_on(name: &str, cpuid: u32, mvfr0: u32) -> Result<(), ProbeError> {
        let mut chip = MemoryChip::new(0..0, 16);
        chip.set_register(CPUID, cpuid);
        chip.set_register(MVFR0, mvfr0);
        check(&mut chip, &board::by_name(name).unwrap())
    }

    #[test]
    fn a_chip_with_another_core_is_refused_before_anything_is_written() {
        check_on("nucleo-f446re", 0x410F_C241, 0x1011_0021).unwrap();
        check_on("nucleo-h743zi", 0x411F_C271, 0x1011_0221).unwrap();
        // An M0 runs what is built for an M0+.
        check_on("nucleo-l053r8", 0x410C_C200, 0).unwrap();
        let error = check_on("nucleo-f446re", 0x410C_C601, 0).unwrap_err().to_string();
        assert!(error.contains("wrong chip") && error.contains("a cortex-m0plus"), "{error}");
        let error = check_on("rpi-pico2", 0x411F_D200, 0).unwrap_err().to_string();
        assert!(error.contains("--core cortex-m23"), "{error}");
        let error = check_on("nucleo-f446re", 0x410F_C241, 0).unwrap_err().to_string();
        assert!(error.contains("without floating-point unit") && error.contains("--core cortex-m4,"), "{error}");
    }
}
