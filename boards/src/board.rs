//! This board's facts, and what the server needs of it.

use releq_firmware::server::{BoardFacts, Platform};
#[cfg(feature = "provoke")]
use releq_shared::wire::Provocation;
use releq_shared::wire::{Counter, MemoryReply};

#[cfg(feature = "provoke")]
use crate::provoke;
use crate::{fault, guard, line, memory, meter, watchdog};

/// A model within the image, where the build was given one.
#[cfg(model_inside)]
#[repr(C, align(16))]
pub(crate) struct Inside<const BYTES: usize>(pub(crate) [u8; BYTES]);

include!(concat!(env!("OUT_DIR"), "/board.rs"));

/// The board, as the server sees it.
#[derive(Debug)]
pub(crate) struct ThisBoard;

impl Platform for ThisBoard {
    fn write(&mut self, bytes: &[u8]) {
        // An answer that was worked out below the stack's end may be a wrong one.
        if guard::was_passed() {
            fault::stack_overflow();
        }
        line::write(bytes);
    }

    fn restart_ticks(&mut self) {
        meter::restart();
    }

    fn ticks(&mut self) -> u64 {
        // Asked for at the start and end of each operation: a sign of life.
        watchdog::watch();
        meter::ticks()
    }

    fn memory(&mut self) -> MemoryReply {
        memory::measure()
    }

    fn reset(&mut self) {
        fault::restart();
    }

    #[cfg(feature = "provoke")]
    fn provoke(&mut self, what: Provocation) -> bool {
        provoke::provoke(what);
        true
    }
}
