//! Packing activations for wide lanes ([`super::wide`]) in assembly: for Thumb-2 (Cortex-M3), and for Cortex-M0 and its
//! kin.
#![allow(unsafe_code)]

use core::arch::naked_asm;

use super::writer::Word;
use super::{Columns, PIXELS};
use crate::needs;

/// Columns to pack. Loops know the places by number.
#[repr(C)]
struct Job {
    /// The first activation of pixel 0.
    source: *const u8,
    /// Bytes from there to those of the other pixels, modulo 2^32.
    others: [usize; PIXELS - 1],
    /// Where the columns go.
    columns: *mut [u32; 2],
    /// The end of the run at hand.
    run_end: *const u8,
    /// Columns behind it.
    left: usize,
    /// Columns of a run, and bytes between runs.
    run: usize,
    gap: usize,
    /// What the next column's activations are lessened by, and afterwards the same of the column behind the last.
    before: [u32; 2],
    /// Sums of activations, two to a word.
    totals: [u32; 2],
    /// Where the word of codes at hand ends: afterwards, as if the columns behind the last went on there.
    word_end: *const u8,
    /// Columns of a word of codes.
    slots: usize,
}

/// Packs at most 256 columns, `slots` of which belong to a word of codes; returns their sums.
pub(super) fn pack(
    from: &Columns<'_>,
    columns: &mut [[u32; 2]],
    bits: usize,
    slots: usize,
    word: &mut Word,
) -> [u32; 2] {
    let count = columns.len();
    if count == 0 {
        return [0; 2];
    }
    // The loops trust this, and that sources reach to the last column.
    assert!(from.sources.iter().all(|source| source.len() >= count));
    assert!(from.first > 0 && from.run > 0 && word.missing > 0 && slots > 0);
    let [first, second, third, fourth] = from.sources.map(<[u8]>::as_ptr);
    let from_first = |other: *const u8| other.addr().wrapping_sub(first.addr());
    let now = from.first.min(count);
    let mut job = Job {
        source: first,
        others: [from_first(second), from_first(third), from_first(fourth)],
        columns: columns.as_mut_ptr(),
        run_end: first.wrapping_add(now),
        left: count - now,
        run: from.run,
        gap: from.gap,
        before: word.before,
        totals: [0; 2],
        word_end: first.wrapping_add(word.missing),
        slots,
    };
    match bits {
        0 => pack_plain(&mut job),
        #[cfg(core_class = "armv6m")]
        3..=5 => {
            match bits {
                3 if needs::conv2d_of(3) => pack3(&mut job),
                4 if needs::conv2d_of(4) => pack4(&mut job),
                5 if needs::conv2d_of(5) => pack5(&mut job),
                _ => needs::lacking(),
            }
            *word = Word { before: job.before, missing: job.word_end.addr().wrapping_sub(job.run_end.addr()) };
        }
        _ => needs::lacking(),
    }
    job.totals
}

/// r0 to r3: the pixels' sources from that of pixel 0, r4 to r7: activations, r8 and r9: what they are lessened by, r10 and
/// r11: sums, r12: columns, lr: where the run or the word ends, [sp]: the job.
#[cfg(core_class = "armv6m")]
macro_rules! pack {
    ($name:ident, store: [$($store:expr),+], end: [$($end:expr),+]) => {
        #[unsafe(naked)]
        extern "C" fn $name(_: &mut Job) {
            naked_asm!(
                enter!(),
                "push {{r0}}",
                "ldr r1, [r0, #16]",
                "mov r12, r1",
                "movs r1, #0",
                "mov r10, r1",
                "mov r11, r1",
                "ldr r1, [r0, #36]",
                "mov r8, r1",
                "ldr r1, [r0, #40]",
                "mov r9, r1",
                "mov r4, r0",
                "ldm r0, {{r0-r3}}",
                "ldr r6, [r4, #20]",
                "b 6f",
                "2:",
                "ldrb r4, [r0]",
                "ldrb r5, [r0, r1]",
                "ldrb r6, [r0, r2]",
                "ldrb r7, [r0, r3]",
                "lsls r5, r5, #16",
                "orrs r4, r5",
                "lsls r7, r7, #16",
                "orrs r6, r7",
                "add r10, r4",
                "add r11, r6",
                $($store,)+
                "adds r0, #1",
                "cmp r0, lr",
                "bne 2b",
                "ldr r4, [sp]",
                $($end,)+
                // All is done.
                "9:",
                "pop {{r4}}",
                "mov r5, r8",
                "str r5, [r4, #36]",
                "mov r5, r9",
                "str r5, [r4, #40]",
                "mov r5, r10",
                "str r5, [r4, #44]",
                "mov r5, r11",
                "str r5, [r4, #48]",
                leave!(),
            )
        }
    };
}

