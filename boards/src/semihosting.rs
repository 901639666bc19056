//! The line of emulated boards: Arm semihosting.
//!
//! One call moves as many bytes as there are, where each byte of an emulated UART takes a way of its own through the emulator.
//! A core that waits here for bytes sleeps in the emulator's own read of its standard input; when that has ended, so does the
//! emulator.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU8, AtomicUsize};

use cortex_m_semihosting::{debug, nr, syscall};

/// Stands for the emulator's standard input and output.
const TERMINAL: &[u8] = b":tt\0";
/// The most that one call brings.
const READ_MAX: usize = 256;

/// Handles that [`start`] opened.
static INPUT: AtomicUsize = AtomicUsize::new(0);
static OUTPUT: AtomicUsize = AtomicUsize::new(0);

/// What the last call brought; of these bytes `TAKEN` of `COME` are taken.
static BYTES: [AtomicU8; READ_MAX] = [const { AtomicU8::new(0) }; READ_MAX];
static TAKEN: AtomicUsize = AtomicUsize::new(0);
static COME: AtomicUsize = AtomicUsize::new(0);

fn open(mode: usize) -> usize {
    // SAFETY: the call reads the name, which is as long as said and ends in a zero.
    unsafe { syscall!(OPEN, TERMINAL.as_ptr(), mode, TERMINAL.len() - 1) }
}

pub(crate) fn start() {
    INPUT.store(open(nr::open::R_BINARY), Relaxed);
    OUTPUT.store(open(nr::open::W_TRUNC_BINARY), Relaxed);
}

/// Waits for a byte.
pub(crate) fn read() -> u8 {
    if TAKEN.load(Relaxed) == COME.load(Relaxed) {
        COME.store(wait(), Relaxed);
        TAKEN.store(0, Relaxed);
    }
    let taken = TAKEN.load(Relaxed);
    TAKEN.store(taken + 1, Relaxed);
    BYTES[taken].load(Relaxed)
}

/// Waits until bytes have come, and puts them to the front of `BYTES`.
fn wait() -> usize {
    // SAFETY: the call writes at most READ_MAX bytes to as many atomics, which may change behind shared references.
    let missing = unsafe { syscall!(READ, INPUT.load(Relaxed), BYTES.as_ptr(), READ_MAX) };
    if missing >= READ_MAX {
        end();
    }
    READ_MAX - missing
}

/// Nobody is there any more, or there is no more to say: the emulator ends.
pub(crate) fn end() -> ! {
    loop {
        debug::exit(debug::EXIT_SUCCESS);
    }
}

/// Sends all bytes.
pub(crate) fn write(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: the call reads these bytes.
        let left = unsafe { syscall!(WRITE, OUTPUT.load(Relaxed), bytes.as_ptr(), bytes.len()) };
        if left >= bytes.len() {
            end();
        }
        bytes = &bytes[bytes.len() - left..];
    }
}

/// Waits until the host has what was sent: it has.
pub(crate) fn finish() {}
