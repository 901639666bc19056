//! One-bit convolutions by tables ([`super::wide`]) in assembly, for cores without dual multiplications.
#![allow(unsafe_code)]

use core::arch::naked_asm;

use super::wide::{COLUMNS_A_TABLE_SET, WORDS_A_TABLE_SET};
use super::{PIXELS, Strip};

/// Writes the four tables of sixteen columns.
pub(super) fn build_tables(columns: &[[u32; 2]; COLUMNS_A_TABLE_SET], tables: &mut [u32; WORDS_A_TABLE_SET]) {
    build(columns, tables);
}

/// An even entry and the odd one behind it.
macro_rules! entries {
    () => {
        "adds r6, r1, r3\nadds r7, r5, r4\nstm r2!, {{r1, r5, r6, r7}}"
    };
}

/// On to the next even entry, by the difference in two registers.
macro_rules! count {
    ($low:literal, $high:literal) => {
        concat!("add r1, ", $low, "\nadd r5, ", $high)
    };
}

/// For each four columns a table of sixteen entries of two words, in the order of their indices: even ones grow by the
/// differences that a binary counter makes, and an odd one is the even one before it and the first column.
///
/// r0: columns, r1 and r5: even entry, r2: tables, r3 and r4: first column, r6 and r7: odd entry, r8 and r9, r10 and r11,
/// r12 and lr: what counting on adds when one, two, or three bits change.
#[unsafe(naked)]
extern "C" fn build(_: &[[u32; 2]; COLUMNS_A_TABLE_SET], _: &mut [u32; WORDS_A_TABLE_SET]) {
    naked_asm!(
        "push {{r4-r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r4-r7}}",
        "movs r2, r1",
        "movs r1, #128",
        "adds r1, r1, r0",
        "push {{r1}}",
        "2:",
        "ldm r0!, {{r3, r4}}",
        "ldm r0!, {{r1, r5}}",
        "mov r8, r1",
        "mov r9, r5",
        "ldm r0!, {{r6, r7}}",
        "subs r6, r6, r1",
        "subs r7, r7, r5",
        "mov r10, r6",
        "mov r11, r7",
        "adds r6, r6, r1",
        "adds r6, r6, r1",
        "adds r7, r7, r5",
        "adds r7, r7, r5",
        "ldm r0!, {{r1, r5}}",
        "subs r1, r1, r6",
        "subs r5, r5, r7",
        "mov r12, r1",
        "mov lr, r5",
        "movs r1, #0",
        "movs r5, #0",
        entries!(),
        count!("r8", "r9"),
        entries!(),
        count!("r10", "r11"),
        entries!(),
        count!("r8", "r9"),
        entries!(),
        count!("r12", "lr"),
        entries!(),
        count!("r8", "r9"),
        entries!(),
        count!("r10", "r11"),
        entries!(),
        count!("r8", "r9"),
        entries!(),
        "ldr r1, [sp]",
        "cmp r0, r1",
        "bne 2b",
        "add sp, #4",
        "pop {{r4-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4-r7, pc}}",
    )
}

/// What [`look_up`] is told, in the order in which it loads it.
#[repr(C)]
struct Arguments {
    weights: *const u8,
    tables: *const u32,
    tables_end: *const u32,
    sums: *mut i32,
    sums_end: *mut i32,
    to_next_row: usize,
}

