//! Convolutions of one and two bits by tables ([`super::wide`]) in assembly, for cores without dual multiplications.
#![allow(unsafe_code)]

use core::arch::naked_asm;

use releq_shared::layout::Lanes;

use super::wide::{COLUMNS_A_TABLE_SET, WORDS_A_TABLE_SET};
use super::{PIXELS, Strip};
use crate::needs;

/// What a loop is told, in the order in which it loads it.
#[repr(C)]
struct Arguments {
    weights: *const u8,
    tables: *const u32,
    sums: *mut i32,
    sums_end: *mut i32,
    row_len: usize,
}

/// A strip of whole sets of tables, whose sums in the words' fields stay below 2^16.
pub(super) fn run_look_up(lanes: Lanes, strip: Strip<'_>) {
    let Strip { activations, weights, row_len, sums } = strip;
    let rows = sums.len() / PIXELS;
    if rows == 0 {
        return;
    }
    // The loops trust this.
    let set_len = COLUMNS_A_TABLE_SET / 8 * lanes.bits();
    let sets = activations.len() / WORDS_A_TABLE_SET;
    // Two or four bytes: said by a mask, since Cortex-M0 cannot divide.
    assert!((weights.as_ptr().addr() | row_len) & (set_len - 1) == 0);
    assert!(row_len >= sets * set_len && weights.len() >= (rows - 1) * row_len + sets * set_len);
    let look_up: extern "C" fn(&Arguments) = match lanes.bits() {
        1 if needs::conv2d_of(1) => look_up1,
        2 if needs::conv2d_of(2) => look_up2,
        _ => needs::lacking(),
    };
    let sums = sums.as_mut_ptr();
    let sums_end = sums.wrapping_add(rows * PIXELS);
    let mut weights = weights.as_ptr();
    for tables in activations.chunks_exact(WORDS_A_TABLE_SET) {
        look_up(&Arguments { weights, tables: tables.as_ptr(), sums, sums_end, row_len });
        weights = weights.wrapping_add(set_len);
    }
}

/// Loads the entry to which four codes, from bit `$at` + 3 of their word on, point in a table.
#[cfg(core_class = "armv6m")]
macro_rules! entry {
    (lsls $at:literal, $table:literal, $low:literal, $high:literal) => {
        concat!("lsls r2, r1, #", $at, "\n", entry!($table, $low, $high))
    };
    (lsrs $at:literal, $table:literal, $low:literal, $high:literal) => {
        concat!("lsrs r2, r1, #", $at, "\n", entry!($table, $low, $high))
    };
    ($table:literal, $low:literal, $high:literal) => {
        concat!("ands r2, r3\nadd r2, ", $table, "\nldm r2!, {{", $low, ", ", $high, "}}")
    };
}

/// Adds such an entry.
#[cfg(core_class = "armv6m")]
macro_rules! add {
    ($shift:ident $at:literal, $table:literal) => {
        concat!(entry!($shift $at, $table, "r6", "r7"), "\nadds r4, r4, r6\nadds r5, r5, r7")
    };
}

/// r0: sums in memory, r1: codes, r2: entry, r3: mask, r4 and r5: sums of two fields, r6 and r7: looked up, r8 to r11: tables,
/// r12: bytes from row to row, lr: weights, [sp]: end of sums.
#[cfg(core_class = "armv6m")]
macro_rules! look_up {
    ($name:ident, $($row:expr),+) => {
        #[unsafe(naked)]
        extern "C" fn $name(_: &Arguments) {
            naked_asm!(
                enter!(),
                "ldm r0!, {{r1-r5}}",
                "mov r0, r3",
                "push {{r4}}",
                "mov r12, r5",
                "mov lr, r1",
                "mov r8, r2",
                "adds r2, #128",
                "mov r9, r2",
                "adds r2, #128",
                "mov r10, r2",
                "adds r2, #128",
                "mov r11, r2",
                "movs r3, #120",
                // Sixteen columns of a row.
                "2:",
                "mov r2, lr",
                "add lr, r12",
                $($row,)+
                "stm r0!, {{r4, r5}}",
                "adds r0, #8",
                "ldr r2, [sp]",
                "cmp r0, r2",
                "bne 2b",
                "add sp, #4",
                leave!(),
            )
        }
    };
}

