//! The inner loop of convolutions in wide lanes ([`super::wide`]) in assembly, for cores without dual multiplications:
//! one for Thumb-2 (Cortex-M3), one for the few instructions and registers of Cortex-M0 and its kin.
//!
//! A slot is a pair of columns: two by two words of activations by one LDM, and four multiplications by their two codes.
//! What has come together in the two fields `p` of a word, a word of codes or (of 8 bits) one code later, goes to two sums
//! of 32 bits: one of `p`, and one of `p >> 16`, which is the upper field's, and by which the first is put right in the end.
#![allow(unsafe_code)]

use core::arch::naked_asm;

use releq_shared::layout::Lanes;

use super::mul_table::run_look_up;
use super::wide::runs_by_tables;
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
    /// Bytes from a word's code to where the last, partial word enters it, plus 1 (Thumb); 0 if there is none.
    entry: usize,
    /// By how much the partial word is shifted to the left first.
    shift: usize,
    /// Bytes from the end of what this strip takes of a row to its share of the next.
    to_next_row: usize,
}

type Loop = extern "C" fn(&Arguments);

/// Bytes of a slot's code.
const fn slot_len(bits: usize) -> usize {
    match (bits, cfg!(core_class = "armv6m")) {
        (8, true) => 42,
        (8, false) => 52,
        (_, true) => 22,
        (_, false) => 28,
    }
}

/// What strips of some number of pairs have in common.
pub(super) struct Shape {
    lanes: Lanes,
    run: Loop,
    pairs: usize,
    /// Pairs in whole words.
    whole: usize,
    entry: usize,
    shift: usize,
    len: usize,
}

impl Shape {
    pub(super) fn new(lanes: Lanes, pairs: usize) -> Self {
        let (bits, left) = (lanes.bits(), pairs % lanes.slots());
        let run: Loop = match bits {
            // Done by tables.
            1 | 2 => idle,
            3 if needs::conv2d_of(3) => wide3,
            4 if needs::conv2d_of(4) => wide4,
            5 if needs::conv2d_of(5) => wide5,
            8 if needs::conv2d_of(8) => wide8,
            _ => needs::lacking(),
        };
        let missing = lanes.slots() - left;
        Self {
            lanes,
            run,
            pairs,
            whole: pairs - left,
            entry: if left == 0 { 0 } else { missing * slot_len(bits) + 1 },
            shift: match (bits, cfg!(core_class = "armv6m")) {
                // Codes are taken from the word's lower end, whatever comes behind them.
                (8, true) => 0,
                // What is behind the codes must not be in the word.
                (_, true) => 32 - left * 2 * bits,
                // Each slot takes its codes from their own place.
                (_, false) => missing * 2 * bits,
            },
            len: lanes.row_len(pairs * 2),
        }
    }
}

/// The loop of codes that are looked up in tables.
extern "C" fn idle(_: &Arguments) {}

pub(super) fn run_strip(shape: &Shape, strip: Strip<'_>) {
    if runs_by_tables(shape.lanes) {
        return run_look_up(shape.lanes, strip);
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
        entry: shape.entry,
        shift: shape.shift,
        to_next_row: row_len - shape.len,
    });
}

