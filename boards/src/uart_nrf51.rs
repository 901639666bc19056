//! The UART of Nordic's nRF51, polled.
//!
//! Polled, because an interrupt in the middle of an inference would be counted with it. Pins are left as they are: the
//! emulator has none.

use core::ptr;

use crate::board::UART;

const START_RX: usize = UART;
const START_TX: usize = UART + 0x008;
const RX_READY: usize = UART + 0x108;
const TX_READY: usize = UART + 0x11C;
const ENABLE: usize = UART + 0x500;
const RX_DATA: usize = UART + 0x518;
const TX_DATA: usize = UART + 0x51C;
const BAUD_RATE: usize = UART + 0x524;

const ENABLED: u32 = 4;
/// A million bits a second, the most.
const FASTEST: u32 = 0x1000_0000;

fn get(register: usize) -> u32 {
    // SAFETY: the register of a UART that this image alone uses; it is mapped on every board with this driver.
    unsafe { ptr::read_volatile(register as *const u32) }
}

fn set(register: usize, value: u32) {
    // SAFETY: as in `get`.
    unsafe { ptr::write_volatile(register as *mut u32, value) }
}

pub(crate) fn start() {
    set(BAUD_RATE, FASTEST);
    set(ENABLE, ENABLED);
    set(START_RX, 1);
    set(START_TX, 1);
}

/// Waits for a byte.
pub(crate) fn read() -> u8 {
    while get(RX_READY) == 0 {}
    // Cleared before the byte is taken: taking it may announce the next one.
    set(RX_READY, 0);
    get(RX_DATA) as u8
}

/// Sends all bytes.
pub(crate) fn write(bytes: &[u8]) {
    for &byte in bytes {
        set(TX_READY, 0);
        set(TX_DATA, u32::from(byte));
        while get(TX_READY) == 0 {}
    }
}
