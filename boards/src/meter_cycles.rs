//! The counter: the core's own cycle counter, extended to 64 bits.
//!
//! It has 32 bits and is extended whenever it is read, which the server does around each operation of a model: an
//! operation of more than 2^32 cycles would be counted short. SysTick serves the watchdog alone: an interrupt in 2^24 cycles.

use core::cell::Cell;

use cortex_m::interrupt::{self, Mutex};
use cortex_m::peripheral::DWT;
use cortex_m_rt::exception;

use crate::{systick, watchdog};

/// Cycles until the last reading.
static COUNTED: Mutex<Cell<u64>> = Mutex::new(Cell::new(0));
/// The counter at the last reading.
static LAST: Mutex<Cell<u32>> = Mutex::new(Cell::new(0));

pub(crate) fn start(mut peripherals: cortex_m::Peripherals) {
    peripherals.DCB.enable_trace();
    // Cortex-M7 has a lock before it.
    DWT::unlock();
    peripherals.DWT.enable_cycle_counter();
    restart();
    systick::start(peripherals.SYST);
}

/// Counts from zero again.
pub(crate) fn restart() {
    interrupt::free(|section| {
        COUNTED.borrow(section).set(0);
        LAST.borrow(section).set(DWT::cycle_count());
    });
}

/// Cycles since the start, or since it was started from zero again.
pub(crate) fn ticks() -> u64 {
    interrupt::free(|section| {
        let now = DWT::cycle_count();
        let since = now.wrapping_sub(LAST.borrow(section).replace(now));
        let counted = COUNTED.borrow(section);
        counted.set(counted.get() + u64::from(since));
        counted.get()
    })
}

#[exception]
fn SysTick() {
    watchdog::turn();
}
