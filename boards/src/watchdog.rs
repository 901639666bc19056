//! A watchdog of the core's own means: SysTick's interrupt, which is there for counting, starts a board again that has worked on
//! one operation for far longer than any takes.
//!
//! It costs an inference nothing but some instructions whenever the counter starts over. An image that hangs with interrupts off
//! is beyond it; what a chip has of its own could catch that, but each chip's is another.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use crate::board::FACTS;
use crate::{fault, systick};

/// The longest that one operation of a network, or another request, may take.
const SECONDS: u32 = 20;
/// The same in turns of the counter.
const TURNS: u32 = (SECONDS as u64 * FACTS.clock_hz as u64 / systick::PERIOD as u64) as u32 + 2;

/// Turns left, or 0 if nothing is to be watched.
static LEFT: AtomicU32 = AtomicU32::new(0);

/// Work begins, or goes on with the next operation.
pub(crate) fn watch() {
    LEFT.store(TURNS, Relaxed);
}

/// Work has ended: a board may wait for its host as long as it likes.
pub(crate) fn rest() {
    LEFT.store(0, Relaxed);
}

/// The counter starts over.
pub(crate) fn turn() {
    match LEFT.load(Relaxed) {
        0 => {}
        1 => {
            defmt::error!("watchdog: no progress for {=u32} seconds", SECONDS);
            fault::restart();
        }
        left => LEFT.store(left - 1, Relaxed),
    }
}
