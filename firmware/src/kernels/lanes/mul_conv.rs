//! The inner loop of convolutions in wide lanes ([`super::wide`]) in assembly, for cores without dual multiplications:
//! one for Thumb-2 (Cortex-M3), one for the few instructions and registers of Cortex-M0 and its kin.
//!
//! A slot is a pair of columns: two by two words of activations by one LDM, four multiplications, and the word of codes
//! shifted on. Sums of 16 bits are taken apart and added to those in memory after as many words as they can hold.
#![allow(unsafe_code)]

use core::arch::naked_asm;

use releq_shared::layout::Lanes;

use super::mul_table::run_look_up;
use super::wide::{by_tables, words_between_flushes};
use super::{PIXELS, Strip};
use crate::needs;

/// What a loop is told. Loops know the places by number.
#[repr(C)]
struct Arguments {
    /// The first row's first word.
    weights: *const u8,
    /// The first column's activations.
    activations: *const u32,
    /// Sums of the first row.
    sums: *mut i32,
    /// Sums of the row behind the last.
    sums_end: *mut i32,
    /// Activations behind those of the last whole word.
    whole_end: *const u32,
    /// Activations behind the last.
    end: *const u32,
    /// Bytes of activations between flushes.
    segment: usize,
    /// Bytes from a word's code to where the last, partial word enters it, plus 1 (Thumb); 0 if there is none.
    entry: usize,
    /// Bits of the partial word that are not its codes'.
    spare: usize,
    /// Bytes from the end of what this strip takes of a row to its share of the next.
    to_next_row: usize,
}

type Loop = extern "C" fn(&Arguments);

/// Bytes of a slot's code.
const SLOT: usize = if cfg!(core_class = "armv6m") { 22 } else { 28 };

/// What strips of some number of pairs have in common.
pub(super) struct Shape {
    by_tables: bool,
    run: Loop,
    pairs: usize,
    /// Pairs in whole words.
    whole: usize,
    segment: usize,
    entry: usize,
    spare: usize,
    len: usize,
}

impl Shape {
    pub(super) fn new(lanes: Lanes, pairs: usize) -> Self {
        let left = pairs % lanes.slots();
        let run: Loop = match lanes.bits() {
            // Done by tables.
            1 => idle,
            2 if needs::conv2d_of(2) => wide2,
            3 if needs::conv2d_of(3) => wide3,
            4 if needs::conv2d_of(4) => wide4,
            5 if needs::conv2d_of(5) => wide5,
            _ => needs::lacking(),
        };
        Self {
            by_tables: by_tables(lanes),
            run,
            pairs,
            whole: pairs - left,
            segment: words_between_flushes(lanes.bits()) * lanes.slots() * PIXELS * 4,
            entry: if left == 0 { 0 } else { (lanes.slots() - left) * SLOT + 1 },
            spare: 32 - left * 2 * lanes.bits(),
            len: lanes.row_len(pairs * 2),
        }
    }
}

/// The loop of codes that are looked up in tables.
extern "C" fn idle(_: &Arguments) {}

pub(super) fn run_strip(shape: &Shape, strip: Strip<'_>) {
    if needs::conv2d_of(1) && shape.by_tables {
        return run_look_up(strip);
    }
    let Strip { activations, weights, row_len, sums } = strip;
    let rows = sums.len() / PIXELS;
    if rows == 0 || shape.pairs == 0 {
        return;
    }
    // The loops trust this.
    assert!(activations.len() == shape.pairs * PIXELS && weights.as_ptr().addr().is_multiple_of(4));
    assert!(row_len >= shape.len && row_len.is_multiple_of(4) && weights.len() >= (rows - 1) * row_len + shape.len);
    let sums = sums.as_mut_ptr();
    let start = activations.as_ptr();
    (shape.run)(&Arguments {
        weights: weights.as_ptr(),
        activations: start,
        sums,
        sums_end: sums.wrapping_add(rows * PIXELS),
        whole_end: start.wrapping_add(shape.whole * PIXELS),
        end: start.wrapping_add(shape.pairs * PIXELS),
        segment: shape.segment,
        entry: shape.entry,
        spare: shape.spare,
        to_next_row: row_len - shape.len,
    });
}

