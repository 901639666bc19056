//! nRF52: newer chips lock their debug port at every start unless the image keeps it open, and then no probe could carry
//! the link.

use core::ptr;

/// The word of the user's configuration that allows the image to open the port, in which 0x5A says yes.
#[used]
// SAFETY: memory.x keeps the section at the address of that word and nothing else in it.
#[unsafe(link_section = ".uicr_approtect")]
static ALLOWED: u32 = 0x0000_005A;

/// The chip's variant, four letters; the third, its build, says whether it has the lock.
const VARIANT: *const u32 = 0x1000_0104 as *const u32;
const PART: *const u32 = 0x1000_0100 as *const u32;
/// The register that opens the port until the next reset.
const OPEN: *mut u32 = 0x4000_0558 as *mut u32;
const YES: u32 = 0x5A;

/// The first build with the lock.
fn first_with_lock(part: u32) -> u8 {
    if part == 0x52840 { b'F' } else { b'B' }
}

// SAFETY: runs before static data is set up, and touches registers only.
#[cortex_m_rt::pre_init]
unsafe fn keep_port_open() {
    // SAFETY: registers that every nRF52 has; the last one is written only where it exists.
    unsafe {
        let build = (ptr::read_volatile(VARIANT) >> 8) as u8;
        if build >= first_with_lock(ptr::read_volatile(PART)) {
            ptr::write_volatile(OPEN, YES);
        }
    }
}
