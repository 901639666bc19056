//! SysTick, which turns over all of its 24 bits and interrupts at each turn: the watchdog's clock, and where the core counts no
//! cycles itself the counter.

use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;

/// Ticks until it starts over.
pub(crate) const PERIOD: u32 = 1 << 24;

pub(crate) fn start(mut systick: SYST) {
    systick.set_clock_source(SystClkSource::Core);
    systick.set_reload(PERIOD - 1);
    systick.clear_current();
    systick.enable_interrupt();
    systick.enable_counter();
}
