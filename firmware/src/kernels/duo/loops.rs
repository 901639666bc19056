//! The inner loop in assembly: one for Thumb-2 (Cortex-M3), one for the few instructions and registers of Cortex-M0 and
//! its kin.
#![allow(unsafe_code)]

use core::arch::naked_asm;

use super::{ROWS, Set, words_between_flushes};
use crate::needs;

/// What a loop is told. Loops know the places by number.
#[repr(C)]
struct Arguments {
    weights: *const u8,
    activations: *const u8,
    activations_end: *const u8,
    /// Activations between flushes.
    segment: usize,
    sums: *mut i32,
}

type Loop = extern "C" fn(&Arguments);

pub(super) fn run_set(set: Set<'_>) {
    let Set { duo, activations, weights, sums } = set;
    if activations.is_empty() {
        return;
    }
    // The loops trust this.
    assert!(activations.len().is_multiple_of(duo.slots()) && weights.as_ptr().addr().is_multiple_of(4));
    assert!(weights.len() >= activations.len() / duo.slots() * 8);
    let run: Loop = match duo.bits() {
        1 if needs::dense_of(1) => duo1,
        2 if needs::dense_of(2) => duo2,
        3 if needs::dense_of(3) => duo3,
        4 if needs::dense_of(4) => duo4,
        5 if needs::dense_of(5) => duo5,
        _ => needs::lacking(),
    };
    let range = activations.as_ptr_range();
    run(&Arguments {
        weights: weights.as_ptr(),
        activations: range.start,
        activations_end: range.end,
        segment: words_between_flushes(duo) * duo.slots(),
        sums: sums.as_mut_ptr(),
    });
}

const _: () = assert!(ROWS == 4, "the loops have two sums of two rows each");

/// r0: activations, r1 and r2: words, r3: mask, r4: activation, r5: codes, r6 and r7: sums of two fields, r8: weights,
/// r9: where the segment ends, r10: where activations end, r11: sums in memory, r12: mask, lr: activations of a segment.
#[cfg(core_class = "armv6m")]
macro_rules! duo {
    ($name:ident, mask: $mask:literal, columns: $columns:literal, others: [$($place:literal $shift:literal),+]) => {
        #[unsafe(naked)]
        extern "C" fn $name(_: &Arguments) {
            naked_asm!(
                enter!(),
                "ldm r0!, {{r1-r5}}",
                "mov r8, r1",
                "mov r0, r2",
                "mov r10, r3",
                "mov lr, r4",
                "mov r11, r5",
                concat!("movs r3, #", $mask),
                "lsls r4, r3, #16",
                "orrs r3, r4",
                "mov r12, r3",
                "movs r6, #0",
                "movs r7, #0",
                // A segment.
                "2:",
                "mov r4, lr",
                "adds r4, r4, r0",
                "cmp r4, r10",
                "bls 3f",
                "mov r4, r10",
                "3:",
                "mov r9, r4",
                // A word of each duo.
                "4:",
                "mov r4, r8",
                "ldm r4!, {{r1, r2}}",
                "mov r8, r4",
                "ldrb r4, [r0]",
                "movs r5, r1",
                "ands r5, r3",
                "muls r5, r4, r5",
                "adds r6, r6, r5",
                "movs r5, r2",
                "ands r5, r3",
                "muls r5, r4, r5",
                "adds r7, r7, r5",
                $(concat!(
                    "ldrb r4, [r0, #", $place, "]\n",
                    "lsrs r5, r1, #", $shift, "\nands r5, r3\nmuls r5, r4, r5\nadds r6, r6, r5\n",
                    "lsrs r5, r2, #", $shift, "\nands r5, r3\nmuls r5, r4, r5\nadds r7, r7, r5"
                ),)+
                concat!("adds r0, #", $columns),
                "cmp r0, r9",
                "beq 5f",
                "b 4b",
                "5:",
                "mov r4, r11",
                "ldm r4!, {{r1, r2, r3, r5}}",
                "uxth r4, r6",
                "adds r1, r1, r4",
                "lsrs r6, r6, #16",
                "adds r2, r2, r6",
                "uxth r4, r7",
                "adds r3, r3, r4",
                "lsrs r7, r7, #16",
                "adds r5, r5, r7",
                "mov r4, r11",
                "stm r4!, {{r1, r2, r3, r5}}",
                "movs r6, #0",
                "movs r7, #0",
                "mov r3, r12",
                "cmp r0, r10",
                "beq 6f",
                "b 2b",
                "6:",
                leave!(),
            )
        }
    };
}

/// r0: activations, r1: weights, r2 and r3: words, r4: activation, r5: codes, r6 and r7: sums of two fields, r8 to r11:
/// sums, r12: mask, lr: where the segment ends.
#[cfg(core_class = "armv7m")]
macro_rules! duo {
    ($name:ident, mask: $mask:literal, columns: $columns:literal, others: [$($place:literal $shift:literal),+]) => {
        #[unsafe(naked)]
        extern "C" fn $name(_: &Arguments) {
            naked_asm!(
                "push {{r4-r11, lr}}",
                "ldm r0, {{r1-r5}}",
                "mov r0, r2",
                // [sp]: where activations end, [sp, #4]: activations of a segment, [sp, #8]: sums.
                "push {{r3-r5}}",
                "ldm.w r5, {{r8-r11}}",
                concat!("mov.w r12, #", $mask),
                "orr.w r12, r12, r12, lsl #16",
                "movs r6, #0",
                "movs r7, #0",
                // A segment.
                "2:",
                "ldrd r2, r3, [sp]",
                "add.w lr, r0, r3",
                "cmp lr, r2",
                "it hi",
                "movhi lr, r2",
                // A word of each duo.
                "3:",
                "ldm r1!, {{r2, r3}}",
                "ldrb r4, [r0]",
                "and.w r5, r12, r2",
                "mla r6, r5, r4, r6",
                "and.w r5, r12, r3",
                "mla r7, r5, r4, r7",
                $(concat!(
                    "ldrb.w r4, [r0, #", $place, "]\n",
                    "and.w r5, r12, r2, lsr #", $shift, "\nmla r6, r5, r4, r6\n",
                    "and.w r5, r12, r3, lsr #", $shift, "\nmla r7, r5, r4, r7"
                ),)*
                concat!("adds r0, #", $columns),
                "cmp r0, lr",
                "bne 3b",
                "uxth r4, r6",
                "add r8, r4",
                "add.w r9, r9, r6, lsr #16",
                "uxth r4, r7",
                "add r10, r4",
                "add.w r11, r11, r7, lsr #16",
                "movs r6, #0",
                "movs r7, #0",
                "ldr r2, [sp]",
                "cmp r0, r2",
                "bne 2b",
                "ldr r5, [sp, #8]",
                "stm.w r5, {{r8-r11}}",
                "add sp, #12",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

duo!(duo1, mask: "1", columns: "16", others: [
    "1" "1", "2" "2", "3" "3", "4" "4", "5" "5", "6" "6", "7" "7",
    "8" "8", "9" "9", "10" "10", "11" "11", "12" "12", "13" "13", "14" "14", "15" "15"
]);
duo!(duo2, mask: "3", columns: "8", others: [
    "1" "2", "2" "4", "3" "6", "4" "8", "5" "10", "6" "12", "7" "14"
]);
duo!(duo3, mask: "7", columns: "5", others: ["1" "3", "2" "6", "3" "9", "4" "12"]);
duo!(duo4, mask: "15", columns: "4", others: ["1" "4", "2" "8", "3" "12"]);
duo!(duo5, mask: "31", columns: "3", others: ["1" "5", "2" "10"]);
