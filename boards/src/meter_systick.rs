//! The counter: SysTick, extended to 64 bits.
//!
//! On a chip it counts the core's cycles; under QEMU with `-icount`, instructions exactly, in the ratio that board.toml states.

use core::cell::Cell;

use cortex_m::interrupt::{self, Mutex};
use cortex_m::peripheral::SYST;
use cortex_m_rt::exception;

use crate::systick::{self, PERIOD};
use crate::watchdog;

static WRAPS: Mutex<Cell<u64>> = Mutex::new(Cell::new(0));

pub(crate) fn start(peripherals: cortex_m::Peripherals) {
    systick::start(peripherals.SYST);
}

/// Counts from zero again.
pub(crate) fn restart() {
    interrupt::free(|section| {
        // SAFETY: writing any value sets the counter to zero; nothing else writes this register after `start`.
        unsafe { (*SYST::PTR).cvr.write(0) };
        WRAPS.borrow(section).set(0);
    });
}

/// Ticks since the start, or since it was started from zero again.
pub(crate) fn ticks() -> u64 {
    // If the counter starts over between the two reads of the wraps, it is read again.
    loop {
        let before = wraps();
        let now = SYST::get_current();
        if wraps() == before {
            return before * u64::from(PERIOD) + u64::from(PERIOD - 1 - now);
        }
    }
}

fn wraps() -> u64 {
    interrupt::free(|section| WRAPS.borrow(section).get())
}

#[exception]
fn SysTick() {
    interrupt::free(|section| {
        let wraps = WRAPS.borrow(section);
        wraps.set(wraps.get() + 1);
    });
    watchdog::turn();
}
