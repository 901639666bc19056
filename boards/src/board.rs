//! This board's facts, and what the server needs of it.

use releq_firmware::server::{BoardFacts, Platform};
use releq_shared::wire::{Counter, MemoryReply};

use crate::{fault, line, memory, meter};

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
        line::write(bytes);
    }

    fn restart_ticks(&mut self) {
        meter::restart();
    }

    fn ticks(&mut self) -> u64 {
        meter::ticks()
    }

    fn memory(&mut self) -> MemoryReply {
        memory::measure()
    }

    fn reset(&mut self) {
        fault::restart();
    }
}