#[cfg(core_class = "armv6m")]
pack!(
    pack_plain,
    store: ["mov r5, r12", "stm r5!, {{r4, r6}}", "mov r12, r5"],
    end: [
        "ldr r7, [r4, #24]",
        "cmp r7, #0",
        "beq 9f",
        "ldr r6, [r4, #32]",
        "adds r0, r0, r6",
        "ldr r6, [r4, #28]",
        "cmp r6, r7",
        "bls 1f",
        "movs r6, r7",
        "1:",
        "subs r7, r7, r6",
        "str r7, [r4, #24]",
        "adds r6, r6, r0",
        // A run that ends at r6.
        "6:",
        "mov lr, r6",
        "b 2b"
    ]
);

/// Columns that depend on those before them in their word.
#[cfg(core_class = "armv6m")]
macro_rules! running {
    ($name:ident, $bits:literal) => {
        pack!(
            $name,
            store: [
                "mov r5, r8\nsubs r5, r4, r5",
                concat!("lsls r4, r4, #", $bits, "\nmov r8, r4"),
                "mov r7, r9\nsubs r7, r6, r7",
                concat!("lsls r6, r6, #", $bits, "\nmov r9, r6"),
                "mov r4, r12\nstm r4!, {{r5, r7}}\nmov r12, r4"
            ],
            end: [
                "ldr r5, [r4, #52]",
                "cmp r0, r5",
                "bne 4f",
                // A word begins.
                "ldr r6, [r4, #56]",
                "adds r5, r5, r6",
                "str r5, [r4, #52]",
                "movs r7, #0",
                "mov r8, r7",
                "mov r9, r7",
                "4:",
                "ldr r6, [r4, #20]",
                "cmp r0, r6",
                "bne 6f",
                // So does a run.
                "ldr r7, [r4, #24]",
                "cmp r7, #0",
                "beq 9f",
                "ldr r6, [r4, #32]",
                "adds r0, r0, r6",
                "adds r5, r5, r6",
                "str r5, [r4, #52]",
                "ldr r6, [r4, #28]",
                "cmp r6, r7",
                "bls 1f",
                "movs r6, r7",
                "1:",
                "subs r7, r7, r6",
                "str r7, [r4, #24]",
                "adds r6, r6, r0",
                "str r6, [r4, #20]",
                // A run that ends at r6.
                "6:",
                "ldr r5, [r4, #52]",
                "cmp r5, r6",
                "bls 1f",
                "movs r5, r6",
                "1:",
                "mov lr, r5",
                "b 2b"
            ]
        );
    };
}

#[cfg(core_class = "armv6m")]
running!(pack3, "3");
#[cfg(core_class = "armv6m")]
running!(pack4, "4");
#[cfg(core_class = "armv6m")]
running!(pack5, "5");

/// Registers as on the smaller cores.
#[cfg(core_class = "armv7m")]
#[unsafe(naked)]
extern "C" fn pack_plain(_: &mut Job) {
    naked_asm!(
        "push {{r4-r11, lr}}",
        "mov r8, r0",
        "ldr.w r12, [r0, #16]",
        "ldr.w lr, [r0, #20]",
        "ldr.w r9, [r0, #24]",
        "mov.w r10, #0",
        "mov.w r11, #0",
        "ldm r0, {{r0-r3}}",
        "2:",
        "ldrb r5, [r0, r1]",
        "ldrb r6, [r0, r2]",
        "ldrb r7, [r0, r3]",
        "ldrb r4, [r0], #1",
        "orr.w r4, r4, r5, lsl #16",
        "orr.w r6, r6, r7, lsl #16",
        "add r10, r4",
        "add r11, r6",
        "strd r4, r6, [r12], #8",
        "cmp r0, lr",
        "bne 2b",
        // The end of a run, r9 columns before that of all.
        "cmp.w r9, #0",
        "beq 3f",
        "ldrd r4, r5, [r8, #28]",
        "add r0, r5",
        "cmp r4, r9",
        "it hi",
        "movhi r4, r9",
        "sub.w r9, r9, r4",
        "add.w lr, r0, r4",
        "b 2b",
        "3:",
        "strd r10, r11, [r8, #44]",
        "pop {{r4-r11, pc}}",
    )
}