/// A strip of whole sets of tables.
pub(super) fn run_look_up(strip: Strip<'_>) {
    let Strip { activations, weights, row_len, sums } = strip;
    let rows = sums.len() / PIXELS;
    let len = activations.len() / WORDS_A_TABLE_SET * 2;
    if rows == 0 || len == 0 {
        return;
    }
    // The loop trusts this.
    assert!(activations.len().is_multiple_of(WORDS_A_TABLE_SET) && weights.as_ptr().addr().is_multiple_of(2));
    assert!(row_len >= len && row_len.is_multiple_of(2) && weights.len() >= (rows - 1) * row_len + len);
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

/// Four columns behind the first four: adds their entry, to which four codes from bit `$shift` + 3 on point.
#[cfg(core_class = "armv6m")]
macro_rules! four {
    ($shift:literal) => {
        concat!(
            "adds r0, #128\nlsrs r2, r1, #",
            $shift,
            "\nands r2, r3\nadds r2, r2, r0\n",
            "ldm r2!, {{r6, r7}}\nadds r4, r4, r6\nadds r5, r5, r7"
        )
    };
}

/// r0: tables, r1: codes, r2: entry, r3: mask, r4 and r5: sums of two fields, r6 and r7: looked up, r8: weights, r9: first
/// table, r10: end of tables, r11: sums in memory, r12: their end, lr: bytes to the next row.
#[cfg(core_class = "armv6m")]
#[unsafe(naked)]
extern "C" fn look_up(_: &Arguments) {
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
        // A row.
        "2:",
        "mov r0, r9",
        // Sixteen columns.
        "3:",
        "mov r2, r8",
        "ldrh r1, [r2]",
        "adds r2, #2",
        "mov r8, r2",
        "lsls r2, r1, #3",
        "ands r2, r3",
        "adds r2, r2, r0",
        "ldm r2!, {{r4, r5}}",
        four!("1"),
        four!("5"),
        four!("9"),
        "adds r0, #128",
        "mov r2, r11",
        "ldm r2!, {{r1, r3, r6, r7}}",
        "uxth r2, r4",
        "adds r1, r1, r2",
        "lsrs r4, r4, #16",
        "adds r3, r3, r4",
        "uxth r2, r5",
        "adds r6, r6, r2",
        "lsrs r5, r5, #16",
        "adds r7, r7, r5",
        "mov r2, r11",
        "stm r2!, {{r1, r3, r6, r7}}",
        "movs r3, #120",
        "cmp r0, r10",
        "bne 3b",
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

/// Four columns behind the first four: adds their entry in the table at `$table`, to which four codes from bit `$shift` + 3
/// on point.
#[cfg(core_class = "armv7m")]
macro_rules! four {
    ($shift:literal, $table:literal) => {
        concat!(
            "and.w r2, r3, r12, lsr #",
            $shift,
            "\nadd r2, r0\nldrd r6, r7, [r2, #",
            $table,
            "]\n",
            "add r4, r6\nadd r5, r7"
        )
    };
}

/// r0: tables, r1: weights, r2: entry, r3: mask, r4 and r5: sums of two fields, r6 and r7: looked up, r8 to r11: sums, r12:
/// codes, lr: sums in memory.
#[cfg(core_class = "armv7m")]
#[unsafe(naked)]
extern "C" fn look_up(_: &Arguments) {
    naked_asm!(
        "push {{r4-r11, lr}}",
        "ldm r0, {{r1-r6}}",
        // [sp]: first table, [sp, #4]: end of tables, [sp, #8]: end of sums, [sp, #12]: bytes to the next row.
        "push {{r2, r3, r5, r6}}",
        "mov lr, r4",
        "movs r3, #120",
        // A row.
        "2:",
        "ldr r0, [sp]",
        // Sixteen columns.
        "3:",
        "ldrh.w r12, [r1], #2",
        "and.w r2, r3, r12, lsl #3",
        "add r2, r0",
        "ldrd r4, r5, [r2]",
        four!("1", "128"),
        four!("5", "256"),
        four!("9", "384"),
        "ldm.w lr, {{r8-r11}}",
        "uxth r2, r4",
        "add r8, r2",
        "add.w r9, r9, r4, lsr #16",
        "uxth r2, r5",
        "add r10, r2",
        "add.w r11, r11, r5, lsr #16",
        "stm.w lr, {{r8-r11}}",
        "add.w r0, r0, #512",
        "ldr r2, [sp, #4]",
        "cmp r0, r2",
        "bne 3b",
        "add.w lr, lr, #16",
        "ldrd r2, r4, [sp, #8]",
        "add r1, r4",
        "cmp lr, r2",
        "bne 2b",
        "add sp, #16",
        "pop {{r4-r11, pc}}",
    )
}
