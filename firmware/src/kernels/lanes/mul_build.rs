//! Tables for codes of one and two bits ([`super::wide`]) in assembly, for cores without dual multiplications.
//!
//! A table has sixteen entries of two words, in the order of their indices: even ones grow by the differences that a binary
//! counter makes, and an odd one is the even one before it and the first column.
#![allow(unsafe_code)]

use core::arch::naked_asm;

use super::wide::{COLUMNS_A_TABLE, WORDS_A_TABLE};
use super::{Columns, PIXELS};

/// Writes tables of the columns that lie in the last quarter of their place: no table reaches the columns of the next.
pub(super) fn build_tables(tables: &mut [u32]) {
    // The loop trusts this.
    assert!(!tables.is_empty() && tables.len().is_multiple_of(WORDS_A_TABLE));
    let range = tables.as_mut_ptr_range();
    let columns = tables.len() / WORDS_A_TABLE * COLUMNS_A_TABLE * 2;
    build(range.end.wrapping_sub(columns), range.start, range.end);
}

/// Columns to make tables of. The loop knows the places by number.
#[repr(C)]
struct Job {
    /// The first activation of pixel 0.
    source: *const u8,
    /// Bytes from there to those of the other pixels, modulo 2^32.
    others: [usize; PIXELS - 1],
    tables: *mut u32,
    /// The end of the run at hand.
    run_end: *const u8,
    /// Columns behind it.
    left: usize,
    /// Columns of a run, and bytes between runs.
    run: usize,
    gap: usize,
    /// Sums of activations, two to a word.
    totals: [u32; 2],
}

/// Writes tables of at most 256 columns, runs of which are whole quads, and returns the columns' sums.
pub(super) fn build_tables_of_quads(from: &Columns<'_>, tables: &mut [u32]) -> [u32; 2] {
    let count = tables.len() / WORDS_A_TABLE * COLUMNS_A_TABLE;
    if count == 0 {
        return [0; 2];
    }
    // The loop trusts this, and that sources reach to the last column.
    let Columns { sources, first, run, gap } = *from;
    assert!(tables.len().is_multiple_of(WORDS_A_TABLE) && sources.iter().all(|source| source.len() >= count));
    assert!(first > 0 && run > 0 && (first | run).is_multiple_of(COLUMNS_A_TABLE));
    let [pixel, second, third, fourth] = sources.map(<[u8]>::as_ptr);
    let from_first = |other: *const u8| other.addr().wrapping_sub(pixel.addr());
    let now = first.min(count);
    let mut job = Job {
        source: pixel,
        others: [from_first(second), from_first(third), from_first(fourth)],
        tables: tables.as_mut_ptr(),
        run_end: pixel.wrapping_add(now),
        left: count - now,
        run,
        gap,
        totals: [0; 2],
    };
    build_of_quads(&mut job);
    job.totals
}

/// Writes a table. r1 and r5: even entry, r2: table, r3 and r4: first column, r6 and r7: odd entry, r8 and r9, r10 and r11,
/// r12 and lr: what counting on adds when one, two, or three bits change. Leaves the sum of all columns in r6 and r7.
macro_rules! table {
    () => {
        concat!(
            "movs r1, #0\nmovs r5, #0\n",
            table!(entries), table!(count "r8", "r9"), table!(entries), table!(count "r10", "r11"),
            table!(entries), table!(count "r8", "r9"), table!(entries), table!(count "r12", "lr"),
            table!(entries), table!(count "r8", "r9"), table!(entries), table!(count "r10", "r11"),
            table!(entries), table!(count "r8", "r9"), table!(entries)
        )
    };
    (entries) => {
        "adds r6, r1, r3\nadds r7, r5, r4\nstm r2!, {{r1, r5, r6, r7}}\n"
    };
    (count $low:literal, $high:literal) => {
        concat!("add r1, ", $low, "\nadd r5, ", $high, "\n")
    };
}

/// r0: columns, else as in a table; [sp]: where tables end.
#[unsafe(naked)]
extern "C" fn build(_: *const u32, _: *mut u32, _: *const u32) {
    naked_asm!(
        enter!(),
        "push {{r2}}",
        "movs r2, r1",
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
        table!(),
        "ldr r1, [sp]",
        "cmp r2, r1",
        "bne 2b",
        "add sp, #4",
        leave!(),
    )
}

/// Reads the column at r0 to r4 and r6, and goes on to the next.
#[cfg(core_class = "armv6m")]
macro_rules! column {
    () => {
        concat!(
            "ldrb r4, [r0]\nldrb r5, [r0, r1]\nldrb r6, [r0, r2]\nldrb r7, [r0, r3]\n",
            "lsls r5, r5, #16\norrs r4, r5\nlsls r7, r7, #16\norrs r6, r7\nadds r0, #1"
        )
    };
}

