//! defmt's logger: each defmt frame becomes one wire frame of kind log.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use releq_shared::wire::{FrameKind, encode, encoded_max};

use crate::line;

/// The longest log frame; what is longer is cut, and the host says so.
const LOG_MAX: usize = 200;

#[defmt::global_logger]
struct Logger;

struct Buffer {
    bytes: [u8; LOG_MAX],
    len: usize,
}

struct Shared(UnsafeCell<Buffer>);

// SAFETY: reached between `acquire` and `release` only, with interrupts off and TAKEN set.
unsafe impl Sync for Shared {}

static BUFFER: Shared = Shared(UnsafeCell::new(Buffer { bytes: [0; LOG_MAX], len: 0 }));
static TAKEN: AtomicBool = AtomicBool::new(false);
static WERE_ON: AtomicBool = AtomicBool::new(false);

// SAFETY: `acquire` takes the logger for one frame with interrupts off, and `release` gives it back and restores them.
unsafe impl defmt::Logger for Logger {
    fn acquire() {
        let on = cortex_m::register::primask::read().is_active();
        cortex_m::interrupt::disable();
        // A log call inside a log call cannot be: no format implementation here logs. Were there one, its bytes would
        // only spoil that frame.
        TAKEN.store(true, Ordering::Relaxed);
        WERE_ON.store(on, Ordering::Relaxed);
        // SAFETY: see Shared.
        unsafe { (*BUFFER.0.get()).len = 0 };
    }

    unsafe fn flush() {}

    unsafe fn release() {
        // SAFETY: see Shared.
        let buffer = unsafe { &*BUFFER.0.get() };
        let mut frame = [0; encoded_max(LOG_MAX)];
        if let Some(len) = encode(FrameKind::Log, 0, &buffer.bytes[..buffer.len], &mut frame) {
            line::write(&frame[..len]);
        }
        TAKEN.store(false, Ordering::Relaxed);
        if WERE_ON.load(Ordering::Relaxed) {
            // SAFETY: interrupts were on before `acquire`.
            unsafe { cortex_m::interrupt::enable() };
        }
    }

    unsafe fn write(bytes: &[u8]) {
        // SAFETY: see Shared.
        let buffer = unsafe { &mut *BUFFER.0.get() };
        let room = bytes.len().min(LOG_MAX - buffer.len);
        buffer.bytes[buffer.len..buffer.len + room].copy_from_slice(&bytes[..room]);
        buffer.len += room;
    }
}
