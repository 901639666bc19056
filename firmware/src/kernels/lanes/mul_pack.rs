//! Packing activations for wide lanes ([`super::wide`]) in assembly: for Thumb-2 (Cortex-M3), and for Cortex-M0 and its
//! kin.
#![allow(unsafe_code)]

use core::arch::naked_asm;

use super::PIXELS;
use super::writer::Word;
use crate::needs;

/// A run of columns to pack. Loops know the places by number.
#[repr(C)]
struct Run {
    /// The first activation of pixel 0.
    source: *const u8,
    /// Bytes from there to those of the other pixels, modulo 2^32.
    others: [usize; PIXELS - 1],
    /// Where the columns go.
    columns: *mut [u32; 2],
    /// What the next column's activations are lessened by, and afterwards the same of the column behind the run.
    before: [u32; 2],
    /// Sums of activations, two to a word.
    totals: [u32; 2],
    /// The end of the run, and where the word of codes at hand ends: afterwards, the word in which the run ends.
    end: *const u8,
    word_end: *const u8,
    /// Columns of a word of codes.
    slots: usize,
}

/// Packs a run of at most 257 columns, `slots` of which belong to a word of codes; returns its sums.
pub(super) fn pack(
    sources: [&[u8]; PIXELS],
    columns: &mut [[u32; 2]],
    bits: usize,
    slots: usize,
    word: &mut Word,
) -> [u32; 2] {
    let len = columns.len();
    if len == 0 {
        return [0; 2];
    }
    // The loops trust this.
    assert!(sources.iter().all(|source| source.len() == len) && word.missing > 0 && slots > 0);
    let [first, second, third, fourth] = sources.map(<[u8]>::as_ptr);
    let from_first = |other: *const u8| other.addr().wrapping_sub(first.addr());
    let mut run = Run {
        source: first,
        others: [from_first(second), from_first(third), from_first(fourth)],
        columns: columns.as_mut_ptr(),
        before: word.before,
        totals: [0; 2],
        end: first.wrapping_add(len),
        word_end: first.wrapping_add(word.missing),
        slots,
    };
    let pack = match bits {
        0 if needs::conv2d_of(1) => pack_plain,
        2 if needs::conv2d_of(2) => pack2,
        3 if needs::conv2d_of(3) => pack3,
        4 if needs::conv2d_of(4) => pack4,
        5 if needs::conv2d_of(5) => pack5,
        _ => needs::lacking(),
    };
    pack(&mut run);
    let missing = run.word_end.addr().wrapping_sub(run.end.addr());
    *word = if missing == 0 { Word { before: [0; 2], missing: slots } } else { Word { before: run.before, missing } };
    run.totals
}