/// r0: the source of pixel 0, r1 to r3: from there to the others; then as in a table. [sp] and [sp, #4]: first column,
/// [sp, #8]: the job.
#[cfg(core_class = "armv6m")]
#[unsafe(naked)]
extern "C" fn build_of_quads(_: &mut Job) {
    naked_asm!(
        enter!(),
        "push {{r0}}",
        "sub sp, #8",
        "movs r4, r0",
        "ldr r0, [r4]",
        // A quad.
        "2:",
        "ldr r1, [r4, #4]",
        "ldr r2, [r4, #8]",
        "ldr r3, [r4, #12]",
        column!(),
        "str r4, [sp]",
        "str r6, [sp, #4]",
        column!(),
        "mov r8, r4",
        "mov r9, r6",
        column!(),
        "mov r5, r8",
        "mov r7, r9",
        "subs r4, r4, r5",
        "subs r6, r6, r7",
        "mov r10, r4",
        "mov r11, r6",
        "adds r4, r4, r5",
        "adds r4, r4, r5",
        "adds r6, r6, r7",
        "adds r6, r6, r7",
        "mov r12, r4",
        "mov lr, r6",
        column!(),
        "mov r5, r12",
        "mov r7, lr",
        "subs r4, r4, r5",
        "subs r6, r6, r7",
        "mov r12, r4",
        "mov lr, r6",
        "ldr r4, [sp, #8]",
        "ldr r2, [r4, #16]",
        "ldr r3, [sp]",
        "ldr r4, [sp, #4]",
        table!(),
        "ldr r4, [sp, #8]",
        "str r2, [r4, #16]",
        "ldr r1, [r4, #36]",
        "adds r1, r1, r6",
        "str r1, [r4, #36]",
        "ldr r1, [r4, #40]",
        "adds r1, r1, r7",
        "str r1, [r4, #40]",
        "ldr r1, [r4, #20]",
        "cmp r0, r1",
        "beq 3f",
        "b 2b",
        // The end of a run.
        "3:",
        "ldr r1, [r4, #24]",
        "cmp r1, #0",
        "beq 4f",
        "ldr r2, [r4, #32]",
        "adds r0, r0, r2",
        "ldr r2, [r4, #28]",
        "cmp r2, r1",
        "bls 1f",
        "movs r2, r1",
        "1:",
        "subs r1, r1, r2",
        "str r1, [r4, #24]",
        "adds r2, r2, r0",
        "str r2, [r4, #20]",
        "b 2b",
        "4:",
        "add sp, #12",
        leave!(),
    )
}

/// Reads the column at r0 to two registers, and goes on to the next.
#[cfg(core_class = "armv7m")]
macro_rules! column {
    ($low:literal, $high:literal) => {
        concat!(
            "ldrb r4, [r0, r1]\nldrb.w ",
            $high,
            ", [r0, r2]\nldrb r5, [r0, r3]\nldrb.w ",
            $low,
            ", [r0], #1\n",
            "orr.w ",
            $low,
            ", ",
            $low,
            ", r4, lsl #16\norr.w ",
            $high,
            ", ",
            $high,
            ", r5, lsl #16"
        )
    };
}

/// Registers as on the smaller cores; [sp]: the job.
#[cfg(core_class = "armv7m")]
#[unsafe(naked)]
extern "C" fn build_of_quads(_: &mut Job) {
    naked_asm!(
        "push {{r4-r11, lr}}",
        "push {{r0}}",
        "movs r4, r0",
        "ldr r0, [r4]",
        // A quad.
        "2:",
        "ldrd r1, r2, [r4, #4]",
        "ldr r3, [r4, #12]",
        column!("r6", "r7"),
        column!("r8", "r9"),
        column!("r10", "r11"),
        column!("r12", "lr"),
        "sub.w r12, r12, r10",
        "sub.w lr, lr, r11",
        "sub.w r12, r12, r8",
        "sub.w lr, lr, r9",
        "sub.w r10, r10, r8",
        "sub.w r11, r11, r9",
        "mov r3, r6",
        "ldr r4, [sp]",
        "ldr r2, [r4, #16]",
        "mov r4, r7",
        table!(),
        "ldr r4, [sp]",
        "str r2, [r4, #16]",
        "ldrd r1, r2, [r4, #36]",
        "add r1, r6",
        "add r2, r7",
        "strd r1, r2, [r4, #36]",
        "ldr r1, [r4, #20]",
        "cmp r0, r1",
        "bne 2b",
        // The end of a run.
        "ldr r1, [r4, #24]",
        "cbz r1, 4f",
        "ldrd r2, r3, [r4, #28]",
        "add r0, r3",
        "cmp r2, r1",
        "it hi",
        "movhi r2, r1",
        "subs r1, r1, r2",
        "str r1, [r4, #24]",
        "add r2, r0",
        "str r2, [r4, #20]",
        "b 2b",
        "4:",
        "add sp, #4",
        "pop {{r4-r11, pc}}",
    )
}
