//! The line of real boards whose image is built for it: a UART, whose registers board.toml describes.
//!
//! A UART that raises flags has one that stands as long as a byte waits, and one as long as there is room for another. One of
//! events has one for each byte that has come or gone, which is cleared here before the byte is moved.

use core::ptr;

use crate::board::{FACTS, UART};

/// How often to look before something is given up: a board whose UART does not move could not start again.
const PATIENCE: u32 = 1 << 20;
/// Bytes that may be on their way when the last one has been handed over: the longest queue of the UARTs in `boards/`, and two.
const QUEUED: u32 = 34;

/// A UART.
pub(crate) struct Uart {
    /// What starts it: clocks, pins, speed.
    pub(crate) setup: &'static [Step],
    pub(crate) receive: Way,
    pub(crate) transmit: Way,
    /// Whether status registers hold events.
    pub(crate) events: bool,
    /// Bits a second.
    pub(crate) baud: u32,
}

/// One direction: bytes can be moved through `data` while `status`, as far as `mask` goes, is `ready`.
pub(crate) struct Way {
    pub(crate) status: usize,
    pub(crate) mask: u32,
    pub(crate) ready: u32,
    pub(crate) data: usize,
}

/// One step of the setup: of a register `keep` stays and `set` is added; then all bits of `wait` are waited for.
pub(crate) struct Step {
    pub(crate) register: usize,
    pub(crate) keep: u32,
    pub(crate) set: u32,
    pub(crate) wait: u32,
}

fn load(register: usize) -> u32 {
    // SAFETY: board.toml names registers of the chip's peripherals, which nothing else here uses.
    unsafe { ptr::read_volatile(ptr::with_exposed_provenance(register)) }
}

fn store(register: usize, value: u32) {
    // SAFETY: as in `load`.
    unsafe { ptr::write_volatile(ptr::with_exposed_provenance_mut(register), value) }
}

impl Step {
    fn take(&self) {
        match self.keep {
            0 => store(self.register, self.set),
            u32::MAX if self.set == 0 => {}
            keep => store(self.register, load(self.register) & keep | self.set),
        }
        for _ in 0..PATIENCE {
            if load(self.register) & self.wait == self.wait {
                return;
            }
        }
    }
}

impl Way {
    fn is_ready(&self) -> bool {
        load(self.status) & self.mask == self.ready
    }

    fn wait(&self) {
        for _ in 0..PATIENCE {
            if self.is_ready() {
                return;
            }
        }
    }
}

pub(crate) fn start() {
    for step in UART.setup {
        step.take();
    }
}

/// Waits for a byte.
pub(crate) fn read() -> u8 {
    let way = &UART.receive;
    while !way.is_ready() {}
    if UART.events {
        store(way.status, 0);
    }
    load(way.data) as u8
}

/// Sends all bytes.
pub(crate) fn write(bytes: &[u8]) {
    let way = &UART.transmit;
    for &byte in bytes {
        if UART.events {
            store(way.status, 0);
            store(way.data, byte.into());
            way.wait();
        } else {
            way.wait();
            store(way.data, byte.into());
        }
    }
}

/// Waits until what was sent is on the wire.
pub(crate) fn finish() {
    // Ten bits a byte.
    cortex_m::asm::delay(FACTS.clock_hz / UART.baud * 10 * QUEUED);
}

/// There is no more to say.
#[cfg(feature = "self-test")]
pub(crate) fn end() -> ! {
    loop {
        cortex_m::asm::wfi();
    }
}
