//! The lower end of the stack: an overflow is caught there, before it reaches the static data below.
//!
//! Cores with a memory protection unit (Armv7-M, and the main line of Armv8-M) get a region below the stack that nothing may write
//! to. The unit is off within the handler of hard faults, which so has that region for its own stack. Elsewhere, and where RAM is
//! scarce, the lowest words are painted, and looked at before each answer: late, but no wrong answer gets out.

use core::ptr;

use crate::memory::PAINT;

/// Bytes between the static data and the stack's lower end: the handler's stack after an overflow, or the painted words.
const BYTES: usize = if cfg!(stack_guard = "paint") { 64 } else { 1024 };
/// What a region of the memory protection unit must start at a multiple of, and an emulator's page.
const ALIGNMENT: usize = if cfg!(stack_guard = "paint") { 8 } else { 1024 };

unsafe extern "C" {
    static mut __sheap: u32;
}

fn base() -> usize {
    (&raw const __sheap as usize).next_multiple_of(ALIGNMENT)
}

/// Where the stack's room ends.
pub(crate) fn end() -> usize {
    base() + BYTES
}

/// Closes the region below the stack.
#[cfg(stack_guard = "mpu7")]
pub(crate) fn start(mpu: &mut cortex_m::peripheral::MPU) {
    /// Size 2^10, no access at all, no execution, shareable normal memory, enabled.
    const CLOSED: u32 = 1 << 28 | 1 << 18 | 1 << 17 | 9 << 1 | 1;
    /// On, with the default map for all other addresses, and off within the handler of hard faults.
    const ON: u32 = 1 << 2 | 1;
    if mpu._type.read() == 0 {
        return;
    }
    // SAFETY: the region lies between the static data and the stack, where nothing may reach; all else stays as it was.
    unsafe {
        mpu.rnr.write(0);
        mpu.rbar.write(base() as u32);
        mpu.rasr.write(CLOSED);
        mpu.ctrl.write(ON);
    }
    cortex_m::asm::dsb();
    cortex_m::asm::isb();
}

/// Closes the region below the stack.
#[cfg(stack_guard = "mpu8")]
pub(crate) fn start(mpu: &mut cortex_m::peripheral::MPU) {
    /// The least that this kind allows: code with privileges may read, none may write or execute.
    const READ_ONLY: u32 = 2 << 1 | 1;
    /// On, with the default map for all other addresses, and off within the handler of hard faults.
    const ON: u32 = 1 << 2 | 1;
    /// Normal memory that is not cached.
    const PLAIN: u32 = 0x44;
    if mpu._type.read() == 0 {
        return;
    }
    // SAFETY: as above.
    unsafe {
        mpu.mair[0].write(PLAIN);
        mpu.rnr.write(0);
        mpu.rbar.write(base() as u32 | READ_ONLY);
        mpu.rlar.write((end() - 32) as u32 | 1);
        mpu.ctrl.write(ON);
    }
    cortex_m::asm::dsb();
    cortex_m::asm::isb();
}

/// Paints the words below the stack.
#[cfg(stack_guard = "paint")]
pub(crate) fn start(_mpu: &mut cortex_m::peripheral::MPU) {
    for at in (base()..end()).step_by(4) {
        // SAFETY: RAM between the static data and the stack, which nothing uses.
        unsafe { ptr::write_volatile(at as *mut u32, PAINT) };
    }
}

/// Whether the painted words have been reached. Elsewhere such a stack does not come this far.
pub(crate) fn was_passed() -> bool {
    let mut words = (base()..end()).step_by(4);
    // SAFETY: RAM between the static data and the stack.
    cfg!(stack_guard = "paint") && words.any(|at| unsafe { ptr::read_volatile(at as *const u32) } != PAINT)
}

/// Whether a hard fault with its frame at this address came of a stack that was full.
pub(crate) fn was_hit(frame: usize) -> bool {
    #[cfg(not(stack_guard = "paint"))]
    {
        /// The address of a refused access is known.
        const MMARVALID: u32 = 1 << 7;
        // SAFETY: reads of status registers.
        let (status, address) = unsafe {
            let scb = &*cortex_m::peripheral::SCB::PTR;
            (scb.cfsr.read(), scb.mmfar.read() as usize)
        };
        if status & MMARVALID != 0 && (base()..end()).contains(&address) {
            return true;
        }
    }
    frame < end()
}
