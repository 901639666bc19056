//! Convolutions of one and two bits by tables ([`super::wide`]) in assembly, for cores without dual multiplications.
#![allow(unsafe_code)]

use core::arch::naked_asm;

use releq_shared::layout::Lanes;

use super::wide::WORDS_A_TABLE_SET;
use super::{PIXELS, Strip};
use crate::needs;

/// What a loop is told, in the order in which it loads it.
#[repr(C)]
struct Arguments {
    weights: *const u8,
    tables: *const u32,
    tables_end: *const u32,
    sums: *mut i32,
    sums_end: *mut i32,
    to_next_row: usize,
}

/// A strip of whole sets of tables, whose sums in the words' fields stay below 2^16.
pub(super) fn run_look_up(lanes: Lanes, strip: Strip<'_>) {
    let Strip { activations, weights, row_len, sums } = strip;
    let rows = sums.len() / PIXELS;
    let (sets, word_len) = (activations.len() / WORDS_A_TABLE_SET, lanes.word_len());
    let len = sets * word_len;
    if rows == 0 || len == 0 {
        return;
    }
    // The loops trust this.
    assert!(activations.len().is_multiple_of(WORDS_A_TABLE_SET) && weights.as_ptr().addr().is_multiple_of(word_len));
    assert!(row_len >= len && row_len.is_multiple_of(word_len) && weights.len() >= (rows - 1) * row_len + len);
    let look_up: extern "C" fn(&Arguments) = match lanes.bits() {
        1 if needs::conv2d_of(1) => look_up1,
        2 if needs::conv2d_of(2) => look_up2,
        _ => needs::lacking(),
    };
    let tables = activations.as_ptr_range();
    let sums = sums.as_mut_ptr();
    look_up(&Arguments {
        weights: weights.as_ptr(),
        tables: tables.start,
        tables_end: tables.end,
        sums,
        sums_end: sums.wrapping_add(rows * PIXELS),
        to_next_row: row_len - len,
    });
}

/// Takes the entry to which four codes, from bit `$at` + 3 of their word on, point in the table at r0.
#[cfg(core_class = "armv6m")]
macro_rules! entry {
    (lsls $at:literal) => {
        concat!("lsls r2, r1, #", $at, "\nands r2, r3\nadds r2, r2, r0")
    };
    ($at:literal) => {
        concat!("lsrs r2, r1, #", $at, "\nands r2, r3\nadds r2, r2, r0")
    };
}

/// Adds the entry that r2 points to.
#[cfg(core_class = "armv6m")]
macro_rules! add {
    () => {
        "ldm r2!, {{r6, r7}}\nadds r4, r4, r6\nadds r5, r5, r7"
    };
}

/// r0: table, r1: codes, r2: entry, r3: mask, r4 and r5: sums of two fields, r6 and r7: looked up, r8: weights, r9: first
/// table, r10: end of tables, r11: sums in memory, r12: their end, lr: bytes to the next row. In a row come `$before`,
/// then for each set `$set`, and `$after`.
#[cfg(core_class = "armv6m")]
macro_rules! look_up {
    ($name:ident, before: [$($before:expr),*], set: [$($set:expr),+], after: [$($after:expr),+]) => {
        #[unsafe(naked)]
        extern "C" fn $name(_: &Arguments) {
            naked_asm!(
                "push {{r4-r7, lr}}",
                "mov r4, r8",
                "mov r5, r9",
                "mov r6, r10",
                "mov r7, r11",
                "push {{r4-r7}}",
                "ldm r0!, {{r1-r6}}",
                "mov r8, r1",
                "mov r9, r2",
                "mov r10, r3",
                "mov r11, r4",
                "mov r12, r5",
                "mov lr, r6",
                "movs r3, #120",
                "2:",
                "mov r0, r9",
                $($before,)*
                "3:",
                $($set,)+
                "cmp r0, r10",
                "bne 3b",
                $($after,)+
                "mov r11, r2",
                "add r8, lr",
                "cmp r2, r12",
                "bne 2b",
                "pop {{r4-r7}}",
                "mov r8, r4",
                "mov r9, r5",
                "mov r10, r6",
                "mov r11, r7",
                "pop {{r4-r7, pc}}",
            )
        }
    };
}

