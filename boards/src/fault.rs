//! Panics and faults: said over the link, then the board starts again.

use core::panic::PanicInfo;

use cortex_m_rt::{ExceptionFrame, exception};

/// Starts the board again.
pub(crate) fn restart() -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    match info.location() {
        Some(place) => defmt::error!("panic at {=str}:{=u32}", place.file(), place.line()),
        None => defmt::error!("panic"),
    }
    restart()
}

// SAFETY: the handler reads the frame that the core has pushed, logs, and never returns.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    defmt::error!("hard fault at {=u32:#010x}, called from {=u32:#010x}", frame.pc(), frame.lr());
    restart()
}
