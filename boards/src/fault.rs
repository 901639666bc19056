//! Panics and faults: said over the link, then the board starts again.

use core::panic::PanicInfo;

use cortex_m::peripheral::SCB;
use cortex_m_rt::{ExceptionFrame, exception};

use crate::{guard, line, memory};

/// Starts the board again, once the host has what was said.
pub(crate) fn restart() -> ! {
    line::finish();
    SCB::sys_reset()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    match info.location() {
        Some(place) => defmt::error!("panic at {=str}:{=u32}", place.file(), place.line()),
        None => defmt::error!("panic"),
    }
    restart()
}

/// Says that the stack was full.
pub(crate) fn stack_overflow() -> ! {
    defmt::error!("stack overflow: more than the {=usize} bytes that there are", memory::stack_bytes());
    restart()
}

// SAFETY: the handler reads the frame that the core has pushed, logs, and never returns.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    if guard::was_hit(core::ptr::from_ref(frame).addr()) {
        stack_overflow();
    }
    defmt::error!(
        "hard fault at pc {=u32:#010x}, lr {=u32:#010x}, r0 {=u32:#010x}, r1 {=u32:#010x}, r2 {=u32:#010x}, r3 {=u32:#010x}, \
         r12 {=u32:#010x}, xpsr {=u32:#010x}",
        frame.pc(),
        frame.lr(),
        frame.r0(),
        frame.r1(),
        frame.r2(),
        frame.r3(),
        frame.r12(),
        frame.xpsr()
    );
    #[cfg(not(stack_guard = "paint"))]
    {
        // SAFETY: reads of status registers.
        let scb = unsafe { &*SCB::PTR };
        defmt::error!(
            "fault status: cfsr {=u32:#010x}, hfsr {=u32:#010x}, mmfar {=u32:#010x}, bfar {=u32:#010x}",
            scb.cfsr.read(),
            scb.hfsr.read(),
            scb.mmfar.read(),
            scb.bfar.read()
        );
    }
    restart()
}
