//! The UART of Arm's CMSDK, polled: MPS2 boards.
//!
//! Polled, because an interrupt in the middle of an inference would be counted with it.

use core::ptr;

use crate::board::UART;

const DATA: usize = UART;
const STATE: usize = UART + 0x04;
const CTRL: usize = UART + 0x08;
const BAUDDIV: usize = UART + 0x10;

const STATE_TX_FULL: u32 = 1 << 0;
const STATE_RX_FULL: u32 = 1 << 1;
const CTRL_TX_ENABLE: u32 = 1 << 0;
const CTRL_RX_ENABLE: u32 = 1 << 1;
/// The smallest divider: as fast as it goes.
const FASTEST: u32 = 16;

fn get(register: usize) -> u32 {
    // SAFETY: the register of a UART that this image alone uses; it is mapped on every board of the family.
    unsafe { ptr::read_volatile(register as *const u32) }
}

fn set(register: usize, value: u32) {
    // SAFETY: as in `get`.
    unsafe { ptr::write_volatile(register as *mut u32, value) }
}

pub(crate) fn start() {
    set(BAUDDIV, FASTEST);
    set(CTRL, CTRL_TX_ENABLE | CTRL_RX_ENABLE);
}

/// Waits for a byte.
pub(crate) fn read() -> u8 {
    while get(STATE) & STATE_RX_FULL == 0 {}
    get(DATA) as u8
}

/// Sends all bytes.
pub(crate) fn write(bytes: &[u8]) {
    for &byte in bytes {
        while get(STATE) & STATE_TX_FULL != 0 {}
        set(DATA, u32::from(byte));
    }
}