/// r0: activations, r1: the word, r2 and r3: sums of two fields, r4 to r7: activations of two columns, r8: weights,
/// r9 to r12: sums of 32 bits, lr: where the activations of the words at hand end.
#[cfg(core_class = "armv6m")]
macro_rules! wide {
    ($name:ident, clear: [$($clear:literal),*], slots: [$($slot:expr),+], empty: [$($empty:literal),*]) => {
        #[unsafe(naked)]
        extern "C" fn $name(_: &Arguments) {
            naked_asm!(
                enter!(),
                // [sp]: arguments, [sp, #4]: sums in memory.
                "ldr r4, [r0]",
                "mov r8, r4",
                "ldr r1, [r0, #8]",
                "push {{r0, r1}}",
                // A row.
                "2:",
                "ldr r4, [sp]",
                "ldr r0, [r4, #4]",
                "ldr r5, [r4, #16]",
                "mov lr, r5",
                "movs r6, #0",
                "mov r9, r6",
                "mov r10, r6",
                "mov r11, r6",
                "mov r12, r6",
                "cmp r0, r5",
                "bne 5f",
                "b 6f",
                // A word.
                "5:",
                "mov r4, r8",
                "ldm r4!, {{r1}}",
                "mov r8, r4",
                "movs r2, #0",
                "movs r3, #0",
                $($clear,)*
                ".p2align 2",
                "8:",
                $($slot,)+
                $($empty,)*
                "cmp r0, lr",
                "beq 7f",
                "b 5b",
                // The end of whole words, or of the partial one.
                "7:",
                "ldr r4, [sp]",
                "ldr r5, [r4, #16]",
                "cmp r0, r5",
                "bhi 9f",
                "6:",
                "ldr r4, [sp]",
                "ldr r5, [r4, #24]",
                "cmp r5, #0",
                "beq 9f",
                "ldr r6, [r4, #20]",
                "mov lr, r6",
                "ldr r7, [r4, #28]",
                "mov r4, r8",
                "ldm r4!, {{r1}}",
                "mov r8, r4",
                "lsls r1, r7",
                "lsrs r1, r7",
                "movs r2, #0",
                "movs r3, #0",
                "ldr r4, 1f",
                "adds r4, r4, r5",
                "bx r4",
                ".p2align 2",
                "1:",
                ".word 8b",
                // The end of a row: the sums of lower fields are put right, and all are added to those in memory.
                "9:",
                "ldr r4, [sp, #4]",
                "ldm r4!, {{r0-r3}}",
                "mov r5, r9",
                "mov r6, r10",
                "lsls r7, r6, #16",
                "subs r5, r5, r7",
                "adds r0, r0, r5",
                "adds r1, r1, r6",
                "mov r5, r11",
                "mov r6, r12",
                "lsls r7, r6, #16",
                "subs r5, r5, r7",
                "adds r2, r2, r5",
                "adds r3, r3, r6",
                "ldr r4, [sp, #4]",
                "stm r4!, {{r0-r3}}",
                "str r4, [sp, #4]",
                "ldr r5, [sp]",
                "ldr r6, [r5, #32]",
                "add r8, r6",
                "ldr r6, [r5, #12]",
                "cmp r4, r6",
                "beq 4f",
                "b 2b",
                "4:",
                "add sp, #8",
                leave!(),
            )
        }
    };
}

/// A slot of two columns of which one depends on the other ([`super::wide`]).
#[cfg(core_class = "armv6m")]
macro_rules! running {
    ($bits:literal) => {
        concat!(
            "ldm r0!, {{r4-r7}}\n",
            "muls r4, r1, r4\nmuls r5, r1, r5\nadds r2, r2, r4\nadds r3, r3, r5\n",
            "lsrs r1, r1, #",
            $bits,
            "\n",
            "muls r6, r1, r6\nmuls r7, r1, r7\nadds r2, r2, r6\nadds r3, r3, r7\n",
            "lsrs r1, r1, #",
            $bits
        )
    };
}

/// A slot of two columns of codes of 8 bits.
#[cfg(core_class = "armv6m")]
macro_rules! bytes {
    () => {
        concat!(
            "ldm r0!, {{r4-r7}}\nuxtb r2, r1\nmuls r4, r2, r4\nmuls r5, r2, r5\nlsrs r1, r1, #8\n",
            "add r9, r4\nlsrs r4, r4, #16\nadd r10, r4\nadd r11, r5\nlsrs r5, r5, #16\nadd r12, r5\n",
            "uxtb r2, r1\nmuls r6, r2, r6\nmuls r7, r2, r7\nlsrs r1, r1, #8\n",
            "add r9, r6\nlsrs r6, r6, #16\nadd r10, r6\nadd r11, r7\nlsrs r7, r7, #16\nadd r12, r7"
        )
    };
}

#[cfg(core_class = "armv6m")]
macro_rules! running_wide {
    ($name:ident, clear: [$($clear:literal),*], slots: [$($bits:literal),+]) => {
        wide!(
            $name,
            clear: [$($clear),*],
            slots: [$(running!($bits)),+],
            empty: ["add r9, r2", "lsrs r2, r2, #16", "add r10, r2", "add r11, r3", "lsrs r3, r3, #16", "add r12, r3"]
        );
    };
}