/// r0: activations, r1: the word, r2 and r3: sums of two fields, r4 to r7: activations of two columns, r8: weights,
/// r9: sums in memory, r10: where the activations of whole words end, r11: where the segment ends, r12: arguments, lr:
/// bytes of a segment.
#[cfg(core_class = "armv6m")]
macro_rules! wide {
    ($name:ident, bits: $bits:literal, clear: [$($clear:literal),*], slots: [$($slot:tt),+]) => {
        #[unsafe(naked)]
        extern "C" fn $name(_: &Arguments) {
            naked_asm!(
                "push {{r4-r7, lr}}",
                "mov r4, r8",
                "mov r5, r9",
                "mov r6, r10",
                "mov r7, r11",
                "push {{r4-r7}}",
                "mov r12, r0",
                "ldr r4, [r0]",
                "mov r8, r4",
                "ldr r4, [r0, #8]",
                "mov r9, r4",
                "ldr r4, [r0, #16]",
                "mov r10, r4",
                "ldr r4, [r0, #24]",
                "mov lr, r4",
                // A row.
                "2:",
                "mov r4, r12",
                "ldr r0, [r4, #4]",
                "movs r2, #0",
                "movs r3, #0",
                "cmp r0, r10",
                "bne 3f",
                "b 6f",
                // A segment.
                "3:",
                "mov r4, lr",
                "adds r4, r4, r0",
                "cmp r4, r10",
                "bls 4f",
                "mov r4, r10",
                "4:",
                "mov r11, r4",
                // A word.
                "5:",
                "mov r4, r8",
                "ldm r4!, {{r1}}",
                "mov r8, r4",
                $($clear,)*
                ".p2align 2",
                "8:",
                $(wide!(@slot $bits $slot),)+
                "cmp r0, r11",
                "beq 7f",
                "b 5b",
                // The partial word.
                "6:",
                "mov r4, r12",
                "ldr r5, [r4, #28]",
                "cmp r5, #0",
                "beq 9f",
                "ldr r6, [r4, #20]",
                "mov r11, r6",
                "ldr r7, [r4, #32]",
                "mov r4, r8",
                "ldm r4!, {{r1}}",
                "mov r8, r4",
                "lsls r1, r7",
                "lsrs r1, r7",
                "ldr r4, 1f",
                "adds r4, r4, r5",
                "bx r4",
                ".p2align 2",
                "1:",
                ".word 8b",
                // The end of a segment: both fields of both sums to memory.
                "7:",
                "mov r4, r9",
                "ldm r4!, {{r1, r5-r7}}",
                "uxth r4, r2",
                "adds r1, r1, r4",
                "lsrs r2, r2, #16",
                "adds r5, r5, r2",
                "uxth r4, r3",
                "adds r6, r6, r4",
                "lsrs r3, r3, #16",
                "adds r7, r7, r3",
                "mov r4, r9",
                "stm r4!, {{r1, r5-r7}}",
                "movs r2, #0",
                "movs r3, #0",
                "cmp r0, r10",
                "bhi 9f",
                "beq 6b",
                "b 3b",
                // The next row.
                "9:",
                "mov r4, r9",
                "adds r4, #16",
                "mov r9, r4",
                "mov r5, r12",
                "ldr r6, [r5, #36]",
                "add r8, r6",
                "ldr r6, [r5, #12]",
                "cmp r4, r6",
                "beq 4f",
                "b 2b",
                "4:",
                "pop {{r4-r7}}",
                "mov r8, r4",
                "mov r9, r5",
                "mov r10, r6",
                "mov r11, r7",
                "pop {{r4-r7, pc}}",
            )
        }
    };
    (@slot $bits:literal $slot:tt) => {
        concat!(
            "ldm r0!, {{r4-r7}}\n",
            "muls r4, r1, r4\nmuls r5, r1, r5\nadds r2, r2, r4\nadds r3, r3, r5\n",
            "lsrs r1, r1, #", $bits, "\n",
            "muls r6, r1, r6\nmuls r7, r1, r7\nadds r2, r2, r6\nadds r3, r3, r7\n",
            "lsrs r1, r1, #", $bits
        )
    };
}