/// r0 to r3: the pixels' sources from that of pixel 0, r4 to r7: activations, r8 and r9: what they are lessened by, r10 and
/// r11: sums, r12: columns, lr: where the run or the word ends.
#[cfg(core_class = "armv6m")]
macro_rules! pack {
    ($name:ident $(, $bits:literal)?) => {
        #[unsafe(naked)]
        extern "C" fn $name(_: &mut Run) {
            naked_asm!(
                "push {{r4-r7, lr}}",
                "mov r4, r8",
                "mov r5, r9",
                "mov r6, r10",
                "mov r7, r11",
                "push {{r4-r7}}",
                "push {{r0}}",
                "ldr r1, [r0, #16]",
                "mov r12, r1",
                "ldr r1, [r0, #20]",
                "mov r8, r1",
                "ldr r1, [r0, #24]",
                "mov r9, r1",
                "ldr r1, [r0, #40]",
                "ldr r2, [r0, #36]",
                "cmp r1, r2",
                "bls 1f",
                "movs r1, r2",
                "1:",
                "mov lr, r1",
                "movs r1, #0",
                "mov r10, r1",
                "mov r11, r1",
                "ldm r0!, {{r4-r7}}",
                "movs r0, r4",
                "movs r1, r5",
                "movs r2, r6",
                "movs r3, r7",
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
                pack!(@store $($bits)?),
                "adds r0, #1",
                "cmp r0, lr",
                "bne 2b",
                // The end of a word, or of the run.
                "ldr r4, [sp]",
                "ldr r5, [r4, #36]",
                "cmp r0, r5",
                "beq 3f",
                "ldr r6, [r4, #44]",
                "adds r6, r6, r0",
                "str r6, [r4, #40]",
                "movs r7, #0",
                "mov r8, r7",
                "mov r9, r7",
                "mov lr, r6",
                "cmp r6, r5",
                "bls 2b",
                "mov lr, r5",
                "b 2b",
                "3:",
                "pop {{r4}}",
                "mov r5, r8",
                "str r5, [r4, #20]",
                "mov r5, r9",
                "str r5, [r4, #24]",
                "mov r5, r10",
                "str r5, [r4, #28]",
                "mov r5, r11",
                "str r5, [r4, #32]",
                "pop {{r4-r7}}",
                "mov r8, r4",
                "mov r9, r5",
                "mov r10, r6",
                "mov r11, r7",
                "pop {{r4-r7, pc}}",
            )
        }
    };
    // The activations as they are.
    (@store) => {
        "mov r5, r12\nstm r5!, {{r4, r6}}\nmov r12, r5"
    };
    (@store $bits:literal) => {
        concat!(
            "mov r5, r8\nsubs r5, r4, r5\nlsls r4, r4, #", $bits, "\nmov r8, r4\n",
            "mov r7, r9\nsubs r7, r6, r7\nlsls r6, r6, #", $bits, "\nmov r9, r6\n",
            "mov r4, r12\nstm r4!, {{r5, r7}}\nmov r12, r4"
        )
    };
}

/// Registers as on the smaller cores.
#[cfg(core_class = "armv7m")]
macro_rules! pack {
    ($name:ident $(, $bits:literal)?) => {
        #[unsafe(naked)]
        extern "C" fn $name(_: &mut Run) {
            naked_asm!(
                "push {{r4-r11, lr}}",
                "push {{r0}}",
                "ldr.w r12, [r0, #16]",
                "ldrd r8, r9, [r0, #20]",
                "ldrd r4, lr, [r0, #36]",
                "cmp lr, r4",
                "it hi",
                "movhi lr, r4",
                "mov.w r10, #0",
                "mov.w r11, #0",
                "ldm r0, {{r0-r3}}",
                "2:",
                "ldrb.w r5, [r0, r1]",
                "ldrb.w r6, [r0, r2]",
                "ldrb.w r7, [r0, r3]",
                "ldrb r4, [r0], #1",
                "orr.w r4, r4, r5, lsl #16",
                "orr.w r6, r6, r7, lsl #16",
                "add r10, r4",
                "add r11, r6",
                pack!(@store $($bits)?),
                "cmp r0, lr",
                "bne 2b",
                // The end of a word, or of the run.
                "ldr r4, [sp]",
                "ldr r5, [r4, #36]",
                "cmp r0, r5",
                "beq 3f",
                "ldr r6, [r4, #44]",
                "add.w lr, r0, r6",
                "str.w lr, [r4, #40]",
                "cmp lr, r5",
                "it hi",
                "movhi lr, r5",
                "mov.w r8, #0",
                "mov.w r9, #0",
                "b 2b",
                "3:",
                "pop {{r4}}",
                "add.w r4, r4, #20",
                "stm.w r4, {{r8-r11}}",
                "pop {{r4-r11, pc}}",
            )
        }
    };
    // The activations as they are.
    (@store) => {
        "strd r4, r6, [r12], #8"
    };
    (@store $bits:literal) => {
        concat!(
            "sub.w r5, r4, r8\nsub.w r7, r6, r9\n",
            "lsl.w r8, r4, #", $bits, "\nlsl.w r9, r6, #", $bits, "\n",
            "strd r5, r7, [r12], #8"
        )
    };
}

pack!(pack_plain);
pack!(pack2, "2");
pack!(pack3, "3");
pack!(pack4, "4");
pack!(pack5, "5");