/// r0: activations, r1: weights, r2: a code, r3: the word, r4 to r7: activations of two columns, r8 and r9: sums of two
/// fields, r10 to r12 and lr: sums of 32 bits.
#[cfg(core_class = "armv7m")]
macro_rules! wide {
    ($name:ident, slots: [$($slot:expr),+], empty: [$($empty:literal),*]) => {
        #[unsafe(naked)]
        extern "C" fn $name(_: &Arguments) {
            naked_asm!(
                "push {{r4-r11, lr}}",
                // [sp]: arguments, [sp, #4]: where the activations of the words at hand end, [sp, #8]: sums in memory.
                "ldr r1, [r0]",
                "ldr r2, [r0, #8]",
                "push {{r0-r2}}",
                // A row.
                "2:",
                "ldr r2, [sp]",
                "ldr r0, [r2, #4]",
                "ldr r3, [r2, #16]",
                "mov.w r10, #0",
                "mov.w r11, #0",
                "mov.w r12, #0",
                "mov.w lr, #0",
                "cmp r0, r3",
                "beq 6f",
                "str r3, [sp, #4]",
                // A word.
                "5:",
                "ldr r3, [r1], #4",
                "mov.w r8, #0",
                "mov.w r9, #0",
                ".p2align 2",
                "8:",
                $($slot,)+
                $($empty,)*
                "ldr r2, [sp, #4]",
                "cmp r0, r2",
                "bne 5b",
                // The end of whole words, or of the partial one.
                "ldr r2, [sp]",
                "ldr r3, [r2, #16]",
                "cmp r0, r3",
                "bhi 9f",
                "6:",
                "ldr r2, [sp]",
                "ldr r4, [r2, #24]",
                "cbz r4, 9f",
                "ldr r5, [r2, #20]",
                "str r5, [sp, #4]",
                "ldr r5, [r2, #28]",
                "ldr r3, [r1], #4",
                "lsls r3, r5",
                "mov.w r8, #0",
                "mov.w r9, #0",
                "adr.w r5, 8b",
                "add r5, r4",
                "bx r5",
                // The end of a row: the sums of lower fields are put right, and all are added to those in memory.
                "9:",
                "ldr r2, [sp, #8]",
                "ldm r2, {{r4-r7}}",
                "sub.w r10, r10, r11, lsl #16",
                "sub.w r12, r12, lr, lsl #16",
                "add r4, r10",
                "add r5, r11",
                "add r6, r12",
                "add r7, lr",
                "stm r2!, {{r4-r7}}",
                "str r2, [sp, #8]",
                "ldr r3, [sp]",
                "ldr r4, [r3, #32]",
                "add r1, r4",
                "ldr r4, [r3, #12]",
                "cmp r2, r4",
                "bne 2b",
                "add sp, #12",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

/// A slot of two columns, whose codes stand from bits `$first` and `$second` on.
#[cfg(core_class = "armv7m")]
macro_rules! codes {
    ($bits:literal, $first:literal, $second:literal) => {
        concat!(
            "ldm.w r0!, {{r4-r7}}\n",
            "ubfx r2, r3, #",
            $first,
            ", #",
            $bits,
            "\nmla r8, r4, r2, r8\nmla r9, r5, r2, r9\n",
            "ubfx r2, r3, #",
            $second,
            ", #",
            $bits,
            "\nmla r8, r6, r2, r8\nmla r9, r7, r2, r9"
        )
    };
}

/// A slot of two columns of codes of 8 bits.
#[cfg(core_class = "armv7m")]
macro_rules! bytes {
    ($first:literal, $second:literal) => {
        concat!(
            "ldm.w r0!, {{r4-r7}}\nubfx r2, r3, #",
            $first,
            ", #8\nmul r8, r4, r2\nmul r9, r5, r2\n",
            "add r10, r8\nadd.w r11, r11, r8, lsr #16\nadd r12, r9\nadd.w lr, lr, r9, lsr #16\nubfx r2, r3, #",
            $second,
            ", #8\nmul r8, r6, r2\nmul r9, r7, r2\n",
            "add r10, r8\nadd.w r11, r11, r8, lsr #16\nadd r12, r9\nadd.w lr, lr, r9, lsr #16"
        )
    };
}

#[cfg(core_class = "armv7m")]
macro_rules! codes_wide {
    ($name:ident, $bits:literal, slots: [$($first:literal $second:literal),+]) => {
        wide!(
            $name,
            slots: [$(codes!($bits, $first, $second)),+],
            empty: ["add r10, r8", "add.w r11, r11, r8, lsr #16", "add r12, r9", "add.w lr, lr, r9, lsr #16"]
        );
    };
}

#[cfg(core_class = "armv6m")]
running_wide!(wide3, clear: ["lsls r1, r1, #2", "lsrs r1, r1, #2"], slots: ["3", "3", "3", "3", "3"]);
#[cfg(core_class = "armv6m")]
running_wide!(wide4, clear: [], slots: ["4", "4", "4", "4"]);
#[cfg(core_class = "armv6m")]
running_wide!(wide5, clear: ["lsls r1, r1, #2", "lsrs r1, r1, #2"], slots: ["5", "5", "5"]);
#[cfg(core_class = "armv6m")]
wide!(wide8, clear: [], slots: [bytes!(), bytes!()], empty: []);
#[cfg(core_class = "armv7m")]
codes_wide!(wide3, "3", slots: ["0" "3", "6" "9", "12" "15", "18" "21", "24" "27"]);
#[cfg(core_class = "armv7m")]
codes_wide!(wide4, "4", slots: ["0" "4", "8" "12", "16" "20", "24" "28"]);
#[cfg(core_class = "armv7m")]
codes_wide!(wide5, "5", slots: ["0" "5", "10" "15", "20" "25"]);
#[cfg(core_class = "armv7m")]
wide!(wide8, slots: [bytes!("0", "8"), bytes!("16", "24")], empty: []);