/// Registers as on the smaller cores, but r2 and r3 are scratch and r8 and r9 sums, r1 weights, r10 the word, r11 where
/// the segment ends, r12 where the activations of whole words end, lr sums in memory.
#[cfg(core_class = "armv7m")]
macro_rules! wide {
    ($name:ident, bits: $bits:literal, clear: [$($clear:literal),*], slots: [$($slot:tt),+]) => {
        #[unsafe(naked)]
        extern "C" fn $name(_: &Arguments) {
            naked_asm!(
                "push {{r4-r11, lr}}",
                "push {{r0}}",
                "ldr r1, [r0]",
                "ldr.w lr, [r0, #8]",
                "ldr.w r12, [r0, #16]",
                // A row.
                "2:",
                "ldr r2, [sp]",
                "ldr r0, [r2, #4]",
                "mov.w r8, #0",
                "mov.w r9, #0",
                "cmp r0, r12",
                "beq 6f",
                // A segment.
                "3:",
                "ldr r2, [sp]",
                "ldr r2, [r2, #24]",
                "add.w r11, r0, r2",
                "cmp r11, r12",
                "it hi",
                "movhi r11, r12",
                // A word.
                "5:",
                "ldr.w r10, [r1], #4",
                $($clear,)*
                ".p2align 2",
                "8:",
                $(wide!(@slot $bits $slot),)+
                "cmp r0, r11",
                "bne 5b",
                "b 7f",
                // The partial word.
                "6:",
                "ldr r2, [sp]",
                "ldr r3, [r2, #28]",
                "cbz r3, 9f",
                "ldr.w r11, [r2, #20]",
                "ldr r4, [r2, #32]",
                "ldr.w r10, [r1], #4",
                "lsl.w r10, r10, r4",
                "lsr.w r10, r10, r4",
                "adr.w r4, 8b",
                "add r4, r3",
                "bx r4",
                // The end of a segment: both fields of both sums to memory.
                "7:",
                "ldm.w lr, {{r4-r7}}",
                "uxth.w r2, r8",
                "add r4, r2",
                "add.w r5, r5, r8, lsr #16",
                "uxth.w r2, r9",
                "add r6, r2",
                "add.w r7, r7, r9, lsr #16",
                "stm.w lr, {{r4-r7}}",
                "mov.w r8, #0",
                "mov.w r9, #0",
                "cmp r0, r12",
                "blo 3b",
                "beq 6b",
                // The next row.
                "9:",
                "add.w lr, lr, #16",
                "ldr r2, [sp]",
                "ldr r3, [r2, #36]",
                "add r1, r3",
                "ldr r3, [r2, #12]",
                "cmp lr, r3",
                "bne 2b",
                "add sp, #4",
                "pop {{r4-r11, pc}}",
            )
        }
    };
    (@slot $bits:literal $slot:tt) => {
        concat!(
            "ldm.w r0!, {{r4-r7}}\n",
            "mla r8, r4, r10, r8\nmla r9, r5, r10, r9\n",
            "lsr.w r10, r10, #", $bits, "\n",
            "mla r8, r6, r10, r8\nmla r9, r7, r10, r9\n",
            "lsr.w r10, r10, #", $bits
        )
    };
}

wide!(wide2, bits: "2", clear: [], slots: [0, 1, 2, 3, 4, 5, 6, 7]);
wide!(wide4, bits: "4", clear: [], slots: [0, 1, 2, 3]);
#[cfg(core_class = "armv6m")]
wide!(wide3, bits: "3", clear: ["lsls r1, r1, #2", "lsrs r1, r1, #2"], slots: [0, 1, 2, 3, 4]);
#[cfg(core_class = "armv6m")]
wide!(wide5, bits: "5", clear: ["lsls r1, r1, #2", "lsrs r1, r1, #2"], slots: [0, 1, 2]);
#[cfg(core_class = "armv7m")]
wide!(wide3, bits: "3", clear: ["bfc r10, #30, #2"], slots: [0, 1, 2, 3, 4]);
#[cfg(core_class = "armv7m")]
wide!(wide5, bits: "5", clear: ["bfc r10, #30, #2"], slots: [0, 1, 2]);