#[cfg(core_class = "armv6m")]
look_up!(
    look_up1,
    before: ["mov r2, r11\nldm r2!, {{r4, r5}}"],
    set: [
        "mov r2, r8\nldrh r1, [r2]\nadds r2, #2\nmov r8, r2",
        entry!(lsls "3"), add!(),
        "adds r0, #128", entry!("1"), add!(),
        "adds r0, #128", entry!("5"), add!(),
        "adds r0, #128", entry!("9"), add!(),
        "adds r0, #128"
    ],
    after: ["mov r2, r11\nstm r2!, {{r4, r5}}\nadds r2, #8"]
);
// The upper bits first, table by table, which count double; then the lower bits on the way back.
#[cfg(core_class = "armv6m")]
look_up!(
    look_up2,
    before: [],
    set: [
        "mov r2, r8\nldm r2!, {{r1}}\nmov r8, r2",
        entry!("13"), "ldm r2!, {{r4, r5}}",
        "adds r0, #128", entry!("17"), add!(),
        "adds r0, #128", entry!("21"), add!(),
        "adds r0, #128", entry!("25"), add!(),
        "adds r4, r4, r4\nadds r5, r5, r5",
        entry!("9"), add!(),
        "subs r0, #128", entry!("5"), add!(),
        "subs r0, #128", entry!("1"), add!(),
        "subs r0, #128", entry!(lsls "3"), add!(),
        "mov r2, r11\nldm r2!, {{r6, r7}}\nadds r4, r4, r6\nadds r5, r5, r7\nsubs r2, #8\nstm r2!, {{r4, r5}}",
        "movs r4, #1\nlsls r4, r4, #9\nadds r0, r0, r4"
    ],
    after: ["adds r2, #8"]
);

/// Loads the entry to which four codes, shifted as `$shift` says, point in the table at `$table`.
#[cfg(core_class = "armv7m")]
macro_rules! entry {
    ($shift:literal, $table:literal, $low:literal, $high:literal) => {
        concat!(
            "and.w r2, r3, r12, ", $shift, "\nadd r2, r0\nldrd ", $low, ", ", $high, ", [r2, #", $table, "]"
        )
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
            add!("lsl #3", "0", "r4", "r5"), "\n", add!("lsr #1", "128", "r4", "r5"), "\n",
            add!("lsr #5", "256", "r4", "r5"), "\n", add!("lsr #9", "384", "r4", "r5")
        )
    };
}

/// r0: tables, r1: weights, r2: entry, r3: mask, r4 and r5: sums of two fields, r6 and r7: looked up, r8: end of tables, r9:
/// first table, r10 and r11: sums of upper bits, r12: codes, lr: sums in memory.
#[cfg(core_class = "armv7m")]
macro_rules! look_up {
    ($name:ident, $($set:expr),+) => {
        #[unsafe(naked)]
        extern "C" fn $name(_: &Arguments) {
            naked_asm!(
                "push {{r4-r11, lr}}",
                "ldm r0, {{r1-r6}}",
                // [sp]: end of sums, [sp, #4]: bytes to the next row.
                "push {{r5, r6}}",
                "mov r9, r2",
                "mov r8, r3",
                "mov lr, r4",
                "movs r3, #120",
                // A row.
                "2:",
                "mov r0, r9",
                "ldrd r4, r5, [lr]",
                // Sixteen columns.
                "3:",
                $($set,)+
                "add.w r0, r0, #512",
                "cmp r0, r8",
                "bne 3b",
                "strd r4, r5, [lr], #16",
                "ldrd r2, r6, [sp]",
                "add r1, r6",
                "cmp lr, r2",
                "bne 2b",
                "add sp, #8",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

#[cfg(core_class = "armv7m")]
look_up!(look_up1, "ldrh.w r12, [r1], #2", add_lower!());
#[cfg(core_class = "armv7m")]
look_up!(
    look_up2,
    "ldr.w r12, [r1], #4",
    entry!("lsr #13", "0", "r10", "r11"),
    add!("lsr #17", "128", "r10", "r11"),
    add!("lsr #21", "256", "r10", "r11"),
    add!("lsr #25", "384", "r10", "r11"),
    "add.w r4, r4, r10, lsl #1",
    "add.w r5, r5, r11, lsl #1",
    add_lower!()
);