#[cfg(core_class = "armv6m")]
look_up!(
    look_up1,
    "ldrh r1, [r2]\nldr r4, [r0]\nldr r5, [r0, #4]",
    add!(lsls "3", "r8"),
    add!(lsrs "1", "r9"),
    add!(lsrs "5", "r10"),
    add!(lsrs "9", "r11")
);
// The upper bits first, which count double.
#[cfg(core_class = "armv6m")]
look_up!(
    look_up2,
    "ldr r1, [r2]",
    entry!(lsrs "13", "r8", "r4", "r5"),
    add!(lsrs "17", "r9"),
    add!(lsrs "21", "r10"),
    add!(lsrs "25", "r11"),
    "adds r4, r4, r4\nadds r5, r5, r5",
    add!(lsls "3", "r8"),
    add!(lsrs "1", "r9"),
    add!(lsrs "5", "r10"),
    add!(lsrs "9", "r11"),
    "ldr r6, [r0]\nldr r7, [r0, #4]\nadds r4, r4, r6\nadds r5, r5, r7"
);

/// Loads the entry to which four codes, shifted as `$shift` says, point in the table at `$table`.
#[cfg(core_class = "armv7m")]
macro_rules! entry {
    ($shift:literal, $table:literal, $low:literal, $high:literal) => {
        concat!("and.w r2, r3, r12, ", $shift, "\nadd r2, r0\nldrd ", $low, ", ", $high, ", [r2, #", $table, "]")
    };
}

/// Adds such an entry.
#[cfg(core_class = "armv7m")]
macro_rules! add {
    ($shift:literal, $table:literal, $low:literal, $high:literal) => {
        concat!(entry!($shift, $table, "r6", "r7"), "\nadd ", $low, ", r6\nadd ", $high, ", r7")
    };
}

/// Adds the entries of all four tables to which sixteen codes of one bit, or the lower bits of as many of two, point.
#[cfg(core_class = "armv7m")]
macro_rules! add_lower {
    () => {
        concat!(
            add!("lsl #3", "0", "r4", "r5"),
            "\n",
            add!("lsr #1", "128", "r4", "r5"),
            "\n",
            add!("lsr #5", "256", "r4", "r5"),
            "\n",
            add!("lsr #9", "384", "r4", "r5")
        )
    };
}

/// r0: tables, r1: weights, r2: entry, r3: mask, r4 and r5: sums of two fields, r6 and r7: looked up, r8: bytes from row to
/// row, r9: end of sums, r10 and r11: sums of upper bits, r12: codes, lr: sums in memory.
#[cfg(core_class = "armv7m")]
macro_rules! look_up {
    ($name:ident, $($row:expr),+) => {
        #[unsafe(naked)]
        extern "C" fn $name(_: &Arguments) {
            naked_asm!(
                "push {{r4-r11, lr}}",
                "ldm r0, {{r1-r5}}",
                "mov r0, r2",
                "mov lr, r3",
                "mov r9, r4",
                "mov r8, r5",
                "movs r3, #120",
                // Sixteen columns of a row.
                "2:",
                "ldrd r4, r5, [lr]",
                $($row,)+
                "add r1, r8",
                "strd r4, r5, [lr], #16",
                "cmp lr, r9",
                "bne 2b",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

#[cfg(core_class = "armv7m")]
look_up!(look_up1, "ldrh.w r12, [r1]", add_lower!());
#[cfg(core_class = "armv7m")]
look_up!(
    look_up2,
    "ldr.w r12, [r1]",
    entry!("lsr #13", "0", "r10", "r11"),
    add!("lsr #17", "128", "r10", "r11"),
    add!("lsr #21", "256", "r10", "r11"),
    add!("lsr #25", "384", "r10", "r11"),
    "add.w r4, r4, r10, lsl #1",
    "add.w r5, r5, r11, lsl #1",
    add_lower!()
);
