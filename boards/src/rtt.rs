//! The line of real boards: two rings in RAM which the debug probe reads and writes (SEGGER's RTT), so that the link
//! needs no pin, no clock and no UART.
//!
//! The probe finds the control block by its symbol, `_SEGGER_RTT`. It moves `read` of the ring to the host and `write` of
//! the ring from the host while the core runs; whoever moves an offset does so after the bytes that it announces.

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering};

use crate::board::LINE_BYTES;

/// How often to look for room before bytes are dropped: no host is there, and a board that waits for one could not say
/// why it stopped.
const PATIENCE: u32 = 1 << 22;
/// RTT's flag for a ring whose writer waits for room.
const WAITS: u32 = 2;
/// What the control block starts with once it is complete.
const ID: [u8; 16] = *b"SEGGER RTT\0\0\0\0\0\0";

/// One direction, as RTT lays it out.
#[repr(C)]
struct Ring {
    name: AtomicPtr<u8>,
    bytes: AtomicPtr<AtomicU8>,
    size: AtomicU32,
    write: AtomicU32,
    read: AtomicU32,
    flags: AtomicU32,
}

impl Ring {
    const fn new() -> Self {
        Self {
            name: AtomicPtr::new(ptr::null_mut()),
            bytes: AtomicPtr::new(ptr::null_mut()),
            size: AtomicU32::new(0),
            write: AtomicU32::new(0),
            read: AtomicU32::new(0),
            flags: AtomicU32::new(0),
        }
    }

    fn start(&self, bytes: &'static [AtomicU8; LINE_BYTES]) {
        self.name.store(c"releq".as_ptr().cast_mut().cast(), Ordering::Relaxed);
        self.bytes.store(bytes.as_ptr().cast_mut(), Ordering::Relaxed);
        self.size.store(LINE_BYTES as u32, Ordering::Relaxed);
        self.write.store(0, Ordering::Relaxed);
        self.read.store(0, Ordering::Relaxed);
        self.flags.store(WAITS, Ordering::Relaxed);
    }
}

/// What the probe looks for.
#[repr(C)]
struct ControlBlock {
    id: [AtomicU8; 16],
    rings_to_host: AtomicU32,
    rings_from_host: AtomicU32,
    to_host: Ring,
    from_host: Ring,
}

// SAFETY: no other symbol of an image has this name.
#[unsafe(export_name = "_SEGGER_RTT")]
static BLOCK: ControlBlock = ControlBlock {
    id: [const { AtomicU8::new(0) }; 16],
    rings_to_host: AtomicU32::new(0),
    rings_from_host: AtomicU32::new(0),
    to_host: Ring::new(),
    from_host: Ring::new(),
};
static TO_HOST: [AtomicU8; LINE_BYTES] = [const { AtomicU8::new(0) }; LINE_BYTES];
static FROM_HOST: [AtomicU8; LINE_BYTES] = [const { AtomicU8::new(0) }; LINE_BYTES];

/// The place behind `offset` in a ring.
fn behind(offset: u32) -> u32 {
    if offset + 1 == LINE_BYTES as u32 { 0 } else { offset + 1 }
}

pub(crate) fn start() {
    BLOCK.to_host.start(&TO_HOST);
    BLOCK.from_host.start(&FROM_HOST);
    BLOCK.rings_to_host.store(1, Ordering::Relaxed);
    BLOCK.rings_from_host.store(1, Ordering::Relaxed);
    // Last, so that a probe never takes a half-made block for a whole one.
    for (place, byte) in BLOCK.id.iter().zip(ID) {
        place.store(byte, Ordering::Release);
    }
}

/// Waits for a byte.
pub(crate) fn read() -> u8 {
    let ring = &BLOCK.from_host;
    let place = ring.read.load(Ordering::Relaxed);
    while ring.write.load(Ordering::Acquire) == place {}
    // The place is always inside: only this function moves it.
    let byte = FROM_HOST.get(place as usize).map_or(0, |byte| byte.load(Ordering::Relaxed));
    ring.read.store(behind(place), Ordering::Release);
    byte
}

/// Sends all bytes, as long as somebody takes them.
pub(crate) fn write(bytes: &[u8]) {
    let ring = &BLOCK.to_host;
    for &byte in bytes {
        let place = ring.write.load(Ordering::Relaxed);
        let next = behind(place);
        let mut patience = PATIENCE;
        while ring.read.load(Ordering::Acquire) == next {
            patience -= 1;
            if patience == 0 {
                return;
            }
        }
        if let Some(free) = TO_HOST.get(place as usize) {
            free.store(byte, Ordering::Relaxed);
        }
        ring.write.store(next, Ordering::Release);
    }
}

/// Waits until the host has what was sent, as long as somebody takes it: a start empties the rings.
pub(crate) fn finish() {
    let ring = &BLOCK.to_host;
    for _ in 0..PATIENCE {
        if ring.read.load(Ordering::Acquire) == ring.write.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// There is no more to say.
#[cfg(feature = "self-test")]
pub(crate) fn end() -> ! {
    loop {
        cortex_m::asm::wfi();
    }
}
